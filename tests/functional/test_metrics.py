"""GET /metrics of a running daemon."""

import platform
import re
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.daemon import wait_until
from tests.functional.test_routes import api  # noqa: F401 a fixture
from tifftockd import __version__
from tifftockd.reminder import State

README = (Path(__file__).parents[2] / "README.md").read_text()


def metrics(daemon):
    """Each sample by its name and its labels' values."""
    answer = daemon.request("GET", "/metrics")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    families = text_string_to_metric_families(answer.text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_what_has_ended_is_counted_by_method_and_outcome(daemon):
    before = time.time()
    daemon.start()
    assert not [key for key in metrics(daemon) if key[0] == "tifftock_outcomes_total"]
    for _ in range(3):
        daemon.outcome(daemon.remind())
    daemon.outcome(daemon.remind(method="note", options={"file": "/nowhere/at/all"}, retries=0))
    waiting = daemon.remind(**{"in": "1h"})
    cancelled = daemon.remind(**{"in": "2h"})
    daemon.request("DELETE", f"/reminder/{cancelled['id']}")
    found = metrics(daemon)
    assert {key[1:]: value for key, value in found.items() if key[0] == "tifftock_outcomes_total"} == {
        ("log", "delivered"): 3,
        ("note", "failed"): 1,
        ("log", "cancelled"): 1,
    }
    assert [found["tifftock_reminders", state] for state in State] == [1, 0, 1, 0, 0]
    assert found[("tifftock_history_entries",)] == 5
    due = daemon.get("/health")["next_due"]
    assert due == waiting["when"]
    assert 3500 < found[("tifftock_next_due_timestamp_seconds",)] - time.time() <= 3600
    assert before - 1 < found[("process_start_time_seconds",)] < time.time()
    assert found["tifftock_build_info", __version__, platform.python_version()] == 1
    assert found[("tifftock_scheduler_alive",)] == 1
    assert found[("tifftock_store_fault",)] == 0


def test_lateness_is_that_of_first_attempts_and_not_of_retries(daemon):
    daemon.settings["RETRY_DELAY"] = "100ms"
    daemon.start()
    made = daemon.remind(method="note", options={"file": str(daemon.folder / "notes"), "raise": "transient"})
    daemon.outcome(made, 3)
    found = metrics(daemon)
    assert found[("tifftock_lateness_seconds_count",)] == 1
    assert 0 <= found[("tifftock_lateness_seconds_sum",)] < 30
    assert found["tifftock_lateness_seconds_bucket", "+Inf"] == 1
    entry = daemon.history(made)[0]
    assert found[("tifftock_lateness_seconds_sum",)] == pytest.approx(entry["late_ms"] / 1000, abs=1e-6)


def test_each_commit_of_something_is_measured_and_a_question_is_not(daemon):
    daemon.start()
    daemon.remind(**{"in": "1h"})
    wait_until(lambda: settled(daemon), "the pass that follows")
    before = metrics(daemon)[("tifftock_store_commit_seconds_count",)]
    for _ in range(3):
        daemon.get("/reminders")
    assert metrics(daemon)[("tifftock_store_commit_seconds_count",)] == before
    daemon.remind(**{"in": "2h"})
    assert metrics(daemon)[("tifftock_store_commit_seconds_count",)] >= before + 1


def settled(daemon):
    """Whether the count stays the same for a while."""
    before = metrics(daemon)[("tifftock_store_commit_seconds_count",)]
    time.sleep(0.2)
    return metrics(daemon)[("tifftock_store_commit_seconds_count",)] == before


def test_what_waits_and_what_runs_is_told(daemon):
    daemon.settings["HANDLER_CONCURRENCY"] = "1"
    daemon.start()
    go = daemon.folder / "notes"
    for _ in range(3):
        daemon.remind(method="note", options={"file": str(go), "sleep": 20})
    found = wait_until(
        lambda: (now := metrics(daemon))[("tifftock_attempts_running",)] == 1 and now, "the first attempt"
    )
    assert found["tifftock_reminders", "firing"] + found["tifftock_reminders", "pending"] == 3
    assert found[("tifftock_attempts_queued",)] == found["tifftock_reminders", "firing"] - 1
    daemon.kill()


def test_an_interrupted_attempt_is_counted_by_the_daemon_that_finds_it(daemon):
    daemon.start()
    made = daemon.remind(method="note", options={"file": str(daemon.folder / "notes"), "sleep": 20})
    wait_until(lambda: daemon.state(made) == "firing", "the attempt")
    daemon.kill()
    daemon.settings["RETRIES"] = "0"
    daemon.start()
    assert metrics(daemon)["tifftock_outcomes_total", "note", "interrupted"] == 1
    daemon.kill()


def test_a_question_does_not_keep_the_daemon_awake(daemon):
    daemon.start()
    metrics(daemon)

    def switches():
        tasks = Path(f"/proc/{daemon.process.pid}/task")
        status = [(task / "status").read_text() for task in tasks.iterdir()]
        return sum(int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", text)[1]) for text in status)

    def asleep():
        before = switches()
        time.sleep(1)
        return switches() == before

    wait_until(asleep, "sleep")


def test_while_the_store_cannot_be_asked_that_is_the_answer(api):  # noqa: F811
    api.close_store()
    status, said, _ = api.request("GET", "/metrics")
    assert (status, said["kind"]) == (503, "store_unavailable")


def test_every_metric_is_in_the_readme_and_none_that_is_not(shared):
    answer = shared.request("GET", "/metrics").text
    names = set(re.findall(r"^# TYPE (\S+) ", answer, re.MULTILINE))
    rows = re.findall(r"^\| (`(?:tifftock|process)_.*?) \|", README, re.MULTILINE)
    shown = {name for row in rows for name in re.findall(r"`([a-z_]+)", row)}
    assert shown == names
