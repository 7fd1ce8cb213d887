"""The library of io.c: compiled once, and what a daemon's environment has to say to it.

faults = preload.Faults(daemon.database)
daemon.settings |= faults.kill("torn", 17)      # or .record(file), .fail(EIO, 17), .fail_from(ENOSPC, 1, control)
daemon.start()
"""

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("io.c")

# What the names begin with that tell the library what to do.
PREFIX = "TIFFTOCK_IO_"

# Bytes that a workshop must have; in a container /dev/shm is often far smaller.
ROOM = 2**30

BEFORE, TORN, AFTER = MODES = ("before", "torn", "after")


def obstacle():
    """Why nothing can be preloaded here, with what to do about it; None if it can."""
    if shutil.which("cc") is None:
        return "there is no C compiler; on Debian: apt install gcc libc6-dev"
    try:
        compiled()
    except subprocess.CalledProcessError as error:
        return f"cc cannot compile {SOURCE.name} (on Debian: apt install gcc libc6-dev): {error.stderr.strip()}"
    return None


@cache
def compiled(source=SOURCE):
    """The path of the library, in a folder that goes with this process."""
    folder = tempfile.mkdtemp(prefix="tifftockd-faults-")
    pid = os.getpid()
    # A forked worker of a pool must not take it from the others.
    atexit.register(lambda: os.getpid() == pid and shutil.rmtree(folder, ignore_errors=True))
    library = Path(folder, f"{source.stem}.so")
    # Some distributions' cc makes inline functions of what is defined here, unless it is told not to.
    command = ["cc", "-std=c99", "-O1", "-U_FORTIFY_SOURCE", "-Wall", "-Wextra", "-Werror"]
    options = ["-pthread", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*command, *options, str(source)], check=True, capture_output=True, text=True)
    return library


def workshop():
    """A temporary folder in memory, where there is such: a kill leaves what was written as it is, on any disk."""
    memory = Path("/dev/shm")
    there = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM
    where = memory if there and "TMPDIR" not in os.environ else None
    return tempfile.TemporaryDirectory(prefix="tifftockd-", dir=where)


class Faults:
    """Each method returns the names to add to the daemon's environment."""

    def __init__(self, database):
        """`database`: the file that SQLite opens; it need not be there yet, but its folder's path must be real."""
        self._database = os.path.realpath(database)

    def _settings(self, **names):
        common = {"LD_PRELOAD": str(compiled()), f"{PREFIX}PREFIX": self._database}
        return common | {f"{PREFIX}{name}": str(value) for name, value in names.items()}

    def record(self, file):
        """Append every call to `file`."""
        return self._settings(RECORD=file)

    def kill(self, mode, at):
        """SIGKILL `before`, `after` or in the middle (`torn`) of the call of number `at`, the first being 1."""
        return self._settings(ACTION=f"kill-{mode}", AT=at)

    def fail(self, error, at, record=None):
        """The call of number `at` fails with `error`, as errno(3) numbers it. `record`: a file, as above."""
        return self._settings(ACTION="fail-once", AT=at, ERRNO=error, **_optional(record))

    def fail_from(self, error, at, control, record=None):
        """The call of number `at` and all later ones fail while the file `control` exists."""
        return self._settings(ACTION="fail-from", AT=at, ERRNO=error, WHILE=control, **_optional(record))


def _optional(record):
    return {} if record is None else {"RECORD": record}
