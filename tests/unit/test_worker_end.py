"""Several attempts in a worker's hands: what becomes of those that it has not begun."""

import json
import os
import socket
from io import BytesIO
from types import SimpleNamespace

import pytest

from tests.unit.test_settling import CLAIMED
from tifftockd import clock, threads
from tifftockd.clock import SECOND
from tifftockd.executor.claims import Claim
from tifftockd.executor.loop import Loop
from tifftockd.executor.worker_end import WorkerEnd
from tifftockd.reminder import Verdict
from tifftockd.worker import jobs


class Pool:
    """What a worker's end tells its pool."""

    timeout_text, repeatable = "a minute", True

    def __init__(self):
        self.endings, self.idle, self.killed = [], [], []

    def ended(self, ending):
        self.endings.append((ending.reminder.id, ending.verdict))

    def became_idle(self, worker, last=False):
        self.idle.append(last)

    def spoiled(self):
        self.endings.append("spoiled")

    def kill(self, worker):
        self.killed.append(worker)


@pytest.fixture
def worker(monkeypatch):
    """The daemon's end of a worker that was given attempts 1, 2 and 3, and the pool that it has."""
    ours, theirs = socket.socketpair()
    output, printed = os.pipe()
    pool = Pool()
    permits = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
    monkeypatch.setattr(threads, "gathered_on", lambda: 7)
    end = WorkerEnd(Loop("test"), ours, output, permits, 100, 60 * SECOND, pool)
    end.starting = False
    now = clock.now()
    claims = [Claim(CLAIMED._replace(id=id_, due=now, fire_at=now)) for id_ in (1, 2, 3)]
    end.begin([(claim, {}) for claim in claims], now)

    def send(job, **fields):
        told = {"job": job, "verdict": "delivered", "started": now, "printed": False} | fields
        theirs.send(json.dumps(told).encode() + b"\n")

    def answer(job, **fields):
        send(job, **fields)
        end._receive()

    with theirs:
        yield SimpleNamespace(
            end=end,
            pool=pool,
            handed=lambda: list(jobs.unpack(BytesIO(theirs.recv(65_536)))),
            send=send,
            answer=answer,
            permits=permits,
            begins=lambda: os.eventfd_read(permits),
        )
    os.close(printed)
    if ours.fileno() >= 0:  # else it has died
        end.close()


def test_who_is_given_several_is_told_which_cpu_to_leave_with_the_first(worker):
    assert [job["leave"] for job in worker.handed()] == [7, None, None]
    for job in (1, 2, 3):
        worker.answer(job)
        if job < 3:
            worker.begins()
    worker.end.begin([(Claim(CLAIMED), {})], clock.now())
    assert [job["leave"] for job in worker.handed()] == [None], "one alone costs more to move than it gains"


def test_each_answer_is_its_attempts_and_the_last_makes_it_idle(worker):
    for job in (1, 2):
        worker.answer(job)
        assert not worker.pool.idle
        worker.begins()
    worker.answer(3)
    assert worker.pool.endings == [(1, Verdict.DELIVERED), (2, Verdict.DELIVERED), (3, Verdict.DELIVERED)]
    assert worker.pool.idle == [False]


def test_what_a_dead_worker_had_not_begun_goes_back_uncounted(worker):
    worker.answer(1)
    worker.begins()
    worker.end.died("was killed")
    assert worker.pool.endings == [(1, Verdict.DELIVERED), (3, Verdict.RETURNED), (2, Verdict.BROKEN)]


def test_a_worker_that_dies_between_two_attempts_has_begun_none(worker):
    worker.answer(1)
    worker.end.died("was killed")
    assert worker.pool.endings == [(1, Verdict.DELIVERED), (3, Verdict.RETURNED), (2, Verdict.RETURNED)]


def test_a_permit_that_a_handler_forges_does_not_make_its_attempt_unbegun(worker):
    os.eventfd_write(worker.permits, 7)
    worker.end.died("was killed")
    assert worker.pool.endings == [(3, Verdict.RETURNED), (2, Verdict.RETURNED), (1, Verdict.BROKEN)]


def test_permits_that_a_handler_takes_cost_the_attempts_but_lose_none(worker):
    worker.begins(), worker.begins()
    worker.end.died("was killed")
    assert worker.pool.endings == [(1, Verdict.BROKEN), (2, Verdict.BROKEN), (3, Verdict.BROKEN)]


def test_a_worker_that_is_to_be_killed_for_its_slow_start_is_given_nothing(worker):
    worker.end.starting = True
    worker.end.doom("")
    worker.send(0, pid=1)
    worker.end._receive()
    assert (worker.pool.killed, worker.pool.idle) == ([worker.end], [])


def test_behind_an_attempt_that_is_the_last_nothing_is_begun(worker):
    worker.answer(1, last=True)
    assert worker.pool.endings == [(1, Verdict.DELIVERED), (3, Verdict.RETURNED), (2, Verdict.RETURNED)]
    assert worker.pool.idle == [True]


def test_that_an_attempt_has_spoiled_its_process_is_told_after_its_end_whichever_it_was(worker):
    worker.answer(1, last=True, spoiled=True)
    assert worker.pool.endings == [(1, Verdict.DELIVERED), "spoiled", (3, Verdict.RETURNED), (2, Verdict.RETURNED)]


def test_what_is_behind_an_attempt_that_takes_long_goes_back_and_the_worker_ends_after_it(worker):
    worker.end.relieve(60)
    assert not worker.pool.endings
    worker.end.relieve(0)
    assert worker.pool.endings == [(3, Verdict.RETURNED), (2, Verdict.RETURNED)]
    with pytest.raises(BlockingIOError):
        worker.begins()
    worker.answer(1)
    assert worker.pool.idle == [True]


def test_what_was_begun_meanwhile_is_not_taken_back(worker):
    worker.answer(1)
    worker.end.relieve(0)
    assert worker.pool.endings == [(1, Verdict.DELIVERED), (3, Verdict.RETURNED)]
    worker.begins()
    worker.answer(2)
    assert worker.pool.idle == [True]


def test_a_deadline_costs_no_other_attempt_than_the_one_that_passed_it(worker):
    worker.send(1)
    worker.begins()
    worker.end._deadline = 0.0
    worker.end._check_deadline()
    assert worker.pool.endings == [(3, Verdict.RETURNED), (1, Verdict.DELIVERED)]
    assert not worker.pool.killed
    worker.end._deadline = 0.0
    worker.end._check_deadline()
    assert worker.pool.killed
    worker.end.died("was killed")
    assert worker.pool.endings[2:] == [(2, Verdict.BROKEN)]


def test_one_that_is_handed_over_before_its_time_is_not_begun_before_it(worker):
    worker.end.claims[1].reminder = CLAIMED._replace(id=2, fire_at=clock.now() + 60 * SECOND)
    worker.answer(1)
    worker.begins()
    worker.end.died("was killed")
    assert worker.pool.endings == [(1, Verdict.DELIVERED), (3, Verdict.RETURNED), (2, Verdict.RETURNED)]


def test_what_is_behind_an_attempt_that_is_killed_goes_back(worker):
    worker.end.doom("it passed its deadline")
    assert worker.pool.killed
    assert worker.pool.endings == [(3, Verdict.RETURNED), (2, Verdict.RETURNED)]
