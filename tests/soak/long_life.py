"""Does a daemon with a million reminders and a million lines of history start, answer, clean and shrink as a new one?

The database is aged by SQL (tests/age.py). Then HISTORY_DAYS and HISTORY_MAX are lowered, so that nearly all of the
history and of the final reminders is to be dropped, while a client goes on asking.
"""

import os
import random
import shutil
import sqlite3
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests import age
from tests.bench.figures import percentile
from tests.daemon import Daemon, UnixConnection, end, folder_on_disk
from tifftockd import clock
from tifftockd.store import Store

REQUESTS = {
    "create": ("POST", "/remind", '{"in": "1d", "message": "later", "method": "log"}'),
    "health": ("GET", "/health", None),
    "list": ("GET", "/reminders?limit=100", None),
    "history": ("GET", "/history?limit=100", None),
}
KEPT = 1000
# How often a kind of step is measured alone
STEPS = 500
# What a step of cleaning writes in a database of a million, and among how many pages
PAGE, PAGES, SCATTERED = bytes(4096), 72, 25_000
# Seconds between rounds of questions: a client that never pauses would measure itself.
PAUSE = 0.02
# Milliseconds for which a step may hold the writer
PROMISED = 50


def add_arguments(parser):
    parser.add_argument("--count", type=int, default=1_000_000, metavar="N", help="of each (default: 1,000,000)")


def run(arguments):
    """Print the figures, and return the exit code: 1 if one step in a hundred held the writer for too long."""
    with folder_on_disk() as folder:
        return _run(Path(folder), arguments.count)


def _run(folder, count):
    daemon = Daemon(folder / "daemon").prepare()
    _keep(daemon, days=30, most=2 * count)
    daemon.database.parent.mkdir(mode=0o700)
    age.make(daemon.database, pending=count * 8 // 10, final=count * 2 // 10, history=count)
    copy = folder / "copy.db"
    shutil.copy(daemon.database, copy)
    print(f"{datetime.now(UTC):%Y-%m-%d}: {count:,} reminders, {count:,} lines of history", end="; ")
    print(f"{_megabytes(daemon.database)} MB, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; p50 / p99 / max")
    try:
        _print_start(daemon)
        _print_answers("before", _ask(daemon, lambda: False, seconds=10))
        _keep(daemon, days=1, most=KEPT)
        daemon.reload()
        began = time.monotonic()
        _print_answers("while cleaning", _ask(daemon, lambda: _kept(daemon) <= KEPT))
        print(f"  cleaned within {time.monotonic() - began:.0f} s")
        began = time.monotonic()
        _print_answers("while shrinking", _ask(daemon, lambda: _free_pages(daemon.database) == 0))
        print(f"  shrunk within {time.monotonic() - began:.0f} s to {_megabytes(daemon.database)} MB")
        _print_answers("after", _ask(daemon, lambda: False, seconds=10))
        daemon.stop()
        _print_start(daemon)
        daemon.stop()
        _check(daemon.database)
    finally:
        end(daemon)
    return _print_steps(copy)


def _keep(daemon, days, most):
    (daemon.folder / ".env").write_text(f"HISTORY_DAYS={days}\nHISTORY_MAX={most}\n")


def _print_start(daemon):
    began = time.monotonic()
    daemon.start()
    print(f"  ready {time.monotonic() - began:.2f} s after exec")


def _ask(daemon, done, seconds=3600):
    """Milliseconds that each kind of request took, asked in turn over one connection until `done()` or so long."""
    took = {name: [] for name in REQUESTS}
    last = looked = time.monotonic()
    until = last + seconds
    with closing(UnixConnection(daemon.socket_path)) as connection:
        while last < until:
            for name, (method, path, body) in REQUESTS.items():
                began = time.monotonic()
                connection.request(method, path, body)
                response = connection.getresponse()
                response.read()
                last = time.monotonic()
                took[name].append(1000 * (last - began))
                assert response.status in (200, 201), response.status
            time.sleep(PAUSE)
            if last - looked > 1:
                looked = last
                if done():
                    return took
    return took


def _print_answers(when, took):
    for name, times in took.items():
        print(f"  {when}: {name} {_three(times)} ms, {len(times)} times")


def _three(times):
    return " / ".join(f"{value:.1f}" for value in (percentile(times, 50), percentile(times, 99), max(times)))


def _kept(daemon):
    counts = daemon.get("/health")["counts"]
    return max(counts["history"], counts["failed"])


def _free_pages(path):
    with closing(sqlite3.connect(path)) as database:
        return database.execute("PRAGMA freelist_count").fetchone()[0]


def _megabytes(path):
    return round(path.stat().st_size / 1e6)


def _check(path):
    """What has been cleaned is whole, and counted right."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        counted = dict(database.execute("SELECT state, count(*) FROM reminder GROUP BY state"))
        counted["history"] = database.execute("SELECT count(*) FROM history").fetchone()[0]
        tally = dict(database.execute("SELECT name, n FROM tally WHERE n > 0 AND name <> 'probe'"))
        assert tally == counted, (tally, counted)
    print("  integrity_check ok, the tally is right")


def _print_steps(path):
    """How long one step holds the writer, and nothing else asks it meanwhile: its transaction and its checkpoint."""
    store = Store(f"sqlite:///{path}", path)
    store.open()
    before = clock.now() - age.DAY
    with _disk(path.with_name("bare")) as write:
        # In turn, as the disk has better and worse moments.
        cleaning, bare = _timed(lambda: store.clean(before, KEPT, clock.now()), write)
        shrinking, _ = _timed(store.shrink, write)
    store.close()
    print(f"  the writer is held by a step of cleaning {_three(cleaning)} ms, of shrinking {_three(shrinking)} ms")
    print(f"  the disk alone takes {_three(bare)} ms for {PAGES} pages to a log and then to their places, synced")
    return 0 if max(percentile(cleaning, 99), percentile(shrinking, 99)) < PROMISED else 1


@contextmanager
def _disk(file):
    """What does to the disk, without a database, what a step of cleaning does."""
    places = range(SCATTERED)
    with file.open("wb", buffering=0) as database, file.with_suffix(".log").open("wb", buffering=0) as log:
        for _ in places:
            database.write(PAGE)
        os.fsync(database.fileno())

        def write():
            # The log begins anew after it has been copied, and its head is synced before what follows it.
            for pages in (1, PAGES):
                os.pwrite(log.fileno(), PAGE * pages, 0)
                os.fdatasync(log.fileno())
            for place in sorted(random.sample(places, PAGES)):
                os.pwrite(database.fileno(), PAGE, place * len(PAGE))
            os.fdatasync(database.fileno())

        yield write


def _timed(*steps):
    """Milliseconds that each of them took, made in turn."""
    times = [[] for _ in steps]
    for _ in range(STEPS):
        for step, took in zip(steps, times, strict=True):
            began = time.monotonic()
            step()
            took.append(1000 * (time.monotonic() - began))
    return times
