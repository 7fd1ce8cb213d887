"""All processes of one daemon, whoever their parent is by now, and SIGKILL for them."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.daemon import wait_until


def processes(daemon):
    """The daemon, its parent process, templates, workers, and what those started: all have the daemon's HOME."""
    mark = f"HOME={daemon.folder}".encode()
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{name}/environ", "rb") as environ:
            # Empty for one that is dead and not yet waited for.
            if mark in environ.read().split(b"\0"):
                found.append(int(name))
    return found


def kill_all(daemon, order=None):
    """SIGKILL to every one of them; returns when all are gone.

    The daemon is the first, without a look at the others before; or all come in the order that `order` puts them in.
    """
    if order is None:
        daemon.process.kill()

    def gone():
        # Again, as one that was about to fork has left a child.
        pids = processes(daemon)
        if order is not None:
            order(pids)
        for pid in pids:
            kill(pid)
        daemon.process.poll()
        return not pids

    wait_until(gone, "the end of all processes")
    daemon.process.wait()


def kill_daemon(daemon):
    """SIGKILL to the daemon alone; returns when all the others have noticed, and are gone, too."""
    daemon.kill()
    wait_until(lambda: not processes(daemon), "the end of all its processes")


def waited(pid):
    """Seconds that its main thread could have run while others did: no time of its own. Linux's sched-stats.rst."""
    schedstat = Path(f"/proc/{pid}/schedstat")
    return int(schedstat.read_text().split()[1]) / 1e9 if schedstat.exists() else 0


def kill(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
