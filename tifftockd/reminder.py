"""The frozen records and enums that every room shares.

Instants and spans are whole microseconds (tifftockd.clock). Records are NamedTuples, here and elsewhere: a frozen
dataclass takes five times as long to make, which was 4 % of the daemon's time in a burst, and thirty of them took
seven times as long to define, 6 % of its start.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

from tifftockd.clock import Micros


class State(StrEnum):
    """Where a stored reminder stands. Delivered and cancelled ones are dropped from the store."""

    PENDING = "pending"
    FIRING = "firing"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    MISSED = "missed"


FINAL = frozenset({State.FAILED, State.UNCERTAIN, State.MISSED})


class Outcome(StrEnum):
    """How an attempt, or a reminder without one, ended."""

    DELIVERED = "delivered"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    UNCERTAIN = "uncertain"
    MISSED = "missed"
    CANCELLED = "cancelled"


class CatchUp(StrEnum):
    """Which of several overdue occurrences fire."""

    ONE = "one"  # the latest
    ALL = "all"
    NONE = "none"  # none of those that were due while nobody watched


class Overlap(StrEnum):
    """What becomes of an occurrence that is due while the one before is being attempted or retried."""

    WAIT = "wait"
    SKIP = "skip"


class Repeat(NamedTuple):
    """How a reminder comes back."""

    expression: str  # OnCalendar's or cron's: tifftockd.repeat
    until: Micros | None = None  # the last instant of an occurrence
    count: int | None = None  # type: ignore[assignment]  # of occurrences, the present one included; a tuple has one too
    catch_up: CatchUp = CatchUp.ONE
    overlap: Overlap = Overlap.WAIT


class Draft(NamedTuple):
    """What a checked request asks for."""

    due: Micros
    written: str  # the time as the user wrote it
    message: str
    method: str
    to: str | None
    options: dict[str, Any]
    tz: str | None
    max_late: Micros
    retries: int
    repeat: Repeat | None = None
    snoozed_from: int | None = None  # the id of the one that it is a copy of


class Reminder(NamedTuple):
    """One row of the store."""

    id: int
    due: Micros
    written: str
    fire_at: Micros  # of the next attempt: `due`, or later for a retry
    message: str
    method: str
    to: str | None
    options: dict[str, Any]
    tz: str | None
    max_late: Micros
    retries: int
    state: State
    attempts: int  # begun in this arming
    failures: int  # of them, transient ones: what counts against `retries`
    interruptions: int  # in a row
    key: str  # 32 hex digits, drawn at each arming
    owner: int | None
    created: Micros
    last_error: str | None
    repeat: Repeat | None = None
    snoozed_from: int | None = None

    @property
    def latest(self) -> Micros:
        """The last instant at which an attempt may still start."""
        return self.due + self.max_late


class Entry(NamedTuple):
    """One line of history."""

    id: int
    reminder: int
    attempt: int
    key: str
    method: str
    to: str | None
    message: str
    options: dict[str, Any]
    tz: str | None
    due: Micros
    started: Micros | None
    finished: Micros
    outcome: Outcome
    error: str | None
    output: str | None
    max_late: Micros | None = None  # of the reminder; earlier releases did not write it down
    retries: int | None = None


class Verdict(StrEnum):
    """What is known of an attempt when it has ended; `settling` turns it into states and outcomes."""

    DELIVERED = "delivered"
    TRANSIENT = "transient"  # the handler's own word that it was surely not done
    PERMANENT = "permanent"
    BROKEN = "broken"  # raised, exited, died or passed its deadline: what it did is not known
    INTERRUPTED = "interrupted"  # the daemon ended it
    TOO_LATE = "too_late"  # not begun: `latest` had passed
    RETURNED = "returned"  # not begun, and to be taken back uncounted


class Ending(NamedTuple):
    """The end of one attempt, from the executor to the scheduler."""

    reminder: Reminder
    verdict: Verdict
    started: Micros | None
    finished: Micros
    error: str | None = None
    output: str | None = None
    retry_after: Micros | None = None
    repeatable: bool = True  # by the class that made the attempt
    trace: str | None = None  # of what it raised; not stored


class Recalled(NamedTuple):
    """A claim that was taken back: `done` when what it was taken back for is committed, else `undo`."""

    undo: Callable[[], None]
    done: Callable[[], None]


class Occurrence(NamedTuple):
    """What a repeating reminder is armed for next."""

    due: Micros
    count: int | None  # type: ignore[assignment]  # as Repeat's


class Settlement(NamedTuple):
    """What an ending does to its reminder: the lines of history, and what becomes of the row.

    `state` None drops the reminder. `outcome` None writes no history: the claim is taken back uncounted.
    `next` arms the reminder anew. The occurrences that were due between its own and that one, `passed`, are missed.
    """

    reminder: Reminder
    outcome: Outcome | None
    state: State | None
    fire_at: Micros
    attempts: int
    failures: int
    interruptions: int
    started: Micros | None
    finished: Micros
    error: str | None
    output: str | None
    passed: tuple[Micros, ...] = ()
    passed_why: str | None = None
    next: Occurrence | None = None
