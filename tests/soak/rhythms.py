"""Reminders that repeat every few seconds, while the daemon is killed, stopped, reloaded and held up."""

import json
import random
import shutil
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.rhythms import run_rhythms
from tests.soak.progress import report

# Lives of one daemon; every second daemon has threads that stand still now and then.
_LIVES = 12
# Daemons at a time: most of what they do is to wait.
_TOGETHER = 4


def add_arguments(parser):
    parser.add_argument("--count", type=int, default=40, metavar="N", help="so many daemons (default: 40)")
    parser.add_argument("--seed", type=int, help="draw the same requests and ends again")


def run(arguments):
    """Print what was seen, and return the exit code: 1 if something is not as it should be."""
    began, total, wrong = time.monotonic(), Counter(), 0
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    with ThreadPoolExecutor(_TOGETHER) as pool:
        for folder, run in pool.map(_look, range(seed, seed + arguments.count)):
            total.update(run.figures)
            wrong += len(run.complaints)
            if run.complaints:
                kept = [vars(one) for one in run.rhythms]
                (folder / "rhythms.json").write_text(json.dumps(kept, default=vars, indent=1))
                print("\n".join([*run.complaints, f"what was seen, database and log: {folder}"]))
            else:
                shutil.rmtree(folder)
    figures = ", ".join(f"{number} {name}" for name, number in total.items())
    report("rhythms", f"{arguments.count * _LIVES} lives, {figures}; {wrong} complaints; seed {seed}", began)
    return 1 if wrong else 0


def _look(seed):
    folder = Path(tempfile.mkdtemp(prefix="tifftockd-rhythms-"))
    return folder, run_rhythms(folder, seed, _LIVES, slow=seed % 2 == 1)
