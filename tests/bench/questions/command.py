"""How long does `tifftockctl` take to list 100 reminders, from its start to its end?"""

import subprocess
import sys
import time

from tests.bench import clients
from tests.bench.question import Question, Row, Skipped, below

COUNT = 100


def _tifftockctl(place):
    if not (place.tree / "tifftockd" / "ctl").exists():
        raise Skipped("this revision has no tifftockctl")
    command = [sys.executable, "-m", "tifftockd.ctl", "--url"]
    with place.daemon(pending=COUNT) as daemon:

        def listed():
            began = time.monotonic()
            address = f"unix:{daemon.socket_path}"
            done = subprocess.run(
                [*command, address], env=daemon.environ, cwd=place.folder, capture_output=True, text=True,
                timeout=clients.PATIENCE, check=True,
            )  # fmt: skip
            assert len(done.stdout.splitlines()) >= COUNT, done.stdout
            return (time.monotonic() - began) * 1000

        listed()
        return {"took": [listed() for _ in range(place.pick(20, 5))]}


def _python(place):
    """An interpreter that starts and ends."""

    def started():
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "pass"], timeout=clients.PATIENCE, check=True)
        return (time.monotonic() - began) * 1000

    started()
    return {"took": [started() for _ in range(place.pick(20, 5))]}


QUESTION = Question(
    "`tifftockctl`, a list of 100",
    {"tifftockd": _tifftockctl, "python3 -c pass": _python},
    (
        Row("from start to end, p50", "ms", ("took", 50), beside="python3 -c pass", reach=below(150, "ms")),
        Row("from start to end, longest", "ms", ("took", 100), beside="python3 -c pass"),
    ),
    runs=3,
)
