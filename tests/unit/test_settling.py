"""What an ending does to its reminder: every state, every limit."""

import pytest
from hypothesis import given, strategies as st

from tifftockd.clock import SECOND
from tifftockd.reminder import FINAL, Ending, Outcome, Reminder, State, Verdict
from tifftockd.settling import MOST_INTERRUPTIONS, Policy, expire, settle

DUE = 1_800_000_000 * SECOND
POLICY = Policy(30 * SECOND, jitter=lambda: 0.0)

# Claimed for its first attempt.
CLAIMED = Reminder(
    id=7, due=DUE, written="", fire_at=DUE, message="tea", method="log", to=None, options={}, tz=None,
    max_late=3600 * SECOND, retries=2, state=State.FIRING, attempts=1, failures=0, interruptions=0, key="k", owner=None,
    created=DUE - 1, last_error=None,
)  # fmt: skip


def ended(verdict, reminder=CLAIMED, **fields):
    return Ending(reminder, verdict, DUE + 1, DUE + SECOND, **{"error": "why"} | fields)


def test_delivered_is_dropped():
    done = settle(ended(Verdict.DELIVERED, error=None), POLICY)
    assert (done.outcome, done.state, done.error) == (Outcome.DELIVERED, None, None)


@pytest.mark.parametrize("repeatable", [True, False])
def test_permanent_is_failed_at_once(repeatable):
    done = settle(ended(Verdict.PERMANENT, repeatable=repeatable), POLICY)
    assert (done.outcome, done.state) == (Outcome.FAILED, State.FAILED)


@pytest.mark.parametrize("verdict", [Verdict.TRANSIENT, Verdict.BROKEN])
def test_delays_double_until_the_retries_are_used_up(verdict):
    reminder, waits = CLAIMED, []
    while True:
        done = settle(ended(verdict, reminder), POLICY)
        assert done.outcome is Outcome.FAILED
        if done.state is State.FAILED:
            break
        assert done.state is State.PENDING
        waits.append((done.fire_at - (DUE + SECOND)) // SECOND)
        reminder = reminder._replace(attempts=reminder.attempts + 1, failures=done.failures)
    assert waits == [30, 60]
    assert reminder.attempts == 3


def test_a_retry_of_what_failed_before_it_was_due_is_not_early():
    failed = Ending(CLAIMED, Verdict.TRANSIENT, None, DUE - 40_000, "no worker can be started")
    assert settle(failed, POLICY._replace(delay=1_000)).fire_at == DUE + 1_000


def test_no_retries_means_one_attempt():
    done = settle(ended(Verdict.TRANSIENT, CLAIMED._replace(retries=0)), POLICY)
    assert (done.state, done.error) == (State.FAILED, "why")


def test_what_must_not_be_repeated_and_broke_is_uncertain():
    done = settle(ended(Verdict.BROKEN, repeatable=False), POLICY)
    assert (done.outcome, done.state) == (Outcome.UNCERTAIN, State.UNCERTAIN)
    assert "may have happened" in done.error


def test_what_must_not_be_repeated_and_was_surely_not_sent_is_retried():
    assert settle(ended(Verdict.TRANSIENT, repeatable=False), POLICY).state is State.PENDING


def test_retry_after_is_a_lower_bound():
    longer = settle(ended(Verdict.TRANSIENT, retry_after=100 * SECOND), POLICY)
    shorter = settle(ended(Verdict.TRANSIENT, retry_after=1 * SECOND), POLICY)
    assert longer.fire_at == DUE + SECOND + 100 * SECOND
    assert shorter.fire_at == DUE + SECOND + 30 * SECOND


@pytest.mark.parametrize(
    ("max_late", "state"), [(31 * SECOND, State.PENDING), (31 * SECOND - 1, State.FAILED), (0, State.FAILED)]
)
def test_a_retry_later_than_max_late_is_not_scheduled(max_late, state):
    done = settle(ended(Verdict.TRANSIENT, CLAIMED._replace(max_late=max_late)), POLICY)
    assert done.state is state


def test_interruptions_use_up_no_retries_and_end_somewhere():
    reminder = CLAIMED._replace(retries=0)
    for count in range(1, MOST_INTERRUPTIONS + 1):
        done = settle(ended(Verdict.INTERRUPTED, reminder), POLICY)
        assert done.interruptions == count
        assert done.failures == 0
        last = count == MOST_INTERRUPTIONS
        assert done.state is (State.UNCERTAIN if last else State.PENDING)
        assert done.outcome is (Outcome.UNCERTAIN if last else Outcome.INTERRUPTED)
        reminder = reminder._replace(attempts=reminder.attempts + 1, interruptions=count)


def test_interruptions_count_only_in_a_row():
    tired = CLAIMED._replace(interruptions=MOST_INTERRUPTIONS - 1)
    assert settle(ended(Verdict.TRANSIENT, tired), POLICY).interruptions == 0


def test_an_interrupted_attempt_that_must_not_be_repeated_is_uncertain():
    assert settle(ended(Verdict.INTERRUPTED, repeatable=False), POLICY).state is State.UNCERTAIN


def test_a_claim_that_nobody_began_leaves_no_trace():
    retry = CLAIMED._replace(attempts=3, failures=2, interruptions=1, last_error="before")
    done = settle(ended(Verdict.RETURNED, retry, error=None), POLICY)
    assert (done.outcome, done.state, done.attempts) == (None, State.PENDING, 2)
    assert (done.failures, done.interruptions, done.fire_at) == (2, 1, retry.fire_at)


@pytest.mark.parametrize(
    ("attempts", "interruptions", "state"),
    [(0, 0, State.MISSED), (1, 0, State.FAILED), (1, 1, State.UNCERTAIN)],
)
def test_too_late_is_told_apart_by_what_was_done_before(attempts, interruptions, state):
    before = CLAIMED._replace(state=State.PENDING, attempts=attempts, interruptions=interruptions)
    assert expire(before, DUE + SECOND, POLICY).state is state
    claimed = before._replace(state=State.FIRING, attempts=attempts + 1)
    late = settle(ended(Verdict.TOO_LATE, claimed, error=None), POLICY)
    assert (late.state, late.attempts, late.started) == (state, attempts, None)


@given(
    verdict=st.sampled_from(Verdict),
    repeatable=st.booleans(),
    attempts=st.integers(1, 1000),
    failures=st.integers(0, 1000),
    interruptions=st.integers(0, 4),
    retries=st.integers(0, 1000),
    max_late=st.integers(0, 10**15),
    retry_after=st.none() | st.integers(0, 10**15),
    jitter=st.floats(0, 1),
)
def test_whatever_happens_the_reminder_has_one_next_step(
    verdict, repeatable, attempts, failures, interruptions, retries, max_late, retry_after, jitter
):
    reminder = CLAIMED._replace(
        attempts=attempts, failures=failures, interruptions=interruptions, retries=retries, max_late=max_late
    )
    policy = Policy(30 * SECOND, jitter=lambda: jitter)
    done = settle(ended(verdict, reminder, repeatable=repeatable, retry_after=retry_after), policy)
    if done.state is State.PENDING and done.outcome is Outcome.FAILED:
        assert done.finished + 30 * SECOND <= done.fire_at <= reminder.latest
    assert done.state in {None, State.PENDING} | FINAL
    assert (done.state is None) == (done.outcome is Outcome.DELIVERED)
    if not repeatable and verdict in (Verdict.BROKEN, Verdict.INTERRUPTED):
        assert done.state is State.UNCERTAIN
