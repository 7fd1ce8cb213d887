"""The gap between two attempts of a reminder that repeats, in which it can be cancelled or changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from tifftockd import clock
from tifftockd.errors import Firing

T = TypeVar("T")

# Seconds that a request waits for the end of an attempt, beside what the disk takes, and how many do. Each holds one of
# the threads that answer meanwhile.
PATIENCE = 1.0
MOST = 4


class Gap:
    """Who waits for it. Where attempts outlast the rhythm the next one would begin with the end of the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, threading.Event]] = []

    def find(self, id_: int, act: Callable[[], T]) -> T:
        """What `act` gives; if it meets an attempt of one that repeats, again once that has ended. Firing."""
        ended, end = None, clock.monotonic() + PATIENCE
        try:
            while True:
                try:
                    return act()
                except Firing as error:
                    if ended is None:
                        ended = self._wait_for(id_) if error.repeats else None
                        if ended is None:
                            raise
                    elif not ended.wait(max(0.0, end - clock.monotonic())):
                        raise
                    else:
                        ended.clear()
        finally:
            if ended is not None:
                with self._lock:
                    self._waiting.remove((id_, ended))

    def ids(self) -> set[int]:
        """The reminders of which no attempt is to begin now."""
        with self._lock:
            return {id_ for id_, _ in self._waiting}

    def ended(self, ids: Iterable[int]) -> None:
        """Attempts of these have ended, and that is on disk."""
        with self._lock:
            if self._waiting:
                ids = set(ids)
                for id_, ended in self._waiting:
                    if id_ in ids:
                        ended.set()

    def _wait_for(self, id_: int) -> threading.Event | None:
        """What tells of its attempt's end; None: there are enough who wait."""
        ended = threading.Event()
        with self._lock:
            if len(self._waiting) == MOST:
                return None
            self._waiting.append((id_, ended))
        return ended
