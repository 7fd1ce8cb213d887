"""What happens to a repeating reminder: its occurrences, in time and after crashes."""

import random
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from tests.daemon import NOTE, running, wait_until
from tifftockd.reminder import Outcome

SECONDLY = "*:*:*"


def repeat(daemon, tmp_path, expression=SECONDLY, **fields):
    options = {"file": str(tmp_path / "notes")} | fields.pop("options", {})
    body = {"repeat": expression, "message": "again", "method": "note", "options": options} | fields
    answer = daemon.request("POST", "/remind", body)
    assert answer.status == 201, answer
    return answer.json


def dues(entries, *outcomes):
    """Seconds from the first to each that has ended so, or any way: an attempt that was interrupted does not count."""
    found = [entry for entry in entries if entry["outcome"] in (outcomes or {*Outcome} - {"interrupted"})]
    instants = [datetime.fromisoformat(entry["due"]).timestamp() for entry in found]
    return [round(instant - datetime.fromisoformat(entries[0]["due"]).timestamp(), 6) for instant in instants]


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    """A daemon and several that repeat every second, side by side, and what they did until the last of them ended."""
    folder = tmp_path_factory.mktemp("lives")
    with running(folder) as daemon:
        daemon.dropin("note.py", NOTE)
        daemon.reload()
        made = {
            "quick": repeat(daemon, folder, count=3),
            "failing": repeat(daemon, folder, count=2, options={"raise": "permanent"}),
            "wait": repeat(daemon, folder, count=5, options={"sleep": 1.3}),
            "skip": repeat(daemon, folder, count=5, options={"sleep": 1.3}, overlap="skip"),
            "last": repeat(daemon, folder, count=2, options={"sleep": 1.3, "raise": "permanent"}, overlap="skip"),
        }
        for one in made.values():
            wait_until(lambda one=one: len(daemon.history(one)) == one["count"], "its last occurrence")
        yield daemon, made


def test_one_that_is_attempted_all_the_time_is_cancelled_or_changed_at_an_attempts_end(daemon, tmp_path):
    daemon.start()
    made = [repeat(daemon, tmp_path, options={"sleep": 1.3}) for _ in range(3)]
    for one in made:
        wait_until(lambda one=one: daemon.state(one) == "firing" and daemon.history(one), "the second attempt")
    cancelled, changed, snoozed = (f"/reminder/{one['id']}" for one in made)

    def insist(method, path, body=None):
        """As a script would; each request waits for a second, and an end comes every 1.3."""
        answers = (daemon.request(method, path, body) for _ in range(5))
        return next((answer for answer in answers if answer.status != 409), None)

    with ThreadPoolExecutor() as pool:
        answers = [
            pool.submit(insist, "DELETE", cancelled),
            pool.submit(insist, "PATCH", changed, {"message": "changed"}),
            pool.submit(insist, "POST", f"{snoozed}/snooze", {"in": "1h"}),
        ]
    done = [answer.result() for answer in answers]
    assert [one and one.status for one in done] == [204, 200, 200]
    wait_until(lambda: daemon.history(made[1])[-1]["message"] == "changed", "what was changed")
    *ended, last = (entry["outcome"] for entry in daemon.history(made[0]))
    assert ({*ended} - {"missed"}, last) == ({"delivered"}, "cancelled")
    when, end = (datetime.fromisoformat(at) for at in (done[2].json["when"], daemon.history(made[2])[-1]["finished"]))
    assert when - end >= timedelta(hours=1), "from when it was done, not from when that was asked for"


def test_each_occurrence_fires_in_time_with_a_key_of_its_own_until_the_last(lives):
    daemon, made = lives
    entries = daemon.history(made["quick"])
    assert dues(entries) == [0, 1, 2]
    assert [entry["outcome"] for entry in entries] == ["delivered"] * 3
    assert len({entry["key"] for entry in entries}) == 3
    assert {entry["attempt"] for entry in entries} == {1}
    assert all(0 <= entry["late_ms"] < 900 for entry in entries)
    assert daemon.state(made["quick"]) is None


def test_one_that_failed_for_good_comes_back_and_the_last_one_is_kept(lives):
    daemon, made = lives
    assert [entry["outcome"] for entry in daemon.history(made["failing"])] == ["failed"] * 2
    assert daemon.state(made["failing"]) == "failed"
    options = {"file": made["failing"]["options"]["file"]}
    again = daemon.request("PATCH", f"/reminder/{made['failing']['id']}", {"options": options})
    assert (again.status, again.json["count"]) == (200, 1)
    wait_until(lambda: daemon.state(made["failing"]) is None, "its delivery")


def test_the_count_of_one_that_is_kept_is_that_of_its_last(lives):
    daemon, made = lives
    assert [entry["outcome"] for entry in daemon.history(made["last"])] == ["failed", "missed"]
    kept = daemon.get(f"/reminder/{made['last']['id']}")
    assert (kept["state"], kept["count"]) == ("failed", 1)


@pytest.mark.parametrize(("overlap", "why"), [("wait", "(catch_up: one)"), ("skip", "(overlap: skip)")])
def test_what_is_due_while_the_one_before_is_attempted_waits_or_is_skipped(lives, overlap, why):
    daemon, made = lives
    entries = daemon.history(made[overlap])
    assert dues(entries) == [0, 1, 2, 3, 4]
    assert all(why in entry["error"] for entry in entries if entry["outcome"] == "missed")
    attempts = [entry for entry in entries if entry["outcome"] == "delivered"]
    ends = [entry["finished"] for entry in attempts]
    assert all(entry["started"] >= end for entry, end in zip(attempts[1:], ends, strict=False))
    if overlap == "skip":
        assert len(attempts) < 5
        assert all(entry["late_ms"] < 900 for entry in attempts)
    else:
        assert attempts[1]["late_ms"] > 200


def test_after_a_downtime_catch_up_says_which_of_those_that_were_missed_fire(daemon, tmp_path):
    daemon.start()
    made = {
        catch_up: repeat(daemon, tmp_path, catch_up=catch_up, message=catch_up) for catch_up in ("one", "all", "none")
    }
    for one in made.values():
        daemon.outcome(one)
    daemon.kill()
    down = time.time()
    time.sleep(3.2)  # a downtime cannot be waited for
    up = time.time()
    daemon.start()
    found = {}
    for catch_up, one in made.items():
        wait_until(lambda one=one: dues_after(daemon, one, up), "an occurrence after the downtime")
        found[catch_up] = daemon.history(one)
        listed = dues(found[catch_up])
        assert listed == [*range(len(listed))], catch_up
    missed = {
        catch_up: [one for one in entries if one["outcome"] == "missed" and down < seconds(one["due"]) < up]
        for catch_up, entries in found.items()
    }
    during = int(up) - int(down)
    assert len(missed["all"]) == 0
    assert during - 2 <= len(missed["one"]) <= during
    assert during - 1 <= len(missed["none"]) <= during + 1
    assert all("(catch_up: none)" in one["error"] for one in missed["none"])
    wait_until(lambda: re.search(r" outage .*missed=\d+", daemon.log_text()), "the summary of the outage")


def seconds(text):
    return datetime.fromisoformat(text).timestamp()


def dues_after(daemon, reminder, instant):
    return [entry for entry in daemon.history(reminder) if seconds(entry["due"]) > instant]


def test_no_kill_skips_or_doubles_an_occurrence(daemon, tmp_path):
    """SIGKILL at random moments around occurrences: the history has each once, and explains what happened twice."""
    daemon.start()
    made = [repeat(daemon, tmp_path, catch_up="all", overlap=overlap, message=overlap) for overlap in ("wait", "skip")]
    chance = random.Random(1)
    for _ in range(6):
        # Around a full second: a claim comes up to 50 ms before it, its outcome some milliseconds after.
        now = time.time()
        time.sleep((chance.uniform(-0.06, 0.02) - now) % 1)
        daemon.kill()
        daemon.start()
    end = time.time()
    for one in made:
        wait_until(lambda one=one: dues_after(daemon, one, end), "an occurrence after the last kill")
        entries = daemon.history(one)
        listed = dues(entries)
        assert listed == [*range(len(listed))]
        attempted = Counter(entry["key"] for entry in entries if entry["outcome"] in ("delivered", "interrupted"))
        effects = [line.split() for line in (tmp_path / "notes").read_text().splitlines()]
        had = Counter(key for id_, _, key, *_ in effects if id_ == str(one["id"]))
        # Its effect may be there before its outcome is, never twice without an interruption.
        assert all(had[key] <= attempted[key] or key not in attempted for key in had)
        delivered = {entry["key"] for entry in entries if entry["outcome"] == "delivered"}
        assert delivered <= had.keys()
