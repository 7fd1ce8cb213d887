"""How long do 10,000 reminders take that are due at one instant, and does the API answer meanwhile?

The same for all: the same handler, SQLite with each commit synced, no attempt lost. tifftockd and Huey make attempts in
four worker processes, claim before and record after. Not the same: APScheduler calls in threads of its own process,
takes a job out of the store as it begins, and records nothing, so it is done when the last has begun.
"""

import contextlib
import json
import sqlite3
import time

from tests.bench import clients
from tests.bench.notes import Notes, message_at
from tests.bench.outcomes import awaited, outcomes
from tests.bench.peers import schedulers
from tests.bench.question import Question, Row, at_least, below
from tests.daemon import wait_until
from tifftockd import clock

# Microseconds in which a thousand are stored beforehand, by whoever is slowest
LEAD = 1 * clock.SECOND
# Seconds that a burst may take
PATIENCE = 120
# Seconds that a client waits between two requests: an everyday one, and none that drives the daemon to its limit
PAUSE = 0.01


def count(place):
    return place.pick(10_000, 1_000)


def fire(daemon, number, meanwhile=lambda _due: None):
    """Let so many come due at one instant; microseconds from then until all outcomes were on disk.

    `meanwhile` is called with the instant shortly before it.
    """
    with outcomes(daemon) as recorded:
        before = recorded.count()
    due = clock.now() + LEAD + LEAD * number // 2_000
    burst = [{"when": message_at(due), "message": str(each), "method": "noop"} for each in range(1, number + 1)]
    clients.ask(daemon.socket_path, clients.post("/reminders", json.dumps(burst)))
    assert clock.now() < due, "the machine was too slow to store all before they were due"
    time.sleep(max(0, due - clock.now() - 200_000) / clock.SECOND)
    with awaited(daemon, before + number, PATIENCE) as ended:
        meanwhile(due)
        return ended() - due


def _tifftockd(place):
    notes = Notes(place.folder / "notes")
    with place.daemon() as daemon:
        notes.give(daemon)
        return _found(notes, count(place), fire(daemon, count(place)))


def _with_a_client(place):
    notes = Notes(place.folder / "notes")
    body = json.dumps({"in": "1h", "message": "tea is ready", "method": "log"})
    waited = []
    with place.daemon() as daemon:
        notes.give(daemon)

        def create(due):
            """Until well after the last has begun."""
            number = count(place)
            while len(notes.begun()) < number:
                assert clock.now() < due + PATIENCE * clock.SECOND
                load = clients.run(
                    daemon.socket_path, clients.post("/remind", body), clients=1, seconds=0.1, pause=PAUSE
                )
                waited.extend(second * 1000 for second in load.latencies)

        took = fire(daemon, count(place), create)
    return _found(notes, count(place), took) | {"waited": waited}


def _apscheduler(place):
    notes, number = Notes(place.folder / "notes"), count(place)
    lead = 5 * clock.SECOND
    with schedulers.apscheduler(place.folder, notes, [0] * number, others=0, lead=lead) as due:
        notes.wait(number, PATIENCE)
    return _found(notes, number, max(began for _, began in notes.begun()) - due)


def _huey(place):
    notes, number = Notes(place.folder / "notes"), count(place)
    lead = 5 * LEAD + LEAD * number // 200
    with (
        schedulers.huey(place.folder, notes, [0] * number, lead=lead) as (due, database),
        contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as results,
    ):
        stored = "SELECT count(*) FROM kv"
        wait_until(lambda: results.execute(stored).fetchone()[0] >= number, "the last result", PATIENCE)
        took = clock.now() - due
    return _found(notes, number, took)


def _found(notes, number, took):
    lost, repeated = notes.lost_and_repeated(number)
    seconds = took / clock.SECOND
    each = seconds * 1000 / number
    return {"seconds": seconds, "rate": number / seconds, "each": each, "lost": lost, "repeated": repeated}


CLIENT = "tifftockd, a client meanwhile"
QUESTION = Question(
    "A burst of 10,000 (1,000 in a quick run) due at one instant, claimed before and recorded after",
    {"tifftockd": _tifftockd, CLIENT: _with_a_client, "Huey": _huey, "APScheduler 3": _apscheduler},
    (
        Row("until the last outcome is on disk", "s", "seconds", reach=below(1, "s")),
        Row("for each, beyond its handler", "ms", "each", reach=below(0.1, "ms")),
        Row("so", "a second", "rate", beside="Huey", reach=at_least(8)),
        Row("so", "a second", "rate", beside="APScheduler 3", reach=at_least(10)),
        Row("lost", "", "lost", reach=below(0)),
        Row("begun twice", "", "repeated", reach=below(0)),
        Row("with a client that creates meanwhile", "s", "seconds", of=CLIENT, beside="tifftockd"),
        Row("the client waits, p50", "ms", ("waited", 50), of=CLIENT),
        Row("the client waits, p99", "ms", ("waited", 99), of=CLIENT, reach=below(20, "ms")),
    ),
    runs=3,
    ours=("tifftockd", CLIENT),
)
