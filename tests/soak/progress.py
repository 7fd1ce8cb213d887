"""What a question has found so far, a line of JSON for each finding, so that it can be stopped and go on."""

import hashlib
import json
import os
import platform
import random
import shutil
import sqlite3
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(".soak")
ROOT = Path(__file__).resolve().parents[2]
# Seconds between two lines that say how far it is
_TELL = 30


def _sources(lives):
    """Findings of another daemon, or of another life, are worth nothing."""
    digest = hashlib.sha256()
    for file in sorted([*ROOT.glob("tifftockd/**/*.py"), *(ROOT / "tests/faults" / name for name in lives)]):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def report(name, figures, began):
    """Print the figures of a question, with what they depend on. `began`: by time.monotonic."""
    print(
        f"{datetime.now(UTC):%Y-%m-%d} {name}: {figures}; Python {platform.python_version()},"
        f" SQLite {sqlite3.sqlite_version}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f},"
        f" {time.monotonic() - began:.0f} s",
        flush=True,
    )


class Progress:
    """The findings of one question."""

    def __init__(self, name, *lives):
        """`lives`: the modules in tests/faults that say what the daemon is used for."""
        FOLDER.mkdir(exist_ok=True)
        self._name = name
        self._file = FOLDER / f"{name}.jsonl"
        self._told = time.monotonic()
        self._total = 0
        self.findings = []
        begins = {"sources": _sources(lives)}
        if self._file.exists():
            # What was being written when it was stopped has no end of line.
            whole, _, _ = self._file.read_text().rpartition("\n")
            first, *rest = [json.loads(line) for line in whole.splitlines()] or [None]
            if first == begins:
                self.findings = rest
        self._file.write_text("".join(f"{json.dumps(line)}\n" for line in (begins, *self.findings)))

    def go_through(self, jobs, look, keep, workers):
        """`look(job)` at each that there is no finding of yet, so many at once; `keep(name, result)` in this thread.

        `jobs`: by their names. What is kept has to be a finding of that name.
        """
        done = {finding["name"] for finding in self.findings}
        waiting = [name for name in jobs if name not in done]
        self._total = len(done) + len(waiting)
        # So that one that is stopped half-way has seen something of everything.
        random.Random(1).shuffle(waiting)
        # In threads: the work is done in the daemons.
        with ThreadPoolExecutor(workers) as pool:
            looking = {pool.submit(look, jobs[name]): name for name in waiting}
            try:
                for one in as_completed(looking):
                    keep(looking[one], one.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def add(self, finding):
        """Keep it, and say now and then how far it is. To be called by one thread."""
        self.findings.append(finding)
        with self._file.open("a") as file:
            print(json.dumps(finding), file=file)
        if time.monotonic() > self._told + _TELL:
            self._told = time.monotonic()
            print(f"{self._name}: {len(self.findings)} of {self._total}", file=sys.stderr)

    def exhibit(self, folder):
        """Keep a folder with something to look at."""
        kept = FOLDER / self._name / folder.name
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder, kept, ignore=lambda at, names: [name for name in names if Path(at, name).is_socket()])
        shutil.rmtree(folder)
        return kept
