"""What an ending does to its reminder: pure functions, so that each state and each limit can be tested alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, tzinfo
from functools import lru_cache
from itertools import islice, takewhile
from typing import NamedTuple

from tifftockd.clock import SECOND, Micros
from tifftockd.reminder import (
    CatchUp,
    Ending,
    Occurrence,
    Outcome,
    Overlap,
    Reminder,
    Repeat,
    Settlement,
    State,
    Verdict,
)
from tifftockd.repeat import occurrences
from tifftockd.when import format_instant, format_span, zone_or

# So often in a row may an attempt be interrupted before its reminder is taken to be what kills the daemon.
MOST_INTERRUPTIONS = 5
# Doubling ends here; max_late has ended it long before in all but the oddest settings.
_MOST_DOUBLINGS = 30
# Retries that failed together must not come back together: up to a quarter is added to each delay.
_JITTER = 0.25
# So many occurrences that nobody attends to are passed over at once: the rest has its turn in the next pass.
MOST_PASSED = 100
# So many, and for so long, they are listed one by one. A second's rhythm and a month of downtime must not drive all
# other history out, and a clock that is set to the next century for a moment must not cost years of writing.
MOST_LISTED = 1_000
_LISTED: Micros = 30 * 86_400 * SECOND
_HOUR: Micros = 3600 * SECOND


class Policy(NamedTuple):
    """What settling goes by.

    After the n-th failure the wait is `delay`, doubled each time, and jitter on top. Expressions without a zone of
    their own are read in `zone`. Before `since` nobody watched.
    """

    delay: Micros
    zone: tzinfo = UTC
    since: Micros = 0
    jitter: Callable[[], float] = random.random  # 0 to 1

    def wait(self, failures: int) -> Micros:
        """After so many failures, the first being 1."""
        doubled = self.delay << min(failures - 1, _MOST_DOUBLINGS)
        return doubled + round(doubled * _JITTER * self.jitter())


def settle(ending: Ending, policy: Policy) -> Settlement:
    """The line of history, and what becomes of the reminder."""
    reminder = ending.reminder
    match ending.verdict:
        case Verdict.RETURNED:
            return _give_back(reminder, ending.finished)
        case Verdict.TOO_LATE:
            return expire(reminder, ending.finished, policy, reminder.attempts - 1)
        case _:
            # When the first of several attempts began is not kept.
            begun = ending.started if _first_time(reminder) else reminder.due
            return _go_on(_settle(ending, policy), policy, begun)


def _settle(ending: Ending, policy: Policy) -> Settlement:
    match ending.verdict:
        case Verdict.DELIVERED:
            return _settlement(ending, Outcome.DELIVERED, None)
        case Verdict.PERMANENT:
            return _settlement(ending, Outcome.FAILED, State.FAILED)
        case Verdict.BROKEN | Verdict.INTERRUPTED if not ending.repeatable:
            error = f"{ending.error}; it may have happened, and is not repeated"
            return _settlement(ending, Outcome.UNCERTAIN, State.UNCERTAIN, error=error)
        case Verdict.INTERRUPTED:
            return _interrupted(ending)
        case _:
            return _retry(ending, policy)


def _give_back(reminder: Reminder, now: Micros) -> Settlement:
    """A claim that no worker has begun: as if it had never been made."""
    return Settlement(
        reminder, None, State.PENDING, reminder.fire_at, reminder.attempts - 1, reminder.failures,
        reminder.interruptions, None, now, None, None,
    )  # fmt: skip


def expire(reminder: Reminder, now: Micros, policy: Policy, attempts: int | None = None) -> Settlement:
    """A reminder for which no attempt may start any more.

    One never attempted is `missed`, one whose last attempt failed `failed`, one interrupted `uncertain`.
    """
    made = reminder.attempts if attempts is None else attempts
    late = _too_late(reminder)
    if made == 0:
        outcome, state = Outcome.MISSED, State.MISSED
    elif reminder.interruptions:
        outcome, state = Outcome.UNCERTAIN, State.UNCERTAIN
    else:
        outcome, state = Outcome.FAILED, State.FAILED
    error = f"{late}; the last one: {reminder.last_error}" if reminder.last_error else late
    ended = Settlement(
        reminder, outcome, state, reminder.fire_at, made, reminder.failures, reminder.interruptions,
        None, now, error, None,
    )  # fmt: skip
    return _go_on(ended, policy, reminder.due if made else None)


def supersede(reminder: Reminder, now: Micros, policy: Policy) -> Settlement | None:
    """What ends an occurrence that has just been claimed for the first time, if another is to be attempted instead."""
    repeat = reminder.repeat
    if repeat is None or not _first_time(reminder) or repeat.catch_up is CatchUp.ALL:
        return None
    unwatched = repeat.catch_up is CatchUp.NONE and reminder.due < policy.since
    try:
        listed_from = _listed_from(reminder, now, policy)
        passed, coming, why = _coming(reminder, repeat, now, policy, None, listed_from)
    except Exception:  # noqa: BLE001
        return None  # its end tells why there is no other
    if not unwatched and (coming is None or coming.due > now):
        return None
    return Settlement(
        reminder, Outcome.MISSED, State.MISSED if coming is None else State.PENDING, reminder.fire_at, 0, 0, 0,
        None, now, _told(why, reminder, listed_from, policy), None, passed, why, coming,
    )  # fmt: skip


def _first_time(reminder: Reminder) -> bool:
    """Whether an occurrence that has been claimed was never before.

    A change begins to count the attempts anew, but leaves the instant of what had been tried behind that of the rest.
    """
    return reminder.attempts == 1 and reminder.fire_at == reminder.due


def _go_on(ended: Settlement, policy: Policy, begun: Micros | None) -> Settlement:
    """Arm a repeating reminder for its next occurrence, whatever became of this one.

    `begun`: since when it has been attempted, None if never.
    """
    reminder = ended.reminder
    if reminder.repeat is None or ended.state is State.PENDING:
        return ended
    try:
        listed_from = _listed_from(reminder, ended.finished, policy)
        passed, coming, why = _coming(reminder, reminder.repeat, ended.finished, policy, begun, listed_from)
    except Exception as error:  # noqa: BLE001 one that cannot be settled would hold up all others
        # Of another release of the library, perhaps. It is kept, where it can be seen and changed.
        why = "; ".join(filter(None, (ended.error, f"its 'repeat' cannot be read any more: {error}")))
        return ended._replace(state=State.FAILED, error=why)
    return ended._replace(
        state=ended.state if coming is None else State.PENDING,
        error=_told(ended.error, reminder, listed_from, policy),
        passed=passed,
        passed_why=why,
        next=coming,
    )


def _coming(
    reminder: Reminder, repeat: Repeat, now: Micros, policy: Policy, begun: Micros | None, listed_from: Micros
) -> tuple[tuple[Micros, ...], Occurrence | None, str]:
    """The occurrences that are missed, the one that is armed next (None after the last), and why they are missed.

    An overdue one is armed if it may still fire and `catch_up` wants it: with `all` the first such, else the last one.
    """
    each = repeat.catch_up is CatchUp.ALL

    def overlaps(at: Micros) -> bool:
        # What was due while nobody watched overlaps nothing.
        return repeat.overlap is Overlap.SKIP and begun is not None and at > begun and at >= policy.since

    def may_fire(at: Micros) -> bool:
        watched = repeat.catch_up is not CatchUp.NONE or at >= policy.since
        return watched and at + reminder.max_late >= now and not overlaps(at)

    passed: list[Occurrence] = []
    for coming in following(reminder, zone_or(reminder.tz, policy.zone), listed_from):
        # What is skipped is skipped at once: in the next pass nobody would know any more that it overlapped.
        full = len(passed) == MOST_PASSED and coming.due <= now and not overlaps(coming.due)
        if coming.due > now or full or (each and may_fire(coming.due)):
            break
        passed.append(coming)
    else:
        coming, full = None, False
    if passed and not each and not full and may_fire(passed[-1].due):
        coming = passed.pop()
    skipped = bool(passed) and overlaps(passed[-1].due)
    why = "the occurrence before it was still being attempted (overlap: skip)" if skipped else _why(reminder, repeat)
    return tuple(one.due for one in passed), coming, why


def _why(reminder: Reminder, repeat: Repeat) -> str:
    """Why what was due fires no more."""
    match repeat.catch_up:
        case CatchUp.ONE:
            return "a later occurrence was due as well (catch_up: one)"
        case CatchUp.NONE:
            return "nobody watched when it was due (catch_up: none)"
        case CatchUp.ALL:
            return _too_late(reminder)


def following(reminder: Reminder, zone: tzinfo, after: Micros) -> Iterator[Occurrence]:
    """The occurrences later than `after` that come behind the present one, as far as `until` and `count` allow."""
    repeat = reminder.repeat
    if repeat is None:
        return
    left = repeat.count
    for due in occurrences(repeat.expression, zone, after):
        left = None if left is None else left - 1
        if left == 0 or (repeat.until is not None and due > repeat.until):
            return
        yield Occurrence(due, left)


def _listed_from(reminder: Reminder, now: Micros, policy: Policy) -> Micros:
    """From behind which instant those that are missed are listed; what has a count has to be counted."""
    repeat, due = reminder.repeat, reminder.due
    if repeat is None or repeat.count is not None or now - due <= MOST_LISTED * SECOND:
        return due
    expression, zone = repeat.expression, zone_or(reminder.tz, policy.zone)
    if now - due <= _LISTED and len(_some(expression, zone, due, now)) <= MOST_LISTED:
        return due
    listed = _listed_span(expression, zone, now // _HOUR * _HOUR)
    if repeat.catch_up is CatchUp.ALL:
        listed = max(listed, reminder.max_late)  # they fire
    start = now - listed
    if next(occurrences(expression, zone, due), now) > start:
        return due

    def none_after(at: Micros) -> bool:
        return next(occurrences(expression, zone, at), now + 1) > now

    if not none_after(start):
        return start
    # There has been none for long, and the last before that may still fire.
    before, behind = due, start
    while behind - before > SECOND:
        middle = (before + behind) // 2
        before, behind = (before, middle) if none_after(middle) else (middle, behind)
    return max(due, before - listed)


def _some(expression: str, zone: tzinfo, after: Micros, until: Micros) -> list[Micros]:
    """The occurrences between these; of more than are listed so many and one."""
    due = takewhile(lambda at: at <= until, occurrences(expression, zone, after))
    return [*islice(due, MOST_LISTED + 1)]


# It is asked in the transaction that settles, and with the hour alike for all that come in the same rhythm.
@lru_cache(maxsize=256)
def _listed_span(expression: str, zone: tzinfo, until: Micros) -> Micros:
    """How long before `until`, a full hour, the time is in which there are no more occurrences than are listed."""
    span = _LISTED
    while len(found := _some(expression, zone, until - span, until)) > MOST_LISTED:
        # At once the right one, if they come evenly; in any case so much shorter that it ends soon.
        span = min(found[-1] - found[0], span * 3 // 4)
    return span


def _told(error: str | None, reminder: Reminder, listed_from: Micros, policy: Policy) -> str | None:
    """The error, and that there is more than the history says."""
    if error is None or listed_from == reminder.due:
        return error
    until = format_instant(listed_from, zone_or(reminder.tz, policy.zone))
    return f"{error}; those until {until} were missed too, and are not listed"


def _too_late(reminder: Reminder) -> str:
    return f"no attempt may start later than {format_span(reminder.max_late)} after it was due"


def _retry(ending: Ending, policy: Policy) -> Settlement:
    reminder = ending.reminder
    failures = reminder.failures + 1
    if failures > reminder.retries:
        tried = f" (attempt {reminder.attempts}, the last)" if reminder.retries else ""
        return _settlement(ending, Outcome.FAILED, State.FAILED, error=f"{ending.error}{tried}", failures=failures)
    # One for which no worker could be started ends up to a claim's lead before it is due.
    fire_at = max(ending.finished, reminder.due) + max(policy.wait(failures), ending.retry_after or 0)
    if fire_at > reminder.latest:
        late = f"{ending.error}; the next attempt would be later than {format_span(reminder.max_late)}"
        return _settlement(ending, Outcome.FAILED, State.FAILED, error=late, failures=failures)
    return _settlement(ending, Outcome.FAILED, State.PENDING, failures=failures, fire_at=fire_at)


def _interrupted(ending: Ending) -> Settlement:
    interruptions = ending.reminder.interruptions + 1
    if interruptions >= MOST_INTERRUPTIONS:
        error = f"{ending.error}; {interruptions} times in a row, so it is not tried again"
        return _settlement(ending, Outcome.UNCERTAIN, State.UNCERTAIN, error=error, interruptions=interruptions)
    return _settlement(ending, Outcome.INTERRUPTED, State.PENDING, interruptions=interruptions)


def _settlement(
    ending: Ending,
    outcome: Outcome,
    state: State | None,
    *,
    error: str | None = None,
    failures: int | None = None,
    interruptions: int = 0,
    fire_at: Micros | None = None,
) -> Settlement:
    reminder = ending.reminder
    return Settlement(
        reminder=reminder,
        outcome=outcome,
        state=state,
        fire_at=reminder.fire_at if fire_at is None else fire_at,
        attempts=reminder.attempts,
        failures=reminder.failures if failures is None else failures,
        interruptions=interruptions,
        started=ending.started,
        finished=ending.finished,
        error=error or ending.error,
        output=ending.output,
    )
