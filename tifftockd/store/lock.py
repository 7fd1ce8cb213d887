"""One daemon a database: a lock that the kernel gives back whatever becomes of its holder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from tifftockd.errors import StoreError


class DatabaseLock:
    """flock(2) on a file of its own beside the database.

    Not on the database itself: SQLite's own locks are of the kind that any close of the file drops (fcntl(2)).
    """

    def __init__(self, database: Path) -> None:
        """Take the lock; StoreError says which process holds it."""
        path = f"{os.path.realpath(database)}.lock"
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot create {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise StoreError(
                f"{database} is in use by another tifftockd (pid {holder}); "
                "stop that one, or set DATABASE_URL to another file",
                exit_code=os.EX_TEMPFAIL,
            ) from None
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            # A full disk takes the lock's name, not the lock.
            pass

    def release(self) -> None:
        """Give it back. The file stays: to unlink it would let two daemons hold locks on two files of one name."""
        os.close(self._fd)
