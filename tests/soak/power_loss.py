"""The power is lost at any moment of a recorded life: whatever the disk has kept, what was acknowledged is there."""

import itertools
import os
import sys
import time
from pathlib import Path

from tests.faults import check, loss, preload
from tests.soak.progress import report

# States that are looked at between two lines that say how far it is
_ROUND = 2000
# What a disk alone can break
_KINDS = [kind for kind in check.KINDS if kind not in (check.EARLY, check.SLOW)]


def add_arguments(parser):
    parser.add_argument("--states", type=int, metavar="N", default=6000, help="at least so many (default: 6000)")
    parser.add_argument("--workers", type=int, metavar="N", default=os.cpu_count(), help="so many at once")


def run(arguments):
    """Print what was seen, and return the exit code: 1 if a promise was broken."""
    began = time.monotonic()
    if reason := preload.obstacle():
        sys.exit(reason)
    tally = loss.Tally()
    with preload.workshop() as folder:
        recorded = loss.record(Path(folder))
        assert loss.is_complete(recorded), "there are calls that the preload does not see"
        for seed in itertools.count(1):
            tally.add(loss.lose(recorded, min(_ROUND, arguments.states), arguments.workers, seed))
            print(f"power-loss: {len(tally.states)} of {arguments.states}", file=sys.stderr)
            if len(tally.states) >= arguments.states or tally.kinds:
                break
    for example in tally.examples:
        print(f"power-loss: {example}", file=sys.stderr)
    counted = ", ".join(f"{tally.kinds[kind]} {kind}" for kind in _KINDS)
    report("power-loss", f"{len(tally.states)} states of the disk, {counted}", began)
    return int(bool(tally.kinds))
