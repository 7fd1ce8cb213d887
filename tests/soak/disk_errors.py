"""EIO and ENOSPC, once, from then on, and with SIGKILL after it, at each call that changes the database."""

import errno
import os
import shutil
import sys
import time
from collections import Counter
from itertools import product
from pathlib import Path

from tests.faults import disk, preload
from tests.soak import starts
from tests.soak.progress import Progress, report

_ERRORS = (errno.EIO, errno.ENOSPC)


def add_arguments(parser):
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th call (default: all)")
    # Most of a life it waits: for what is due, and to see that the daemon rests.
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), metavar="N", help="so many at once")
    starts.add_argument(parser)


def run(arguments):
    """Print what was seen, and return the exit code: 1 if anything was not as it should be."""
    began = time.monotonic()
    if reason := preload.obstacle():
        sys.exit(reason)
    progress = Progress("disk-errors", "disk.py", "using.py")
    with preload.workshop() as base, starts.spawning(arguments) as spawn:
        faults = _faults(base, arguments.every, spawn)

        def look(fault):
            return _suffer(*fault, spawn)

        def keep(name, outcome):
            if outcome.complaints:
                kept = progress.exhibit(faults[name][0])
                for complaint in outcome.complaints:
                    print(f"{name}: {complaint} ({kept})", file=sys.stderr)
            progress.add(vars(outcome) | {"name": name})

        progress.go_through(faults, look, keep, arguments.jobs)
    report("disk-errors", _figures(progress.findings), began)
    return int(any(finding["complaints"] for finding in progress.findings))


def _faults(base, every, spawn):
    """By name: the folder where it is to be, the database that is there before, and the fault itself."""
    faults = {}
    for prepare in (disk.empty, disk.prepare):
        prepared = prepare(_folder(base, prepare.__name__))
        calls = disk.explore(_folder(base, f"{prepare.__name__}-explored"), prepared, spawn)[0][::every]
        for call, error, manner in product(calls, _ERRORS, disk.MANNERS):
            name = f"{prepare.__name__}-{call.number}-{errno.errorcode[error]}-{manner}"
            faults[name] = Path(base, name), prepared, disk.Point(call.number, error, manner)
    return faults


def _suffer(folder, prepared, point, spawn):
    folder.mkdir()
    outcome = disk.suffer(folder, prepared, point, spawn)
    if not outcome.complaints:
        shutil.rmtree(folder)
    return outcome


def _folder(base, name):
    folder = Path(base, name)
    folder.mkdir()
    return folder


def _figures(findings):
    hit = [finding for finding in findings if finding["failed"]]
    reached = Counter(kind for finding in hit for kind in finding["failed"])
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(reached.items()))
    slowest = max((finding["recovery"] for finding in hit), default=0.0)
    return (
        f"{len(hit)} faults of {len(findings)} tried ({kinds});"
        f" {sum(len(finding['complaints']) for finding in findings)} complaints; recovered within {slowest:.1f} s"
    )
