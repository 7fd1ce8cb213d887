"""Rows in, typed and frozen objects out: the only place that knows the order of columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tifftockd.clock import Micros
from tifftockd.reminder import CatchUp, Entry, Outcome, Overlap, Reminder, Repeat, State

REMINDER = (
    "id, due, written, fire_at, message, method, recipient, options, tz, max_late, retries, state, attempts,"
    " failures, interruptions, key, owner, created, last_error, repeat, until, count, catch_up, overlap, snoozed_from"
)
ENTRY = (
    "id, reminder, attempt, key, method, recipient, message, options, tz, due, started, finished, outcome, error,"
    " output, max_late, retries"
)


def load_options(text: str) -> dict[str, Any]:
    """Options as they were stored. ValueError when they are no JSON object."""
    if text == "{}":
        return {}
    options = json.loads(text)
    if not isinstance(options, dict):
        raise ValueError("options are not a JSON object")  # noqa: TRY004 the row is bad, not the caller
    return options


def dump_options(options: dict[str, Any]) -> str:
    """The inverse of `load_options`."""
    return json.dumps(options, ensure_ascii=False, allow_nan=False) if options else "{}"


def reminder(row: Sequence[Any]) -> Reminder:
    """A row of REMINDER's columns. ValueError when it cannot be read."""
    (
        id_, due, written, fire_at, message, method, to, options, tz, max_late, retries, state, attempts, failures,
        interruptions, key, owner, created, error, expression, until, count, catch_up, overlap, snoozed_from,
    ) = row  # fmt: skip
    _check(written, message, method, to, options, tz, key, error, expression)
    repeat = None if expression is None else Repeat(expression, until, count, CatchUp(catch_up), Overlap(overlap))
    return Reminder(
        id_, due, written, fire_at, message, method, to, load_options(options), tz, max_late, retries, State(state),
        attempts, failures, interruptions, key, owner, created, error, repeat, snoozed_from,
    )  # fmt: skip


def repeat_columns(repeat: Repeat | None) -> dict[str, Any]:
    """The columns of a Repeat by their names, all NULL without one."""
    if repeat is None:
        return dict.fromkeys(("repeat", "until", "count", "catch_up", "overlap"))
    return {
        "repeat": repeat.expression,
        "until": repeat.until,
        "count": repeat.count,
        "catch_up": repeat.catch_up,
        "overlap": repeat.overlap,
    }


def _check(*texts: str | None) -> None:
    """ValueError if one of them was no UTF-8: the store's connection lets such bytes through as surrogates."""
    for text in texts:
        if text and not text.isascii():
            text.encode()


def unreadable(id_: int, due: Micros, state: str, reason: str) -> Reminder:
    """What a list shows in the place of a row that cannot be read."""
    return Reminder(id_, due, "", due, "", "", None, {}, None, 0, 0, State(state), 0, 0, 0, "", None, 0, reason)


def entry(row: Sequence[Any]) -> Entry:
    """A row of ENTRY's columns. ValueError when it cannot be read."""
    (
        id_, of, attempt, key, method, to, message, options, tz, due, started, finished, outcome, error, output,
        max_late, retries,
    ) = row  # fmt: skip
    _check(key, method, to, message, options, tz, error, output)
    return Entry(
        id_, of, attempt, key, method, to, message, load_options(options), tz, due, started, finished,
        Outcome(outcome), error, output, max_late, retries,
    )  # fmt: skip


def unreadable_entry(id_: int, of: int, reason: str) -> Entry:
    """What a list shows in place of an entry that cannot be read."""
    return Entry(id_, of, 0, "", "", None, "", {}, None, 0, None, 0, Outcome.UNCERTAIN, reason, None)
