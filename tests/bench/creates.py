"""How many reminders a second are made durable, and how long does a client wait for each?

Beside it, what Python can do at best: a commit to the same disk, and an answer that needs no disk.
"""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.bench import clients, commits
from tests.bench.table import Row, median, percentile
from tests.daemon import running, wait_until

BODY = json.dumps({"in": "1h", "message": "tea is ready", "method": "log"})
CROWD = 16


def ask(folder, quick):
    rounds, seconds, warm_up = (1, 0.6, 0.2) if quick else (5, 1.5, 0.3)
    request = clients.post("/remind", BODY)
    sqlite_folder = folder / "sqlite"
    sqlite_folder.mkdir()
    with running(folder / "daemon") as daemon, serving_without_a_store(folder / "bare.sock") as bare:
        daemon.remind(**json.loads(BODY))
        database = commits.Database(sqlite_folder / "bare.db", like=daemon.database)

        def served_at(path):
            def measure(crowd, seconds):
                return clients.run(str(path), request, clients=crowd, seconds=seconds)

            return measure

        measures = {"tifftockd": served_at(daemon.socket_path), "sqlite": database.commit, "server": served_at(bare)}
        found = {(name, crowd): [] for name in measures for crowd in (1, CROWD)}
        for crowd in (1, CROWD):
            for measure in measures.values():
                measure(crowd, warm_up)
        # In turns, as the disk is fast at one moment and slow at another.
        for _ in range(rounds):
            for (name, crowd), runs in found.items():
                runs.append(_figures(measures[name](crowd, seconds)))
        database.close()
    return [row for crowd in (1, CROWD) for row in _rows(found, crowd)]


def _figures(load):
    return load.rate, *(percentile(load.latencies, percent) * 1000 for percent in (50, 99))


def _rows(found, crowd):
    who = "1 client" if crowd == 1 else f"{crowd} clients"
    (rate, *waits), (sqlite_rate, *sqlite_waits), (server_rate, *server_waits) = (
        median(found[name, crowd]) for name in ("tifftockd", "sqlite", "server")
    )
    sqlite = "SQLite commit" if crowd == 1 else "SQLite, group commit"
    server = "bottle, waitress"
    return [
        Row(f"durable creates a second, {who}", (rate,), (sqlite_rate,), sqlite),
        Row(f"durable creates a second, {who}", (rate,), (server_rate,), server),
        Row(f"  waited for each, p50 / p99 ms, {who}", tuple(waits), tuple(sqlite_waits), sqlite),
        Row(f"  waited for each, p50 / p99 ms, {who}", tuple(waits), tuple(server_waits), server),
    ]


@contextmanager
def serving_without_a_store(path):
    process = subprocess.Popen([sys.executable, Path(__file__).with_name("storeless.py"), path])
    try:
        wait_until(lambda: Path(path).exists() or process.poll() is not None, "the bare server's start")
        yield path
    finally:
        process.terminate()
        process.wait(clients.PATIENCE)
