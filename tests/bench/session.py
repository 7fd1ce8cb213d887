"""One call of the harness: a folder that is removed at the end, and the conditions under which it measured."""

import os
import platform
import sqlite3
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.place import Place
from tests.bench.stores import Stores
from tests.daemon import folder_on_disk


@contextmanager
def session(quick):
    """Where to measure, and a function that says how it was."""
    began, load = time.monotonic(), os.getloadavg()[0]
    with folder_on_disk("tifftockd-bench-") as base:

        def conditions():
            seconds = time.monotonic() - began
            return (
                f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} CPUs, Python {platform.python_version()},"
                f" SQLite {sqlite3.sqlite_version}, {file_system(base)}; load {load:.1f} before and"
                f" {os.getloadavg()[0]:.1f} after, {seconds:.0f} s{', quick' if quick else ''}"
            )

        yield Place(Path(base), Stores(Path(base, "stores")), quick), conditions


def tell(text):
    """What is going on, for who waits."""
    print(f"{datetime.now().astimezone():%H:%M:%S}  {text}", file=sys.stderr, flush=True)


def file_system(path, mountinfo="/proc/self/mountinfo"):
    """Its type, from proc_pid_mountinfo(5): the mount with the longest path that leads here."""
    real = os.path.realpath(path)
    # In a chroot(2) the mount that its root is on is not listed.
    mounts = {"": "unknown file system"}
    for line in Path(mountinfo).read_text().splitlines():
        mount, _, rest = line.partition(" - ")
        mounts[mount.split()[4]] = rest.split()[0]
    return mounts[max((point for point in mounts if point and Path(real).is_relative_to(point)), key=len, default="")]
