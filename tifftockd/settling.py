"""What an ending does to its reminder: pure functions, so that each state and each limit can be tested alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tifftockd.clock import Micros, span
from tifftockd.reminder import Ending, Outcome, Reminder, Settlement, State, Verdict
from tifftockd.when import format_span

# So often in a row may an attempt be interrupted before its reminder is taken to be what kills the daemon.
MOST_INTERRUPTIONS = 5
# Doubling ends here; max_late has ended it long before in all but the oddest settings.
_MOST_DOUBLINGS = 30
# Retries that failed together must not come back together: up to a quarter is added to each delay.
_JITTER = 0.25


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait after the n-th failure: `delay`, doubled each time, and jitter on top."""

    delay: Micros
    jitter: Callable[[], float] = random.random  # 0 to 1

    def wait(self, failures: int) -> Micros:
        """After so many failures, the first being 1."""
        doubled = self.delay << min(failures - 1, _MOST_DOUBLINGS)
        return doubled + round(doubled * _JITTER * self.jitter())


def settle(ending: Ending, policy: RetryPolicy) -> Settlement:
    """The line of history, and what becomes of the reminder."""
    reminder = ending.reminder
    match ending.verdict:
        case Verdict.DELIVERED:
            return _settlement(ending, Outcome.DELIVERED, None)
        case Verdict.RETURNED:
            return give_back(reminder, ending.finished)
        case Verdict.TOO_LATE:
            return expire(reminder, ending.finished, reminder.attempts - 1)
        case Verdict.PERMANENT:
            return _settlement(ending, Outcome.FAILED, State.FAILED)
        case Verdict.INTERRUPTED:
            return _interrupted(ending)
        case Verdict.TRANSIENT:
            return _retry(ending, policy)
        case Verdict.BROKEN:
            if ending.repeatable:
                return _retry(ending, policy)
            error = f"{ending.error}; it may have happened, and is not repeated"
            return _settlement(ending, Outcome.UNCERTAIN, State.UNCERTAIN, error=error)


def give_back(reminder: Reminder, now: Micros) -> Settlement:
    """A claim that no worker has begun: as if it had never been made."""
    return Settlement(
        reminder, None, State.PENDING, reminder.fire_at, reminder.attempts - 1, reminder.failures,
        reminder.interruptions, None, now, None, None,
    )  # fmt: skip


def expire(reminder: Reminder, now: Micros, attempts: int | None = None) -> Settlement:
    """A reminder for which no attempt may start any more.

    One never attempted is `missed`, one whose last attempt failed `failed`, one interrupted `uncertain`.
    """
    made = reminder.attempts if attempts is None else attempts
    late = f"no attempt may start later than {format_span(span(reminder.max_late))} after it was due"
    if made == 0:
        outcome, state = Outcome.MISSED, State.MISSED
    elif reminder.interruptions:
        outcome, state = Outcome.UNCERTAIN, State.UNCERTAIN
    else:
        outcome, state = Outcome.FAILED, State.FAILED
    error = f"{late}; the last one: {reminder.last_error}" if reminder.last_error else late
    return Settlement(
        reminder, outcome, state, reminder.fire_at, made, reminder.failures, reminder.interruptions,
        None, now, error, None,
    )  # fmt: skip


def _retry(ending: Ending, policy: RetryPolicy) -> Settlement:
    reminder = ending.reminder
    failures = reminder.failures + 1
    if failures > reminder.retries:
        tried = f" (attempt {reminder.attempts}, the last)" if reminder.retries else ""
        return _settlement(ending, Outcome.FAILED, State.FAILED, error=f"{ending.error}{tried}", failures=failures)
    fire_at = ending.finished + max(policy.wait(failures), ending.retry_after or 0)
    if fire_at > reminder.latest:
        late = f"{ending.error}; the next attempt would be later than {format_span(span(reminder.max_late))}"
        return _settlement(ending, Outcome.FAILED, State.FAILED, error=late, failures=failures)
    return _settlement(ending, Outcome.FAILED, State.PENDING, failures=failures, fire_at=fire_at)


def _interrupted(ending: Ending) -> Settlement:
    interruptions = ending.reminder.interruptions + 1
    if not ending.repeatable:
        error = f"{ending.error}; it may have happened, and is not repeated"
        return _settlement(ending, Outcome.UNCERTAIN, State.UNCERTAIN, error=error, interruptions=interruptions)
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
