"""How many attempts a worker is given at once."""

from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from tests.unit.test_settling import CLAIMED
from tifftockd import clock
from tifftockd.clock import SECOND
from tifftockd.executor.claims import Claim, Claims
from tifftockd.executor.loop import Loop
from tifftockd.executor.pool import Pool
from tifftockd.executor.starter import Limits
from tifftockd.reminder import Ending, Verdict


def made(queued, **limits):
    """A pool whose claims are due now, without workers."""
    spec = SimpleNamespace(method="log", repeatable=limits.pop("repeatable", True))
    limits = Limits(**{"concurrency": 1, "timeout": 60 * SECOND, "memory": 0, "output": 0, "renew": 1000} | limits)
    owner = SimpleNamespace(busy=lambda _pool: 0, done=lambda _ending: None, told=[])
    owner.cooled = lambda: owner.told.append("cooled")
    pool = Pool(Loop("test"), Claims(lambda _claims: None), spec, limits, None, lambda reminder: {}, owner)
    pool.enqueue([Claim(reminder) for reminder in queued])
    return pool


def due(count, late=0, max_late=60 * SECOND):
    at = clock.now() - late
    return [CLAIMED._replace(id=id_, due=at, fire_at=at, max_late=max_late) for id_ in range(count)]


class Worker:
    """Makes what it is given, and never ends."""

    job = 0

    def __init__(self, claims=(), lasting=0.0):
        self.claims = list(claims)
        self.lasting = lasting

    def begin(self, attempts, _now):
        self.claims += attempts


def given(queued=40, quick=100, repeatable=True, renew=1000, max_late=60 * SECOND, spoiled=False):
    """How many of those that are queued the only worker gets, after so many quick attempts in a row."""
    pool = made(due(queued, max_late=max_late), renew=renew, repeatable=repeatable)
    worker = Worker()
    pool._workers, pool._idle = {worker}, [worker]
    for _ in range(quick):
        pool._tempo.ended(0.001, silent=True)
    if spoiled:
        pool.spoiled()
    pool.dispatch()
    return len(worker.claims)


def test_where_many_are_due_a_worker_gets_several():
    assert given() == 4


@pytest.mark.parametrize(
    "why",
    [
        {"queued": 3},
        {"quick": 99},
        {"spoiled": True},
        {"repeatable": False},
        {"renew": 1},
        {"max_late": SECOND // 2},
    ],
)
def test_alone_is_what_is_among_few_slow_spoiling_not_to_be_repeated_the_workers_last_or_soon_too_late(why):
    assert given(**why) == 1


def test_a_worker_gets_no_more_than_it_may_still_make():
    assert given(renew=3) == 3


def test_of_what_is_late_and_takes_long_few_are_handed_out_at_once(monkeypatch):
    instant = 0.0
    monkeypatch.setattr(clock, "monotonic", lambda: instant)
    pool = made(due(64, late=SECOND), concurrency=64)
    workers = [Worker() for _ in range(64)]
    pool._workers, pool._idle = set(workers), list(workers)
    pool._tempo.ended(0.05, silent=True)
    for count in [4, 8, 12]:
        pool.dispatch()
        pool.dispatch()
        assert sum(len(worker.claims) for worker in workers) == count
        instant += 0.002


@pytest.mark.parametrize(("lasting", "left"), [(0.0, 40), (0.1, 20), (0.5, 4), (2, 0)])
def test_of_those_that_wait_only_as_many_stay_claimed_as_can_begin_within_a_second(lasting, left):
    pool = made(due(40), concurrency=2)
    pool._tempo.ended(0.001, silent=True)
    pool._workers = {Worker([1], lasting) for _ in range(2)}
    pool._given = 2
    given = []
    pool._owner.give_back = given.extend
    queue = list(pool._queue)
    pool._look_at_queue()
    assert pool._queue == queue[:left], "the first stay"
    assert given == queue[left:]
    assert pool.room() == (256 - 40 if left == 40 else 0)


def test_room_is_what_has_not_been_given_whatever_the_workers_are_doing():
    pool = made(due(2), repeatable=False)
    assert pool.room() == 0
    one = pool._take(clock.now())
    # Queued is one, and one is on its way to a worker that is still among the idle ones.
    pool._workers, pool._idle = {1}, [1]
    assert pool.room() == 0
    pool._queue.clear()
    assert pool.room() == 0
    pool.ended(Ending(one.reminder, Verdict.DELIVERED, clock.now(), clock.now()))
    # One that has just started, or is about to go, is no attempt.
    pool._idle.clear()
    assert pool.room() == 1


def test_what_is_too_late_when_it_is_handed_out_takes_no_room_any_more():
    pool = made(due(1, late=2 * SECOND, max_late=SECOND), repeatable=False)
    pool._idle = [SimpleNamespace(job=0)]
    pool.dispatch()
    assert pool.room() == 1


def test_of_its_last_worker_that_is_let_go_is_told():
    """The alarm was set for a worker that would be there: it has to ring earlier, to start one."""
    pool = made([])
    worker = Mock(idle_since=clock.monotonic())
    pool._workers, pool._idle = {worker}, [worker]
    pool._retire_idle()
    assert pool._owner.told == []
    worker.idle_since -= 61
    pool._retire_idle()
    assert pool._owner.told == ["cooled"]
    worker.close.assert_called_once_with()


def test_its_last_worker_is_kept_for_what_waits_for_its_instant():
    pool = made(due(1, late=-SECOND))
    worker = Mock(idle_since=clock.monotonic() - 61)
    pool._workers, pool._idle = {worker}, [worker]
    pool._retire_idle()
    assert pool.is_warm()


def test_of_its_last_worker_that_dies_is_told_as_well():
    pool = made([])
    worker = Mock()
    pool._workers, pool._idle = {worker}, [worker]
    pool.died(worker, 9)
    assert pool._owner.told == ["cooled"]


@pytest.mark.parametrize("last", [True, False])
def test_of_its_last_worker_that_was_to_make_no_more_is_told_as_well(last):
    pool = made([])
    worker = Mock()
    pool._workers = {worker}
    pool.became_idle(worker, last=last)
    assert pool._owner.told == ["cooled"] * last


@pytest.mark.parametrize("elsewhere", [1, 0])
def test_no_worker_is_made_ready_beside_as_many_attempts_as_there_may_be(elsewhere):
    pool, started = made([]), []
    pool._owner.busy = lambda _pool: elsewhere
    pool._starter = SimpleNamespace(resting=False, start=lambda: started.append(1))
    pool.warm(0.0)
    pool._loop._turn()
    assert len(started) == 1 - elsewhere
