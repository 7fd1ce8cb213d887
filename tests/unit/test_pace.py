"""A backlog is begun at the rate that is set, and nothing else is held back."""

from hypothesis import given, strategies as st

from tests.unit.test_settling import CLAIMED, DUE
from tifftockd.clock import SECOND
from tifftockd.scheduler.pace import Pace


def overdue(count):
    return [CLAIMED._replace(id=n, fire_at=DUE) for n in range(count)]


@given(rate=st.integers(1, 100_000), passes=st.lists(st.integers(0, 2 * SECOND), min_size=1, max_size=50))
def test_no_more_begin_than_the_rate_allows(rate, passes):
    pace, now, begun = Pace(rate), DUE + 100, 0
    pace.watch_from(now)
    start = now
    for pause in passes:
        now += pause
        allowed = pace.allowance(now)
        pace.spent(overdue(allowed) if allowed < 1000 else [])
        begun += allowed if allowed < 1000 else 0
        assert begun <= 1 + rate * (now - start) / SECOND + max(1, rate / 20)


@given(rate=st.integers(1, 2000))
def test_asked_at_the_times_it_names_it_keeps_the_rate(rate):
    pace, now, begun = Pace(rate), DUE + 100, 0
    pace.watch_from(now)
    start = now
    while now < start + 2 * SECOND:
        allowed = pace.allowance(now)
        pace.spent(overdue(allowed))
        begun += allowed
        now = max(pace.next(now), now + 1)
    assert rate * 1.8 - 1 <= begun <= rate * 2.2 + 2


def test_the_first_begins_at_once():
    pace = Pace(1)
    pace.watch_from(DUE)
    assert pace.allowance(DUE) == 1


def test_what_becomes_due_while_watching_costs_nothing():
    pace = Pace(10)
    pace.watch_from(DUE)
    pace.spent(overdue(1000))
    assert pace.allowance(DUE) == 1


def test_a_clock_set_back_makes_nothing_overdue_that_is_to_come():
    pace = Pace(10)
    pace.watch_from(DUE + 100 * SECOND)
    pace.clock_set(DUE)
    assert pace.since == DUE
    assert pace.allowance(DUE) == 1
