"""How the database is opened: what SQLite is told on each new connection."""

from __future__ import annotations

import sqlite3
from typing import Any

from tifftockd.config.values import SQLITE
from tifftockd.store.library import dataset, event

# Pages of the write-ahead log, 8 MB: twice the usual, as whoever commits when it is full copies it into the database,
# and waits for that. Not more, as until then each commit makes its file longer, which takes the disk twice as long as
# to write over what is there: with 16 MB one client had a sixth fewer of its first thousand creates a second.
FULL = 2000


# sqlite3 looks in vain for a way to adapt each None, and a create has eight of them: an eighth of a batch's time.
sqlite3.register_adapter(type(None), lambda none: none)


def connect(url: str) -> dataset.Database:
    """A database of dataset's whose connections are set up for durable, explicit transactions."""
    # dataset sets up connections too, but after every one the same, and before ours could look at the file.
    database = dataset.connect(
        url,
        engine_kwargs={"paramstyle": "named"},  # sqlite3 takes them by name as they are
        ensure_schema=False,
        row_type=dict,
        sqlite_wal_mode=False,
    )
    assert database.engine is not None
    # As it is written, and as the lock and the backup have it: SQLAlchemy 2.1 reads a%41b as aAb.
    path = url.removeprefix(SQLITE)
    event.listen(database.engine, "do_connect", lambda _dialect, _record, _given, more: sqlite3.connect(path, **more))
    event.listen(database.engine, "connect", _set_up)
    return database


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _set_up(connection: Any, _record: Any) -> None:
    # sqlite3's own transaction control begins late and commits by itself.
    connection.isolation_level = None
    # Bytes that are no UTF-8 would fail every row that is read with them; rows.py tells the one that has them.
    connection.text_factory = _decode
    # For a backup or a person's sqlite3 shell that holds a lock for a moment.
    connection.execute("PRAGMA busy_timeout = 5000")
    if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
        # Only at the birth of a database: afterwards the pages of cleaned rows can be given back in pieces. On one
        # that is there it would be a write, also where all that is to be done is to refuse it.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL syncs the log at each commit. NORMAL lost acknowledged rows in 3 of 10 power cuts.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {FULL}")
