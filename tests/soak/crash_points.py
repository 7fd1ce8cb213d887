"""The daemon is killed before, in and after every call by which it changes its database, and keeps its promises."""

import os
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from statistics import median

from tests.faults import check, crash, preload
from tests.soak import starts
from tests.soak.progress import Progress, report


def add_arguments(parser):
    parser.add_argument("--points", type=int, metavar="N", help="so many, spread over all (default: all)")
    parser.add_argument("--workers", type=int, metavar="N", default=os.cpu_count(), help="so many at once")
    starts.add_argument(parser)


def run(arguments):
    """Print what was seen, and return the exit code: 1 if a promise was broken."""
    began = time.monotonic()
    if reason := preload.obstacle():
        sys.exit(reason)
    progress = Progress("crash-points", "life.py")
    with preload.workshop() as folder, starts.spawning(arguments) as spawn:
        stage = crash.Stage(Path(folder, "stage"), spawn=spawn)
        points = {str(point): point for point in crash.spread(stage.points, arguments.points or len(stage.points))}

        def look(point):
            return crash.crash(stage, point, _place(folder, point))

        def keep(name, result):
            if result.violations:
                kept = progress.exhibit(_place(folder, name))
                for violation in result.violations:
                    print(f"{name}: {violation.kind}: {violation.text} ({kept})", file=sys.stderr)
            progress.add(asdict(result) | {"name": name})

        progress.go_through(points, look, keep, arguments.workers)
    report("crash-points", _figures(progress.findings), began)
    return int(any(finding["violations"] for finding in progress.findings))


def _place(folder, point):
    return Path(folder, str(point).replace(" ", "-"))


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
