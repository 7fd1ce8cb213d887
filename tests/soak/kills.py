"""SIGKILL to the whole process group, a thousand times, while clients create, change, cancel and arm anew."""

import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.contradictions import check
from tests.faults.kills import run_kills
from tests.soak.progress import report

# A daemon, and a history of its own, for so many kills: the checker reads it as a whole.
_ROUND = 100
# Seconds that a kill, the life before it and the start after it may take on the average, and a round's end.
_EACH = 10
_END = 300


def add_arguments(parser):
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="so many kills (default: 1000)")
    parser.add_argument("--seed", type=int, help="draw the same requests and instants again")


def run(arguments):
    """Print what was seen, and return the exit code: 1 if the history contradicts a promise."""
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    deadline = time.monotonic() + arguments.count * _EACH + _END
    began, total, contradictions, kept = time.monotonic(), Counter(), 0, []
    rounds = [_ROUND] * (arguments.count // _ROUND) + [arguments.count % _ROUND] * (arguments.count % _ROUND > 0)
    for number, count in enumerate(rounds):
        folder = Path(tempfile.mkdtemp(prefix="tifftockd-kills-"))
        done = sum(rounds[:number])

        def told(kills, done=done):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{done + kills} kills took longer than {arguments.count} should")
            if sys.stderr.isatty():
                print(f"\r{done + kills} kills", end="", file=sys.stderr, flush=True)

        life = run_kills(folder, seed + number, count, told)
        total.update(life.figures)
        found = [str(one) for one in check(life.history)]
        if life.integrity != "ok":
            found.append(f"the database: {life.integrity}")
        if found:
            life.history.save(folder / "history.jsonl")
            kept.append(str(folder))
            print("\n".join(found))
        else:
            shutil.rmtree(folder)
        contradictions += len(found)
    figures = ", ".join(f"{number} {name}" for name, number in total.items())
    report("kills", f"{figures}; {contradictions} contradictions; seed {seed}", began)
    if kept:
        print(f"histories, databases and logs: {' '.join(kept)}")
    return 1 if contradictions else 0
