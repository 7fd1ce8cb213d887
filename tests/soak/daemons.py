"""A question that many daemons are asked, some at a time: most of what they do is to wait."""

import random
import shutil
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.soak.progress import report

_TOGETHER = 4


def add_arguments(parser, count):
    """`count`: of how many, unless it is said."""
    parser.add_argument("--count", type=int, default=count, metavar="N", help=f"so many daemons (default: {count})")
    parser.add_argument("--seed", type=int, help="draw the same requests and events again")


def ask(name, lives, run, save, arguments):
    """Print what was seen, and return the exit code: 1 if something is not as it should be.

    `run(folder, seed)` is what came of one and its lives, with `figures` and `complaints`; `save(run, folder)` keeps
    what a person would look at.
    """
    began, total, wrong = time.monotonic(), Counter(), 0
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed

    def look(each):
        folder = Path(tempfile.mkdtemp(prefix=f"tifftockd-{name}-"))
        return folder, run(folder, each)

    with ThreadPoolExecutor(_TOGETHER) as pool:
        for folder, one in pool.map(look, range(seed, seed + arguments.count)):
            total.update(one.figures)
            wrong += len(one.complaints)
            if one.complaints:
                save(one, folder)
                print("\n".join([*one.complaints, f"what was seen, database and log: {folder}"]))
            else:
                shutil.rmtree(folder)
    figures = ", ".join(f"{number} {what}" for what, number in total.items())
    report(name, f"{arguments.count * lives} lives, {figures}; {wrong} complaints; seed {seed}", began)
    return 1 if wrong else 0
