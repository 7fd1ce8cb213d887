"""The daemon dies at points spread over all that it does to its database, starts again, and has kept its promises.

`make soak` goes through every point there is.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults import check, crash, preload

POINTS = 100
# Answers leave before the commit, and are there before it begins.
SERVED, IF = "                    self._serve(request, cursor)\n", "                    if"
EARLY = "served.remove(request); request.committed(); request.answer(); import time; time.sleep(0.02)"
HASTY = ("store/writer.py", f"{SERVED}{IF}", f"{SERVED}{' ' * 20}{EARLY}\n{IF}")
# Attempts that a crash cut off are made again, and nobody writes that down.
FORGETFUL = (
    "scheduler/__init__.py",
    "settlements.append(settle(ending, self._policy(since=now)))",
    "settlements.append(settle(ending, self._policy(since=now))._replace(outcome=None))",
)

pytestmark = pytest.mark.usefixtures("compiler")


@pytest.fixture
def folder():
    with preload.workshop() as folder:
        yield Path(folder)


def crash_all(stage, points, folder):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda point: crash.crash(stage, point, folder / str(point).replace(" ", "-")), points))


def test_a_crash_at_any_call_breaks_no_promise(folder):
    stage = crash.Stage(folder / "stage")
    assert len(stage.points) > 1000
    results = crash_all(stage, crash.spread(stage.points, POINTS), folder)
    broken = [(str(result.point), result.violations) for result in results if result.violations]
    assert not broken
    assert sum(result.hit for result in results) > 0.95 * POINTS, "points that no run reaches show nothing"
    assert any(result.repeats for result in results), "not one crash came during an attempt"


@pytest.mark.parametrize(("replacing", "kind"), [(HASTY, check.LOST), (FORGETFUL, check.DOUBLED)])
def test_a_daemon_that_breaks_its_promises_would_be_noticed(folder, replacing, kind):
    stage = crash.Stage(folder / "stage", ("birth",), replacing)
    results = crash_all(stage, crash.spread(stage.points, 20), folder)
    assert kind in {violation.kind for result in results for violation in result.violations}
