"""The one thread that owns the connection: requests queue for it and share a commit.

Each request runs in a SAVEPOINT of its own, so that one that fails harms none beside it; but for those that write by
one statement, as SQLite copies each page that is changed after a SAVEPOINT, which is a sixth of its part of a
create. Every answer leaves after the commit, reads included: nobody sees what a power cut could still take back. There
is no waiting for company: a batch is what has gathered while the last one was being synced.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

from tifftockd import clock, journal
from tifftockd.errors import StoreUnavailable, TifftockError
from tifftockd.store.connection import connect
from tifftockd.store.files import Files, LostLog
from tifftockd.store.library import Connection, DBAPIError, Dialect, dataset, text
from tifftockd.store.queue import Queue, Request
from tifftockd.store.transaction import Transaction
from tifftockd.threads import make_thread

T = TypeVar("T")

# The longest that a batch goes on taking requests before it commits, in seconds: what bounds everybody's wait.
_BATCH = 0.010
# How often a store with a fault tries to write, in seconds, so that it notices the end of the fault by itself.
_PROBE = 2.0
# What a caller waits at the most, in seconds: a disk that hangs must not take every server thread with it.
_PATIENCE = 30.0


class Writer:
    """Owns the database's connection from `start` to `close`."""

    def __init__(self, url: str, committed: Callable[[float], None]) -> None:
        """`url`: dataset's. Nothing is opened before `start`.

        `committed` is told, on the writer's thread, how many seconds each commit of something took.
        """
        self._url = url
        self._committed = committed
        self._queue = Queue()
        self._thread: threading.Thread | None = None
        self._database: dataset.Database | None = None
        self._dialect: Dialect
        self._files: Files | None = None  # of the connection, once it has been used
        self._probe_at = 0.0
        self._busy = False
        self.fault: str | None = None  # the last write's error; None when it went well
        self.commits = 0  # of something; counted before anybody is told of what they hold
        self.commit_seconds = 0.0  # that the last of them took

    def start(self, prepare: Callable[[sqlite3.Cursor], None]) -> None:
        """Open the database and run `prepare` in its first transaction; raises what that raises."""
        opened: Future[None] = Future()
        self._thread = make_thread("store", lambda: self._run(prepare, opened))
        self._thread.start()
        opened.result()

    def run(
        self, work: Callable[[Transaction], T], *, writes: bool = True, first: bool = False, single: bool = False
    ) -> T:
        """Do `work` in a transaction and return what it returned, once that is committed.

        `single`: it writes by one statement, and so needs no SAVEPOINT: should it fail after that, its batch goes too.
        `first`: ahead of what is queued, and waited for without a bound, as what it decided must be known.
        StoreUnavailable when the disk refuses or, for the others, does not answer in 30 s: then it may still be done.
        Overloaded, for what writes, when what is queued has been waiting for a second: nothing is done.
        """
        request = Request(work, writes, single)
        self._queue.put(request, first=first)
        try:
            return request.wait(-1 if first else _PATIENCE)
        except TimeoutError:
            # Should the writer begin it later, nobody would know that it was done.
            request.take()
            raise StoreUnavailable(f"the disk has not answered for {_PATIENCE:.0f} s") from None

    @property
    def waiting(self) -> int:
        """How many requests are queued."""
        return len(self._queue)

    @property
    def visited(self) -> float:
        """When a write last queued behind the others, by clock.monotonic."""
        return self._queue.visited

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, under way or amiss."""
        # In this order: the thread is busy before it takes a request off the queue.
        return not self.waiting and not self._busy and self.fault is None

    def close(self) -> None:
        """Serve what is queued, then close the database."""
        self._queue.close()
        if self._thread is not None:
            self._thread.join()

    # ---- the writer's own thread

    def checkpoint(self) -> None:
        """After a commit: copy the log into the database now, so that its copying is never much at a time."""
        # What cannot be copied stays in the log, and the next write tells of a disk that refuses.
        with suppress(DBAPIError, sqlite3.Error):
            self._cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _run(self, prepare: Callable[[sqlite3.Cursor], None], opened: Future[None]) -> None:
        try:
            self._database = connect(self._url)
            with self._transaction() as cursor:
                prepare(cursor)
                self._files = Files(cursor)
        except Exception as error:
            self._dispose()
            opened.set_exception(error)
            return
        self._dialect = self._connection().dialect
        opened.set_result(None)
        while self._await():
            self._busy = True
            try:
                self._batch()
            except Exception as error:
                # The requests have their answers by now; what is left is to go on.
                journal.event("store-fault", journal.ERR, message=f"{type(error).__name__}: {error}")
            self._busy = False
        self._dispose()

    def _await(self) -> bool:
        """Sleep until there is work; False when there is none left and the store is closing."""
        if not self._queue.wait(_PROBE if self.fault else -1):
            return False
        if self.fault and clock.monotonic() >= self._probe_at:
            self._probe_at = clock.monotonic() + _PROBE
            self._queue.put_ahead(Request(_probe, writes=True))
        return True

    def _batch(self) -> None:
        served: list[Request[Any]] = []
        end = clock.monotonic() + _BATCH
        try:
            with self._transaction() as cursor:
                changes = _changes(cursor)
                while (request := self._queue.take()) is not None:
                    served.append(request)
                    self._serve(request, cursor)
                    if clock.monotonic() >= end:
                        break
                wrote = _changes(cursor) > changes
                if wrote:
                    self._files = self._files or Files(cursor)
                    self._files.check()
                began = clock.monotonic()
        except Exception as error:
            if isinstance(error, LostLog):
                self._save_log()
            self._failed(served, error)
            return
        if wrote:
            self.commits += 1
            self.commit_seconds = clock.monotonic() - began
            self._committed(self.commit_seconds)
            if self.fault is not None:
                self._recovered()
        # What they tell is written when they have been answered: no client waits for who reads the log, and to write it
        # all at once is 6 % of a create, with 16 of them.
        with journal.kept():
            for request in served:
                request.committed()
        for request in served:
            request.answer()

    def _serve(self, request: Request[Any], cursor: sqlite3.Cursor) -> None:
        """Run one request, in its SAVEPOINT. What it got wrong by itself is its own; the rest ends the batch."""
        request.transaction = Transaction(cursor, self._dialect)
        request.error = None
        apart = request.writes and not request.single
        changes = _changes(cursor)
        if apart:
            cursor.execute("SAVEPOINT request")
        try:
            request.result = request.work(request.transaction)
        except sqlite3.Error:
            raise
        except Exception as error:
            if apart:
                cursor.execute("ROLLBACK TO request")
            elif not cursor.connection.in_transaction or _changes(cursor) > changes:
                # SQLite has taken the whole transaction back, as it may where memory ran out, or this cannot be taken
                # back alone.
                raise
            request.transaction.undone()
            request.error = _own(error)
        if apart:
            cursor.execute("RELEASE request")

    def _failed(self, served: list[Request[Any]], error: Exception) -> None:
        """The batch is lost: tell its writers, answer its readers from a transaction of their own."""
        reason = _reason(error)
        if not served:  # not even a transaction could be begun
            while (request := self._queue.take()) is not None:
                served.append(request)
        if any(request.writes for request in served):
            if self.fault is None:
                journal.event("store-fault", journal.ERR, message=reason)
            self.fault = reason
        # The last first: what a request did to the claims of one before it is undone before these are.
        for request in reversed(served):
            if request.writes:
                request.fail(StoreUnavailable(f"the store cannot be written: {reason}"))
            else:
                self._serve_alone(request)

    def _serve_alone(self, request: Request[Any]) -> None:
        """A reader that shared its batch with writers that failed, or found the connection broken."""
        for last in (False, True):
            try:
                # Who only reads is not hindered by somebody else's lock.
                with self._transaction("BEGIN") as cursor:
                    self._serve(request, cursor)
            except Exception as error:
                # Only now: to open a database anew takes writes of its own, which a full disk refuses.
                self._reconnect()
                if last:
                    request.fail(StoreUnavailable(f"the store cannot be read: {_reason(error)}"))
            else:
                request.committed()
                request.answer()
                return

    def _save_log(self) -> None:
        """Copy what the lost log holds into the database, and open that anew: with a log that is there."""
        with suppress(DBAPIError, sqlite3.Error):
            # Not while somebody reads: what is left in it would go with the connection. The next write tries again.
            busy, _, _ = self._cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                self._reconnect()

    def _recovered(self) -> None:
        self.fault = None
        journal.event("store-recovered")

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Cursor]:
        cursor = self._cursor()
        # With the write lock from the beginning: one that is upgraded later fails at once when somebody else has
        # written.
        cursor.execute(begin)
        try:
            yield cursor
            cursor.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself after some errors, and cannot after others.
            with suppress(sqlite3.Error):
                cursor.execute("ROLLBACK")
            raise

    def _cursor(self) -> sqlite3.Cursor:
        """Of dataset's connection, which SQLAlchemy has opened; a new one if that was thrown away."""
        return cast("sqlite3.Cursor", self._connection().connection.cursor())

    def _connection(self) -> Connection:
        assert self._database is not None
        return self._database.executable

    def _reconnect(self) -> None:
        """Throw the connection away: what SQLite believes of its files may no longer hold."""
        self._files = None
        try:
            self._connection().invalidate()
        except Exception as error:
            journal.event("store-reconnect-failed", journal.WARNING, message=_reason(error))

    def _dispose(self) -> None:
        if self._database is not None:
            self._database.close()


def _probe(transaction: Transaction) -> None:
    """A write that changes nothing a user sees."""
    transaction.execute(_PROBE_SQL)


_PROBE_SQL = text("UPDATE tally SET n = n + 1 WHERE name = 'probe'")


def _own(error: Exception) -> TifftockError:
    """What a request got wrong by itself."""
    if isinstance(error, TifftockError):
        return error
    journal.event("store-request-failed", journal.ERR, message=type(error).__name__)
    return StoreUnavailable(f"the store could not do that: {type(error).__name__}")


def _changes(cursor: sqlite3.Cursor) -> int:
    """Rows written through its connection: what shows that a commit has been one of something."""
    return cursor.connection.total_changes


def _reason(error: Exception) -> str:
    """The database's own words, without SQLAlchemy's statement and advice; the name of an error without words."""
    words = str(getattr(error, "orig", None) or error)
    return words.splitlines()[0] if words else type(error).__name__
