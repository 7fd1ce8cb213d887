"""APScheduler and Huey, with attempts at given instants; what begins is written down as `notes` has it."""

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

from tests.bench.peers.environment import program
from tests.bench.peers.running import started

_HERE = Path(__file__).parent
# As many as tifftockd makes attempts at once unless told otherwise
HUEY_WORKERS = 4


@contextmanager
def apscheduler(folder, notes, offsets, *, others, lead):
    """Jobs at so many microseconds from an instant that is `lead` ahead, beside others; gives that instant."""
    script = str(_HERE / "apscheduler_jobs.py")
    command = [program(), script, str(folder / "jobs.db"), str(notes.path), str(others), str(lead)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with started(*command, folder=folder, **pipes) as process:
        yield _start(process, offsets)


@contextmanager
def huey(folder, notes, offsets, *, lead):
    """Likewise, by a consumer with processes, as tifftockd has; gives the instant and the database."""
    database = folder / "huey.db"
    environ = os.environ | {
        "HUEY_DATABASE": str(database),
        "HUEY_NOTES": str(notes.path),
        "PYTHONPATH": str(_HERE),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    consumer = [program("huey_consumer"), "huey_tasks.huey", "-w", str(HUEY_WORKERS), "-k", "process", "-q"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        started(*consumer, folder=folder, env=environ, stdout=subprocess.DEVNULL),
        started(program(), str(_HERE / "huey_tasks.py"), str(lead), folder=folder, env=environ, **pipes) as process,
    ):
        yield _start(process, offsets), database


def _start(process, offsets):
    process.stdin.write(f"{json.dumps(offsets)}\n")
    process.stdin.flush()
    answer = process.stdout.readline().split()
    assert answer, "the peer has failed; its log says why"
    assert answer[1] == "True", "the machine was too slow to store all before they were due"
    return int(answer[0])
