"""What has been kept long enough goes in small steps, and the file shrinks with it."""

import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest

from tests import age
from tests.daemon import wait_until
from tifftockd import clock
from tifftockd.clock import SECOND
from tifftockd.errors import StoreUnavailable
from tifftockd.scheduler.cleaning import Cleaning
from tifftockd.store import Store
from tifftockd.store.queries import CLEANED

HISTORY, FINAL, PENDING = 6000, 2000, 500
MEGABYTE = 1_000_000
DAY = 86_400 * SECOND


def free_pages(path):
    with closing(sqlite3.connect(path)) as database:
        return database.execute("PRAGMA freelist_count").fetchone()[0]


def counted(path):
    """The rows of each state, and of the history: as they are, and by the tally."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = dict(database.execute("SELECT state, count(*) FROM reminder GROUP BY state"))
        rows["history"] = database.execute("SELECT count(*) FROM history").fetchone()[0]
        tally = dict(database.execute("SELECT name, n FROM tally WHERE n > 0 AND name <> 'probe'"))
    return rows, tally


def test_an_old_database_is_cleaned_and_shrinks_while_it_is_used(daemon):
    daemon.database.parent.mkdir(mode=0o700)
    age.make(daemon.database, pending=PENDING, final=FINAL, history=HISTORY)
    size = daemon.database.stat().st_size
    (daemon.folder / ".env").write_text("HISTORY_MAX=10000\n")
    daemon.start()
    assert daemon.get("/health")["counts"]["history"] == HISTORY
    (daemon.folder / ".env").write_text("HISTORY_MAX=10\n")
    daemon.reload()
    # Each waits for one step at the most, not for all of them.
    made = [daemon.remind(**{"in": "1h"}) for _ in range(20)]
    fired = daemon.remind()
    assert daemon.outcome(fired)["outcome"] == "delivered"
    wait_until(lambda: daemon.get("/health")["counts"]["history"] <= 10, "the cleaning")
    wait_until(lambda: daemon.get("/health")["counts"]["failed"] <= 10, "the cleaning")
    wait_until(lambda: free_pages(daemon.database) == 0, "the pages to be given back")
    wait_until(lambda: daemon.database.stat().st_size < size / 4, "the file to be cut")
    assert daemon.history(fired), "the newest are kept"
    daemon.stop()
    rows, tally = counted(daemon.database)
    assert rows == tally
    assert rows["pending"] == PENDING + len(made)


def test_a_reload_that_shortens_the_time_cleans_at_once(daemon):
    daemon.database.parent.mkdir(mode=0o700)
    age.make(daemon.database, pending=10, final=290, history=290)
    daemon.start()
    assert daemon.get("/health")["counts"]["history"] == 290
    (daemon.folder / ".env").write_text("HISTORY_DAYS=10\n")
    daemon.reload()
    wait_until(lambda: daemon.get("/health")["counts"]["history"] <= 101, "the cleaning")
    assert daemon.get("/health")["counts"]["failed"] <= 101


def test_a_step_is_small_and_leaves_nothing_in_the_log(tmp_path):
    path = tmp_path / "t.db"
    age.make(path, pending=0, final=FINAL, history=HISTORY)
    log = path.with_name("t.db-wal")
    store = Store(f"sqlite:///{path}", path)
    store.open()
    left = HISTORY
    while store.clean(clock.now(), most=0, now=clock.now()):
        counts = store.summary().counts
        assert left - counts["history"] <= CLEANED
        left = counts["history"]
        # Whoever commits when the log is full copies all of it: here there is never more in it than a step's own.
        assert log.stat().st_size < MEGABYTE
    assert left == 0
    free = free_pages(path)
    assert free > 5 * CLEANED
    for steps in range(1, free):
        size = path.stat().st_size
        more = store.shrink()
        assert free_pages(path) >= free - steps * CLEANED, "no step is larger"
        assert path.stat().st_size < size, "what is given back is given back at once"
        assert log.stat().st_size < MEGABYTE
        if not more:
            break
    assert steps <= free / CLEANED + 1, "no step is smaller"
    assert free_pages(path) == 0
    store.close()


@pytest.mark.parametrize("ahead", [1, 3 * CLEANED])
def test_what_came_of_a_clock_that_was_ahead_holds_up_nothing_behind_it(tmp_path, ahead):
    store = Store(f"sqlite:///{tmp_path}/t.db", tmp_path / "t.db")
    store.open()
    now = clock.now()
    ended = [now + 3650 * DAY] * ahead + [now - 60 * DAY] * 500 + [now - DAY, now + 3650 * DAY]
    with closing(sqlite3.connect(tmp_path / "t.db")) as database, database:
        database.executemany(
            "INSERT INTO history (reminder, attempt, key, method, message, options, due, finished, outcome)"
            " VALUES (1, 1, 'k', 'log', 'm', '{}', 0, ?, 'delivered')",
            [(at,) for at in ended],
        )
    cleaning, left = Cleaning(store), len(ended)
    while cleaning.step(left, now, days=30, most=1_000_000):
        left = store.summary().counts["history"]
    assert left == 2, "of the last days"
    assert cleaning.next(now) == now + 29 * DAY
    store.close()


def test_where_the_disk_refuses_to_clean_the_rest_goes_on_and_it_is_tried_again_later():
    now, tries = clock.now(), []

    def clean(*_asked, **_fields):
        tries.append(now)
        raise StoreUnavailable("the store cannot be written: database disk image is malformed")

    cleaning = Cleaning(SimpleNamespace(clean=clean))
    assert cleaning.step(10, now, days=30, most=1)
    for later in (now, now + 3599 * SECOND):
        assert not cleaning.step(10, later, days=30, most=1)
    assert cleaning.next(now) == now + 3600 * SECOND
    # Nor does a reload in between have it look again and again.
    assert not cleaning.step(10, now, days=10, most=1)
    assert cleaning.next(now) == now + 3600 * SECOND
    cleaning.step(10, cleaning.next(now), days=30, most=1)
    assert len(tries) == 2


def test_a_database_that_gives_no_pages_back_is_not_asked_for_ever(tmp_path):
    path = tmp_path / "t.db"
    age.make(path, pending=0, final=0, history=3000)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript("PRAGMA auto_vacuum = NONE; VACUUM; DELETE FROM history;")
    assert free_pages(path) > CLEANED
    store = Store(f"sqlite:///{path}", path)
    store.open()
    assert not store.shrink()
    store.close()
