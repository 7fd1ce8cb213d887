"""How many reminders a second are made durable, and how long does a client wait for each?

The same for all: one process that serves, a request with a message of JSON, an answer after the commit is synced. Not
the same: TiffTock is served on TCP, as `flask run` does, and closes each connection; SQLite and the server without a
store do a part of the work only, and are the limits of what Python can do.
"""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.bench import clients, commits
from tests.bench.peers import tifftock
from tests.bench.question import Curves, Question, Row, at_least, at_most
from tests.daemon import wait_until

BODY = json.dumps({"in": "1h", "message": "tea is ready", "method": "log"})
CROWD = 16
# How many clients, and whether each keeps its connection
SHAPES = {"1": (1, True), "16": (CROWD, True), "16 new": (CROWD, False)}


def _measured(place, measure):
    """Figures of each shape; `measure` takes how many clients, whether they keep their connection, and seconds."""
    found = {}
    for name, (crowd, keep) in SHAPES.items():
        measure(crowd, keep, place.pick(0.4, 0.2))
        load = measure(crowd, keep, place.pick(1.5, 0.6))
        if load is not None:
            found |= {f"rate {name}": load.rate, f"wait {name}": [second * 1000 for second in load.latencies]}
    return found


def _served_at(address, request):
    def measure(crowd, keep, seconds):
        return clients.run(address, request, clients=crowd, seconds=seconds, keep=keep)

    return measure


def _tifftockd(place):
    with place.daemon() as daemon:
        return _measured(place, _served_at(daemon.socket_path, clients.post("/remind", BODY)))


def _tifftock(place):
    with tifftock.serving(place.folder) as (address, _):
        tifftock.wait_for(address)
        return _measured(place, _served_at(address, tifftock.CREATE))


def _storeless(place):
    with _serving_without_a_store(place.folder / "bare.sock") as path:
        return _measured(place, _served_at(str(path), clients.post("/remind", BODY)))


def _sqlite(place):
    """A row as the daemon's, committed as often as so many writers can wait for it together."""
    with place.daemon() as daemon:
        daemon.remind(**json.loads(BODY))
        database = commits.Database(place.folder / "bare.db", like=daemon.database)
    try:
        return _measured(place, lambda crowd, keep, seconds: database.commit(crowd, seconds) if keep else None)
    finally:
        database.close()


@contextmanager
def _serving_without_a_store(path):
    process = subprocess.Popen([sys.executable, Path(__file__).parents[1] / "storeless.py", path])
    try:
        wait_until(lambda: Path(path).exists() or process.poll() is not None, "the bare server's start")
        yield path
    finally:
        process.terminate()
        process.wait(clients.PATIENCE)


BARE = "bottle and waitress, no store"
WHO = {"1": "1 client", "16": "16 clients, keep-alive", "16 new": "16 clients, a connection each"}
QUESTION = Question(
    "Durable creates over the Unix socket",
    {"tifftockd": _tifftockd, "TiffTock": _tifftock, BARE: _storeless, "SQLite, group commit": _sqlite},
    (
        Row(WHO["1"], "a second", "rate 1", beside="TiffTock", reach=at_least(4)),
        Row(WHO["16"], "a second", "rate 16", beside="TiffTock", reach=at_least(10)),
        Row(WHO["16 new"], "a second", "rate 16 new", beside="TiffTock", reach=at_least(6)),
        Row(WHO["1"], "a second", "rate 1", beside=BARE),
        Row(WHO["16"], "a second", "rate 16", beside=BARE, reach=at_least(0.48)),
        Row(WHO["16"], "a second", "rate 16", beside="SQLite, group commit"),
        Row("1 client waits, p50", "ms", ("wait 1", 50), beside="TiffTock"),
        Row("1 client waits, p99", "ms", ("wait 1", 99), beside="TiffTock"),
        Row("16 keep-alive wait, p50", "ms", ("wait 16", 50), beside="TiffTock"),
        Row("16 keep-alive wait, p99", "ms", ("wait 16", 99), beside="TiffTock", reach=at_most(1 / 40)),
        Row("16 keep-alive wait, longest", "ms", ("wait 16", 100), beside="TiffTock"),
    ),
    curves=Curves("How long a create waits, 16 clients", "wait 16", ("tifftockd", "TiffTock", BARE)),
)
