"""How many outcomes are on disk, read from the database itself: whoever asked the daemon would take its time."""

import sqlite3
import time
from contextlib import closing, contextmanager

from tifftockd import clock

# Seconds between two looks
_LOOK = 0.0005


class Outcomes:
    def __init__(self, database):
        self._database = database

    def count(self):
        return self._database.execute("SELECT n FROM tally WHERE name = 'history'").fetchone()[0]

    def wait(self, count, patience):
        """The instant in microseconds at which there are so many; within so many seconds."""
        end = clock.monotonic() + patience
        while self.count() < count:
            assert clock.monotonic() < end, f"{count - self.count():,} outcomes are missing after {patience} s"
            time.sleep(_LOOK)
        return clock.now()


@contextmanager
def outcomes(daemon):
    with closing(sqlite3.connect(f"file:{daemon.database}?mode=ro", uri=True)) as database:
        yield Outcomes(database)
