"""A database as years of use leave it behind, made in a minute: by SQL, in the schema that the daemon's store makes.

The rows are what the daemon would have written. The counts in `tally` are kept by the schema's triggers, as always.
"""

import sqlite3

from tifftockd import clock
from tifftockd.store import Store

DAY = 86_400 * clock.SECOND

# This release's schema back to that of the first one.
TO_SCHEMA_1 = """
BEGIN;
DROP TABLE replay;
DROP INDEX reminder_method;
DROP INDEX reminder_owner;
DROP INDEX history_outcome;
DROP INDEX reminder_next;
CREATE INDEX reminder_next ON reminder (method, fire_at, id) WHERE state = 'pending';
ALTER TABLE reminder DROP COLUMN repeat;
ALTER TABLE reminder DROP COLUMN until;
ALTER TABLE reminder DROP COLUMN count;
ALTER TABLE reminder DROP COLUMN catch_up;
ALTER TABLE reminder DROP COLUMN overlap;
ALTER TABLE reminder DROP COLUMN snoozed_from;
ALTER TABLE history DROP COLUMN max_late;
ALTER TABLE history DROP COLUMN retries;
PRAGMA user_version = 1;
COMMIT;
"""

PENDING = """
WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < :count)
INSERT INTO reminder (due, written, fire_at, message, method, recipient, options, tz, max_late, retries, state, key,
                      created, latest)
SELECT :now + :span / :count * (n + 1), '2035-01-31T09:00', :now + :span / :count * (n + 1), 'call the bank, ' || n,
       'log', NULL, '{}', NULL, 86400000000, 5, 'pending', lower(hex(randomblob(16))), :now,
       :now + :span / :count * (n + 1) + 86400000000
FROM number
"""
FINAL = """
WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < :count)
INSERT INTO reminder (due, written, fire_at, message, method, recipient, options, tz, max_late, retries, state,
                      attempts, failures, key, created, last_error, latest, ended)
SELECT ended, '2035-01-31T09:00', ended, 'call the bank, ' || n, 'log', NULL, '{}', NULL, 86400000000, 5, 'failed',
       6, 6, lower(hex(randomblob(16))), ended, 'Connection refused (attempt 6, the last)', ended + 86400000000, ended
FROM (SELECT n, :now - :span + :span / :count * n AS ended FROM number)
"""
# An entry's reminder is found by an index, in which neighbours in time are not neighbours.
HISTORY = """
WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < :count)
INSERT INTO history (reminder, attempt, key, method, recipient, message, options, tz, due, started, finished, outcome,
                     output)
SELECT 1 + (n * 7919) % :count, 1, lower(hex(randomblob(16))), 'log', NULL, 'call the bank, ' || n, '{}', NULL,
       finished, finished, finished, 'delivered', 'call the bank, ' || n
FROM (SELECT n, :now - :span + :span / :count * n AS finished FROM number)
"""


def make(path, *, pending, final, history, ahead=365 * DAY, back=29 * DAY):
    """A database with so many rows: pending ones due over `ahead` from now, the others ended over the last `back`."""
    store = Store(f"sqlite:///{path}", path)
    store.open()
    store.close()
    database = sqlite3.connect(path)
    # Nothing is lost here that could not be made again.
    database.execute("PRAGMA synchronous = OFF")
    now = clock.now()
    for statement, count, span in ((FINAL, final, back), (PENDING, pending, ahead), (HISTORY, history, back)):
        if count:
            with database:
                database.execute(statement, {"count": count, "now": now, "span": span})
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
