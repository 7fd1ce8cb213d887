"""A daemon that is killed again and again while clients use it, until nothing is left to do; then its history."""

import random
import sqlite3
import time
from dataclasses import dataclass

from tests.daemon import Daemon, wait_until
from tests.faults.clients import Client
from tests.faults.history import History, Recorder, entry, instant, now, shown
from tests.faults.outside import MARK, Outside
from tests.faults.processes import kill, kill_all, kill_daemon, processes

_CLIENTS = 4
# Seconds that pending work may take in the end; then it is taken to be stuck, and the checker says so.
_DRAIN = 60
# What is due within these microseconds is waited for.
_SOON = 600_000_000
# Retries follow soon, so that many fall into the time that is left to a daemon; overdue work is not held back long.
SETTINGS = {"RETRY_DELAY": "60ms", "CATCH_UP_RATE": "400", "HANDLER_CONCURRENCY": "6"}


@dataclass
class Run:
    """What came of one daemon's life."""

    history: History
    kills: int
    seconds: float
    integrity: str  # SQLite's own judgement of the file

    @property
    def figures(self):
        history = self.history
        attempted = sum(entry.started is not None for entry in history.entries)
        return {
            "kills": self.kills,
            "requests": len(history.operations),
            "unanswered": sum(one.status is None for one in history.operations),
            "created": sum(one.kind == "create" and one.done for one in history.operations),
            "changed": sum(one.kind == "patch" and one.done for one in history.operations),
            "cancelled": sum(one.kind == "cancel" and one.done for one in history.operations),
            "attempts": attempted,
            "effects": len(history.effects),
            **{outcome: history.count(outcome) for outcome in ("delivered", "interrupted", "uncertain", "missed")},
            "repeated effects": len(history.effects) - len({effect.key for effect in history.effects}),
        }


def run_kills(folder, seed, count, told=lambda number: None):
    """Kill a daemon so many times, at instants that the seed draws; `told` is called after each."""
    began = time.monotonic()
    chance = random.Random(seed)
    daemon = Daemon(folder).prepare()
    daemon.dropin("mark.py", MARK)
    recorder = Recorder()
    with Outside(folder) as outside:
        daemon.settings |= SETTINGS | outside.settings
        clients = [Client(f"client{n}", seed, daemon, outside, recorder) for n in range(_CLIENTS)]

        def live():
            for number in range(1, count + 1):
                _live_and_die(daemon, chance, recorder)
                recorder.down()
                told(number)
            daemon.start()

        history = observed(daemon, outside, clients, recorder, live)
    return Run(history, count, time.monotonic() - began, integrity(daemon.database))


def _live_and_die(daemon, chance, recorder):
    """One life: from a start to SIGKILL, during the start or up to a second after it."""
    (daemon.folder / "log").unlink(missing_ok=True)
    if chance.random() < 0.25:
        daemon.start(wait=False)
        time.sleep(chance.uniform(0.05, 0.7))
    else:
        daemon.start()
        time.sleep(chance.uniform(0.05, 1.0))
        if chance.random() < 0.2:
            _kill_one(daemon, chance)
            time.sleep(chance.uniform(0, 0.4))
    how = chance.random()
    if how < 0.4:
        # What is promised must be on disk by then.
        recorder.next_promise(1)
        kill_all(daemon)
    elif how < 0.8:
        kill_all(daemon, chance.shuffle)
    else:
        kill_daemon(daemon)


def _kill_one(daemon, chance):
    """A worker, a template or the parent, which the daemon has to survive."""
    others = sorted(set(processes(daemon)) - {daemon.process.pid})
    if others:
        kill(chance.choice(others))


def observed(daemon, outside, clients, recorder, live):
    """The history of a daemon that `live` runs while clients use it, until nothing is left to do."""
    try:
        for client in clients:
            client.start()
        live()
        for client in clients:
            client.stop()
            if client.error is not None:
                raise client.error
        drain(daemon)
        history = recorder.history()
        collect(daemon, history)
        daemon.stop()
        history.effects = outside.effects()
        return history
    finally:
        for client in clients:
            client.stop()
        if daemon.process is not None:
            kill_all(daemon)


def drain(daemon):
    """Wait until nothing is left to do, but for what is due much later. False: something was, after a minute."""

    def idle():
        soon = now() + _SOON
        answer = daemon.get("/reminders")
        return not any(one["state"] == "firing" or instant(one["when"]) <= soon for one in answer)

    end = time.monotonic() + _DRAIN
    while not (done := idle()) and time.monotonic() < end:
        time.sleep(0.1)
    return done


def collect(daemon, history):
    """What the API shows in the end."""
    history.entries = [entry(one) for one in _pages(daemon, "/history?limit=10000")][::-1]
    history.stored = [shown(one) for one in _pages(daemon, "/reminders?state=all")]
    history.collected = now()


def _pages(daemon, path):
    while path:
        answer = wait_until(lambda path=path: (a := daemon.request("GET", path)).status == 200 and a, path)
        yield from answer.json
        path = (answer.headers["Link"] or "").partition("<")[2].partition(">")[0]


def integrity(file):
    database = sqlite3.connect(file)
    try:
        return database.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        database.close()
