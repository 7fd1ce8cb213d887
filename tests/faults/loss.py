"""One recorded life, and the power lost in it at any moment: each state of the disk is opened and judged."""

import hashlib
import json
import multiprocessing
import random
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import check, life, power, preload, recording
from tests.faults.check import Found, Known, Violation
from tifftockd.errors import StoreError
from tifftockd.store import Store

# Of a chapter that is only there to fill the log, one call in so many
SPARSE = 40
# In turns, over the moments, the states of one, and the seeds
_HOW = (power.TORN, power.DROPPED, power.TORN, power.KEPT)


@dataclass
class Tally:
    states: set = field(default_factory=set)  # digests of the contents
    checked: int = 0
    kinds: Counter = field(default_factory=Counter)  # states that have such a violation
    examples: list = field(default_factory=list)

    def add(self, other):
        self.states |= other.states
        self.checked += other.checked
        self.kinds += other.kinds
        self.examples += other.examples


@dataclass(frozen=True)
class Recording:
    file: Path
    database: Path


# All calls on the files are to be recorded: not the chapters before which somebody else changes the database.
CHAPTERS = tuple(name for name in life.CHAPTERS if name not in ("be-old", "migrate"))


def record(folder, chapters=CHAPTERS, replacing=None):
    """Record these chapters. `replacing`: as life.replace has it."""
    file = folder / "record"
    daemon = life.make_daemon(folder / "life", effects=file)
    if replacing is not None:
        life.replace(daemon, *replacing)
    client = life.Client(daemon, record=str(file))
    for name in chapters:
        client.note(event="chapter", name=name)
        life.live(daemon, life.CHAPTERS[name], client, preload.Faults(daemon.database).record(file))
    return Recording(file, daemon.database)


def is_complete(recorded):
    """Whether the recorded calls, all carried out, give the files that are there: that none was missed."""
    model = power.Disk(recorded.database)
    for call in recording.read(recorded.file):
        if call.kind != "mark":
            model.apply(call)
    now = model.now()
    for suffix in ("", "-journal", "-wal"):
        file = recorded.database.with_name(recorded.database.name + suffix)
        if (file.read_bytes() if file.exists() else None) != now.get(str(file)):
            return False
    return True


def lose(recorded, states, workers, seed=1):
    """Judge about so many states, evenly over all moments."""
    context = multiprocessing.get_context("spawn")
    total = Tally()
    with preload.workshop() as folder, ProcessPoolExecutor(workers, context) as pool:
        parts = [
            pool.submit(_part, recorded, states, seed, Path(folder, str(number)), number, workers)
            for number in range(workers)
        ]
        for part in parts:
            total.add(part.result())
    return total


def _part(recorded, states, seed, folder, number, workers):
    """One worker's share: it follows the whole recording, and looks at its own moments."""
    folder.mkdir()
    calls = recording.read(recorded.file)
    plan = _plan(calls, states)
    model = power.Disk(recorded.database)
    events = []
    tally = Tally()
    for index, call in enumerate(calls):
        if call.kind == "mark":
            events.append(json.loads(call.data))
        else:
            model.apply(call)
        if index % workers == number:
            for sample in range(plan[index]):
                chance = random.Random(f"{seed} {index} {sample}")
                how = _HOW[(index + sample + seed) % len(_HOW)]
                _judge(model.after_loss(how, chance), events, folder, f"{index} {how} {sample}", tally)
    return tally


def _plan(calls, states):
    """How many states to look at after each call or mark."""
    moments = []
    dense = True
    for index, call in enumerate(calls):
        if call.kind == "mark" and (event := json.loads(call.data))["event"] == "chapter":
            dense = life.CHAPTERS[event["name"]].counts
        if dense or index % SPARSE == 0:
            moments.append(index)
    return Counter(moments[number * len(moments) // states] for number in range(states))


def _judge(found, events, folder, name, tally):
    digest = hashlib.blake2b(digest_size=8)
    for file, content in found.items():
        if not file.endswith("-shm"):
            digest.update(f"{file} {len(content)} ".encode())
            digest.update(content)
    tally.states.add(digest.digest())
    tally.checked += 1
    power.lay_out(found, folder)
    database = folder / "tifftock.db"
    violations = _open(database) or check.as_found(Known.of(events), Found.read(database))
    tally.kinds.update({violation.kind for violation in violations})
    if violations and len(tally.examples) < 5:
        tally.examples.append(f"{name}: {violations[0].kind}: {violations[0].text}")


def _open(database):
    """As the daemon does it at its start."""
    store = Store(f"sqlite:///{database}", database)
    try:
        store.open()
    except StoreError as error:
        return [Violation(check.CORRUPT, error.message)]
    finally:
        store.close()
    return []
