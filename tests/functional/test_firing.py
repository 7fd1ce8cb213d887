"""From the request to the record of how it ended, through the real daemon."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.daemon import wait_until


def lines(file):
    """What the `note` handler wrote: id, attempt, key, time, message."""
    if not file.exists():
        return []
    return [
        (int(i), int(a), k, float(t), m)
        for i, a, k, t, m in (line.split(" ", 4) for line in file.read_text().splitlines())
    ]


def test_a_reminder_fires_at_its_time_and_leaves_a_record(shared, tmp_path):
    note = tmp_path / "note"
    due = time.time() + 1.2
    made = shared.remind(method="note", when=f"@{due:.6f}", message="tea", options={"file": str(note)})
    assert made["state"] == "pending"
    entry = shared.outcome(made)
    assert entry["outcome"] == "delivered"
    assert entry["attempt"] == 1
    assert entry["key"] == made["key"]
    [(id_, attempt, key, at, message)] = lines(note)
    assert (id_, attempt, key, message.strip()) == (made["id"], 1, made["key"], "tea")
    assert at >= due
    assert entry["late_ms"] >= 0
    gone = shared.request("GET", f"/reminder/{made['id']}")
    told = f"reminder {made['id']} is not there any more: it ended delivered, and GET /history?reminder={made['id']} "
    assert gone.status == 404
    assert gone.json["error"].startswith(told)


def test_a_reminder_that_was_due_a_moment_ago_fires_at_once(shared):
    made = shared.remind(when=f"@{time.time() - 30:.0f}")
    assert shared.outcome(made)["outcome"] == "delivered"


def test_what_a_handler_prints_is_kept(shared):
    shared.dropin(
        "chatty.py",
        "from tifftockd import RemindProcess\nimport os\n"
        "class Chatty(RemindProcess):\n"
        "    def remind(self, message):\n"
        "        print('from python')\n"
        "        os.system('echo from a child')\n",
    )
    shared.reload()
    assert shared.outcome(shared.remind(method="chatty"))["output"] == "from python\nfrom a child\n"


def test_a_transient_failure_is_tried_again_with_the_same_key(daemon, tmp_path):
    daemon.settings["RETRY_DELAY"] = "200ms"
    daemon.start()
    note = tmp_path / "note"
    made = daemon.remind(method="note", options={"file": str(note), "raise": "transient"}, retries=2)
    last = daemon.outcome(made, count=3)
    assert last["outcome"] == "failed"
    assert "not now" in last["error"]
    assert [attempt for _, attempt, *_ in lines(note)] == [1, 2, 3]
    assert len({key for _, _, key, *_ in lines(note)}) == 1
    times = [at for *_, at, _ in lines(note)]
    assert times[1] - times[0] >= 0.2
    assert times[2] - times[1] >= 0.4
    kept = daemon.get(f"/reminder/{made['id']}")
    assert (kept["state"], kept["attempts"]) == ("failed", 3)
    assert "not now" in kept["last_error"]


def test_a_retry_waits_as_long_as_the_handler_asks(daemon, tmp_path):
    daemon.settings["RETRY_DELAY"] = "10ms"
    daemon.start()
    note = tmp_path / "note"
    daemon.outcome(
        daemon.remind(method="note", options={"file": str(note), "raise": "transient", "retry_after": 1}, retries=1), 2
    )
    (*_, first, _), (*_, second, _) = lines(note)
    assert second - first >= 1


def test_a_retry_that_would_be_too_late_is_not_made(daemon, tmp_path):
    daemon.start()
    note = tmp_path / "note"
    options = {"file": str(note), "raise": "transient", "retry_after": 3600}
    made = daemon.remind(method="note", options=options, max_late="10min")
    assert daemon.outcome(made)["outcome"] == "failed"
    assert daemon.state(made) == "failed"


def test_what_waits_to_be_tried_again_is_tried_now_when_it_is_changed(shared, tmp_path):
    options = {"file": str(tmp_path / "note"), "raise": "transient", "retry_after": 3600}
    made = shared.remind(method="note", options=options)
    assert shared.outcome(made)["outcome"] == "failed"
    changed = shared.request("PATCH", f"/reminder/{made['id']}", {"message": "better words"}).json
    assert (changed["when"], changed["attempts"]) == (made["when"], 0)
    assert changed["key"] != made["key"]
    assert shared.outcome(made, 2)["message"] == "better words"


def test_an_occurrence_that_was_tried_before_a_downtime_is_not_passed_over_when_it_is_changed(daemon, tmp_path):
    daemon.start()
    soon = datetime.now(UTC) + timedelta(seconds=2)
    options = {"file": str(tmp_path / "note"), "raise": "transient", "retry_after": 3600}
    body = {"repeat": f"{soon:%H:%M:%S}", "tz": "UTC", "catch_up": "none", "message": "once a day", "method": "note"}
    made = daemon.request("POST", "/remind", body | {"options": options}).json
    assert daemon.outcome(made)["outcome"] == "failed"
    daemon.stop()
    daemon.start()
    daemon.request("PATCH", f"/reminder/{made['id']}", {"message": "better words"})
    tried = daemon.outcome(made, 2)
    assert (tried["outcome"], tried["due"], tried["message"]) == ("failed", made["when"], "better words")


@pytest.mark.parametrize("how", ["permanent"])
def test_a_permanent_failure_is_not_tried_again(shared, tmp_path, how):
    made = shared.remind(method="note", options={"file": str(tmp_path / "note"), "raise": how})
    entry = shared.outcome(made)
    assert (entry["outcome"], entry["error"]) == ("failed", "never again")
    assert shared.state(made) == "failed"


def test_an_attempt_that_must_not_be_repeated_ends_uncertain(shared, tmp_path):
    made = shared.remind(method="once", options={"file": str(tmp_path / "note"), "raise": "error"})
    entry = shared.outcome(made)
    assert entry["outcome"] == "uncertain"
    assert "ValueError: broken" in entry["error"]
    assert "ValueError: broken" in entry["output"]
    assert shared.state(made) == "uncertain"


def test_its_own_word_that_nothing_was_sent_is_believed(daemon, tmp_path):
    daemon.settings["RETRY_DELAY"] = "10ms"
    daemon.start()
    made = daemon.remind(method="once", options={"file": str(tmp_path / "note"), "raise": "transient"}, retries=1)
    assert [daemon.outcome(made, 2)["outcome"], daemon.state(made)] == ["failed", "failed"]


def test_a_deadline_kills_the_worker_and_all_that_it_started(shared, tmp_path):
    shared.dropin(
        "hang.py",
        "from tifftockd import RemindProcess\nimport os, subprocess, time\n"
        "class Hang(RemindProcess):\n"
        "    timeout = '500ms'\n"
        "    def remind(self, message):\n"
        "        child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "        open(message, 'w').write(f'{os.getpid()} {child.pid}')\n"
        "        time.sleep(600)\n",
    )
    shared.reload()
    pids = tmp_path / "pids"
    made = shared.remind(method="hang", message=str(pids), retries=0)
    entry = shared.outcome(made)
    assert entry["outcome"] == "failed"
    assert "deadline of 500ms" in entry["error"]
    for pid in map(int, pids.read_text().split()):
        wait_until(lambda pid=pid: not alive(pid), f"the end of process {pid}")


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_worker_is_used_again(shared, tmp_path):
    shared.dropin(
        "mypid.py",
        "from tifftockd import RemindProcess\nimport os\n"
        "class MyPid(RemindProcess):\n"
        "    concurrency = 1\n"
        "    def remind(self, message):\n"
        "        print(os.getpid())\n",
    )
    shared.reload()
    pids = {shared.outcome(shared.remind(method="mypid"))["output"] for _ in range(3)}
    assert len(pids) == 1
    assert int(pids.pop()) != shared.process.pid


def test_a_dead_worker_costs_one_attempt(shared, tmp_path):
    shared.dropin(
        "suicide.py",
        "from tifftockd import RemindProcess\nimport os, signal\n"
        "class Suicide(RemindProcess):\n"
        "    def remind(self, message):\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n",
    )
    shared.reload()
    entry = shared.outcome(shared.remind(method="suicide", retries=0))
    assert entry["outcome"] == "failed"
    assert "SIGSEGV" in entry["error"]
    assert shared.outcome(shared.remind())["outcome"] == "delivered"


def test_many_due_at_once_each_fire_once(shared, tmp_path):
    note = tmp_path / "note"
    due = f"@{time.time() + 2:.3f}"
    made = {
        shared.remind(method="note", when=due, message=f"{n}", options={"file": str(note)})["id"] for n in range(200)
    }
    wait_until(lambda: len(lines(note)) >= 200, "200 attempts")
    wait_until(lambda: not {one["id"] for one in shared.get("/reminders")} & made, "their outcomes")
    assert sorted(id_ for id_, *_ in lines(note)) == sorted(made)


def test_a_slow_method_does_not_hold_up_another(shared, tmp_path):
    for _ in range(8):
        shared.remind(method="note", options={"file": str(tmp_path / "slow"), "sleep": 5})
    wait_until(lambda: len(lines(tmp_path / "slow")) == 4, "four attempts at once")
    assert shared.outcome(shared.remind())["late_ms"] < 2000
    assert len(lines(tmp_path / "slow")) == 4


def test_with_a_max_late_of_nothing_none_begins(daemon):
    daemon.start()
    assert daemon.outcome(daemon.remind(max_late=0))["outcome"] == "missed"
