"""How much a pass does while others write to the store, so that they need not wait long for it."""

from __future__ import annotations

# A pass that took less than so many seconds may do twice as much, one that took more half.
_SHORT = 0.003
_LONG = 0.006
# Of what it settles, and of what it claims of each method. On a fast machine 10,000 at once take half as long again
# with the least as they do with four times that; on a slow one a pass of the least takes 10 ms already.
_LEAST = 16
_MOST = 128


class Portion:
    """As much as takes a few milliseconds on this machine."""

    def __init__(self) -> None:
        self.most = _LEAST

    def took(self, count: int, seconds: float) -> None:
        """A pass of so many took so long."""
        if seconds > _LONG:
            self.most = max(_LEAST, self.most // 2)
        elif count >= self.most and seconds < _SHORT:
            self.most = min(_MOST, self.most * 2)
