"""The daemon is killed before, in and after every call by which it changes its database, and keeps its promises."""

import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from statistics import median

from tests.faults import check, crash, preload
from tests.soak.progress import Progress, report


def add_arguments(parser):
    parser.add_argument("--points", type=int, metavar="N", help="so many, spread over all (default: all)")
    parser.add_argument("--workers", type=int, metavar="N", default=os.cpu_count(), help="so many at once")


def run(arguments):
    """Print what was seen, and return the exit code: 1 if a promise was broken."""
    began = time.monotonic()
    if reason := preload.obstacle():
        sys.exit(reason)
    progress = Progress("crash-points")
    with preload.workshop() as folder:
        stage = crash.Stage(Path(folder, "stage"))
        points = crash.spread(stage.points, arguments.points or len(stage.points))
        done = {finding["name"] for finding in progress.findings}
        waiting = [point for point in points if str(point) not in done]
        # So that one that is stopped half-way has seen something of everything.
        random.Random(1).shuffle(waiting)
        total = len(done) + len(waiting)
        # In threads: the work is done in the daemons.
        with ThreadPoolExecutor(arguments.workers) as pool:
            crashes = [
                pool.submit(crash.crash, stage, point, Path(folder, str(point).replace(" ", "-"))) for point in waiting
            ]
            try:
                for one in as_completed(crashes):
                    _keep(progress, one.result(), Path(folder), total)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    report("crash-points", _figures(progress.findings), began)
    return int(any(finding["violations"] for finding in progress.findings))


def _keep(progress, result, folder, total):
    if result.violations:
        kept = progress.exhibit(folder / str(result.point).replace(" ", "-"))
        for violation in result.violations:
            print(f"{result.point}: {violation.kind}: {violation.text} ({kept})", file=sys.stderr)
    progress.add(asdict(result) | {"name": str(result.point)}, total)


def _figures(findings):
    modes = Counter(finding["point"]["mode"] for finding in findings)
    missed = sum(not finding["hit"] for finding in findings)
    kinds = Counter(violation["kind"] for finding in findings for violation in finding["violations"])
    ready = sorted(finding["ready"] for finding in findings)
    counted = ", ".join(f"{kinds[kind]} {kind}" for kind in check.KINDS)
    return (
        f"{len(findings)} points ({', '.join(f'{modes[mode]} {mode}' for mode in preload.MODES)} a call; {missed} not"
        f" reached), {counted}; {sum(finding['repeats'] for finding in findings)} effects came again, each explained;"
        f" ready after {median(ready):.2f} s (p50), {ready[-1]:.2f} s (max), less what others had the CPU"
    )
