"""A database that is damaged: noticed when it is opened, kept aside, and never replaced by an empty one."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from tifftockd import clock
from tifftockd.errors import StoreError

# Larger ones would hold up the start: 32 MiB take some 75 ms. In those, damage shows when it is met.
_CHECKED = 32 * 1024 * 1024
# https://www.sqlite.org/rescode.html
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Damage(Exception):
    """What SQLite found wrong when it looked through."""


def check(cursor: sqlite3.Cursor, path: Path) -> None:
    """Look through a database, unless it is large. Damage."""
    if path.stat().st_size > _CHECKED:
        return
    found = str(cursor.execute("PRAGMA quick_check(1)").fetchone()[0])
    if found != "ok":
        raise Damage(found.splitlines()[-1])


def is_damage(error: BaseException) -> bool:
    """Whether an error of sqlite3 says that the file itself is wrong, and not the disk, a lock or the statement."""
    return isinstance(error, Damage) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def reported(path: Path, error: BaseException) -> StoreError:
    """Move a damaged database out of the way, with its log; what to tell people of it."""
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB:
        return StoreError(
            f"{path} is no database, or its first page is damaged; it has been left as it is: move it away and put a"
            " backup in its place, or set DATABASE_URL to another file",
            exit_code=os.EX_DATAERR,
        )
    aside = path.with_name(f"{path.name}.damaged-{clock.moment(clock.now()):%Y%m%dT%H%M%SZ}")
    for suffix in ("", "-wal", "-journal"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return _damaged(path, aside, f"was found damaged ({error})")


def refuse_to_replace(path: Path) -> None:
    """Raise StoreError if there is no database where a damaged one has been: a new one would hide what was lost."""
    if not path.exists() and (aside := sorted(path.parent.glob(f"{path.name}.damaged-*[0-9]Z"))):
        raise _damaged(path, aside[-1], "had been found damaged")


def _damaged(path: Path, aside: Path, what: str) -> StoreError:
    return StoreError(
        f"{path} {what} and was moved to {aside}; put a backup in its place, or, to begin with an empty one, move the"
        f" damaged one elsewhere. What can still be read in it: sqlite3 {aside} .dump",
        exit_code=os.EX_DATAERR,
    )
