"""How fast overdue reminders are begun after an outage, so that a backlog is no flood."""

from __future__ import annotations

from collections.abc import Iterable

from tifftockd.clock import SECOND, Micros
from tifftockd.reminder import Reminder

# Overdue reminders are begun in helpings of what the rate allows in this time, in microseconds.
_HELPING: Micros = 50_000


class Pace:
    """A token bucket for what was due before `since`, the instant from which the daemon has been watching.

    What becomes due while it watches is never held back.
    """

    def __init__(self, rate: int) -> None:
        """`rate`: reminders a second."""
        self.rate = rate
        self.since: Micros = 0
        self._tokens = 1.0
        self._at: Micros = 0

    def watch_from(self, now: Micros) -> None:
        """Nobody has watched until now."""
        self.since = now
        self._tokens, self._at = 1.0, now

    def clock_set(self, now: Micros) -> None:
        """The clock was set back: nothing that is due after `now` is overdue."""
        self.since = min(self.since, now)
        self._at = min(self._at, now)

    def allowance(self, now: Micros) -> int:
        """How many overdue reminders may begin now."""
        self._tokens = min(self._tokens + self.rate * max(0, now - self._at) / SECOND, self._helping)
        self._at = now
        return int(self._tokens)

    def spent(self, claimed: Iterable[Reminder]) -> None:
        """These have begun."""
        self._tokens -= sum(reminder.fire_at < self.since for reminder in claimed)

    def next(self, now: Micros) -> Micros:
        """When the next helping is ready."""
        if self._tokens >= 1:
            return now
        return self._at + round((self._helping - self._tokens) * SECOND / self.rate)

    @property
    def _helping(self) -> float:
        return max(1.0, self.rate * _HELPING / SECOND)
