"""How soon after SIGKILL does the first of 10,000 overdue reminders fire, and how do the rest follow?

Meanwhile a client goes on asking, and one reminder after another comes to its time.
"""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import clients
from tests.bench.figures import percentile
from tests.daemon import Daemon, end, folder_on_disk, wait_until

# The setting's default: overdue reminders begun a second
RATE = 100
BEGUN = """
import os, time
from tifftockd import RemindProcess

NOTES = os.open({notes!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

class Begun(RemindProcess):
    def remind(self, message):
        os.write(NOTES, f"{{self.id}} {{message}} {{time.monotonic()}}\\n".encode())
"""
OVERDUE, FRESH = "overdue", "fresh"
# Seconds from exec to the first
PROMISED = 2.0


def add_arguments(parser):
    parser.add_argument("--count", type=int, default=10_000, metavar="N", help="so many reminders (default: 10,000)")


def run(arguments):
    """Print the figures, and return the exit code: 1 if the first came too late."""
    with folder_on_disk() as folder:
        return _run(Path(folder), arguments.count)


def _run(folder, count):
    notes = folder / "notes"
    daemon = Daemon(folder / "daemon", {"CATCH_UP_RATE": str(RATE)}).prepare()
    daemon.dropin("begun.py", BEGUN.format(notes=str(notes)))
    try:
        daemon.start()
        due = time.time() + 5 + count / 200
        body = json.dumps({"when": f"@{due:.0f}", "message": OVERDUE, "method": "begun"})
        clients.run(daemon.socket_path, clients.post("/remind", body), clients=10, most=count // 10)
        daemon.kill()
        assert time.time() < due, "the machine was too slow to store them before they were due"
        time.sleep(due + 1 - time.time())
        began = time.monotonic()
        daemon.start()
        ready = time.monotonic() - began
        answers, fresh = _ask_until_all_have_begun(daemon, notes, count)
        begun = _begun(notes, OVERDUE)
        _print(daemon, begun, began, ready, answers)
        wait_until(lambda: len(_begun(notes, FRESH)) == len(fresh), "the end of those that came meanwhile")
        late = sorted(daemon.outcome(one)["late_ms"] for one in fresh[-100:])
        print(f"  what came to its time meanwhile: {late[len(late) // 2]:.1f} ms late (median), {late[-1]:.1f} at most")
        return 0 if min(begun) - began < PROMISED else 1
    finally:
        end(daemon)


def _ask_until_all_have_begun(daemon, notes, count):
    """Seconds that each answer took, and the reminders that were made for that moment."""
    answers, fresh = [], []
    deadline = time.monotonic() + 2 * count / RATE + 30
    while len(_begun(notes, OVERDUE)) < count:
        assert time.monotonic() < deadline, f"only {len(_begun(notes, OVERDUE))} of {count} have begun"
        for ask in (
            lambda: daemon.get("/health"),
            lambda: fresh.append(daemon.remind(method="begun", message=FRESH)),
            lambda: daemon.get("/reminders?limit=100"),
        ):
            asked = time.monotonic()
            ask()
            answers.append(time.monotonic() - asked)
        time.sleep(0.2)
    return answers, fresh


def _begun(notes, kind):
    """When, by time.monotonic(), and in the order in which they were noted."""
    lines = Path(notes).read_text().splitlines() if Path(notes).exists() else []
    return [float(at) for _, what, at in map(str.split, lines) if what == kind]


def _print(daemon, begun, began, ready, answers):
    span = begun[-1] - begun[0]
    seconds = [sum(begun[0] + n <= at < begun[0] + n + 1 for at in begun) for n in range(int(span))]
    print(f"{datetime.now(UTC):%Y-%m-%d}: {len(begun):,} overdue after SIGKILL, CATCH_UP_RATE={RATE}", end="; ")
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    print(f"  ready {ready:.2f} s after exec, the first began after {min(begun) - began:.2f} s")
    print(f"  the rest within {span:.1f} s: {(len(begun) - 1) / span:.1f} a second;", end=" ")
    print(f"in each second {min(seconds)} to {max(seconds)}" if seconds else "")
    milliseconds = [1000 * answer for answer in answers]
    print(
        f"  {len(answers)} requests meanwhile, each on a connection of its own:"
        f" {percentile(milliseconds, 50):.1f} / {percentile(milliseconds, 99):.1f} / {max(milliseconds):.1f} ms"
        " (p50 / p99 / max)"
    )
    counts = daemon.get("/health")["counts"]
    assert counts["missed"] + counts["failed"] + counts["uncertain"] == 0, counts
