"""One crash: the daemon is killed at one call of its life, started again, and held to what it had promised."""

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.daemon import wait_until
from tests.faults import check, life, preload, recording
from tests.faults.check import Found, Known, Violation
from tests.faults.processes import waited

# Seconds within which a daemon is ready again
READY = 2.0
TRIES = 3


@dataclass(frozen=True)
class Point:
    chapter: str
    mode: str  # of preload.MODES
    at: int  # the number of the call

    def __str__(self):
        return f"{self.chapter} {self.mode} {self.at}"


@dataclass(frozen=True)
class Result:
    point: Point
    hit: bool  # False: that run made fewer calls, and ended by itself
    ready: float  # seconds from the start after the crash until it listened, see _ready
    repeats: int  # effects that came again, with the history's explanation
    violations: list[Violation]


class Stage:
    """The state from which each chapter starts, and the calls that it makes: from one run of all of them."""

    def __init__(self, folder, chapters=tuple(life.CHAPTERS), replacing=None, spawn=subprocess.Popen):
        """`replacing`: as life.replace has it; `spawn`: as Daemon has it."""
        self._folder = folder
        self._spawn = spawn
        self._events = {}
        self.points = []
        running = life.make_daemon(folder / "run", spawn=spawn)
        if replacing is not None:
            life.replace(running, *replacing)
        client = life.Client(running)
        for name in chapters:
            chapter = life.CHAPTERS[name]
            shutil.copytree(running.folder, folder / name, ignore=_sockets)
            self._events[name] = list(client.events)
            if chapter.counts:
                record = folder / f"{name}.record"
                life.live(running, chapter, client, preload.Faults(running.database).record(record))
                self.points += _points(name, recording.read(record))
            else:
                life.live(running, chapter, client)
        shutil.rmtree(running.folder)

    def enter(self, name, folder):
        """A daemon in a copy of the state at the chapter's beginning, and the client that knows it."""
        shutil.copytree(self._folder / name, folder)
        daemon = life.make_daemon(folder, spawn=self._spawn)
        return daemon, life.Client(daemon, list(self._events[name]))


def _sockets(folder, names):
    return [name for name in names if Path(folder, name).is_socket()]


def _points(chapter, calls):
    """Before and after each call, and in the middle of each write that has one."""
    return [
        Point(chapter, mode, call.number)
        for call in calls
        for mode in preload.MODES
        if mode != preload.TORN or len(call.data) > 1
    ]


def spread(points, count):
    """So many of them, evenly."""
    return [points[number * len(points) // count] for number in range(min(count, len(points)))]


def crash(stage, point, folder):
    """Kill at the point, start again, judge. The folder is removed unless there is something to look at."""
    daemon, client = stage.enter(point.chapter, folder)
    try:
        hit, violations = _die(daemon, client, point)
        ready, repeats, more = _recover(daemon, client)
    finally:
        _end(daemon)
    if not (violations or more):
        shutil.rmtree(folder)
    return Result(point, hit, ready, repeats, violations + more)


def _die(daemon, client, point):
    """Whether the point was reached, and what went wrong on the way to it."""
    faults = preload.Faults(daemon.database).kill(point.mode, point.at)
    try:
        life.live(daemon, life.CHAPTERS[point.chapter], client, faults)
    except life.Died:
        return True, []
    except AssertionError as error:
        return False, [Violation(check.WRONG, f"before the crash: {error}")]
    return False, []


def _recover(daemon, client):
    """Start again; seconds until it was ready, effects that came again, and what is not as it was promised."""
    try:
        ready, slow = _start(daemon)
        wait_until(lambda: _is_settled(daemon), "the end of what was due")
        # It goes on as if nothing had been, and gives no id a second time.
        ids = {event["answer"]["id"] for event in client.events if event["event"] == "answered" and event["answer"]}
        made = client.create(life.DELIVERED)
        if made["id"] in ids:  # also of one that has ended: SQLite keeps the highest, in the transaction of its create
            return ready, 0, [Violation(check.LOST, f"what had the id {made['id']}, which was given again")]
        client.saw(made)
        client.repeat()
    except (life.Died, AssertionError) as error:
        return 0.0, 0, [Violation(check.WRONG, f"after the crash: {error!r} {daemon.log_text()[-500:]}")]
    violations = [Violation(check.SLOW, f"it was ready after {ready:.1f} s")] if slow else []
    known = Known.of(client.events + check.events_in(daemon.folder / "effects"))
    found = Found.read(daemon.database)
    return ready, check.repeats(known, found), violations + check.settled(known, found)


def _start(daemon):
    """Seconds until it was ready; and whether that is too long, though a start from nothing is not."""
    before, again = (daemon.folder.with_name(f"{daemon.folder.name}-{name}") for name in ("before", "again"))
    shutil.copytree(daemon.folder, before, ignore=_sockets)
    ready = _ready(daemon)
    control = 0.0
    tries = 1
    while ready > max(READY, 2 * control) and tries < TRIES:
        # The daemon, or a machine that is busy? From the same state once more, and from none.
        ready = min(ready, _start_apart(daemon.spawn, again, before))
        control = max(control, _start_apart(daemon.spawn, again))
        tries += 1
    shutil.rmtree(before)
    return ready, ready > max(READY, 2 * control)


def _start_apart(spawn, folder, state=None):
    if state is not None:
        shutil.copytree(state, folder)
    daemon = life.make_daemon(folder, spawn=spawn)
    try:
        return _ready(daemon)
    finally:
        _end(daemon)
        shutil.rmtree(folder)


def _ready(daemon):
    """Seconds from its execution until it listens, but for those in which others had the CPU.

    One that was forked from what has been imported has been spared the time for that: it counts all the same.
    """
    return life.start(daemon) - waited(daemon.process.pid) + getattr(daemon.process, "head_start", 0)


def _is_settled(daemon):
    # What waits in a life waits for a month.
    return not daemon.get(f"/reminders?due_before=@{int(time.time()) + 3600}")


def _end(daemon):
    """It has nothing more to write, or nothing that matters."""
    if daemon.process is not None and daemon.process.poll() is None:
        daemon.kill()
