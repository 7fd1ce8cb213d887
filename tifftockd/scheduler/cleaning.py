"""Drops what has been kept long enough: a piece a pass, so that nobody waits for it."""

from __future__ import annotations

from tifftockd.clock import SECOND, Micros
from tifftockd.errors import StoreUnavailable
from tifftockd.store import Store

# The least time between two cleanings: what is kept for days need not go to the second.
_EVERY: Micros = 3600 * SECOND
_DAY: Micros = 86_400 * SECOND


class Cleaning:
    """History and final reminders, by their age and number; then their pages, back to the file system."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._due: Micros | None = 0  # at the start; later when the oldest entry will be old enough
        self._days = 0
        self._more = False
        self._rests_until: Micros = 0  # whatever may be due

    def step(self, kept: int, now: Micros, days: int, most: int) -> bool:
        """One piece, if it is time: then True. `kept`: how many there are; they may be `days` days old, and `most`.

        Where the disk refuses, the rest waits for an hour: nothing that is due may wait for it.
        """
        keep = days * _DAY
        if days != self._days:  # also after a reload: what may be kept for less time may be old enough now
            self._days, self._due = days, self._rests_until
        if self._due is None and kept:
            self._due = now + keep
        if not self._more and (self._due is None or now < self._due) and kept <= most:
            return False
        if now < self._rests_until:
            return False
        try:
            self._more = self._store.clean(now - keep, most, now) or self._store.shrink()
            oldest = None if self._more else self._store.oldest(now)
        except StoreUnavailable:
            again = now + _EVERY
            self._more, self._due, self._rests_until = False, again, again
            return True
        if not self._more:
            # A reminder of a clock that was ahead has ended in the future.
            self._due = None if oldest is None else max(now + _EVERY, min(oldest, now) + keep)
        return True

    def clock_set(self, now: Micros) -> None:
        """Look again soon: what was put off by the old time may be due by the new one."""
        self._rests_until = min(self._rests_until, now + _EVERY)
        if self._due is not None:
            self._due = min(self._due, now + _EVERY)

    def next(self, now: Micros) -> Micros | None:
        """When the next step is due; None: not before there is something to keep."""
        return now if self._more else self._due
