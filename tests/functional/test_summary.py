"""What the store says of itself without asking its thread: never anything older than what it has answered."""

import sys
import threading
from pathlib import Path

import pytest

from tests.daemon import wait_until
from tifftockd import clock
from tifftockd.reminder import Draft
from tifftockd.store import Store

WRITERS, EACH = 4, 200
DRAFT = Draft(
    due=clock.now() + 3600 * clock.SECOND, written="", message="m", method="log", to=None, options={}, tz=None,
    max_late=clock.SECOND, retries=0,
)  # fmt: skip


@pytest.fixture
def store(tmp_path):
    opened = Store(f"sqlite:///{tmp_path}/t.db", tmp_path / "t.db")
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def hasty():
    """Let threads take turns wherever they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def create(store):
    return store.create(DRAFT, None, clock.now())


def pending(store):
    return store.summary().counts["pending"]


def switches():
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "store"]
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return int(status.rsplit("\nvoluntary_ctxt_switches:", 1)[1].split()[0])


def test_a_store_that_has_not_changed_sleeps_while_it_is_asked(store):
    create(store)

    def asleep():
        before = switches()
        return pending(store) == 1 and switches() == before

    wait_until(asleep, "sleep")
    before = switches()
    assert [pending(store) for _ in range(3)] == [1, 1, 1]
    assert switches() == before
    create(store)
    assert pending(store) == 2


def test_what_was_answered_is_in_each_summary_after_it(store, hasty):
    answered, behind = [], []

    def write():
        for _ in range(EACH):
            answered.append(create(store))
            know = len(answered)
            if pending(store) < know:
                behind.append(know)

    writers = [threading.Thread(target=write) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert pending(store) == WRITERS * EACH
    assert not behind


def test_while_a_write_is_under_way_nothing_is_said_without_it(store):
    """A disk that hangs is to be seen in /health."""
    made = create(store)
    assert pending(store) == 1
    begun, go_on, told = threading.Event(), threading.Event(), threading.Event()

    def revise(reminder):
        begun.set()
        go_on.wait(30)
        return DRAFT

    def ask():
        store.summary()
        told.set()

    changing = threading.Thread(target=lambda: store.change(made.id, revise, lambda _: None))
    changing.start()
    assert begun.wait(30)
    asking = threading.Thread(target=ask)
    asking.start()
    assert not told.wait(0.2)
    go_on.set()
    assert told.wait(30)
    changing.join()
    asking.join()
