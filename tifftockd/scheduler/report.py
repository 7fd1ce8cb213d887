"""One line of the log for each ending."""

from __future__ import annotations

from tifftockd import journal
from tifftockd.reminder import Outcome, Settlement


def report(settlement: Settlement) -> None:
    """Log what ended, and what becomes of the reminder; nothing for a claim that was given back."""
    if settlement.outcome is None:
        return
    reminder, started = settlement.reminder, settlement.started
    journal.event(
        settlement.outcome,
        journal.INFO if settlement.outcome is Outcome.DELIVERED else journal.WARNING,
        message=settlement.error or "",
        reminder=reminder.id,
        method=reminder.method,
        attempt=settlement.attempts,
        late_ms=None if started is None else (started - reminder.due) / 1000,
        state=settlement.state or "dropped",
    )
