"""How long the attempts of a method take, and how many of those that wait may be had out at once."""

from __future__ import annotations

from collections.abc import Collection

from tifftockd import clock
from tifftockd.clock import Micros

# Attempts are quick that take less than so many seconds, print nothing and change nothing for others, once so many in
# a row have done so.
QUICK = 0.02
_IN_A_ROW = 100
# Of attempts that take longer than so many seconds, and are later than so many microseconds, few are handed out in each
# tick of so many seconds: the concurrency is reached within so many ticks, sooner than the first of them has ended.
# Woken all at once they run one after the other, and after them all whom they talk to and other methods' attempts:
# 1,000 requests to a server of the same machine took a fifth longer, and others meanwhile began twice as late or later.
_LONG = 0.04
_LATE: Micros = 50_000
TICK = 0.002
_TICKS = 16
_FEW = 2
# No attempt is counted on to take less than so many seconds.
_LEAST = 0.001


class Tempo:
    """Learns from each attempt that ends, and from those that have not ended yet."""

    def __init__(self, concurrency: int) -> None:
        """`concurrency`: how many attempts may run at once."""
        self._concurrency = concurrency
        self._mean: float | None = None  # seconds, moving
        self._in_a_row = 0
        self._tick = self._in_tick = 0

    def ended(self, seconds: float | None, *, silent: bool) -> None:
        """An attempt took so long; None: it was not made. `silent`: it printed nothing."""
        if seconds is not None:
            self._mean = seconds if self._mean is None else 0.8 * self._mean + 0.2 * seconds
        self._in_a_row = self._in_a_row + 1 if silent and seconds is not None and seconds < QUICK else 0

    def spoiled(self) -> None:
        """The last one changed something for others: they are not quick for now."""
        self._in_a_row = 0

    @property
    def is_quick(self) -> bool:
        """Whether attempts are."""
        return self._in_a_row >= _IN_A_ROW

    def in_a_second(self, running: Collection[float]) -> int:
        """How many can begin within a second behind those that run, for so many seconds each by now; 0 if unknown."""
        if self._mean is None:
            return 0
        # One that has been running for longer than others took says more of what is coming than they do.
        idle = [0.0] * (self._concurrency - len(running))
        expected = [max(seconds, self._mean, _LEAST) for seconds in (*running, *idle)]
        return round(sum(1 / seconds for seconds in expected if seconds < 1))

    def is_crowded(self, late: Micros) -> bool:
        """Whether one that is so late has to wait for the next tick; if not, it is counted as handed out."""
        if late < _LATE or self._mean is None or self._mean < _LONG:
            return False
        tick = int(clock.monotonic() / TICK)
        if tick != self._tick:
            self._tick, self._in_tick = tick, 0
        self._in_tick += 1
        return self._in_tick > max(_FEW, self._concurrency // _TICKS)
