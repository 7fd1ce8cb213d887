"""How much a pass does while others wait for the store, or what is due for the end of what is too late."""

from __future__ import annotations

# A pass that took less than so many seconds, its commit not counted, may do twice as much, one that took more half; but
# where the disk is slow, a pass may take as long as its commit, or nearly all of the time would be the disk's.
_SHORT = 0.0025
_LONG = 0.005
# What it settles in all, and claims of each method. On a fast machine 10,000 at once take half as long again in passes
# of 16 as in those of 64; on a slow one 16 take 6 ms already.
_LEAST = 16
_MOST = 128


class Portion:
    """As much as takes a few milliseconds on this machine."""

    def __init__(self) -> None:
        self.most = _LEAST

    def took(self, count: int, seconds: float, commit: float) -> None:
        """A pass of so many took so many seconds, and then its commit."""
        if seconds > max(_LONG, commit):
            self.most = max(_LEAST, self.most // 2)
        elif count >= self.most and seconds < max(_SHORT, commit / 2):
            self.most = min(_MOST, self.most * 2)
