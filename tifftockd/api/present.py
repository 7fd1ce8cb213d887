"""What the API shows of reminders and history."""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from typing import Any

from tifftockd.config import Config
from tifftockd.reminder import CatchUp, Entry, Overlap, Reminder, Repeat, State
from tifftockd.when import format_instant, format_span, zone_or

# Of one that does not repeat
_ONCE = {"repeat": None, "until": None, "count": None, "catch_up": CatchUp.ONE, "overlap": Overlap.WAIT}


def show_reminder(reminder: Reminder, config: Config, why_not: Callable[[str], str | None]) -> dict[str, Any]:
    """A reminder, its times in its own zone. `why_not`: why reminders of a method have to wait, if they do."""
    zone = zone_or(reminder.tz, config.zone)
    # A row that cannot be read has no method, and says so itself.
    waits = why_not(reminder.method) if reminder.state is State.PENDING and reminder.method else None
    return {
        "id": reminder.id,
        "when": format_instant(reminder.due, zone),
        "message": reminder.message,
        "method": reminder.method,
        "to": reminder.to,
        "options": reminder.options,
        "tz": reminder.tz,
        "max_late": format_span(reminder.max_late),
        "state": reminder.state,
        "attempts": reminder.attempts,
        "key": reminder.key,
        "owner": reminder.owner,
        "retries": reminder.retries,
        **_show_repeat(reminder.repeat, zone),
        "snoozed_from": reminder.snoozed_from,
        "created": format_instant(reminder.created, zone),
        "last_error": waits or reminder.last_error,
    }


def _show_repeat(repeat: Repeat | None, zone: tzinfo) -> dict[str, Any]:
    if repeat is None:
        return _ONCE
    return {
        "repeat": repeat.expression,
        "until": None if repeat.until is None else format_instant(repeat.until, zone),
        "count": repeat.count,
        "catch_up": repeat.catch_up,
        "overlap": repeat.overlap,
    }


def show_entry(entry: Entry, config: Config) -> dict[str, Any]:
    """A line of history, its times in the reminder's zone."""
    zone = zone_or(entry.tz, config.zone)
    started = entry.started
    return {
        "id": entry.id,
        "reminder": entry.reminder,
        "attempt": entry.attempt,
        "key": entry.key,
        "method": entry.method,
        "to": entry.to,
        "message": entry.message,
        "options": entry.options,
        "due": format_instant(entry.due, zone),
        "started": None if started is None else format_instant(started, zone),
        "finished": format_instant(entry.finished, zone),
        "late_ms": None if started is None else round((started - entry.due) / 1000, 3),
        "outcome": entry.outcome,
        "error": entry.error,
        "output": entry.output,
    }
