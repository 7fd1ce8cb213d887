"""The life of a reminder in the log: one line when it is created, changed or cancelled, and for each ending."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo

from tifftockd import journal
from tifftockd.reminder import Outcome, Reminder, Settlement
from tifftockd.when import format_instant


def report_stored(event: str, reminder: Reminder, zone: tzinfo) -> None:
    """Log that a reminder was `created` or `changed`, and for when it is now."""
    due = format_instant(reminder.due, zone)
    journal.event(event, reminder=reminder.id, method=reminder.method, due=due, owner=reminder.owner)


def report(settlements: Iterable[Settlement]) -> None:
    """Log what ended, and what becomes of the reminders; nothing for a claim that was given back."""
    journal.events([_ending(one, one.outcome) for one in settlements if one.outcome is not None])


def _ending(settlement: Settlement, outcome: Outcome) -> journal.Event:
    """Not why it ended so: an error's text may hold the message, the recipient or a secret. The history has it."""
    reminder, started = settlement.reminder, settlement.started
    well = outcome is Outcome.DELIVERED
    fields = {
        "reminder": reminder.id,
        "method": reminder.method,
        "attempt": settlement.attempts,
        "late_ms": None if started is None else (started - reminder.due) / 1000,
        "state": settlement.state or "dropped",
        "why": None if well else f"/history?reminder={reminder.id}",
        "passed": len(settlement.passed) or None,
    }
    return outcome, journal.INFO if well else journal.WARNING, fields
