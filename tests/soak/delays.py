"""Threads that stand still for a moment wherever they are, while clients create, change, cancel and arm anew."""

import random
import shutil
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.delays import run_delays
from tests.soak.progress import report

# Lives of one daemon, with a history of its own: the checker reads it as a whole.
_LIVES = 4
# Daemons at a time: most of what they do is to wait.
_TOGETHER = 4


def add_arguments(parser):
    parser.add_argument("--count", type=int, default=60, metavar="N", help="so many daemons (default: 60)")
    parser.add_argument("--seed", type=int, help="draw the same requests and delays again")


def run(arguments):
    """Print what was seen, and return the exit code: 1 if something is not as it should be."""
    began, total, wrong = time.monotonic(), Counter(), 0
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    with ThreadPoolExecutor(_TOGETHER) as pool:
        for folder, run in pool.map(_look, range(seed, seed + arguments.count)):
            total.update(run.figures)
            wrong += len(run.complaints)
            if run.complaints:
                run.history.save(folder / "history.jsonl")
                print("\n".join([*run.complaints, f"history, database and log: {folder}"]))
            else:
                shutil.rmtree(folder)
    figures = ", ".join(f"{number} {name}" for name, number in total.items())
    report("delays", f"{arguments.count * _LIVES} lives, {figures}; {wrong} complaints; seed {seed}", began)
    return 1 if wrong else 0


def _look(seed):
    folder = Path(tempfile.mkdtemp(prefix="tifftockd-delays-"))
    return folder, run_delays(folder, seed, _LIVES)
