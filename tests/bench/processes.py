"""What processes use, read from /proc: proc_pid_smaps(5), proc_pid_status(5), and schedstat."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.daemon import wait_until
from tifftockd.worker.kin import children


def tree(pid):
    """A process and all that descends from it: the daemon, its parent of workers, templates, workers."""
    found = [pid]
    for one in found:
        found += children(one)
    return found


def memory(pid):
    """MiB of a process and its descendants: PSS, which counts a page that n processes share as an n-th for each."""
    return sum(_pss(one) for one in tree(pid)) / 1024


def _pss(pid):
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@dataclass(frozen=True)
class Use:
    """What threads have used since they were started, by the thread's place in /proc."""

    cpu: dict[str, int]  # nanoseconds
    wake_ups: dict[str, int]  # each voluntary context switch is a sleep that ended

    def since(self, before):
        """CPU seconds and wake-ups between two readings."""
        cpu = sum(value - before.cpu.get(thread, 0) for thread, value in self.cpu.items())
        wake_ups = sum(value - before.wake_ups.get(thread, 0) for thread, value in self.wake_ups.items())
        return cpu / 1e9, wake_ups

    def woken_since(self, before):
        """Who has woken up between two readings, and how often, as text: "store 3"."""
        for thread, value in self.wake_ups.items():
            if value > (then := before.wake_ups.get(thread, 0)):
                with suppress(OSError):  # it has ended meanwhile
                    yield f"{Path(thread, 'comm').read_text().strip()} {value - then}"


def use(pid):
    """A reading of all threads of a process and its descendants."""
    cpu, wake_ups = {}, {}
    for one in tree(pid):
        for thread in os.listdir(f"/proc/{one}/task"):
            place = f"/proc/{one}/task/{thread}"
            with suppress(FileNotFoundError):  # it has ended meanwhile
                cpu[place] = int(Path(place, "schedstat").read_text().split()[0])
                status = Path(place, "status").read_text()
                wake_ups[place] = int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return Use(cpu, wake_ups)


def settle(pid):
    """Wait until nothing has woken up for half a second."""
    quiet = 0.5
    last, since = use(pid), time.monotonic()

    def is_quiet():
        nonlocal last, since
        now = use(pid)
        if now.wake_ups != last.wake_ups:
            last, since = now, time.monotonic()
        return time.monotonic() - since > quiet

    wait_until(is_quiet, "half a second without a wake-up")
