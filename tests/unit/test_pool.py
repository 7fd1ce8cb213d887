"""The threads that answer: each task is done once, whatever another one does."""

import threading

import pytest

from tifftockd.server.pool import Pool

SECONDS = 10


class Task:
    def __init__(self, work):
        self.service = work


@pytest.fixture
def failures():
    return []


@pytest.fixture
def pool(failures):
    made = Pool(failures.append)
    yield made
    assert made.stop(SECONDS)


@pytest.mark.parametrize("threads", [1, 3])
def test_each_task_is_done_once(pool, failures, threads):
    done = []
    pool.start(threads)
    for number in range(500):
        pool.add_task(Task(lambda number=number: done.append(number)))
    assert pool.stop(SECONDS)
    assert sorted(done) == list(range(500))
    assert failures == []


def test_what_a_task_raises_costs_no_thread(pool, failures):
    def fail():
        raise SystemExit("no")

    pool.start(1)
    done = threading.Event()
    for task in (fail, fail, done.set):
        pool.add_task(Task(task))
    assert done.wait(SECONDS)
    assert [str(error) for error in failures] == ["no", "no"]


def test_a_task_may_add_another(pool):
    pool.start(1)
    done = threading.Event()
    pool.add_task(Task(lambda: pool.add_task(Task(done.set))))
    assert done.wait(SECONDS)


def test_one_that_is_stuck_is_not_waited_for(pool):
    go_on, begun, done = threading.Event(), threading.Event(), threading.Event()

    def stuck():
        begun.set()
        go_on.wait(SECONDS)

    pool.start(1)
    pool.add_task(Task(stuck))
    assert begun.wait(SECONDS)
    pool.add_task(Task(done.set))
    assert not pool.stop(0.05)
    go_on.set()
    assert done.wait(SECONDS), "what was added before the end is done"
