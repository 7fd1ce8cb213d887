"""A life of the daemon in chapters, driven through its API: everything that changes the database happens in it.

Each step waits for the end of what it began, so that the calls that reach the disk are the same in every run. The
client notes what it asked, what was answered, and what it saw: that is what the daemon has to stand by, whatever
happens to it meanwhile. What the handlers do to the outside world is noted by themselves, in the same form.
"""

import itertools
import json
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import tifftockd
from tests.age import TO_SCHEMA_1
from tests.daemon import PATIENCE, Daemon, wait_until
from tests.faults import recording
from tifftockd.store.connection import FULL

EFFECT = '''
import json, os, time
from tifftockd import PermanentError, RemindProcess, TransientError

class Effect(RemindProcess):
    """Has its effect, which nothing can take back, then ends as `options` say."""
    method = "effect"

    def remind(self, message):
        effect = {"event": "effect", "key": self.key, "attempt": self.attempt, "id": self.id, "at": time.time()}
        text = json.dumps(effect).encode()
        with open(os.environ["EFFECTS"], "ab", buffering=0) as file:
            file.write(b"mark 0 0 0 %d -\\n%s\\n" % (len(text), text))
        if self.attempt <= self.options.get("transient", 0):
            raise TransientError("not yet")
        if self.options.get("permanent"):
            raise PermanentError("never")

class Once(Effect):
    method = "once"
    repeatable = False
'''

# How an arming may end. `waits`: it is due in a month or later, and stays pending.
WAITS, DELIVERED, FAILED = ("waits",), ("delivered",), ("failed",)
ONCE = ("delivered", "uncertain")

# Of what repeats: its present occurrence fires, and the next one waits.
COUNT = 5

# In chapters that clean: entries of history, and final reminders, that are kept.
KEPT = 4
# Bytes of a frame in the write-ahead log: its header and the page.
FRAME = 24 + 4096
# What takes pages of its own, so that there are some to give back when it is dropped.
LONG = "long " * 1_800


class Died(Exception):
    """The daemon was killed, as it was meant to be."""


@dataclass
class Client:
    daemon: Daemon
    events: list = field(default_factory=list)
    record: str | None = None  # of io.c, for marks

    def note(self, **event):
        self.events.append(event)
        if self.record is not None:
            recording.mark(self.record, json.dumps(event))

    def create(self, ends, **fields):
        now = {} if "repeat" in fields else {"in": 0}
        return self._ask("POST", "/remind", 201, ends, now | {"message": "-", "method": "effect"} | fields)

    def change(self, reminder, ends, **fields):
        return self._ask("PATCH", f"/reminder/{reminder['id']}", 200, ends, fields, reminder["id"])

    def snooze(self, reminder, ends, **fields):
        return self._ask("POST", f"/reminder/{reminder['id']}/snooze", 200, ends, fields, reminder["id"])

    def cancel(self, reminder):
        self._ask("DELETE", f"/reminder/{reminder['id']}", 204, ("cancelled",), None, reminder["id"])

    def create_once(self, ends, body):
        """With an Idempotency-Key: one reminder, or an array of them, which no repetition doubles."""
        self.note(event="once", key=f"key-{len(self.events)}", ends=ends, body=body)
        self._once(self.events[-1])

    def repeat(self):
        """Send again what was sent with a key, as a client does whose answer was lost."""
        for event in once_in(self.events):
            self._once(event)

    def _once(self, event):
        path = "/reminders" if isinstance(event["body"], list) else "/remind"
        answer = self._request("POST", path, 201, event["body"], {"Idempotency-Key": event["key"]})
        for made in answer if isinstance(answer, list) else [answer]:
            number = time.monotonic_ns()
            self.note(event="asked", number=number, id=None, ends=event["ends"], body=event["body"])
            self.note(event="answered", number=number, answer=made, at=time.time())

    def saw(self, reminder, count=1):
        """Wait until this arming has so many entries of history, and note them."""

        def look():
            entries = self._request("GET", f"/history?reminder={reminder['id']}", 200)
            mine = [entry for entry in entries if entry["key"] == reminder["key"]]
            return mine[::-1] if len(mine) >= count else None

        for entry in wait_until(look, "the outcome"):
            self.note(event="saw", id=entry["id"], key=entry["key"], attempt=entry["attempt"], outcome=entry["outcome"])

    def _ask(self, method, path, status, ends, body, id_=None):
        """Ask for a change; `id_`: of which reminder, where that is known."""
        # Not by a count: several threads may ask at once.
        number = time.monotonic_ns()
        self.note(event="asked", number=number, id=id_, ends=ends, body=body)
        answer = self._request(method, path, status, body)
        self.note(event="answered", number=number, answer=answer, at=time.time())
        return answer

    def _request(self, method, path, status, body=None, headers=None):
        try:
            answer = self.daemon.request(method, path, body, headers)
        except (OSError, HTTPException):
            _ended(self.daemon)
        assert answer.status == status, (method, path, body, answer)
        return answer.json if answer.text else None


def once_in(events):
    """What was sent with a key that is still known."""
    since = max((number for number, event in enumerate(events) if event["event"] == "forgot-keys"), default=-1)
    return [event for event in events[since + 1 :] if event["event"] == "once"]


# ---- the chapters


def birth(client):
    """From nothing: the schema, and everything that becomes of reminders."""
    waiting = client.create(WAITS, **{"in": "30d"})
    client.saw(client.create(DELIVERED))
    client.saw(client.create(DELIVERED, options={"transient": 1}), 2)
    failing = client.create(FAILED, options={"permanent": True})
    client.saw(failing)
    client.change(waiting, WAITS, **{"in": "2h", "message": "snoozed"})
    client.saw(client.change(failing, DELIVERED, options={}))
    client.saw(client.create(ONCE, method="once"))
    client.cancel(client.create(WAITS, **{"in": "30d"}))
    client.saw(client.create(DELIVERED, **{"in": 0.2}))
    yearly = client.create(WAITS, repeat="yearly", tz="UTC", count=COUNT)
    client.saw(client.snooze(yearly, WAITS, **{"in": 0}))
    later = {"in": "30d", "method": "effect"}
    client.create_once(WAITS, later | {"message": "once"})
    client.create_once(WAITS, [later | {"message": f"together {number}"} for number in range(3)])


def grow_old(client):
    """What the next chapter finds: an overdue one, and more history and final reminders than it is to keep."""
    client.create(DELIVERED, **{"in": 1})
    for _ in range(KEPT + 2):
        client.saw(client.create(FAILED, message=LONG, options={"permanent": True}))


def come_back(client):
    """What became overdue fires; history and final reminders beyond their number go, and so do their pages."""
    client.saw(client.create(DELIVERED, options={"transient": 1}), 2)
    waiting = client.create(WAITS, **{"in": "30d"})
    client.change(waiting, WAITS, message="changed")
    client.cancel(waiting)


def fill(client):
    """Commits until the write-ahead log is all but full."""
    log = client.daemon.database.with_name("tifftock.db-wal")
    filling = client.create(WAITS, **{"in": "30d"})
    # Other letters each time: SQLite does not write a page again that stays as it was.
    for letter in itertools.cycle("ab"):
        if log.stat().st_size > (FULL - 30) * FRAME:
            return
        filling = client.change(filling, WAITS, message=letter * 30_000)


def full_log(client):
    """After a crash: the log is read back, soon full, copied into the database, and written from its beginning."""
    client.saw(client.create(DELIVERED))
    client.change(client.create(WAITS, **{"in": "30d"}), WAITS, message="changed")
    together = [threading.Thread(target=_create_quietly, args=(client,)) for _ in range(3)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()


def _create_quietly(client):
    # That it died is found out by the thread that looks after the chapter.
    with suppress(Died):
        client.create(WAITS, **{"in": "30d"})


def be_old(client):
    """What the next chapter finds: a database as the first release wrote it, with an overdue reminder and others."""
    client.create(DELIVERED, **{"in": 1})
    client.create(WAITS, **{"in": "30d"})
    client.daemon.kill()
    with closing(sqlite3.connect(client.daemon.database, isolation_level=None)) as database:
        database.executescript(TO_SCHEMA_1)
    client.note(event="forgot-keys")


def migrate(client):
    """The database becomes this release's, and what was in it goes on."""
    client.saw(client.create(DELIVERED))
    client.create_once(WAITS, {"in": "30d", "method": "effect", "message": "after the migration"})


@dataclass(frozen=True)
class Chapter:
    script: Callable
    settings: dict = field(default_factory=dict)
    killed: bool = False  # at its end; otherwise SIGTERM
    counts: bool = True  # whether its calls are points to crash at


CHAPTERS = {
    "birth": Chapter(birth),
    "grow-old": Chapter(grow_old, killed=True, counts=False),
    "come-back": Chapter(come_back, {"HISTORY_MAX": str(KEPT)}),
    "fill": Chapter(fill, killed=True, counts=False),
    "full-log": Chapter(full_log),
    "be-old": Chapter(be_old, killed=True, counts=False),
    "migrate": Chapter(migrate),
}


def make_daemon(folder, effects=None, spawn=subprocess.Popen):
    """A daemon in its folder, with the drop-in. `effects`: where that notes what it does. `spawn`: as Daemon has it."""
    settings = {"RETRY_DELAY": "1ms", "EFFECTS": str(effects or folder / "effects")}
    daemon = Daemon(folder, settings, spawn=spawn).prepare()
    daemon.dropin("effect.py", EFFECT)
    return daemon


def replace(daemon, module, text, other):
    """Let it be another daemon, one that breaks its promises: proofs have to notice it."""
    package = daemon.folder / "tifftockd"  # `python -m` looks in the working directory first
    shutil.copytree(Path(tifftockd.__file__).parent, package)
    file = package / module
    source = file.read_text()
    assert source.count(text) == 1, f"{module} does not say {text!r} once"
    file.write_text(source.replace(text, other))


def live(daemon, chapter, client, faults=None):
    """One chapter, from the daemon's start to its end. Died: it was killed by `faults`, the preload's settings."""
    settings = daemon.settings
    daemon.settings = settings | chapter.settings | (faults or {})
    if "HISTORY_MAX" in chapter.settings:
        client.note(event="cleaning", most=int(chapter.settings["HISTORY_MAX"]))
    try:
        start(daemon)
        chapter.script(client)
        if chapter.killed:
            daemon.kill()
        else:
            daemon.process.terminate()
            _ended(daemon, 0)
    finally:
        daemon.settings = settings
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()


def start(daemon):
    """Seconds from the start of the process until it listens; Died, if it was killed before."""
    before = daemon.log_text().count(" listening ")
    began = time.monotonic()
    daemon.start(wait=False)
    while daemon.log_text().count(" listening ") == before:
        if daemon.process.poll() is not None:
            _ended(daemon)
        assert time.monotonic() < began + PATIENCE, daemon.log_text()
        time.sleep(0.005)
    return time.monotonic() - began


def _ended(daemon, status=None):
    """Died, if the process was killed. AssertionError if it ends with another status than that which is due, or not."""
    try:
        found = daemon.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"the daemon answers no more, and lives: {daemon.log_text()}") from None
    if found == -signal.SIGKILL:
        raise Died
    assert found == status, daemon.log_text()
