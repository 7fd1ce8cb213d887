"""Requests that wait for the end of an attempt."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.daemon import wait_until
from tifftockd.errors import Firing, NotFound
from tifftockd.scheduler import gap
from tifftockd.scheduler.gap import MOST, Gap


class Attempted:
    """A reminder for which somebody asks: being attempted, then whatever follows."""

    def __init__(self, then=lambda: "done", repeats=True):
        self.going_on, self.asked, self.then, self.repeats = True, 0, then, repeats

    def ask(self):
        self.asked += 1
        if self.going_on:
            raise Firing("it is being attempted", repeats=self.repeats)
        return self.then()


@pytest.fixture
def pool():
    with ThreadPoolExecutor() as pool:
        yield pool


def test_who_meets_an_attempt_comes_when_that_has_ended_and_keeps_the_next_from_beginning(pool):
    waits, one = Gap(), Attempted()
    answer = pool.submit(waits.find, 7, one.ask)
    wait_until(lambda: one.asked == 2, "that it has asked again, as the end may have come between")
    waits.ended([8])
    assert waits.ids() == {7}
    one.going_on = False
    waits.ended(iter([9, 7]))
    assert answer.result(30) == "done"
    assert (one.asked, waits.ids()) == (3, set())


def test_whatever_it_comes_to_nobody_is_kept_from_firing_for_longer(pool, monkeypatch):
    def gone():
        raise NotFound("it ended")

    waits, one, endless = Gap(), Attempted(gone), Attempted()
    answer = pool.submit(waits.find, 7, one.ask)
    wait_until(lambda: waits.ids() == {7}, "that it waits")
    one.going_on = False
    waits.ended([7])
    with pytest.raises(NotFound):
        answer.result(30)
    monkeypatch.setattr(gap, "PATIENCE", 0.01)
    with pytest.raises(Firing):
        waits.find(8, endless.ask)
    assert (endless.asked, waits.ids()) == (2, set())


def test_more_than_a_few_do_not_wait_nor_does_who_asks_for_one_that_does_not_repeat(pool):
    waits, once, one = Gap(), Attempted(repeats=False), Attempted()
    with pytest.raises(Firing):
        waits.find(1, once.ask)
    assert once.asked == 1
    answers = [pool.submit(waits.find, id_, one.ask) for id_ in range(MOST)]
    wait_until(lambda: waits.ids() == {*range(MOST)}, "that they wait")
    late = Attempted()
    with pytest.raises(Firing):
        waits.find(MOST, late.ask)
    assert late.asked == 1
    one.going_on = False
    waits.ended(range(MOST))
    assert [answer.result(30) for answer in answers] == ["done"] * MOST
