"""How many attempts a worker is given at once."""

from types import SimpleNamespace

import pytest

from tests.unit.test_settling import CLAIMED
from tifftockd import clock
from tifftockd.clock import SECOND
from tifftockd.executor.claims import Claim, Claims
from tifftockd.executor.loop import Loop
from tifftockd.executor.pool import Pool
from tifftockd.executor.starter import Limits


def given(queued=40, quick=100, repeatable=True, renew=1000, max_late=60 * SECOND):
    """How many of those that are queued the only worker gets, after so many quick attempts in a row."""
    spec = SimpleNamespace(method="log", repeatable=repeatable)
    limits = Limits(concurrency=1, timeout=60 * SECOND, memory=0, output=0, renew=renew)
    owner = SimpleNamespace(busy=lambda _pool: 0)
    pool = Pool(Loop("test"), Claims(lambda _claims: None), spec, limits, None, lambda reminder: {}, owner)
    begun = []
    worker = SimpleNamespace(job=0, claims=[], begin=lambda attempts, _now: begun.append(len(attempts)))
    pool._workers, pool._idle, pool._quick = {id(worker): worker}, [worker], quick
    now = clock.now()
    ready = [CLAIMED._replace(id=id_, due=now, fire_at=now, max_late=max_late) for id_ in range(queued)]
    pool.enqueue([Claim(reminder) for reminder in ready])
    pool.dispatch()
    (count,) = begun
    return count


def test_where_many_are_due_a_worker_gets_several():
    assert given() == 4


@pytest.mark.parametrize(
    "why",
    [
        {"queued": 3},
        {"quick": 99},
        {"repeatable": False},
        {"renew": 1},
        {"max_late": SECOND // 2},
    ],
)
def test_alone_is_what_is_among_few_slow_not_to_be_repeated_the_workers_last_or_soon_too_late(why):
    assert given(**why) == 1


def test_a_worker_gets_no_more_than_it_may_still_make():
    assert given(renew=3) == 3
