"""The schema, fixed and versioned, and the forward migrations to it.

Times are whole microseconds since the epoch, UTC. `tally` holds the counts that /health shows: triggers keep it
in the writing transaction itself, so that no request ever counts rows.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable

from tifftockd.errors import StoreError

# "tift": tells file(1), and us, whose database this is (PRAGMA application_id).
APPLICATION_ID = 0x74696674

_V1 = """
CREATE TABLE reminder (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  due           INTEGER NOT NULL,
  written       TEXT    NOT NULL,
  fire_at       INTEGER NOT NULL,
  message       TEXT    NOT NULL,
  method        TEXT    NOT NULL,
  recipient     TEXT,
  options       TEXT    NOT NULL,
  tz            TEXT,
  max_late      INTEGER NOT NULL,
  retries       INTEGER NOT NULL,
  state         TEXT    NOT NULL CHECK (state IN ('pending', 'firing', 'failed', 'uncertain', 'missed')),
  attempts      INTEGER NOT NULL DEFAULT 0,
  failures      INTEGER NOT NULL DEFAULT 0,
  interruptions INTEGER NOT NULL DEFAULT 0,
  key           TEXT    NOT NULL,
  owner         INTEGER,
  created       INTEGER NOT NULL,
  last_error    TEXT,
  latest        INTEGER NOT NULL,
  claimed       INTEGER,
  repeatable    INTEGER,
  ended         INTEGER
) STRICT;

CREATE INDEX reminder_next   ON reminder (method, fire_at, id) WHERE state = 'pending';
CREATE INDEX reminder_latest ON reminder (latest) WHERE state = 'pending';
CREATE INDEX reminder_list   ON reminder (state, due, id);
CREATE INDEX reminder_ended  ON reminder (ended) WHERE ended IS NOT NULL;

CREATE TABLE history (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  reminder  INTEGER NOT NULL,
  attempt   INTEGER NOT NULL,
  key       TEXT    NOT NULL,
  method    TEXT    NOT NULL,
  recipient TEXT,
  message   TEXT    NOT NULL,
  options   TEXT    NOT NULL,
  tz        TEXT,
  due       INTEGER NOT NULL,
  started   INTEGER,
  finished  INTEGER NOT NULL,
  outcome   TEXT    NOT NULL,
  error     TEXT,
  output    TEXT
) STRICT;

CREATE INDEX history_reminder ON history (reminder, id);

CREATE TABLE tally (name TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO tally VALUES ('pending', 0), ('firing', 0), ('failed', 0), ('uncertain', 0), ('missed', 0),
  ('history', 0), ('probe', 0);

CREATE TRIGGER reminder_added AFTER INSERT ON reminder BEGIN
  UPDATE tally SET n = n + 1 WHERE name = NEW.state;
END;
CREATE TRIGGER reminder_dropped AFTER DELETE ON reminder BEGIN
  UPDATE tally SET n = n - 1 WHERE name = OLD.state;
END;
CREATE TRIGGER reminder_moved AFTER UPDATE OF state ON reminder WHEN OLD.state <> NEW.state BEGIN
  UPDATE tally SET n = n - 1 WHERE name = OLD.state;
  UPDATE tally SET n = n + 1 WHERE name = NEW.state;
END;
CREATE TRIGGER history_added AFTER INSERT ON history BEGIN
  UPDATE tally SET n = n + 1 WHERE name = 'history';
END;
CREATE TRIGGER history_dropped AFTER DELETE ON history BEGIN
  UPDATE tally SET n = n - 1 WHERE name = 'history';
END;
"""

# Answers to POST requests with an Idempotency-Key: replay.py.
_V2 = """
CREATE TABLE replay (
  id      INTEGER PRIMARY KEY,
  caller  TEXT    NOT NULL,
  route   TEXT    NOT NULL,
  key     TEXT    NOT NULL,
  digest  BLOB    NOT NULL,
  answer  BLOB    NOT NULL,
  created INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX replay_key     ON replay (caller, route, key);
CREATE INDEX        replay_created ON replay (created);
"""

# Repeating reminders (reminder.Repeat), and what was brought back from history.
_V3 = """
ALTER TABLE reminder ADD COLUMN repeat TEXT;
ALTER TABLE reminder ADD COLUMN until INTEGER;
ALTER TABLE reminder ADD COLUMN count INTEGER;
ALTER TABLE reminder ADD COLUMN catch_up TEXT;
ALTER TABLE reminder ADD COLUMN overlap TEXT;
ALTER TABLE reminder ADD COLUMN snoozed_from INTEGER;
ALTER TABLE history  ADD COLUMN max_late INTEGER;
ALTER TABLE history  ADD COLUMN retries INTEGER;
"""

# Lists of what is rare among many. Not what is being attempted: that is little, and each attempt would cost more.
_V4 = """
CREATE INDEX reminder_method ON reminder (method, state, due, id) WHERE state <> 'firing';
CREATE INDEX reminder_owner  ON reminder (owner, state, due, id) WHERE state <> 'firing';
CREATE INDEX history_outcome ON history (outcome, id);
"""

# With `latest`, so that what is due is found behind much that is too late.
_V5 = """
DROP INDEX reminder_next;
CREATE INDEX reminder_next ON reminder (method, fire_at, id, latest) WHERE state = 'pending';
"""

# The n-th brings a database of version n to version n + 1.
MIGRATIONS = [_V1, _V2, _V3, _V4, _V5]
VERSION = len(MIGRATIONS)


def migrate(cursor: sqlite3.Cursor, name: str, migrating: Callable[[], None]) -> None:
    """Bring the database to this release's version, inside the caller's transaction.

    `migrating` is called first when there is something to bring along.
    StoreError when it is somebody else's, or written by a newer release: it is left as it is.
    """
    version = _pragma(cursor, "user_version")
    application = _pragma(cursor, "application_id")
    if application not in (0, APPLICATION_ID) or (application == 0 and not _is_empty(cursor)):
        raise StoreError(
            f"{name} is not a database of tifftockd; set DATABASE_URL to another file", exit_code=os.EX_CONFIG
        )
    if version > VERSION:
        raise StoreError(
            f"{name} was written by a newer tifftockd (schema {version}; this one knows {VERSION}); "
            "install that release again, the database has been left as it is",
            exit_code=os.EX_CONFIG,
        )
    if version == VERSION:
        return
    if version > 0:
        migrating()
    for script in MIGRATIONS[version:]:
        for statement in _statements(script):
            cursor.execute(statement)
    cursor.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    cursor.execute(f"PRAGMA user_version = {VERSION}")


def _pragma(cursor: sqlite3.Cursor, name: str) -> int:
    return int(cursor.execute(f"PRAGMA {name}").fetchone()[0])


def _is_empty(cursor: sqlite3.Cursor) -> bool:
    return cursor.execute("SELECT 1 FROM sqlite_schema").fetchone() is None


def _statements(script: str) -> list[str]:
    """Cut a script where a line ends a statement; a trigger's body is indented, its END stands at the margin."""
    statements: list[str] = []
    lines: list[str] = []
    in_trigger = False
    for line in script.splitlines():
        lines.append(line)
        in_trigger = in_trigger or line.startswith("CREATE TRIGGER")
        if line.endswith(";") and (not in_trigger or line == "END;"):
            statements.append("\n".join(lines).strip())
            lines, in_trigger = [], False
    return statements
