"""How does each cost grow from 1,000 to 1,000,000 stored reminders?"""

import json
import sqlite3
import statistics
import time
from contextlib import closing

from tests.bench import clients, processes
from tests.bench.question import Question, Row, Skipped, at_most
from tifftockd.store import sql

SIZES = (1_000, 10_000, 100_000, 1_000_000)
# The largest in a quick run
QUICK = 100_000
PAGE = 100


def _name(size):
    return f"{size:,}"


def _with(size):
    def run(place):
        if place.quick and size > QUICK:
            raise Skipped("not in a quick run")
        create = clients.post("/remind", json.dumps({"in": "1d", "message": "tea is ready", "method": "log"}))
        with place.daemon(pending=size) as daemon:
            deep = _middle(daemon)
            pages = {
                "first page": "/reminders?",
                "deep page": f"/reminders?after={deep[0]}.{deep[1]}&",
                "page of one method": "/reminders?method=log&",
                "page of what there is none of": "/reminders?method=sms&owner=4711&",
                "history of what there is none of": "/history?outcome=uncertain&",
            }
            seconds = place.pick(1.0, 0.4)
            found = {name: _waited(daemon, clients.get(f"{path}limit={PAGE}"), seconds) for name, path in pages.items()}
            found["create"] = _waited(daemon, create, seconds)
            processes.settle(daemon.process.pid)
            found["memory"] = processes.memory(daemon.process.pid)
            found["next due"] = _next_due(daemon)
        return found

    return run


def _waited(daemon, request, seconds):
    clients.run(daemon.socket_path, request, clients=1, seconds=seconds / 4)
    load = clients.run(daemon.socket_path, request, clients=1, seconds=seconds)
    return [second * 1000 for second in load.latencies]


def _middle(daemon):
    """The place of a reminder with as many before it as behind it."""
    with closing(sqlite3.connect(f"file:{daemon.database}?mode=ro", uri=True)) as database:
        last = database.execute("SELECT max(id) FROM reminder").fetchone()[0]
        return database.execute("SELECT due, id FROM reminder WHERE id = ?", (last // 2,)).fetchone()


def _next_due(daemon):
    """Microseconds of the query by which the scheduler knows how long to sleep, from another connection."""
    with closing(sqlite3.connect(f"file:{daemon.database}?mode=ro", uri=True)) as database:
        statement, times = str(sql.UPCOMING), []
        for _ in range(500):
            began = time.perf_counter()
            database.execute(statement, {"since": 0}).fetchall()
            times.append((time.perf_counter() - began) * 1e6)
        return statistics.median(times)


FIGURES = (
    ("create, p50", "ms", ("create", 50), 1.3),
    ("next due", "µs", "next due", 2),
    ("a page of 100 at the beginning, p50", "ms", ("first page", 50), 2),
    ("a page of 100 in the middle, p50", "ms", ("deep page", 50), 2),
    ("a page of 100 of one method, p50", "ms", ("page of one method", 50), 2),
    ("a page of a method and an owner that none have, p50", "ms", ("page of what there is none of", 50), 2),
    ("a page of an outcome that none had, p50", "ms", ("history of what there is none of", 50), 2),
    ("memory of the whole service", "MiB PSS", "memory", 1.05),
)
QUESTION = Question(
    "Growth, beside 1,000 stored",
    {_name(size): _with(size) for size in SIZES},
    tuple(
        Row(f"{label} with {_name(size)}", unit, figure, _name(size), _name(SIZES[0]), reach=at_most(ratio))
        for label, unit, figure, ratio in FIGURES
        for size in SIZES[1:]
    ),
    runs=3,
    ours=tuple(_name(size) for size in SIZES),
    slow=True,
)
