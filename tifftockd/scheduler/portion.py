"""How much a pass does while others write to the store, so that they need not wait long for it."""

from __future__ import annotations

# A pass that took less than so many seconds, its commit not counted, may do twice as much, one that took more half.
_SHORT = 0.0025
_LONG = 0.005
# What it settles in all, and claims of each method. On a fast machine 10,000 at once take half as long again in passes
# of 16 as in those of 64; on a slow one 16 take 6 ms already.
_LEAST = 16
_MOST = 128


class Portion:
    """As much as takes a few milliseconds on this machine. How long the disk takes does not depend on it."""

    def __init__(self) -> None:
        self.most = _LEAST

    def took(self, count: int, seconds: float) -> None:
        """A pass of so many took so long."""
        if seconds > _LONG:
            self.most = max(_LEAST, self.most // 2)
        elif count >= self.most and seconds < _SHORT:
            self.most = min(_MOST, self.most * 2)
