"""EIO and ENOSPC, once, from then on, and with SIGKILL after it, at each call that changes the database."""

import errno
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

from tests.faults import disk, preload

_ERRORS = (errno.EIO, errno.ENOSPC)


def add_arguments(parser):
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th call (default: all)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="so many daemons at a time (default: 2)")


def run(arguments):
    """Print what was seen, and return the exit code: 1 if anything was not as it should be."""
    if reason := preload.obstacle():
        print(reason, file=sys.stderr)
        return 2
    began = time.monotonic()
    outcomes, complaints = [], 0
    base = tempfile.mkdtemp(prefix="tifftockd-disk-")
    with ProcessPoolExecutor(arguments.jobs) as pool:
        jobs = []
        for prepare in (disk.empty, disk.prepare):
            place = _folder(base, prepare.__name__)
            prepared = prepare(_folder(place, "prepared"))
            calls = disk.explore(_folder(place, "explored"), prepared)[0][:: arguments.every]
            points = [disk.Point(call.number, error, manner)
                      for call, error, manner in product(calls, _ERRORS, disk.MANNERS)]  # fmt: skip
            jobs += [(place, prepared, point) for point in points]
        for (place, _, point), outcome in zip(jobs, pool.map(_suffer, jobs), strict=True):
            outcomes.append(outcome)
            complaints += len(outcome.complaints)
            for one in outcome.complaints:
                print(f"{place.name} {point}: {one}", flush=True)
            if sys.stderr.isatty():
                print(f"\r{len(outcomes)} of {len(jobs)}", end="", file=sys.stderr, flush=True)
    hit = [outcome for outcome in outcomes if outcome.failed]
    slowest = max((outcome.recovery for outcome in hit), default=0.0)
    reached = Counter(kind for outcome in hit for kind in outcome.failed)
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(reached.items()))
    print(
        f"{datetime.now(UTC).date()}: {len(hit)} faults of {len(jobs)} tried ({kinds}); {complaints} complaints; "
        f"recovered within {slowest:.1f} s; {time.monotonic() - began:.0f} s"
    )
    if complaints:
        print(f"databases and logs: {base}")
        return 1
    shutil.rmtree(base)
    return 0


def _suffer(job):
    place, prepared, point = job
    folder = _folder(place, f"{point.number}-{errno.errorcode[point.error]}-{point.manner}")
    outcome = disk.suffer(folder, prepared, point)
    if not outcome.complaints:
        shutil.rmtree(folder)
    return outcome


def _folder(base, name):
    folder = Path(base, name)
    folder.mkdir()
    return folder
