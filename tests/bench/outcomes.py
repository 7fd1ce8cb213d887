"""How many outcomes are on disk, read from the database itself: whoever asked the daemon would take its time."""

import multiprocessing
import sqlite3
import time
from contextlib import closing, contextmanager

from tifftockd import clock

# Seconds between two looks, each of which takes CPU from who is measured: while many are missing, and for the last
_SELDOM, _OFTEN = 0.005, 0.0005
_LAST = 100

_context = multiprocessing.get_context("fork")


class Outcomes:
    def __init__(self, database):
        self._database = database

    def count(self):
        return self._database.execute("SELECT n FROM tally WHERE name = 'history'").fetchone()[0]

    def wait(self, count, patience):
        """The instant in microseconds at which there are so many; within so many seconds."""
        end = clock.monotonic() + patience
        while (missing := count - self.count()) > 0:
            assert clock.monotonic() < end, f"{missing:,} outcomes are missing after {patience} s"
            time.sleep(_SELDOM if missing > _LAST else _OFTEN)
        return clock.now()


@contextmanager
def outcomes(daemon):
    with closing(sqlite3.connect(f"file:{daemon.database}?mode=ro", uri=True)) as database:
        yield Outcomes(database)


@contextmanager
def awaited(daemon, count, patience):
    """A function that gives the instant at which there are so many, and waits for that if need be.

    A process of its own looks for it, so that something else may go on here.
    """
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=_await, args=(daemon, count, patience, theirs), daemon=True)
    process.start()
    theirs.close()

    def instant():
        found = ours.recv()
        if isinstance(found, AssertionError):
            raise found
        return found

    try:
        yield instant
    finally:
        process.kill()
        process.join()
        ours.close()


def _await(daemon, count, patience, pipe):
    with outcomes(daemon) as recorded:
        try:
            pipe.send(recorded.wait(count, patience))
        except AssertionError as error:
            pipe.send(error)
