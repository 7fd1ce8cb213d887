"""Expressions compared with systemd's reading of them, and each change of each zone with what a wall clock shows."""

import shutil
import sys
import time
from collections import Counter
from zoneinfo import available_timezones

from tests.repeating import changes, compare, here, wrong_at
from tests.soak.progress import report

# Made at once
_MANY = 30


def add_arguments(parser):
    parser.add_argument("--expressions", type=int, default=20_000, metavar="N", help="so many of them (default: 20000)")
    parser.add_argument("--seed", type=int, default=1, help="begin with these (default: 1)")


def run(arguments):
    """Print what was seen, and return the exit code: 1 if there is a difference that nothing explains."""
    if not shutil.which("systemd-analyze"):
        sys.exit("systemd-analyze is not here: apt install systemd")
    zones = sorted(available_timezones())
    wrong = _expressions(zones, arguments) + _changes(zones)
    for line in wrong[:50]:
        print(f"repeat: {line}", file=sys.stderr)
    return int(bool(wrong))


def _expressions(zones, arguments):
    began = time.monotonic()
    seen, wrong = Counter(), []
    rounds = -(-arguments.expressions // _MANY)
    for seed in range(arguments.seed, arguments.seed + rounds):
        also, different = compare(here, seed, zones[seed % len(zones)], _MANY)
        seen += also
        wrong += different
        if seed % 100 == 0:
            print(f"repeat: {seen['expressions']} of {arguments.expressions}", file=sys.stderr)
    counted = ", ".join(f"{many} {what}" for what, many in seen.items())
    report("repeat", f"{len(wrong)} differences from systemd without a reason; {counted}", began)
    return wrong


def _changes(zones):
    began = time.monotonic()
    wrong, changed, asked = [], 0, 0
    for zone in zones:
        for change in changes(zone):
            changed += 1
            different, many = wrong_at(change)
            wrong += different
            asked += many
    report("repeat", f"{len(wrong)} errors at {changed} changes of {len(zones)} zones, {asked} expressions", began)
    return wrong
