"""What shares a commit, and what one that fails takes along."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.daemon import wait_until
from tifftockd.errors import NotFound, StoreUnavailable
from tifftockd.store import files
from tifftockd.store.files import Files, Lost, LostLog
from tifftockd.store.writer import Writer

MANY = 5


@pytest.fixture
def writer(tmp_path):
    writer = Writer(f"sqlite:///{tmp_path}/t.db", lambda _: None)
    writer.start(lambda cursor: cursor.execute("CREATE TABLE t (x INTEGER, y INTEGER, z TEXT)"))
    yield writer
    writer.close()


def together(writer, works, **how):
    """What became of each of these that share a batch: what it gave, or its error."""

    def attempt(work):
        try:
            return writer.run(work, **how)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(works) + 1) as pool:
        gathered = pool.submit(writer.run, lambda _: wait_until(lambda: writer.waiting == len(works), "the others"))
        wait_until(lambda: not writer.idle and not writer.waiting, "the first")
        found = [pool.submit(attempt, work) for work in works]
        gathered.result()
        return [one.result() for one in found]


def put(x):
    def work(tx):
        tx.insert("t", {"x": x, "y": x})
        return x

    return work


def stored(writer):
    return [row[0] for row in writer.run(lambda tx: tx.execute(text("SELECT x FROM t ORDER BY x")).fetchall())]


@pytest.mark.parametrize("count", [1, 8, 9, 64, 73])
@pytest.mark.parametrize("nulls", [0, 1, 7, 8])
def test_many_rows_are_stored_as_they_are_with_what_is_null(writer, count, nulls):
    rows = [{"x": x, "y": -x, "z": None if x % 8 < nulls else f"{x}"} for x in range(count)]
    writer.run(lambda tx: tx.insert_each("t", rows))
    found = writer.run(lambda tx: tx.execute(text("SELECT x, y, z FROM t ORDER BY x")).fetchall())
    assert found == [tuple(row.values()) for row in rows]


@pytest.mark.parametrize("single", [True, False])
def test_one_that_is_refused_before_it_writes_harms_none_beside_it(writer, single):
    def refused(_):
        raise NotFound("there is none")

    *well, error = together(writer, [*map(put, range(MANY)), refused], single=single)
    assert well == stored(writer) == list(range(MANY))
    assert isinstance(error, NotFound)
    assert writer.commits == 1


@pytest.mark.parametrize(("single", "left"), [(True, []), (False, list(range(MANY)))])
def test_what_fails_after_it_has_written_leaves_nothing_behind(writer, single, left):
    def failing(tx):
        put(99)(tx)
        raise KeyError("x")

    *others, error = together(writer, [*map(put, range(MANY)), failing], single=single)
    assert isinstance(error, StoreUnavailable)
    # Without a SAVEPOINT all go, and all are told.
    assert stored(writer) == left == [one for one in others if not isinstance(one, StoreUnavailable)]
    assert writer.run(put(7), single=single) == 7
    assert writer.fault is None
    assert stored(writer) == sorted([*left, 7])


@pytest.mark.parametrize("how", [{"single": True}, {"single": False}, {"writes": False}])
def test_what_has_sqlite_take_all_back_leaves_nothing_to_commit_by_itself(writer, how):
    def out_of_memory(tx):
        # SQLite's way where memory runs out, as Python then tells of it.
        tx.execute(text("ROLLBACK"))
        raise MemoryError

    first, error, *others = together(writer, [put(1), out_of_memory, *map(put, range(2, MANY))], **how)
    assert isinstance(error, StoreUnavailable)
    assert "has not answered" not in error.message
    told = [one for one in (first, *others) if not isinstance(one, StoreUnavailable)]
    assert stored(writer) == told
    assert writer.run(put(7)) == 7


def test_a_statement_that_fails_on_its_way_leaves_nothing_behind(writer):
    writer.run(lambda tx: tx.execute(text("CREATE UNIQUE INDEX once ON t (x)")))
    halfway = text("INSERT OR FAIL INTO t (x) VALUES (1), (1)")
    assert isinstance(together(writer, [lambda tx: tx.execute(halfway)], single=True)[0], StoreUnavailable)
    assert stored(writer) == []


def test_a_database_without_a_log_misses_none(tmp_path):
    with closing(sqlite3.connect(tmp_path / "tifftock.db")) as connection:
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        cursor = connection.execute("BEGIN IMMEDIATE")
        Files(cursor).check()


@contextmanager
def logged(tmp_path):
    """A cursor in a transaction, and the path of the log."""
    with closing(sqlite3.connect(tmp_path / "tifftock.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        yield connection.execute("BEGIN IMMEDIATE"), tmp_path / "tifftock.db-wal"


def test_that_the_log_is_still_there_is_seen_without_asking_for_its_times(tmp_path, monkeypatch):
    asked = []
    with logged(tmp_path) as (cursor, log):
        opened = Files(cursor)
        with monkeypatch.context() as patched:
            patched.setattr(files, "_identity", lambda path: asked.append(Path(path).name) or opened._opened[path])
            opened.check()
        assert asked == ["tifftock.db"]
        log.rename(tmp_path / "elsewhere")
        with pytest.raises(LostLog):
            opened.check()


def test_without_proc_the_log_is_looked_up_by_its_name(tmp_path, monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)

    with logged(tmp_path) as (cursor, log):
        with monkeypatch.context() as patched:
            patched.setattr(files.os, "listdir", missing)
            opened = Files(cursor)
        opened.check()
        log.unlink()
        with pytest.raises(LostLog):
            opened.check()


def test_a_database_that_is_hidden_by_another_is_lost_although_its_log_is_not(tmp_path):
    with logged(tmp_path) as (cursor, _):
        opened = Files(cursor)
        opened.check()
        (tmp_path / "tifftock.db").rename(tmp_path / "elsewhere")
        (tmp_path / "tifftock.db").touch()
        with pytest.raises(Lost) as found:
            opened.check()
        assert not isinstance(found.value, LostLog)
