"""What does the whole service do while nothing is due, and how much memory does it take?

With the watchdog of the packaged unit, as under systemd. A wake-up is a voluntary context switch of any thread of any
of its processes: each is a sleep that ended.
"""

import os
import re
import socket
import threading
import time
from contextlib import contextmanager

from tests.bench import clients, processes
from tests.bench.peers import tifftock
from tests.bench.question import Question, Row, at_most, below
from tests.daemon import wait_until
from tifftockd.when import parse_span

PENDING = 1_000
# Seconds until workers, then their template and then its parent have retired
RETIRED = 180
MINUTE = 60


def _tifftockd(place):
    with _manager(place.folder) as manager:
        settings = {"NOTIFY_SOCKET": manager, "WATCHDOG_USEC": _watchdog(place.tree)}
        with place.daemon(pending=PENDING, **settings) as daemon:
            pid = daemon.process.pid
            processes.settle(pid)
            found = {"started": processes.memory(pid)}
            daemon.outcome(daemon.remind())
            processes.settle(pid)
            found |= {"warm": processes.memory(pid)}
            if not place.quick:
                wait_until(lambda: processes.tree(pid) == [pid], "the retirement of workers", RETIRED)
                processes.settle(pid)
                found |= {"retired": processes.memory(pid)}
            return found | _minute(place, [pid])


def _tifftock(place):
    with tifftock.serving(place.folder, scheduler=True) as (address, running):
        clients.run(address, tifftock.CREATE, clients=10, most=PENDING // 10)
        pids = [process.pid for process in running]
        time.sleep(1)
        memory = sum(processes.memory(pid) for pid in pids)
        return {"started": memory, "warm": memory, "retired": memory} | _minute(place, pids)


def _minute(place, pids):
    """Wake-ups and CPU milliseconds in a minute; in a quick run a part of it, and the minute by that."""
    seconds = place.pick(MINUTE, 6)
    before = [processes.use(pid) for pid in pids]
    time.sleep(seconds)
    after = [processes.use(pid) for pid in pids]
    pairs = list(zip(after, before, strict=True))
    used = [now.since(then) for now, then in pairs]
    cpu, wake_ups = (sum(part) * MINUTE / seconds for part in zip(*used, strict=True))
    woken = [line for now, then in pairs for line in now.woken_since(then)]
    return {"cpu": cpu * 1000, "wake-ups": wake_ups, "details": f"{seconds} s: {', '.join(woken) or 'none woke up'}"}


def _watchdog(tree):
    """WatchdogSec= of the unit, as systemd tells it."""
    unit = (tree / "systemd" / "tifftockd.service").read_text()
    return str(parse_span(re.search(r"^WatchdogSec=(.*)$", unit, re.MULTILINE)[1]))


@contextmanager
def _manager(folder):
    """The receiving end of sd_notify(3), which somebody has to read: its queue is short."""
    path = str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(path)

        def read():
            while receiving.recv(4096) != b"end":
                pass

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield path
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ending:
                ending.sendto(b"end", path)
            reader.join()
            os.unlink(path)


QUESTION = Question(
    "A minute idle with 1,000 pending, the whole service under its watchdog (6 s of it in a quick run)",
    {"tifftockd": _tifftockd, "TiffTock": _tifftock},
    (
        Row("wake-ups", "a minute", "wake-ups", beside="TiffTock", reach=below(12)),
        Row("CPU", "ms a minute", "cpu", beside="TiffTock", reach=below(10, "ms")),
        Row("memory after the start", "MiB PSS", "started", beside="TiffTock"),
        Row("memory with a warm worker", "MiB PSS", "warm", beside="TiffTock"),
        Row("memory after workers have retired", "MiB PSS", "retired", reach=below(60, "MiB")),
        Row("memory after workers have retired", "MiB PSS", "retired", beside="TiffTock", reach=at_most(0.7)),
    ),
    runs=2,
    slow=True,
)
