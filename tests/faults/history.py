"""What is seen of a daemon from outside: every request with its answer, every effect, and what is there in the end.

In the manner of Jepsen: nothing is known but what clients were answered and what the outside world noticed. Each
create and each PATCH writes a message of its own, so that whatever shows a message says which of them it comes from.
All instants are whole microseconds of the one wall clock that daemon, clients and receivers share.
"""

import dataclasses
import json
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# How far the wall clock and the monotonic one may part, in microseconds, before nothing can be said of "early".
_SLEWED = 20_000


class Kind(StrEnum):
    CREATE = "create"
    PATCH = "patch"
    CANCEL = "cancel"
    READ = "read"
    HISTORY = "history"


@dataclass(frozen=True)
class Shown:
    """A reminder, as the API shows it."""

    id: int
    message: str
    method: str
    due: int
    state: str
    attempts: int
    key: str


@dataclass(frozen=True)
class Entry:
    """A line of history, as the API shows it."""

    id: int
    reminder: int
    attempt: int
    key: str
    method: str
    message: str
    due: int
    started: int | None
    finished: int
    outcome: str


@dataclass(frozen=True)
class Operation:
    """One request and its answer; without a status the connection broke, and nobody knows what was done."""

    kind: Kind
    sent: int
    answered: int | None = None
    status: int | None = None
    reminder: int | None = None  # the one that was asked about; a create's is in its answer
    message: str | None = None  # what it writes
    due: int | None = None  # what it asks for; None: nothing was said
    max_late: int | None = None
    shown: Shown | None = None  # the reminder in its answer
    entries: tuple[Entry, ...] = ()  # in its answer

    @property
    def done(self):
        """It was certainly done."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def possible(self):
        """It was done, or nobody knows: a 5xx may come from a commit of which the disk said nothing."""
        return self.status is None or self.status >= 500 or self.done


@dataclass(frozen=True)
class Effect:
    """What the outside world noticed. A drop-in's own mark names reminder and attempt, a receiver knows the key."""

    at: int
    key: str
    message: str
    reminder: int | None = None
    attempt: int | None = None
    delay: int = 0  # how much later than it happened it may have been noticed, in microseconds


@dataclass
class History:
    """All of it. `entries`, oldest first, and `stored` are what the API shows in the end, at `collected`."""

    operations: list[Operation] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    downs: list[int] = field(default_factory=list)  # no process of the daemon lives at these instants
    entries: list[Entry] = field(default_factory=list)
    stored: list[Shown] = field(default_factory=list)
    collected: int = 0
    once: frozenset[str] = frozenset({"once"})  # the methods that must not be repeated

    def save(self, file):
        """As JSON, for a person to look at."""
        content = dataclasses.asdict(self) | {"once": sorted(self.once)}
        file.write_text("".join(f"{json.dumps({name: one})}\n" for name in content for one in _each(content[name])))

    def count(self, outcome):
        """How many entries have that outcome."""
        return sum(entry.outcome == outcome for entry in self.entries)


def _each(value):
    return value if isinstance(value, list) else [value]


class Recorder:
    """Gathers operations from many threads."""

    def __init__(self):
        self._lock = threading.Condition()
        self._history = History()
        self._offset = _offset()

    def add(self, operation):
        with self._lock:
            self._history.operations.append(operation)
            self._lock.notify_all()

    def next_promise(self, patience):
        """Return at the very moment when a client has been promised something, or after so many seconds."""
        with self._lock:
            seen = len(self._history.operations)
            self._lock.wait_for(lambda: any(_promises(one) for one in self._history.operations[seen:]), patience)

    def down(self):
        """Now no process of the daemon lives: what has not been answered will not be done any more."""
        with self._lock:
            self._history.downs.append(now())

    def recent(self, count):
        """Reminders that were created or changed lately, as they were shown; a cancelled one may be among them."""
        with self._lock:
            return [one.shown for one in self._history.operations[-count:] if one.shown is not None]

    def history(self):
        if abs(_offset() - self._offset) > _SLEWED:
            raise RuntimeError("the machine's clock was set meanwhile: what was early cannot be told, run it again")
        return self._history


def _promises(operation):
    return operation.done and operation.kind in (Kind.CREATE, Kind.PATCH, Kind.CANCEL)


def now():
    return time.time_ns() // 1000


def _offset():
    return now() - time.monotonic_ns() // 1000


def instant(text):
    """The microseconds of an RFC 3339 time, exactly."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def shown(answer):
    """A reminder of the API's JSON."""
    return Shown(
        answer["id"], answer["message"], answer["method"], instant(answer["when"]), answer["state"],
        answer["attempts"], answer["key"],
    )  # fmt: skip


def entry(answer):
    """An entry of the API's JSON."""
    started = answer["started"]
    return Entry(
        answer["id"], answer["reminder"], answer["attempt"], answer["key"], answer["method"], answer["message"],
        instant(answer["due"]), None if started is None else instant(started), instant(answer["finished"]),
        answer["outcome"],
    )  # fmt: skip
