"""The database's files, deleted or replaced while they are in use: all that is written then ends with the process."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress


class Lost(Exception):
    """A file is not the one any more that SQLite has open."""


class LostLog(Lost):
    """Only its write-ahead log is."""


class Files:
    """What a connection has opened."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        """`cursor`: in a transaction, as SQLite makes the log for the first."""
        # As SQLite has resolved it: beside that one the log is.
        self._database: str = cursor.execute("PRAGMA database_list").fetchone()[2]
        self._log = f"{self._database}-wal"
        # Where the disk has refused SQLite the change to a log there is none: then all is in the database itself.
        paths = [path for path in (self._database, self._log) if os.path.exists(path)]
        self._opened = {path: _identity(path) for path in paths}
        self._link = _link_to(self._log)

    def check(self) -> None:
        """Raise Lost unless they are the ones that were opened. Some 5 µs: each commit of something can bear that."""
        if self._log not in self._opened:
            return
        what = "was deleted or replaced while it was in use"
        # The link tells nothing of what has been mounted over it, the database does.
        if not self._is_there(self._database):
            right = "put the right one in its place and restart the daemon"
            raise Lost(f"{os.path.basename(self._database)} {what}: {right}")
        if not (_leads_to(self._link, self._log) or self._is_there(self._log)):
            raise LostLog(f"{os.path.basename(self._log)} {what}")

    def _is_there(self, path: str) -> bool:
        try:
            return _identity(path) == self._opened[path]
        except FileNotFoundError:
            return False
        except OSError:  # in a folder that the daemon may not search any more nobody can tell
            return True


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _link_to(path: str) -> str | None:
    """The link of proc_pid_fd(5) that leads to this open file; None where there is no /proc.

    It shows when the name has gone without an inode(7) timestamp being asked for. Linux 6.13 and later make those that
    were asked for finer, and so each commit's: to write them too takes the disk half as long again.
    """
    with suppress(OSError):
        for fd in os.listdir("/proc/self/fd"):
            if _leads_to(link := f"/proc/self/fd/{fd}", path):
                return link
    return None


def _leads_to(link: str | None, path: str) -> bool:
    try:
        return link is not None and os.readlink(link) == path
    except OSError:
        return False
