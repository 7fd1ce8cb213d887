"""at(1): jobs in files, a daemon that sleeps until the minute of the next. For root, where it is installed."""

import os
import shutil
import subprocess
import time
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta

from tests.bench.peers.running import started
from tests.bench.question import Skipped
from tests.daemon import wait_until

# A queue of our own, so that nobody's jobs are touched.
_QUEUE = "t"
# Seconds ahead of the minute that are left for storing
_LEAD = 5


@contextmanager
def jobs(folder, notes, count):
    """So many jobs at the next full minute; gives that instant, in microseconds."""
    if shutil.which("at") is None or os.geteuid() != 0:
        raise Skipped("at(1) is not installed, or this is not root; on Debian: apt install at")
    with _daemon(folder):
        minute = (datetime.now() + timedelta(seconds=_LEAD)).replace(second=0, microsecond=0) + timedelta(minutes=1)
        due = round(minute.timestamp() * 1_000_000)
        try:
            for number in range(1, count + 1):
                line = f'echo {number} "$(date +%s%6N)" >> {notes.path}\n'
                command = ["at", "-M", "-q", _QUEUE, "-t", f"{minute:%Y%m%d%H%M}"]
                subprocess.run(command, input=line, text=True, capture_output=True, check=True)
            assert time.time() < minute.timestamp(), "the machine was too slow to store all before they were due"
            yield due
        finally:
            left = subprocess.run(["atq", "-q", _QUEUE], capture_output=True, text=True, check=True).stdout
            for line in left.splitlines():
                subprocess.run(["atrm", line.split()[0]], check=False)


def _daemon(folder):
    """The machine's own, or one for now."""
    if subprocess.run(["pgrep", "-x", "atd"], capture_output=True, check=False).returncode == 0:
        return nullcontext()
    return _started(folder)


@contextmanager
def _started(folder):
    # Jobs begin whatever the load is.
    with started("atd", "-f", "-l", "1000", folder=folder) as process:
        wait_until(lambda: os.path.exists("/run/atd.pid") or process.poll() is not None, "the start of atd")
        if process.poll() is not None:
            raise Skipped("atd could not be started")
        yield
