"""The statements. States stand in them as literals, or the partial indexes would not be used."""

from __future__ import annotations

from functools import cache

from tifftockd.reminder import State
from tifftockd.store import rows
from tifftockd.store.library import TextClause, text

REARM = text(
    "UPDATE reminder SET due = :due, written = :written, fire_at = :fire_at, message = :message, method = :method,"
    " recipient = :recipient, options = :options, tz = :tz, max_late = :max_late, retries = :retries, latest = :latest,"
    " key = :key, repeat = :repeat, until = :until, count = :count, catch_up = :catch_up, overlap = :overlap,"
    " state = 'pending', attempts = 0, failures = 0, interruptions = 0, last_error = NULL, claimed = NULL,"
    " repeatable = NULL, ended = NULL WHERE id = :id"
)
# The next occurrence of a repeating reminder: a new arming.
NEXT = text(
    "UPDATE reminder SET due = :due, fire_at = :due, latest = :due + max_late, count = :count, key = :key,"
    " state = 'pending', attempts = 0, failures = 0, interruptions = 0, last_error = NULL, claimed = NULL,"
    " repeatable = NULL, ended = NULL WHERE id = :id AND state = :was"
)
# The ids as a JSON array: a list cannot be bound.
MANY = text(f"SELECT {rows.REMINDER} FROM reminder WHERE id IN (SELECT value FROM json_each(:ids))")
ONE = text(f"SELECT {rows.REMINDER} FROM reminder WHERE id = :id")
LAST = text("SELECT outcome FROM history WHERE reminder = :id ORDER BY id DESC LIMIT 1")
PLACE = text("SELECT due, state FROM reminder WHERE id = :id")
DELETE = text("DELETE FROM reminder WHERE id IN (SELECT value FROM json_each(:ids))")
UPDATE = text(
    "UPDATE reminder SET state = :state, fire_at = :fire_at, count = :count, attempts = :attempts,"
    " failures = :failures, interruptions = :interruptions, last_error = :last_error, claimed = NULL,"
    " repeatable = NULL, ended = :ended"
    # A claim that was given back may have been changed by its user meanwhile: then there is nothing to settle.
    " WHERE id = :id AND state = :was"
)
# A list is looked through along one of what is asked for: the places of its next rows, each with whether its row fits
# the rest, too. The rows of each state come in the order of an index, and are merged as they are read.
_PLACES = (
    "SELECT due, id, {fits} FROM reminder INDEXED BY {index} WHERE {where} AND (due, id) > (:due, :id)"
    " AND due < :before"
)
# In the words by which SQLite knows the rows that the index has.
_INDEXED = "{along} = :{along} AND state <> 'firing'"


@cache
def page(states: frozenset[State], asked: frozenset[str], along: str | None) -> TextClause:
    """The next places of what is in these states, `along` one of the columns that are asked for, if there are any."""
    fits, selects = _fits(asked), []
    for state in sorted(states):
        index, where = "reminder_list", f"state = '{state}'"
        if along is not None and state is not State.FIRING:
            index, where = f"reminder_{along}", f"{_INDEXED.format(along=along)} AND {where}"
        selects.append(_PLACES.format(fits=fits, index=index, where=where))
    return text(f"{' UNION ALL '.join(selects)} ORDER BY due, id LIMIT :limit")


@cache
def history(asked: frozenset[str], along: str | None) -> TextClause:
    """The same of history, the newest first."""
    where = f"INDEXED BY history_{along} WHERE {along} = :{along} AND" if along is not None else "WHERE"
    return text(f"SELECT id, {_fits(asked)} FROM history {where} id < :before ORDER BY id DESC LIMIT :limit")


def _fits(asked: frozenset[str]) -> str:
    return " AND ".join([f"{column} = :{column}" for column in sorted(asked)]) or "1"


# Whether there are fewer than `limit` of them.
FEW = {
    column: text(f"SELECT count(*) < :limit FROM (SELECT 1 FROM {table} WHERE {where} LIMIT :limit)")
    for column, table, where in (
        ("method", "reminder", _INDEXED.format(along="method")),
        ("owner", "reminder", _INDEXED.format(along="owner")),
        ("reminder", "history", "reminder = :reminder"),
        ("outcome", "history", "outcome = :outcome"),
    )
}
ENTRIES = text(f"SELECT {rows.ENTRY} FROM history WHERE id IN (SELECT value FROM json_each(:ids)) ORDER BY id DESC")
# Of the first so many that are due, those for which it is not too late.
DUE = text(
    "SELECT fire_at, id FROM (SELECT fire_at, id, latest FROM reminder INDEXED BY reminder_next"
    " WHERE state = 'pending' AND method = :method AND fire_at BETWEEN :start AND :until"
    " ORDER BY fire_at, id LIMIT :looked) WHERE latest >= :now LIMIT :limit"
)
CLAIM = text(
    "UPDATE reminder SET state = 'firing', attempts = attempts + 1, claimed = :now,"
    " repeatable = json_extract(chosen.value, '$[1]') FROM json_each(:chosen) AS chosen"
    f" WHERE reminder.id = json_extract(chosen.value, '$[0]') RETURNING {rows.REMINDER}"
)
# INDEXED BY: without statistics SQLite prefers the index that begins with `state`, and reads all that is pending.
EXPIRED = text(
    "SELECT id FROM reminder INDEXED BY reminder_latest WHERE state = 'pending' AND latest < :now"
    " ORDER BY latest LIMIT :limit"
)
NEXT_LATEST = text("SELECT min(latest) FROM reminder INDEXED BY reminder_latest WHERE state = 'pending'")
FIRING = text("SELECT id, claimed, repeatable FROM reminder WHERE state = 'firing' ORDER BY fire_at, id")
# A loose index scan: a few probes of reminder_next a method, however many reminders there are.
UPCOMING = text(
    "WITH RECURSIVE step (method) AS ("
    " SELECT min(method) FROM reminder INDEXED BY reminder_next WHERE state = 'pending'"
    " UNION ALL SELECT (SELECT min(method) FROM reminder INDEXED BY reminder_next"
    " WHERE state = 'pending' AND method > step.method) FROM step WHERE step.method IS NOT NULL),"
    " first (method, fire_at) AS (SELECT method, (SELECT min(fire_at) FROM reminder INDEXED BY reminder_next"
    " WHERE state = 'pending' AND method = step.method) FROM step WHERE method IS NOT NULL)"
    " SELECT method, fire_at, CASE WHEN fire_at < :since THEN (SELECT min(fire_at) FROM reminder INDEXED BY"
    " reminder_next WHERE state = 'pending' AND method = first.method AND fire_at >= :since) END FROM first"
)
COUNTS = text("SELECT name, n FROM tally WHERE name <> 'probe'")
# What a row that cannot be read still gives: its columns as they are, its texts as bytes where they are no UTF-8.
SET_ASIDE_HISTORY = text(
    "INSERT INTO history (reminder, attempt, key, method, message, options, due, finished, outcome, error)"
    " SELECT id, attempts, key, method, '', '{}', due, :now, 'failed', :reason FROM reminder WHERE id = :id"
)
SET_ASIDE = text(
    "UPDATE reminder SET state = 'failed', last_error = :reason, claimed = NULL, repeatable = NULL, ended = :now"
    " WHERE id = :id"
)
# The oldest so many, of which those go that are old enough, or too many. One of a clock that was ahead is as old as
# what came after it.
CLEAN_HISTORY = text(
    "DELETE FROM history WHERE id IN (SELECT id FROM (SELECT id, finished, row_number() OVER (ORDER BY id) AS place"
    " FROM history ORDER BY id LIMIT :limit) WHERE finished < :before OR place <= :surplus"
    " OR (finished > :now AND id < (SELECT max(id) FROM (SELECT id, finished FROM history ORDER BY id LIMIT 1000)"
    " WHERE finished < :before)))"
)
CLEAN_FINAL = text(
    "DELETE FROM reminder WHERE id IN (SELECT id FROM (SELECT id, ended, row_number() OVER (ORDER BY ended) AS place"
    " FROM reminder WHERE ended IS NOT NULL ORDER BY ended LIMIT :limit) WHERE ended < :before OR place <= :surplus)"
)
REPLAY = text("SELECT digest, answer, created FROM replay WHERE caller = :caller AND route = :route AND key = :key")
KEEP_REPLAY = text(
    "INSERT OR REPLACE INTO replay (caller, route, key, digest, answer, created)"
    " VALUES (:caller, :route, :key, :digest, :answer, :created)"
)
DATE_REPLAYS = text("UPDATE replay SET created = :now WHERE created = :undated")
SWEEP_REPLAYS = text(
    "DELETE FROM replay WHERE id IN (SELECT id FROM replay WHERE created < :before ORDER BY created LIMIT :limit)"
)
LAST_ID = text("SELECT seq FROM sqlite_sequence WHERE name = 'reminder'")
FREE_PAGES = text("PRAGMA freelist_count")
# One page: each page of several is a step of its own, and sqlite3 makes only the first step of what returns no columns.
VACUUM = text("PRAGMA incremental_vacuum(1)")
OLDEST_ENTRY = text("SELECT min(min(finished, :now)) FROM (SELECT finished FROM history ORDER BY id LIMIT 1000)")
OLDEST_FINAL = text("SELECT min(ended) FROM reminder WHERE ended IS NOT NULL")
