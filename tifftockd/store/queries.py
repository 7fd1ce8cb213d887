"""What is asked of the store, and what it answers: frozen, without a column's name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from tifftockd.clock import Micros
from tifftockd.metrics import Sample
from tifftockd.reminder import Entry, Outcome, Reminder, Settlement, State

# Rows that one request reads at the most: about 2 ms of the writer's time.
PIECE = 500
# Rows that one request looks at for those, where many others may be among them: 5 ms on a slow machine.
LOOKED = 2000
# Reminders of a method that are due, among which a pass looks for those that are not too late, as far as their places
# in an index tell: 10 ms on a slow machine, when so many are too late.
LOOKED_DUE = 50_000
# The same for all methods but one.
LOOKED_NEAR = 5_000
# Rows of a table that one request drops, or pages that it gives back, at the most. In a large database each of them
# costs a page or two elsewhere, written to the log and then to its place: some 15 ms of the writer's time together.
CLEANED = 50


class ReminderQuery(NamedTuple):
    """Reminders in order of (due, id), from behind the place `after`, up to `rows` of them."""

    states: frozenset[State]
    method: str | None = None
    owner: int | None = None
    due_before: Micros | None = None
    after: tuple[Micros, int] | None = None
    rows: int = PIECE


class ReminderPage(NamedTuple):
    """Those that were found by looking so far, and the place from which to go on, or None at the end."""

    reminders: list[Reminder]
    after: tuple[Micros, int] | None


class HistoryQuery(NamedTuple):
    """Entries with the newest first, from before the id `before`, up to `rows` of them."""

    reminder: int | None = None
    outcome: Outcome | None = None
    before: int | None = None
    rows: int = PIECE


class HistoryPage(NamedTuple):
    """As ReminderPage, and the id from before which to go on."""

    entries: list[Entry]
    before: int | None


class Summary(NamedTuple):
    """What the writing transactions counted, the next due instant, and the last write's error."""

    counts: Mapping[str, int]
    next_due: Micros | None
    next_method: str | None
    fault: str | None


class Measured(NamedTuple):
    """What Figures holds at one moment, since the start, and how many requests wait for the store."""

    summary: Summary
    outcomes: Mapping[tuple[str, Outcome], int]  # lines of history, by method and outcome
    lateness: list[Sample]  # of first attempts, in seconds
    commits: list[Sample]  # in seconds
    waiting: int


class Want(NamedTuple):
    """A claim: up to `room` reminders of `method`, but for `spared`, whose next attempt is not later than `until`."""

    method: str
    room: int
    until: Micros
    repeatable: bool
    spared: Collection[int] = ()  # ids


class Turn(NamedTuple):
    """What one pass of the scheduler got from the store."""

    claimed: list[Reminder]
    expired: list[Settlement]
    next_by_method: dict[str, Micros]  # the first pending attempt of each method
    next_watched: dict[str, Micros]  # and, where that was due before `policy.since`, the first that was not
    next_latest: Micros | None  # the first pending reminder that will be too late
    kept: int  # entries of history, or final reminders, whichever are more
    seconds: float  # that it took, without the commit and the wait for its turn
