"""A copy of the database as it is at one moment, made while a daemon may be using it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from tifftockd.errors import StoreError
from tifftockd.store.damage import is_damage
from tifftockd.store.schema import APPLICATION_ID


def backup(source: Path, target: Path) -> dict[str, int]:
    """Copy `source` to `target`, check the copy, and only then let it take the place of what is there.

    How many rows it holds of each kind. StoreError: 66 no database, 65 damaged or not ours, 74 what the disk says.
    """
    if not source.exists():
        raise StoreError(f"there is no database at {source}; DATABASE_URL says where it is", exit_code=os.EX_NOINPUT)
    if target.exists() and (target.samefile(source) or not target.is_file()):
        raise StoreError(f"{target} cannot be the backup; name another file", exit_code=os.EX_USAGE)
    part = target.with_name(f"{target.name}.part-{os.getpid()}")
    try:
        # Nobody else's from its first byte: it holds what reminders say.
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            _copy(source, part)
            held = _check(part, source)
            _sync(part)
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _sync(target.parent)
    except OSError as error:
        raise StoreError(f"cannot write {error.filename or target}: {error.strerror}") from error
    except sqlite3.Error as error:
        if is_damage(error):
            raise StoreError(f"{source} is damaged: {error}", exit_code=os.EX_DATAERR) from error
        raise StoreError(f"cannot copy {source} to {target}: {error}") from error
    return held


def _copy(source: Path, part: Path) -> None:
    with (
        closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)) as database,
        closing(sqlite3.connect(part, isolation_level=None)) as copy,
    ):
        # All in one step, https://www.sqlite.org/backup.html: a writer would make smaller ones begin anew.
        database.backup(copy)
        # One file that is complete by itself, not one with a log beside it.
        copy.execute("PRAGMA journal_mode = DELETE")


def _check(part: Path, source: Path) -> dict[str, int]:
    with closing(sqlite3.connect(part, isolation_level=None)) as copy:
        found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise StoreError(f"{source} is damaged: {found}", exit_code=os.EX_DATAERR)
        if copy.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreError(f"{source} is not a database of tifftockd", exit_code=os.EX_DATAERR)
        return {table: copy.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("reminder", "history")}


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
