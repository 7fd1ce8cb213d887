"""Repeating reminders and snooze: through the API, and through crashes."""

import random
import re
import time
from collections import Counter
from datetime import datetime, timedelta

import pytest

from tests.daemon import NOTE, running, wait_until
from tests.functional.test_routes import NOW, api, shared  # noqa: F401 fixtures
from tifftockd.clock import SECOND
from tifftockd.reminder import Outcome

SECONDLY = "*:*:*"


# ---- what is accepted and shown


def test_a_repeating_reminder_shows_its_next_time_and_all_that_it_was_given(api):  # noqa: F811
    api.now = NOW  # a Monday, 13:00 in Berlin
    body = {
        "repeat": " Mon..Fri   08:55 ", "tz": "America/New_York", "until": "2040-03-01", "count": 5,
        "catch_up": "all", "overlap": "skip", "message": "stand-up", "method": "log",
    }  # fmt: skip
    status, said, headers = api.request("POST", "/remind", body)
    assert (status, headers["Location"]) == (201, f"/reminder/{said['id']}")
    assert said["when"] == "2040-01-16T08:55:00-05:00"
    assert said["until"] == "2040-03-01T23:59:59-05:00"
    shown = {name: said[name] for name in ("repeat", "count", "catch_up", "overlap", "tz")}
    assert shown == {
        "repeat": "Mon..Fri 08:55", "count": 5, "catch_up": "all", "overlap": "skip", "tz": "America/New_York",
    }  # fmt: skip
    assert api.get(headers["Location"]) == said
    assert api.get("/reminders") == [said]
    assert api.get(f"/reminder/{said['id']}/occurrences") == [
        f"2040-01-{day}T08:55:00-05:00" for day in (16, 17, 18, 19, 20)
    ]


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        ({"repeat": "daily"}, "2040-01-17T00:00:00+01:00"),
        ({"repeat": "55 8 * * 1-5"}, "2040-01-17T08:55:00+01:00"),
        ({"repeat": "@hourly", "tz": None}, "2040-01-16T14:00:00+01:00"),
        ({"repeat": "Tue 09:00 Asia/Tokyo"}, "2040-01-17T09:00:00+09:00"),
        ({"repeat": "Tue 09:00 Asia/Tokyo", "tz": "Asia/Tokyo"}, "2040-01-17T09:00:00+09:00"),
        ({"repeat": "daily", "until": "tomorrow 0:00", "count": None}, "2040-01-17T00:00:00+01:00"),
    ],
)
def test_the_first_occurrence_is_the_first_after_now(api, fields, first):  # noqa: F811
    status, said, _ = api.request("POST", "/remind", {"message": "tea", "method": "log"} | fields)
    assert (status, said["when"], said["catch_up"], said["overlap"]) == (201, first, "one", "wait")


@pytest.mark.parametrize(
    ("fields", "field", "kind", "words"),
    [
        ({"repeat": "daily", "when": "13:00"}, "repeat", "invalid", "'when' and 'repeat' were given: send one"),
        ({"repeat": "daily", "in": 5}, "repeat", "invalid", "send one of them"),
        ({"repeat": None}, "when", "missing", "'repeat' with an expression like"),
        ({"repeat": 5}, "repeat", "invalid", "like Mon..Fri 08:55, or null"),
        ({"repeat": "every day"}, "repeat", "invalid", "every day"),
        ({"repeat": "*-02-30"}, "repeat", "never", "never"),
        ({"repeat": "2020-01-01"}, "repeat", "never", "never"),
        ({"repeat": "*:*:0/0.5"}, "repeat", "invalid", "second"),
        ({"repeat": "daily", "until": "18:00"}, "until", "invalid", "after 'until'"),
        ({"repeat": "daily", "until": "soon"}, "until", "invalid_time", "cannot use the time"),
        ({"repeat": "daily", "count": 0}, "count", "invalid", "from 1 to 1000000, or null"),
        ({"repeat": "daily", "catch_up": "some"}, "catch_up", "invalid", "one of one, all, none"),
        ({"repeat": "daily", "overlap": None}, "overlap", "invalid", "one of wait, skip"),
        ({"repeat": "daily Asia/Tokyo", "tz": "Asia/Seoul"}, "tz", "invalid", "Asia/Tokyo"),
        ({"in": 5, "count": 3}, "count", "invalid", "send 'repeat' too"),
        ({"when": "13:30", "catch_up": "one"}, "catch_up", "invalid", "send 'repeat' too"),
    ],
)
def test_what_makes_no_sense_is_refused(shared, fields, field, kind, words):  # noqa: F811
    refused = shared.refused("POST", "/remind", {"message": "tea", "method": "log"} | fields)
    assert refused[:3] == (400, field, kind)
    assert words in refused[3]


def test_a_form_can_say_it_too(api):  # noqa: F811
    form = "repeat=Mon..Fri+08%3A55&count=3&until=&message=tea&method=log"
    status, said, _ = api.request("POST", "/remind", form, Content_Type="application/x-www-form-urlencoded")
    assert (status, said["repeat"], said["count"], said["until"]) == (201, "Mon..Fri 08:55", 3, None)


def test_the_expression_can_be_changed_and_taken_away(api):  # noqa: F811
    made = api.remind(when="2040-02-01T09:00")
    where = f"/reminder/{made['id']}"

    def change(**fields):
        status, said, _ = api.request("PATCH", where, fields)
        assert status == 200, said
        return said

    assert change(repeat="daily", count=3)["when"] == "2040-01-17T00:00:00+01:00"
    assert (said := change(message="coffee"))["when"] == "2040-01-17T00:00:00+01:00"
    assert (said["count"], said["key"]) == (3, made["key"])
    assert change(tz="Asia/Tokyo")["when"] == "2040-01-17T00:00:00+09:00"
    assert change(repeat="weekly", until="2040-12-31", overlap="skip")["when"] == "2040-01-23T00:00:00+09:00"
    assert change(count=None)["count"] is None
    assert api.refused("PATCH", where, {"in": "1h"})[:3] == (409, "in", "misfit")
    assert api.refused("PATCH", where, {"until": "tomorrow 9:00"})[:3] == (409, "until", "misfit")
    assert api.refused("PATCH", where, {"repeat": "daily", "until": "23:30"})[:2] == (400, "until")
    assert (said := change(repeat=None))["repeat"] is None
    assert (said["when"], said["until"]) == ("2040-01-23T00:00:00+09:00", None)
    assert change(when="2040-02-02T09:00")["when"] == "2040-02-02T09:00:00+09:00"
    assert api.refused("PATCH", where, {"count": 2})[:3] == (409, "count", "misfit")


@pytest.mark.parametrize(("query", "count"), [("", 10), ("?n=1", 1), ("?n=1000", 1000)])
def test_what_is_to_come_can_be_seen(api, query, count):  # noqa: F811
    made = api.remind(when="2040-02-01T09:00")
    assert api.get(f"/reminder/{made['id']}/occurrences{query}") == [made["when"]]
    api.request("PATCH", f"/reminder/{made['id']}", {"repeat": "*:0/15"})
    found = [datetime.fromisoformat(text) for text in api.get(f"/reminder/{made['id']}/occurrences{query}")]
    assert found == [found[0] + number * timedelta(minutes=15) for number in range(count)]
    assert api.refused("GET", f"/reminder/{made['id'] + 1}/occurrences")[0] == 404


# ---- snooze


def test_one_that_waits_is_moved(api):  # noqa: F811
    made = api.remind(**{"in": "5h"})
    status, said, _ = api.request("POST", f"/reminder/{made['id']}/snooze", {"in": "10min"})
    assert (status, said["when"], said["id"]) == (200, "2040-01-16T13:10:00+01:00", made["id"])
    assert said | {"when": made["when"]} == made


def test_of_one_that_repeats_the_present_occurrence_is_moved(api):  # noqa: F811
    made = api.remind(when="2040-02-01T09:00")
    api.request("PATCH", f"/reminder/{made['id']}", {"repeat": "*-*-* 09:00"})
    api.request("POST", f"/reminder/{made['id']}/snooze", "in=10min", Content_Type="application/x-www-form-urlencoded")
    assert api.get(f"/reminder/{made['id']}/occurrences?n=3") == [
        "2040-01-16T13:10:00+01:00", "2040-01-17T09:00:00+01:00", "2040-01-18T09:00:00+01:00",
    ]  # fmt: skip


def test_one_that_was_delivered_comes_back(api):  # noqa: F811
    made = api.remind(method="lamp", to="kitchen", options={"level": 3}, tz="Asia/Tokyo")
    api.end(api.begin(made), Outcome.DELIVERED, None)
    where = f"/reminder/{made['id']}/snooze"
    status, said, headers = api.request("POST", where, {"in": 600}, Idempotency_Key="k")
    assert (status, said["when"], said["snoozed_from"]) == (201, "2040-01-16T21:10:00+09:00", made["id"])
    assert headers["Location"] == f"/reminder/{said['id']}" != f"/reminder/{made['id']}"
    copied = ("message", "method", "to", "options", "tz")
    assert [said[name] for name in copied] == [made[name] for name in copied]
    assert said["key"] != made["key"]
    again = api.request("POST", where, {"in": 600}, Idempotency_Key="k")
    assert (again[:2], again[2]["Idempotent-Replayed"]) == ((201, said), "true")
    assert again[2]["Location"] == headers["Location"]
    assert len(api.get("/reminders")) == 1


def test_a_snooze_that_is_repeated_moves_nothing_again(api):  # noqa: F811
    made = api.remind()
    where = f"/reminder/{made['id']}/snooze"
    first = api.request("POST", where, {"in": "10min"}, Idempotency_Key="k")
    api.now += 60 * SECOND
    again = api.request("POST", where, {"in": "10min"}, Idempotency_Key="k")
    assert (again[0], again[1], again[2]["Location"]) == (200, first[1], None)
    assert api.get(f"/reminder/{made['id']}") == first[1]


def test_one_that_failed_fires_again(api):  # noqa: F811
    made = api.remind()
    api.end(api.begin(made))
    status, said, _ = api.request("POST", f"/reminder/{made['id']}/snooze", {"in": "10min"})
    assert (status, said["state"], said["attempts"]) == (200, "pending", 0)
    assert said["key"] != made["key"]


def test_what_cannot_be_snoozed_is_refused(api):  # noqa: F811
    made = api.remind()
    assert api.refused("POST", "/reminder/99/snooze", {"in": 5})[0] == 404
    for body, field in (({}, "in"), ({"in": "soon"}, "in"), ({"in": 5, "to": "x"}, "to")):
        assert api.refused("POST", f"/reminder/{made['id']}/snooze", body)[:2] == (400, field)
    api.begin(made)
    assert api.refused("POST", f"/reminder/{made['id']}/snooze", {"in": 5})[::2] == (409, "firing")
    gone = api.remind()
    api.request("DELETE", f"/reminder/{gone['id']}")
    refused = api.refused("POST", f"/reminder/{gone['id']}/snooze", {"in": 5})
    assert (refused[0], "cancelled" in refused[3]) == (404, True)


# ---- what happens


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
        }
        for one in made.values():
            wait_until(lambda one=one: len(daemon.history(one)) == one["count"], "its last occurrence")
        yield daemon, made


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
    assert re.search(r" outage .*missed=\d+", daemon.log_text())


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
        time.sleep(1 - now % 1 + chance.uniform(-0.06, 0.02))
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
