"""How late does a handler begin, and never too early? From the due instant to the first line of `remind` in the worker.

Beside it, how late the kernel's own timer rings.
"""

import json
import random
import select
import time

from tests.bench import clients
from tests.bench.table import Row, percentile
from tests.daemon import running, wait_until
from tifftockd import clock

# Writes down what it was due for and when it began; the message is the due instant.
HANDLER = """
import os, time
from tifftockd import RemindProcess

NOTES = os.open({notes!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

class Noop(RemindProcess):
    def remind(self, message):
        now = time.time_ns() // 1000
        os.write(NOTES, f"{{message}} {{now}}\\n".encode())
"""

# Microseconds in which the reminders are stored before the first is due
LEAD = 2 * clock.SECOND


def ask(folder, quick):
    count, spread, others = (20, 1, 1_000) if quick else (100, 10, 10_000)
    notes = folder / "notes"
    with running(folder / "daemon") as daemon:
        daemon.dropin("noop.py", HANDLER.format(notes=str(notes)))
        daemon.reload()
        waiting = clients.post("/remind", json.dumps({"in": "1d", "message": "later", "method": "noop"}))
        clients.run(daemon.socket_path, waiting, clients=10, most=others // 10)
        # The first attempt starts a worker, which is then warm.
        daemon.outcome(daemon.remind(method="noop", message="0"))
        dues = _instants(clock.now() + LEAD, count, spread)
        for due in dues:
            daemon.remind(method="noop", when=f"@{due // clock.SECOND}.{due % clock.SECOND:06}", message=str(due))
        # Asleep till then: whoever looks meanwhile makes them late.
        time.sleep((dues[-1] - clock.now()) / clock.SECOND)
        wait_until(lambda: len(_lateness(notes)) >= count, "the last attempt")
        ours = _lateness(notes)
        bare = _rung(_instants(clock.now(), count, spread))
    return [
        Row(f"lateness beside {others:,} others, p50 / p99 / max ms", _figures(ours), _figures(bare), "timerfd"),
        Row(f"  begun early, of {count}", (_early(ours),), (_early(bare),), "timerfd"),
    ]


def _instants(start, count, spread):
    """Instants over so many seconds, at no rhythm that something else could keep to; the same in each run."""
    chance = random.Random(1)
    return sorted(start + chance.randrange(spread * clock.SECOND) for _ in range(count))


def _lateness(notes):
    """Microseconds from due to begun, the warming-up left out."""
    pairs = [line.split() for line in notes.read_text().splitlines()]
    return [int(began) - int(due) for due, began in pairs if due != "0"]


def _rung(dues):
    alarm = clock.Alarm()
    poll = select.poll()
    poll.register(alarm.fileno(), select.POLLIN)
    late = []
    for due in dues:
        alarm.set(due)
        poll.poll(clients.PATIENCE * 1000)
        late.append(clock.now() - due)
    alarm.close()
    return late


def _figures(late):
    return tuple(value / 1000 for value in (percentile(late, 50), percentile(late, 99), max(late)))


def _early(late):
    return sum(value < 0 for value in late)
