"""What came of the reminders that an outage delayed: one summary for people, when the last of them has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tifftockd import journal
from tifftockd.clock import SECOND, Micros
from tifftockd.reminder import Outcome, Reminder, Settlement


class Outage:
    """A time in which nobody watched: the daemon was down, the machine slept, the clock was set, the store failed."""

    def __init__(self, end: Micros, length: Micros | None) -> None:
        """It ended at the instant `end`, after `length`, if that is known."""
        self._end = end
        self._length = length
        self._running: set[int] = set()
        self._ended: Counter[Outcome] = Counter()
        self._latest: Micros = 0

    def again(self, end: Micros, length: Micros) -> None:
        """Another one, before its backlog was done: they count as one."""
        self._end = end
        self._length = length + (self._length or 0)

    def claimed(self, reminders: Iterable[Reminder]) -> None:
        """These are being attempted now."""
        self._running |= {reminder.id for reminder in reminders if reminder.fire_at < self._end}

    def ended(self, settlements: Iterable[Settlement]) -> None:
        """These have ended, by an attempt or without one."""
        for settlement in settlements:
            reminder = settlement.reminder
            self._running.discard(reminder.id)
            if settlement.outcome is None or reminder.fire_at >= self._end:
                continue
            self._ended[settlement.outcome] += 1
            self._ended[Outcome.MISSED] += sum(due < self._end for due in settlement.passed)
            if settlement.started is not None:
                self._latest = max(self._latest, settlement.started - reminder.due)

    def is_over(self, first: Micros | None, claimed: set[int]) -> bool:
        """Whether the backlog is done; `first`: the next attempt that waits for nothing but its turn.

        `claimed`: the reminders that still are. One that was taken back by a request does not end as others do.
        """
        self._running &= claimed
        return not self._running and (first is None or first >= self._end)

    def report(self) -> None:
        """Give the summary; none, when nothing was delayed."""
        if self._ended:
            journal.event(
                "outage",
                journal.WARNING,
                seconds=None if self._length is None else self._length // SECOND,
                latest_seconds=self._latest // SECOND,
                delivered=self._ended.get(Outcome.DELIVERED),
                failed=self._ended.get(Outcome.FAILED),
                interrupted=self._ended.get(Outcome.INTERRUPTED),
                uncertain=self._ended.get(Outcome.UNCERTAIN),
                missed=self._ended.get(Outcome.MISSED),
            )
