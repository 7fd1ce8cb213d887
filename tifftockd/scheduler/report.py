"""One line of the log for each ending."""

from __future__ import annotations

from tifftockd import journal
from tifftockd.reminder import Outcome, Settlement


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
    )
