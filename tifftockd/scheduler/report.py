"""The life of a reminder in the log: one line when it is created, changed or cancelled, and for each ending."""

from __future__ import annotations

from datetime import tzinfo

from tifftockd import clock, journal
from tifftockd.reminder import Outcome, Reminder, Settlement
from tifftockd.when import format_when


def report_stored(event: str, reminder: Reminder, zone: tzinfo) -> None:
    """Log that a reminder was `created` or `changed`, and for when it is now."""
    due = format_when(clock.moment(reminder.due), zone)
    journal.event(event, reminder=reminder.id, method=reminder.method, due=due, owner=reminder.owner)


def report(settlement: Settlement) -> None:
    """Log what ended, and what becomes of the reminder; nothing for a claim that was given back.

    Not why: an error's text may hold the message, the recipient or a secret. The history has it.
    """
    if settlement.outcome is None:
        return
    reminder, started = settlement.reminder, settlement.started
    well = settlement.outcome is Outcome.DELIVERED
    journal.event(
        settlement.outcome,
        journal.INFO if well else journal.WARNING,
        reminder=reminder.id,
        method=reminder.method,
        attempt=settlement.attempts,
        late_ms=None if started is None else (started - reminder.due) / 1000,
        state=settlement.state or "dropped",
        why=None if well else f"/history?reminder={reminder.id}",
        passed=len(settlement.passed) or None,
    )
