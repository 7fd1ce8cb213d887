"""How late does a handler begin, and never too early? From the due instant to its first line, in the worker.

The same for all: one reminder after another at the same instants, a handler that writes down when it began, SQLite
with each commit synced, other reminders that are due much later. Not the same: APScheduler's handlers are called in a
thread of its own process. Huey looks once a second, and at(1) knows only minutes, all of its jobs at the same one.
"""

import json
import random
import select
import time
from functools import partial

from tests.bench import clients
from tests.bench.notes import Notes, message_at
from tests.bench.peers import at, schedulers
from tests.bench.question import Curves, Question, Row, Skipped, at_most, below
from tifftockd import clock

# Microseconds in which the reminders are stored before the first is due
LEAD = 2 * clock.SECOND
OTHERS, MANY_OTHERS = 10_000, 1_000_000
AT_JOBS = 10
# What a busy client sends at a time, and the seconds that it waits for after each answer
BATCH = 2_000
PAUSE = 0.1


def _instants(place):
    """Offsets in microseconds, at no rhythm that something else could keep to; the same in each run."""
    count, spread = place.pick((100, 10), (30, 2))
    chance = random.Random(1)
    return sorted(chance.randrange(spread * clock.SECOND) for _ in range(count))


def _beside(others, *, busy=False):
    def run(place):
        if place.quick and others > OTHERS:
            raise Skipped("not in a quick run")
        notes = Notes(place.folder / "notes")
        with place.daemon(pending=others) as daemon:
            notes.give(daemon)
            offsets = _instants(place)
            start = clock.now() + LEAD
            for due in (start + offset for offset in offsets):
                daemon.remind(method="noop", when=message_at(due), message=str(due))
            # Asleep till then, or all that makes them late is this client.
            return _waited(notes, start, offsets, partial(_send_batches, daemon) if busy else time.sleep)

    return run


def _send_batches(daemon, seconds):
    batch = [{"in": "1d", "message": "tea is ready", "method": "log"}] * BATCH
    clients.run(
        daemon.socket_path, clients.post("/reminders", json.dumps(batch)), clients=1, seconds=seconds, pause=PAUSE
    )


def _waited(notes, start, offsets, wait=time.sleep):
    wait(max(0, start + offsets[-1] - clock.now()) / clock.SECOND)
    notes.wait(len(offsets), clients.PATIENCE)
    return _found(notes.late())


def _found(late):
    return {"late": late, "early": sum(value < 0 for value in late)}


def _timerfd(place):
    alarm = clock.Alarm()
    poll = select.poll()
    poll.register(alarm.fileno(), select.POLLIN)
    late = []
    start = clock.now()
    for due in (start + offset for offset in _instants(place)):
        alarm.set(due)
        poll.poll(clients.PATIENCE * 1000)
        late.append((clock.now() - due) / 1000)
    alarm.close()
    return _found(late)


def _apscheduler(place):
    notes, offsets = Notes(place.folder / "notes"), _instants(place)
    with schedulers.apscheduler(place.folder, notes, offsets, others=OTHERS, lead=3 * LEAD) as start:
        return _waited(notes, start, offsets)


def _huey(place):
    notes, offsets = Notes(place.folder / "notes"), _instants(place)
    with schedulers.huey(place.folder, notes, offsets, lead=2 * LEAD) as (start, _):
        return _waited(notes, start, offsets)


def _at(place):
    if place.quick:
        raise Skipped("at(1) is not asked in a quick run: it takes a minute")
    notes = Notes(place.folder / "notes")
    with at.jobs(place.folder, notes, AT_JOBS) as due:
        time.sleep(max(0, due - clock.now()) / clock.SECOND)
        notes.wait(AT_JOBS, clients.PATIENCE)
        return _found([(began - due) / 1000 for _, began in notes.begun()])


MANY = "tifftockd, 1,000,000 others"
BUSY = "tifftockd, beside batches"
QUESTION = Question(
    "Lateness of a warm handler beside 10,000 others, from due to the first line of `remind`",
    {
        "tifftockd": _beside(OTHERS),
        MANY: _beside(MANY_OTHERS),
        BUSY: _beside(OTHERS, busy=True),
        "timerfd": _timerfd,
        "APScheduler 3": _apscheduler,
        "Huey": _huey,
        "at": _at,
    },
    (
        Row("p50", "ms", ("late", 50), reach=below(0.5, "ms")),
        Row("p50", "ms", ("late", 50), beside="APScheduler 3", reach=at_most(1 / 3)),
        Row("p50", "ms", ("late", 50), beside="Huey"),
        Row("p50", "ms", ("late", 50), beside="at"),
        Row("p99", "ms", ("late", 99), beside="timerfd", reach=at_most(3, plus=2, unit="ms")),
        Row("p99", "ms", ("late", 99), beside="APScheduler 3"),
        Row("latest", "ms", ("late", 100), beside="APScheduler 3"),
        Row("begun early", "", "early", reach=below(0)),
        Row("p50 beside 1,000,000", "ms", ("late", 50), of=MANY, beside="tifftockd", reach=at_most(1.3)),
        Row("p99 beside 1,000,000", "ms", ("late", 99), of=MANY, beside="tifftockd"),
        Row("p50 while a client sends batches of 2,000", "ms", ("late", 50), of=BUSY, beside="tifftockd"),
        Row("p90 while a client sends batches of 2,000", "ms", ("late", 90), of=BUSY, beside="tifftockd"),
        Row("p99 while a client sends batches of 2,000", "ms", ("late", 99), of=BUSY, beside="tifftockd"),
    ),
    runs=3,
    ours=("tifftockd", MANY, BUSY),
    curves=Curves("How late handlers begin", "late", ("tifftockd", "timerfd", "APScheduler 3", "Huey")),
)
