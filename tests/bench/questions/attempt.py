"""What does an attempt cost beyond its handler, for one reminder alone?

From the due instant until the outcome is on disk, less the few microseconds of a handler that does nothing.
"""

import time

from tests.bench import clients, processes
from tests.bench.notes import Notes, message_at
from tests.bench.outcomes import outcomes
from tests.bench.question import Question, Row, below
from tifftockd import clock

# Microseconds between two of them: each is alone, and everything has gone to sleep again
APART = 100_000


def _tifftockd(place):
    number = place.pick(100, 20)
    notes = Notes(place.folder / "notes")
    with place.daemon() as daemon:
        notes.give(daemon)
        start = clock.now() + clock.SECOND * 2
        dues = [start + each * APART for each in range(number)]
        for due in dues:
            daemon.remind(method="noop", when=message_at(due), message=str(due))
        before = processes.use(daemon.process.pid)
        with outcomes(daemon) as recorded:
            took = [_recorded(recorded, due) for due in dues]
        cpu, _ = processes.use(daemon.process.pid).since(before)
    return {"took": took, "cpu": cpu * 1000 / number}


def _recorded(recorded, due):
    """Milliseconds from the due instant until the next outcome is on disk."""
    before = recorded.count()
    time.sleep(max(0, due - clock.now() - 5_000) / clock.SECOND)
    return (recorded.wait(before + 1, clients.PATIENCE) - due) / 1000


QUESTION = Question(
    "What an attempt costs beyond its handler, one reminder alone",
    {"tifftockd": _tifftockd},
    (
        Row("from due to its outcome on disk, p50", "ms", ("took", 50), reach=below(3, "ms")),
        Row("from due to its outcome on disk, p99", "ms", ("took", 99)),
        Row("CPU of the whole service for each", "ms", "cpu"),
    ),
    runs=3,
)
