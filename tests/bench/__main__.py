"""What the daemon costs, beside what the same would cost bare: `make bench`.

Each question is a file with `ask(folder, quick)`, which starts what it needs in a folder of its own, ends it, and
returns rows for the table.
"""

import argparse
import os
import platform
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import creates, idling, lateness, memory
from tests.bench.table import show

QUESTIONS = {"creates": creates.ask, "lateness": lateness.ask, "memory": memory.ask, "idling": idling.ask}


def main():
    parser = argparse.ArgumentParser(prog="python tests/bench", description="Measure tifftockd beside its limits.")
    parser.add_argument("--quick", action="store_true", help="less of everything: under 30 s where nothing else runs")
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=f"only these: {', '.join(QUESTIONS)}")
    arguments = parser.parse_args()
    for name in arguments.questions:
        if name not in QUESTIONS:
            parser.error(f"there is no question {name!r}; there are: {', '.join(QUESTIONS)}")

    began = time.monotonic()
    rows = []
    # Not in /tmp, which is often a tmpfs: a commit would cost no disk there.
    with tempfile.TemporaryDirectory(prefix="tifftockd-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")) as base:
        where = f"{file_system(base)} at {os.path.dirname(base)}"
        for name in arguments.questions or QUESTIONS:
            print(f"{time.monotonic() - began:4.0f} s  {name}", file=sys.stderr)
            folder = Path(base, name)
            folder.mkdir()
            rows += QUESTIONS[name](folder, arguments.quick)
    print(show(rows))
    print(
        f"\nPython {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} CPUs, {where};"
        f" load {os.getloadavg()[0]:.1f}, {time.monotonic() - began:.0f} s{', quick' if arguments.quick else ''}."
        "\nTimes of disks and of shared CPUs differ from run to run: compare within one table."
    )


def file_system(path):
    """Its type, from proc_pid_mountinfo(5): the mount with the longest path that leads here."""
    real = os.path.realpath(path)
    mounts = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, rest = line.partition(" - ")
        mounts[mount.split()[4]] = rest.split()[0]
    return mounts[max((point for point in mounts if Path(real).is_relative_to(point)), key=len)]


if __name__ == "__main__":
    main()
