"""What comes after an occurrence of a repeating reminder: every combination of catch_up, overlap, until and count."""

from datetime import UTC
from itertools import pairwise, takewhile

import pytest
from hypothesis import example, given, strategies as st

from tests.unit.test_settling import CLAIMED
from tifftockd import settling
from tifftockd.clock import SECOND
from tifftockd.reminder import CatchUp, Ending, Outcome, Overlap, Repeat, State, Verdict
from tifftockd.repeat import occurrences
from tifftockd.settling import MOST_LISTED, Policy, expire, following, settle, supersede

HOUR = 3600 * SECOND
DUE = 500_000 * HOUR  # a full hour
HOURLY = Repeat("hourly")


def hourly(attempts=1, max_late=24 * HOUR, **fields):
    """Due at DUE, claimed for its first attempt unless it says otherwise."""
    names = Repeat._fields
    repeat = HOURLY._replace(**{name: value for name, value in fields.items() if name in names})
    others = {"due": DUE, "fire_at": DUE} | {name: value for name, value in fields.items() if name not in names}
    return CLAIMED._replace(repeat=repeat, attempts=attempts, max_late=max_late, **others)  # fmt: skip


def policy(since=0):
    return Policy(30 * SECOND, UTC, since, jitter=lambda: 0.0)


def ended(reminder, verdict, hours, begun=0.0, since=0):
    """Settle an attempt that began and ended so many hours after it was due."""
    started, finished = DUE + round(begun * HOUR), DUE + round(hours * HOUR)
    return settle(Ending(reminder, verdict, started, finished, "why"), policy(since))


def hours(instants):
    return [(instant - DUE) / HOUR for instant in instants]


def after(settlement):
    """The hours of what is missed on the way, and of what is armed."""
    assert settlement.state is (State.PENDING if settlement.next else settlement.state)
    return hours(settlement.passed), settlement.next and hours([settlement.next.due])[0]


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        (Verdict.DELIVERED, Outcome.DELIVERED),
        (Verdict.PERMANENT, Outcome.FAILED),
        (Verdict.BROKEN, Outcome.FAILED),
    ],
)
def test_however_it_ended_the_next_is_armed(verdict, outcome):
    done = ended(hourly(retries=0), verdict, 0.1)
    assert (done.outcome, done.state) == (outcome, State.PENDING)
    assert after(done) == ([], 1)


def test_a_retry_and_an_interruption_are_of_the_same_occurrence():
    for verdict in (Verdict.TRANSIENT, Verdict.INTERRUPTED, Verdict.RETURNED):
        done = ended(hourly(), verdict, 0.1)
        assert (done.state, done.next, done.passed) == (State.PENDING, None, ())


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"count": 1}, None),
        ({"until": DUE + HOUR - 1}, None),
        ({"count": 2}, "armed"),
        ({"until": DUE + HOUR}, "armed"),
    ],
)
def test_the_last_one_ends_like_any_other_reminder(fields, state):
    for verdict, final in ((Verdict.DELIVERED, None), (Verdict.PERMANENT, State.FAILED)):
        done = ended(hourly(**fields), verdict, 0.1)
        assert done.state is (State.PENDING if state else final)
        assert (done.next is not None) == (state is not None)


def test_the_count_goes_down_with_each_the_missed_ones_too():
    done = ended(hourly(count=9), Verdict.DELIVERED, 3.5)
    assert after(done) == ([1, 2], 3)
    assert done.next.count == 6
    assert after(ended(hourly(count=3), Verdict.DELIVERED, 3.5)) == ([1], 2)
    done = ended(hourly(count=3, overlap=Overlap.SKIP), Verdict.DELIVERED, 3.5)
    assert (after(done), done.state) == (([1, 2], None), None)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ([1, 2], 3)),
        ({"catch_up": CatchUp.ALL}, ([], 1)),
        ({"catch_up": CatchUp.NONE}, ([1, 2], 3)),
        ({"overlap": Overlap.SKIP}, ([1, 2, 3], 4)),
        ({"overlap": Overlap.SKIP, "catch_up": CatchUp.ALL}, ([1, 2, 3], 4)),
        ({"max_late": HOUR // 4}, ([1, 2, 3], 4)),
        ({"max_late": HOUR * 2, "catch_up": CatchUp.ALL}, ([1], 2)),
        ({"until": DUE + 2 * HOUR}, ([1], 2)),
        ({"until": DUE + 2 * HOUR, "overlap": Overlap.SKIP}, ([1, 2], None)),
    ],
)
def test_what_became_due_while_it_was_attempted(fields, expected):
    done = ended(hourly(**fields), Verdict.DELIVERED, 3.5)
    assert after(done) == expected
    assert done.outcome is Outcome.DELIVERED


def test_what_was_overdue_before_it_was_attempted_is_no_overlap():
    reminder = hourly(catch_up=CatchUp.ALL, overlap=Overlap.SKIP)
    assert after(ended(reminder, Verdict.DELIVERED, 2.5, begun=2.25)) == ([], 1)
    assert after(ended(reminder, Verdict.DELIVERED, 2.5, begun=0.5)) == ([1, 2], 3)
    # Nor is what was due while nobody watched, even if it was attempted before and after that.
    interrupted = hourly(attempts=2, overlap=Overlap.SKIP)
    since = DUE + round(3.2 * HOUR)
    done = ended(interrupted, Verdict.DELIVERED, 3.5, begun=3.3, since=since)
    assert (after(done), "catch_up" in done.passed_why) == (([1, 2], 3), True)
    assert after(ended(interrupted, Verdict.DELIVERED, 4.5, begun=3.3, since=since)) == ([1, 2, 3, 4], 5)


@pytest.mark.parametrize("catch_up", CatchUp)
def test_what_is_due_while_it_is_retried_is_skipped_too(catch_up):
    retried = hourly(attempts=3, overlap=Overlap.SKIP, catch_up=catch_up)
    done = ended(retried, Verdict.DELIVERED, 3.5, begun=3.4)
    assert (after(done), "overlap" in done.passed_why) == (([1, 2, 3], 4), True)
    late = expire(hourly(overlap=Overlap.SKIP, catch_up=catch_up), DUE + round(30.5 * HOUR), policy())
    assert (late.outcome, after(late)) == (Outcome.FAILED, ([*range(1, 31)], 31))


@pytest.mark.parametrize(
    ("fields", "late", "since", "expected"),
    [
        ({}, 0, 0, None),
        ({}, 0.9, 9, None),
        ({}, 3.5, 9, ([1, 2], 3)),
        ({"catch_up": CatchUp.ALL}, 3.5, 9, None),
        ({"catch_up": CatchUp.NONE}, 3.5, 3.5, ([1, 2, 3], 4)),
        ({"catch_up": CatchUp.NONE}, 3.5, 2.5, ([1, 2], 3)),
        ({"catch_up": CatchUp.NONE}, 0.5, 0.5, ([], 1)),
        ({"catch_up": CatchUp.NONE}, 0.5, 0, None),
        ({"until": DUE + 2 * HOUR}, 3.5, 9, ([1], 2)),
        ({"attempts": 2}, 3.5, 9, None),
    ],
)
def test_what_is_claimed_late_makes_room_for_a_later_one(fields, late, since, expected):
    done = supersede(hourly(**fields), DUE + round(late * HOUR), policy(DUE + round(since * HOUR)))
    assert (done and after(done)) == expected
    if done:
        assert (done.outcome, done.attempts, done.started) == (Outcome.MISSED, 0, None)
        assert f"catch_up: {fields.get('catch_up', 'one')}" in done.error == done.passed_why


def test_nothing_that_was_missed_fires_where_nothing_is_to_be_caught_up_and_then_it_ends():
    reminder = hourly(catch_up=CatchUp.NONE, until=DUE + 2 * HOUR)
    done = supersede(reminder, DUE + 3 * HOUR, policy(DUE + 3 * HOUR))
    assert (after(done), done.state, done.outcome) == (([1, 2], None), State.MISSED, Outcome.MISSED)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (["missed"], [*range(1, 30)], 30)),
        ({"catch_up": CatchUp.ALL}, (["missed"], [*range(1, 7)], 7)),
        ({"catch_up": CatchUp.NONE}, (["missed"], [*range(1, 31)], 31)),
        ({"attempts": 1}, (["failed"], [*range(1, 30)], 30)),
        ({"attempts": 1, "overlap": Overlap.SKIP}, (["failed"], [*range(1, 30)], 30)),
    ],
)
def test_one_that_is_too_late_makes_room_as_well(fields, expected):
    reminder = hourly(**{"attempts": 0, "state": State.PENDING} | fields)
    now = DUE + round(30.5 * HOUR)
    done = expire(reminder, now, policy(now))
    assert ([done.outcome], *after(done)) == expected


def test_many_that_are_missed_go_by_in_pieces():
    reminder, passes, missed = hourly(count=None), 0, 0
    now = DUE + 1000 * HOUR
    while done := supersede(reminder, now, policy(now)):
        passes, missed = passes + 1, missed + 1 + len(done.passed)
        reminder = reminder._replace(due=done.next.due, fire_at=done.next.due)
    assert (hours([reminder.due]), passes) == ([1000], 8)
    # Of those that are older than a month only the first is written down, and says so.
    assert missed == 1 + 719
    assert "those until 2027-01-27T00:00:00+00:00 were missed too" in supersede(hourly(), now, policy(now)).error
    # Of a quick rhythm so many are: it must not drive all other history out.
    done = supersede(hourly(expression="*:*:*"), now, policy(now))
    assert done.passed[0] == now - (MOST_LISTED - 1) * SECOND
    done = ended(hourly(expression="*:*:*", catch_up=CatchUp.ALL), Verdict.DELIVERED, 20)
    assert (done.passed, done.next.due) == ((), DUE + SECOND)
    yearly = hourly(expression="yearly", due=DUE - 40 * 24 * HOUR)
    assert "not listed" not in expire(yearly._replace(attempts=0), DUE, policy()).error
    # A skipped occurrence does not fire, however many there are.
    done = ended(hourly(overlap=Overlap.SKIP), Verdict.DELIVERED, 300.5)
    assert after(done) == ([*range(1, 301)], 301)


@pytest.mark.parametrize(
    ("expression", "due", "days"),
    [
        ("hourly", DUE - SECOND, 14),  # snoozed to just before the next
        ("*:0,1", DUE, 14),
        ("9..11:*", DUE, 5),
        ("*:*:*", DUE, 0.01),
        ("*:*", DUE, 40),
        ("* 9-17 * * 1-5", DUE + 9 * 24 * HOUR - 60 * SECOND, 40),  # before a gap
    ],
)
def test_of_those_that_were_missed_so_many_are_listed_and_the_last_ones(expression, due, days):
    now = DUE + round(days * 24 * HOUR)
    reminder = hourly(expression=expression, due=due, fire_at=due)
    every = [due, *takewhile(lambda at: at <= now, occurrences(expression, UTC, due))]
    listed = []
    while reminder is not None and reminder.due <= now:
        done = supersede(reminder, now, policy(now)) or ended(reminder, Verdict.DELIVERED, days * 24)
        listed += [reminder.due, *done.passed]
        reminder = done.next and reminder._replace(due=done.next.due, fire_at=done.next.due)
    # The first stands for those that are not.
    assert listed[1:] == every[len(every) - len(listed) + 1 :]
    assert min(len(every), MOST_LISTED // 2) <= len(listed) <= MOST_LISTED + 1


def test_of_few_that_were_missed_few_are_looked_at(monkeypatch):
    """Many reminders that are overdue are settled in one transaction."""
    looked = []

    def counted(*asked):
        for due in occurrences(*asked):
            looked.append(due)
            yield due

    monkeypatch.setattr(settling, "occurrences", counted)
    now = DUE + 3 * HOUR
    assert after(supersede(hourly(), now, policy(now))) == ([1, 2], 3)
    assert len(looked) < 10


def fired_after(reminder, now, rules):
    """What fires when a daemon comes back at `now`, in passes, each of which ends at once what it begins."""
    fired = []
    while reminder is not None and reminder.due <= now:
        claimed = reminder._replace(attempts=1, state=State.FIRING)
        done = expire(reminder, now, rules) if reminder.latest < now else supersede(claimed, now, rules)
        if done is None:
            fired.append(reminder.due)
            done = settle(Ending(claimed, Verdict.DELIVERED, now, now), rules)
        reminder = done.next and reminder._replace(due=done.next.due, fire_at=done.next.due)
    return fired


@given(
    expression=st.sampled_from(["*:*", "* 9-17 * * 1-5", "*:0/15", "Mon..Fri 08:55", "Sat 9..11:*"]),
    start=st.integers(0, 7 * 24 * 60),
    down=st.integers(1, 3 * 24 * 60) | st.integers(95, 105),
    max_late=st.sampled_from([HOUR, HOUR * 3 // 2, 24 * HOUR, 72 * HOUR]),
    watched=st.none() | st.integers(0, 120),
)
@example("*:*", 0, 100, 90 * 60 * SECOND, None)  # as many behind it as go by in one pass
@example("* 9-17 * * 1-5", 720, 1500, 24 * HOUR, None)  # a gap that is longer than what is listed
def test_after_an_outage_the_last_that_is_not_too_late_fires_and_no_other(expression, start, down, max_late, watched):
    """Or, where nothing is to be caught up, the last such that was due since somebody watches again."""
    minute = 60 * SECOND
    first = next(occurrences(expression, UTC, DUE + start * minute))
    now = first + down * minute
    since = now + 1 if watched is None else now - watched * minute
    for catch_up, earliest in ((CatchUp.ONE, 0), (CatchUp.NONE, since)):
        due = [first, *takewhile(lambda at: at <= now, occurrences(expression, UTC, first))]
        may_fire = [at for at in due if at + max_late >= now and at >= earliest]
        reminder = hourly(0, max_late, expression=expression, due=first, fire_at=first, catch_up=catch_up)
        assert fired_after(reminder, now, policy(since)) == may_fire[-1:]


def test_what_was_tried_before_it_was_changed_is_claimed_neither_in_vain_nor_for_the_first_time():
    waited = hourly(fire_at=DUE + HOUR // 2, overlap=Overlap.SKIP, catch_up=CatchUp.NONE)
    now = DUE + round(1.4 * HOUR)
    assert supersede(waited, now, policy(now)) is None
    # What was due meanwhile overlaps the first attempt, which the change has made another's.
    done = ended(waited._replace(repeat=HOURLY._replace(overlap=Overlap.SKIP)), Verdict.DELIVERED, 1.5, begun=1.4)
    assert (after(done), "overlap" in done.passed_why) == (([1], 2), True)


def test_an_expression_that_can_be_read_no_more_ends_where_it_can_be_seen():
    reminder = hourly(expression="once in a blue moon")
    assert supersede(reminder, DUE + 3 * HOUR, policy()) is None
    done = ended(reminder, Verdict.DELIVERED, 0.1)
    assert (done.outcome, done.state, done.next) == (Outcome.DELIVERED, State.FAILED, None)
    assert "cannot be read any more" in done.error


@given(
    repeat=st.builds(
        Repeat, st.just("*:0/15"), st.none() | st.integers(DUE, DUE + 9 * HOUR), st.none() | st.integers(1, 30),
        st.sampled_from(CatchUp), st.sampled_from(Overlap),
    ),
    steps=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 2), st.booleans()), min_size=1, max_size=8),
    max_late=st.integers(0, 4 * HOUR),
)  # fmt: skip
def test_each_occurrence_is_told_of_once_and_in_its_order(repeat, steps, max_late):
    """Whatever happens when: attempts that take long, downtimes, and a daemon that comes back late."""
    reminder = CLAIMED._replace(due=DUE, fire_at=DUE, repeat=repeat, max_late=max_late, attempts=0)
    now, told, last = DUE, [], None
    for wait, length, watched in steps:
        now = max(now, reminder.due) + round(wait * HOUR)
        rules = policy(0 if watched else now)
        claimed = reminder._replace(attempts=1, state=State.FIRING)
        done = expire(reminder, now, rules) if reminder.latest < now else supersede(claimed, now, rules)
        if done is None:
            started, now = now, now + round(length * HOUR)
            done = settle(Ending(claimed, Verdict.DELIVERED, started, now), rules)
        told += [reminder.due, *done.passed]
        last = done
        if done.next is None:
            break
        reminder = reminder._replace(
            due=done.next.due, fire_at=done.next.due, repeat=repeat._replace(count=done.next.count)
        )
    every = [
        DUE,
        *(
            one.due
            for one, _ in zip(following(CLAIMED._replace(due=DUE, repeat=repeat), UTC, DUE), range(500), strict=False)
        ),
    ]
    assert told == every[: len(told)]
    if last.next is None:
        assert told == every
    assert all(one < other for one, other in pairwise(told))
