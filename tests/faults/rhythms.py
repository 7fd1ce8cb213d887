"""Reminders that repeat every few seconds, in a daemon that is killed, stopped, reloaded and held up."""

import contextlib
import random
import sqlite3
import threading
import time
from collections import Counter
from dataclasses import dataclass

from tests.daemon import Daemon
from tests.faults.clients import NotSentError, answered
from tests.faults.delays import delayed_daemon
from tests.faults.history import now
from tests.faults.kills import integrity
from tests.faults.occurrences import SECOND, Request, Rhythm, check, forgotten
from tests.faults.outside import MARK, marks
from tests.faults.processes import kill, kill_all, kill_daemon, processes

SETTINGS = {"RETRY_DELAY": "60ms", "CATCH_UP_RATE": "400", "HANDLER_CONCURRENCY": "6"}
_CLIENTS = 3
# Seconds that a client waits between two requests, at the most.
_PAUSE = 0.25
# Of each kind of request so many in a hundred.
_CHOICES = {"create": 40, "snooze": 15, "change": 20, "cancel": 25}
# Of the latest reminders so many are where a client looks for something to do.
_RECENT = 30
_STEPS = (1, 2, 3, 5)
_LONG = 86_400


class Client(threading.Thread):
    """Creates such reminders, moves, changes and cancels them; `rhythms` has those whose creation was answered."""

    def __init__(self, name, seed, daemon, file, rhythms):
        super().__init__(name=name, daemon=True)
        self._random = random.Random(f"{seed} {name}")
        self._daemon = daemon
        self._file = str(file)
        self._rhythms = rhythms
        self._ended = threading.Event()
        self.error = None

    def stop(self):
        self._ended.set()
        self.join()

    def run(self):
        try:
            while not self._ended.wait(self._random.uniform(0, _PAUSE)):
                self._act()
        except Exception as error:
            self.error = error

    def _act(self):
        kind = self._random.choices(list(_CHOICES), _CHOICES.values())[0]
        if kind == "create":
            self._create()
        elif self._rhythms:
            rhythm = self._random.choice(self._rhythms[-_RECENT:])
            path = f"/reminder/{rhythm.id}"
            if kind == "snooze":
                self._ask(rhythm, kind, "POST", f"{path}/snooze", {"in": round(self._random.uniform(0.3, 3), 2)})
            elif kind == "change":
                self._ask(rhythm, kind, "PATCH", path, {"options": self._options()})
            else:
                self._ask(rhythm, kind, "DELETE", path)

    def _create(self):
        draw = self._random
        step = draw.choice(_STEPS)
        body = {
            "repeat": draw.choice([f"*:*:0/{step}", f"*/{step} * * * * *"]),
            "message": f"every {step}",
            "method": draw.choice(["mark", "mark", "once"]),
            "options": self._options(),
            "catch_up": draw.choice(["one", "all", "none"]),
            "overlap": draw.choice(["wait", "wait", "skip"]),
            "max_late": _LONG if draw.random() < 0.75 else 1,
            "retries": draw.choice([0, 1, 3]),
        }
        if draw.random() < 0.4:
            body["count"] = draw.randint(1, 8)
        if draw.random() < 0.3:
            body["until"] = f"@{now() // SECOND + draw.randint(2, 15)}"
        try:
            answer = answered(self._daemon, "POST", "/remind", body)
        except NotSentError:
            return
        if answer is not None and answer.status == 201:
            self._rhythms.append(Rhythm(answer.json, step, body))

    def _options(self):
        chance, options = self._random.random, {"file": self._file}
        for when in ("before", "after"):
            if chance() < 0.3:
                options[when] = round(self._random.choice([0.1, 0.1, 2]) * chance(), 3)
        if chance() < 0.25:
            options["end"] = self._random.choice(["transient", "permanent", "error", "death"])
        return options

    def _ask(self, rhythm, kind, method, path, body=None):
        request = Request(kind, now())
        try:
            answer = answered(self._daemon, method, path, body)
        except NotSentError:
            return
        if answer is not None:
            request.answered, request.status = now(), answer.status
            if answer.status in (200, 201):
                request.shown = answer.json
        rhythm.requests.append(request)


@dataclass
class Run:
    """What came of one daemon's lives. `starts`: when each was begun."""

    rhythms: list[Rhythm]
    starts: list[int]
    complaints: list[str]

    @property
    def figures(self):
        entries = [one for rhythm in self.rhythms for one in rhythm.entries]
        return Counter(
            reminders=len(self.rhythms),
            requests=sum(len(rhythm.requests) for rhythm in self.rhythms),
            occurrences=len({(one["reminder"], one["due"]) for one in entries}),
            attempts=sum(one["started"] is not None for one in entries),
            effects=sum(len(rhythm.effects) for rhythm in self.rhythms),
            **Counter(one["outcome"] for one in entries if one["outcome"] != "failed"),
        )


def run_rhythms(folder, seed, lives, *, slow):
    """So many lives, of some seconds each; `slow`: with threads that stand still now and then."""
    chance = random.Random(seed)
    daemon = (delayed_daemon(folder, chance) if slow else Daemon(folder)).prepare()
    daemon.settings |= SETTINGS
    daemon.dropin("mark.py", MARK)
    rhythms, starts, file = [], [], folder / "marks"
    clients = [Client(f"client{n}", seed, daemon, file, rhythms) for n in range(_CLIENTS)]
    try:
        for client in clients:
            client.start()
        for _ in range(lives - 1):
            starts.append(now())
            _live(daemon, chance)
            time.sleep(chance.choice([0, 0, 1, 4]) * chance.random())
        starts.append(now())
        daemon.start()
        time.sleep(2)
        for client in clients:
            client.stop()
            if client.error is not None:
                raise client.error
        time.sleep(3)
        daemon.stop()
        collect(daemon.database, rhythms, file)
    finally:
        for client in clients:
            client.stop()
        if daemon.process is not None:
            kill_all(daemon)
    complaints = [f"reminder {one.id}: {text}" for one in rhythms for text in check(one, starts)]
    complaints += forgotten(rhythms, starts[-1] + SECOND)
    if (found := integrity(daemon.database)) != "ok":
        complaints.append(f"the database: {found}")
    return Run(rhythms, starts, complaints)


def _live(daemon, chance):
    """One life: start, and how it ends."""
    daemon.start()
    time.sleep(chance.uniform(0.05, 3))
    if chance.random() < 0.4:
        if chance.random() < 0.5:
            daemon.dropin("mark.py", f"{MARK}\n# {chance.random()}\n")
        daemon.reload()
        time.sleep(chance.uniform(0, 1))
    if chance.random() < 0.2 and (others := sorted(set(processes(daemon)) - {daemon.process.pid})):
        kill(chance.choice(others))
        time.sleep(chance.uniform(0, 0.5))
    how = chance.random()
    if how < 0.4:
        daemon.stop()
    elif how < 0.8:
        kill_all(daemon)
    else:
        kill_daemon(daemon)


def collect(database, rhythms, file):
    """What is on the disk of a daemon that has ended, and what its handlers have left in the file."""
    by_id = {one.id: one for one in rhythms}
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        for row in connection.execute("SELECT * FROM history ORDER BY id"):
            if row["reminder"] in by_id:
                by_id[row["reminder"]].entries.append(dict(row))
        for row in connection.execute("SELECT * FROM reminder"):
            if row["id"] in by_id:
                by_id[row["id"]].stored = dict(row)
    for effect in marks(file):
        if effect.reminder in by_id:
            by_id[effect.reminder].effects.append(effect)
