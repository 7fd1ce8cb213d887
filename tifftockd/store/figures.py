"""What is counted as it is committed. The writer's thread counts, and is asked: nothing here needs a lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tifftockd.clock import SECOND
from tifftockd.metrics import Histogram
from tifftockd.reminder import Outcome, Settlement

# In seconds: around what is promised, and up to the usual `max_late`.
_LATENESS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0, 86_400.0),
)
# In seconds: from a fast disk to one that hangs.
_COMMITS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Figures:
    """Since the start of this process."""

    def __init__(self) -> None:
        self.outcomes: Counter[tuple[str, Outcome]] = Counter()
        self.lateness = Histogram(_LATENESS)
        self.commits = Histogram(_COMMITS)

    def ended(self, settlements: Iterable[Settlement]) -> None:
        """These are in the history now."""
        for settlement in settlements:
            if settlement.outcome is None:
                continue
            reminder = settlement.reminder
            self.outcomes[reminder.method, settlement.outcome] += 1
            if settlement.passed:
                self.outcomes[reminder.method, Outcome.MISSED] += len(settlement.passed)
            # A retry is late on purpose.
            if settlement.started is not None and settlement.attempts == 1:
                # Not below 0, should the clock have been set back: a histogram's sum never falls.
                self.lateness.observe(max(0, settlement.started - reminder.due) / SECOND)
