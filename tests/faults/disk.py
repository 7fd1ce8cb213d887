"""A daemon that is used while its disk refuses, and afterwards: what a client may expect of it, step by step.

The database that it starts with is close to a checkpoint, and has more history than may be kept: in the first seconds
it is cleaned, gives pages back, copies its log into the database and cuts the file.
"""

import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.daemon import Daemon, wait_until
from tests.faults import preload, recording
from tests.faults.life import FRAME
from tests.faults.outside import marks
from tests.faults.processes import kill_all
from tests.faults.using import MONTH, Use
from tifftockd.store.connection import FULL

# What the prepared history is cut to.
_KEPT = 60
SETTINGS = {"RETRY_DELAY": "60ms", "HISTORY_MAX": str(_KEPT)}


# ---- the database that it starts with


@dataclass(frozen=True)
class Prepared:
    folder: Path
    waiting: frozenset[int]  # its reminders, all due later than any test


def prepare(folder):
    """Make that database, as a SIGKILL leaves it."""
    daemon = Daemon(folder).prepare()
    waiting = set()
    daemon.start()
    try:
        while _frames(daemon) < FULL * 0.6:
            for _ in range(10):
                daemon.remind(message="x" * 1500)
            wait_until(lambda: not daemon.get("/reminders"), "the deliveries")
        while _frames(daemon) < FULL - 60:
            waiting.add(daemon.remind(**{"in": MONTH})["id"])
    finally:
        kill_all(daemon)
    assert _frames(daemon) < FULL
    return Prepared(folder, frozenset(waiting))


def empty(folder):
    """No database: it is to be made."""
    Daemon(folder).prepare().database.parent.mkdir()
    return Prepared(folder, frozenset())


def begin(folder, prepared, place=None, spawn=subprocess.Popen):
    """A daemon in that folder, and its one client. `place`: of the database's folder, as this process sees it.

    `spawn`: as Daemon has it.
    """
    daemon = Daemon(folder, dict(SETTINGS), spawn=spawn).prepare()
    place = place or daemon.database.parent
    shutil.copytree(Daemon(prepared.folder).database.parent, place, dirs_exist_ok=True)
    return Use(daemon, prepared.waiting, place / daemon.database.name)


def _frames(daemon):
    return Path(f"{daemon.database}-wal").stat().st_size // FRAME


# ---- one fault


# One call fails; or all do from then on, until that is over; or until the daemon is killed in the midst of it.
MANNERS = ONCE, LASTING, CRASH = ("once", "lasting", "crash")


@dataclass(frozen=True)
class Point:
    """The call that fails, or is the first to, and with which error."""

    number: int
    error: int
    manner: str = ONCE


@dataclass(frozen=True)
class Outcome:
    failed: Counter  # the calls that were made to fail, by their kind and file
    complaints: list[str]
    recovery: float  # seconds


def suffer(folder, prepared, point, spawn=subprocess.Popen):
    """Start, use, bear, recover: what came of it. `spawn`: as Daemon has it."""
    use = begin(folder, prepared, spawn=spawn)
    plain = dict(use.daemon.settings)
    calls, control = folder / "calls", folder / "fault"
    control.touch()
    faults = preload.Faults(use.daemon.database)
    if point.manner == ONCE:
        use.daemon.settings |= faults.fail(point.error, point.number, calls)
    else:
        use.daemon.settings |= faults.fail_from(point.error, point.number, control, calls)

    def suffering():
        started = use.start()
        if started:
            use.work()
            if point.manner != ONCE and _failed(calls):
                use.bear(lambda: _failed(calls).total())
        if started and point.manner == CRASH:
            use.crash()
        control.unlink()
        if not started or point.manner == CRASH:
            use.daemon.settings = plain
            use.start()
        return use.recover(lambda: _failed(calls).total())

    return _judged(use, calls, suffering)


def suffer_at_the_end(folder, prepared, error):
    """Every call fails from the moment when it is told to stop, with an attempt under way; then it starts again."""
    use = begin(folder, prepared)
    plain = dict(use.daemon.settings)
    calls, control = folder / "calls", folder / "fault"
    use.daemon.settings |= preload.Faults(use.daemon.database).fail_from(error, 1, control, calls)

    def suffering():
        assert use.start()
        use.create(0, after=0.5)
        wait_until(lambda: marks(folder / "marks"), "the attempt")
        control.touch()
        use.stop()
        use.daemon.settings = plain
        use.start()
        return use.recover()

    return _judged(use, calls, suffering)


def _judged(use, calls, suffering):
    recovery = 0.0
    try:
        recovery = suffering()
        use.end()
    except (AssertionError, OSError) as error:
        use.complain(f"{error!r}; its log ends with {use.daemon.log_text()[-500:]!r}")
    finally:
        kill_all(use.daemon)
    return Outcome(_failed(calls), use.complaints, recovery)


def explore(folder, prepared, spawn=subprocess.Popen):
    """The calls of a life without a fault, in order: what `suffer` can make fail, and those of the stop.

    A second bout of the same work, which `suffer` does to see that all is well, is left out. `spawn`: as Daemon has it.
    """
    use = begin(folder, prepared, spawn=spawn)
    record = folder / "calls"
    use.daemon.settings |= preload.Faults(use.daemon.database).record(record)
    try:
        assert use.start()
        use.work()
        recording.mark(record, "again")
        use.recover()
        recording.mark(record, "end")
        use.end()
    finally:
        kill_all(use.daemon)
    assert not use.complaints, use.complaints
    calls = recording.read(record)
    again, end = (at for at, call in enumerate(calls) if call.kind == "mark")
    return calls[:again], calls[end + 1 :]


def kind_of(call):
    """`write -wal`, `sync tifftock.db`: what the call does, and to which of the files."""
    name = Path(call.path).name
    return f"{call.kind} {name.removeprefix('tifftock.db') or name}"


def _failed(record):
    return Counter(f"{call.data.decode()} {kind_of(call).partition(' ')[2]}"
                   for call in _calls(record) if call.kind == "failed")  # fmt: skip


def _calls(record):
    """What has been recorded so far. The daemon may be about to append: then the last one is not whole yet."""

    def read():
        try:
            return [recording.read(record)]
        except (AssertionError, ValueError):
            return None

    return wait_until(read, "a whole record")[0] if record.exists() else []
