"""A question of the soak that was stopped goes on where it was."""

import pytest

from tests.soak.progress import Progress

JOBS = {f"job {number}": number for number in range(50)}


class Stopped(BaseException):
    """As by Ctrl-C."""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def go(progress, most=50):
    """Go through the jobs and keep so many findings; what was looked at."""
    seen = []

    def keep(name, result):
        if len(progress.findings) == most:
            raise Stopped
        progress.add({"name": name, "result": result})

    progress.go_through(JOBS, lambda job: seen.append(job) or job * 2, keep, workers=1)
    return seen


def test_what_was_stopped_goes_on():
    first = Progress("question", "life.py")
    with pytest.raises(Stopped):
        go(first, most=20)
    again = Progress("question", "life.py")
    known = {finding["name"] for finding in again.findings}
    assert len(known) == 20
    assert {f"job {job}" for job in go(again)} == JOBS.keys() - known
    assert {finding["name"]: finding["result"] for finding in again.findings} == {
        name: job * 2 for name, job in JOBS.items()
    }
    assert not go(Progress("question", "life.py"))


def test_the_order_is_a_fixed_one_and_not_that_of_the_jobs():
    orders = [go(Progress(name)) for name in ("one", "other")]
    assert orders[0] == orders[1] != list(JOBS.values())
    # One that is stopped half-way has seen something of everything.
    assert min(orders[0][:25]) < 5
    assert max(orders[0][:25]) > 45


def test_findings_of_another_life_are_dropped():
    go(Progress("question", "life.py"))
    assert not Progress("question", "using.py").findings
