"""What an idle daemon lets go: its workers, then their template, then the parent; and how all of it comes back."""

import gc
import os
import random
import time

import pytest

from tests.daemon import wait_until
from tests.functional.test_clock import draft, watching
from tifftockd import clock
from tifftockd.executor import pool, processes
from tifftockd.store import HistoryQuery
from tifftockd.worker import kin


@pytest.fixture
def brief(monkeypatch):
    """Everything is let go as soon as it is idle."""
    monkeypatch.setattr(pool, "_IDLE", 0.0)
    monkeypatch.setattr(processes, "_IDLE", 0.0)
    monkeypatch.setattr(processes, "_CHILDLESS", 0.02)


@pytest.fixture
def children():
    """What gives the children of this process, zombies included, but those that other tests have left."""

    def all_of_them():
        with open(f"/proc/self/task/{os.getpid()}/children") as listing:
            return {*map(int, listing.read().split()), *kin.children(os.getpid())}

    others = all_of_them()
    return lambda: all_of_them() - others


def descriptors():
    """How many are open, once those are closed that led to what has just ended, or that other tests have left."""
    gc.collect()

    def count():
        return len(os.listdir("/proc/self/fd"))

    def rests():
        before = count()
        time.sleep(0.05)
        return count() == before

    wait_until(rests, "no descriptor to be closed")
    return count()


def begin(scheduler, ahead=0):
    """A reminder that is due in so many microseconds."""
    return scheduler.create(draft(clock.now() + ahead), None)


def outcome(store, made):
    query = HistoryQuery(reminder=made.id, outcome=None, before=None, rows=1)
    [entry] = wait_until(lambda: store.history(query).entries, "its outcome")
    return entry.outcome


def test_nothing_is_left_of_idle_workers_and_all_is_back_in_time(brief, children, tmp_path):
    with watching(tmp_path) as (store, scheduler):
        # Of the drop-in that was loaded at the start
        wait_until(lambda: not children(), "the end of all processes")
        before = descriptors()
        made = begin(scheduler, ahead=3 * clock.SECOND)
        wait_until(children, "a parent")
        assert clock.now() < made.due - clock.SECOND, "early enough for all that follows"
        assert outcome(store, made) == "delivered"
        wait_until(lambda: not children(), "the end of all processes")
        assert descriptors() == before


def test_work_that_comes_while_all_is_being_let_go_is_done(brief, children, tmp_path, capfd):
    with watching(tmp_path) as (store, scheduler):
        wait_until(lambda: not children(), "the end of all processes")
        before = descriptors()
        for _ in range(15):
            assert outcome(store, begin(scheduler)) == "delivered"
            time.sleep(random.uniform(0, 0.03))  # from at once to after the last of them has ended
        wait_until(lambda: not children(), "the end of all processes")
        assert descriptors() == before
    log = capfd.readouterr().err
    assert not [failure for failure in ("parent-died", "worker-failed", "executor-error") if failure in log]
    assert not children()
