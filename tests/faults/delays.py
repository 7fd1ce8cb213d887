"""A daemon whose threads stand still now and then while clients use it, and which is reloaded and started anew."""

import random
import subprocess
import time
from collections import Counter
from dataclasses import dataclass

from tests.daemon import Daemon
from tests.faults import delayed
from tests.faults.clients import METHODS, Client
from tests.faults.contradictions import check
from tests.faults.history import History, Recorder
from tests.faults.kills import SETTINGS, drain, integrity, observed
from tests.faults.outside import MARK, Outside

_CLIENTS = 3
# What is due together: so many at the most.
_CROWD = 40
# So often in each life clients are busy, for twice so many seconds at the most, and then leave it alone.
_ROUNDS = 3
_BUSY = 0.5
# Methods that have little room.
_NARROW = """
class Narrow(Mark):
    method = "narrow"
    concurrency = 1

class NarrowOnce(Once):
    method = "narrow-once"
    concurrency = 2
"""
_METHODS = METHODS | {"narrow": 20, "narrow-once": 20}
_ONCE = frozenset({"once", "narrow-once"})
# No process dies here but at its end, and no handler leaves open what it has done: nothing may be in doubt.
_ENDS = ["transient", "permanent"]
_NEVER = {"interrupted", "uncertain"}
# Words of the log that tell of what must not be.
_FAULTS = (
    "Traceback", "executor-error", "scheduler-error", "server-fault", "store-fault", "store-request-failed",
    "request-failed", "worker-failed", "parent-died",
)  # fmt: skip


@dataclass
class Run:
    """What came of one daemon's lives."""

    history: History
    complaints: list[str]
    figures: Counter


def run_delays(folder, seed, lives):
    """So many lives, of some seconds each."""
    chance = random.Random(seed)
    daemon = delayed_daemon(folder, chance).prepare()
    daemon.dropin("mark.py", MARK + _NARROW)
    recorder = Recorder()
    complaints = []
    with Outside(folder) as outside:
        daemon.settings |= SETTINGS | outside.settings
        clients = [
            Client(f"client{n}", seed, daemon, outside, recorder, methods=_METHODS, ends=_ENDS, crowd=_CROWD)
            for n in range(_CLIENTS)
        ]

        def live():
            for number in range(1, lives + 1):
                daemon.start()
                for _ in range(_ROUNDS):
                    _disturb(daemon, clients, chance)
                    if not _settle(daemon, clients):
                        complaints.append("it has left something undone for a minute")
                if number < lives:
                    _disturb(daemon, clients, chance)
                    if code := daemon.stop():
                        complaints.append(f"it stopped with {code}")
                    recorder.down()

        history = observed(daemon, outside, clients, recorder, live)
    history.once = _ONCE
    complaints += map(str, check(history))
    complaints += [f"nothing has died: {entry}" for entry in history.entries if entry.outcome in _NEVER]
    complaints += [line for line in daemon.log_text().splitlines() if any(word in line for word in _FAULTS)]
    if (found := integrity(daemon.database)) != "ok":
        complaints.append(f"the database: {found}")
    return Run(history, complaints, _figures(history))


def delayed_daemon(folder, chance):
    """One whose threads stand still now and then, each time that it is started in another way."""
    return Daemon(folder, spawn=lambda command, **how: _delayed(chance, command, **how))


def _delayed(chance, command, **how):
    """Start the daemon by delayed.py, and without coverage, which would take its place."""
    at = command.index("-m")
    command = [*command[:at], delayed.__file__, str(chance.randrange(2**32)), *command[at + 2 :]]
    how["env"] = {name: value for name, value in how["env"].items() if not name.startswith("COVERAGE")}
    return subprocess.Popen(command, **how)


def _disturb(daemon, clients, chance):
    """Load the handlers again, changed or not, while some clients ask for much."""
    for client in chance.sample(clients, chance.randint(1, len(clients))):
        client.go_on()
    time.sleep(chance.uniform(0, _BUSY))
    if chance.random() < 0.5:
        # Another text each time, as only what has changed is loaded anew
        daemon.dropin("mark.py", f"{MARK}{_NARROW}\n# {chance.random()}\n")
    daemon.reload()
    time.sleep(chance.uniform(0, _BUSY))


def _settle(daemon, clients):
    """Leave it alone: nothing new wakes it for what it may have passed over."""
    for client in clients:
        client.pause()
    return drain(daemon)


def _figures(history):
    return Counter(
        requests=len(history.operations),
        attempts=sum(entry.started is not None for entry in history.entries),
        effects=len(history.effects),
        missed=history.count("missed"),
    )
