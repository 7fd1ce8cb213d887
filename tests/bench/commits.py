"""The bare cost of a durable row: SQLite by Python's own module, with synchronous=FULL, a row or a group at a time."""

import contextlib
import queue
import sqlite3
import threading
import time

from tests.bench.clients import PATIENCE, Load


class Database:
    """A table with the columns of the daemon's reminders, without its indexes and triggers."""

    def __init__(self, path, like):
        """`like`: the daemon's database, with one row at least. Each commit adds what that row holds."""
        with contextlib.closing(sqlite3.connect(f"file:{like}?mode=ro", uri=True)) as theirs:
            cursor = theirs.execute("SELECT * FROM reminder LIMIT 1")
            names = [name for name, *_ in cursor.description[1:]]
            self._row = cursor.fetchone()[1:]
        # Used by one thread at a time
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(f"CREATE TABLE bare (id INTEGER PRIMARY KEY AUTOINCREMENT, {', '.join(names)})")
        self._insert = f"INSERT INTO bare VALUES (NULL, {', '.join('?' for _ in names)})"

    def close(self):
        self._connection.close()

    def commit(self, writers, seconds):
        """Rows by so many writers, each of which waits until its row is on disk before it writes the next."""
        return self._alone(seconds) if writers == 1 else self._grouped(writers, seconds)

    def _alone(self, seconds):
        latencies = []
        start = ended = time.monotonic()
        while ended < start + seconds:
            began = time.monotonic()
            self._transaction(1)
            ended = time.monotonic()
            latencies.append(ended - began)
        return Load(len(latencies) / (ended - start), latencies)

    def _transaction(self, count):
        self._connection.execute("BEGIN IMMEDIATE")
        for _ in range(count):
            self._connection.execute(self._insert, self._row)
        self._connection.execute("COMMIT")

    def _grouped(self, writers, seconds):
        """One thread has the connection, and commits together whatever has been asked for meanwhile."""
        asked = queue.SimpleQueue()
        latencies = []
        start = time.monotonic()
        end = start + seconds

        def write():
            answer = queue.SimpleQueue()
            while (began := time.monotonic()) < end:
                asked.put(answer)
                answer.get(timeout=PATIENCE)
                latencies.append(time.monotonic() - began)

        def commit():
            while (answer := asked.get()) is not None:
                group = [answer]
                while not asked.empty():
                    group.append(asked.get())
                self._transaction(len(group))
                for answer in group:
                    answer.put(None)

        committer = threading.Thread(target=commit)
        threads = [threading.Thread(target=write) for _ in range(writers)]
        for thread in (committer, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        ended = time.monotonic()
        if not committer.is_alive():
            raise RuntimeError("the rows could not be committed; standard error says why")
        asked.put(None)
        committer.join()
        return Load(len(latencies) / (ended - start), latencies)
