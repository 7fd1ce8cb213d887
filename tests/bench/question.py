"""A question: who is measured, what is looked at, and what is to be reached."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Skipped(Exception):
    """Somebody cannot be measured here; the text says why, and what would change that."""


@dataclass(frozen=True)
class Reach:
    """What is to be reached: said, and whether it was, given the medians of ours and of what stands beside it."""

    text: str
    holds: Callable[[float, float | None], bool]


def at_least(ratio):
    """So many times what stands beside it."""
    return Reach(f"at least {ratio:.3g}x", lambda ours, theirs: ours >= ratio * theirs)


def at_most(ratio, plus=0.0, unit=""):
    """So many times what stands beside it, and so much more."""
    more = f" + {plus:g} {unit}" if plus else ""
    return Reach(f"at most {ratio:.3g}x{more}", lambda ours, theirs: ours <= ratio * theirs + plus)


def below(limit, unit=""):
    """An absolute figure, whatever stands beside it."""
    return Reach(f"at most {limit:g} {unit}".rstrip(), lambda ours, _theirs: ours <= limit)


@dataclass(frozen=True)
class Row:
    """One line of the table. What a figure is, `figures.spread` says."""

    label: str
    unit: str
    figure: str | tuple[str, int]
    of: str = "tifftockd"
    beside: str | None = None
    beside_figure: str | tuple[str, int] | None = None  # where it is not the same one
    reach: Reach | None = None


@dataclass(frozen=True)
class Curves:
    """What the picture shows of a question: whose times, in milliseconds."""

    title: str
    times: str
    of: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """Each contender is a function that makes one run, in a `place.Place`, and returns what it found.

    The first is tifftockd, or all in `ours` are: these are what is compared between revisions, and profiled.
    """

    title: str
    contenders: dict[str, Callable[..., dict[str, Any]]]
    rows: tuple[Row, ...]
    runs: int = 5
    ours: tuple[str, ...] = ("tifftockd",)
    curves: Curves | None = None
    # Not asked by a comparison of revisions unless it is named
    slow: bool = False
