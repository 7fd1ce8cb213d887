"""The figures that several runs come to."""

import math
import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The median of a figure over several runs, and how far they lie apart."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values):
        return cls(statistics.median(values), min(values), max(values))


def percentile(values, percent):
    """The nearest rank: the least value that so many per cent of all are not above."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def spread(runs, figure):
    """The spread of a figure over the runs of one contender, or None where it was not measured.

    `runs`: what each run found, by name: a number, or a list of times. `figure`: such a name, or the name of a list
    and which percentile of it, in each run: ("waited", 99); 100 is the longest.
    """
    name, percent = figure if isinstance(figure, tuple) else (figure, None)
    found = [run[name] for run in runs if name in run]
    if not found:
        return None
    return Spread.of(found if percent is None else [percentile(times, percent) for times in found])
