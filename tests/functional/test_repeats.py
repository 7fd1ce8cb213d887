"""Repeating reminders and snooze, as the API takes and shows them."""

from datetime import datetime, timedelta

import pytest

from tests.functional.test_routes import LAMP, NOW, api, shared  # noqa: F401 fixtures
from tifftockd.clock import SECOND
from tifftockd.handlers.registry import Registry
from tifftockd.reminder import Outcome, State
from tifftockd.settling import Policy, expire

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
    # Put off beyond its end, it can still be changed.
    api.request("POST", f"{where}/snooze", {"in": "365d"})
    assert change(message="late")["when"] == "2041-01-15T21:00:00+09:00"
    assert change(repeat="weekly")["when"] == "2040-01-23T00:00:00+09:00"
    assert api.refused("PATCH", where, {"in": "1h"})[:3] == (409, "in", "misfit")
    assert api.refused("PATCH", where, {"until": "tomorrow 9:00"})[:3] == (409, "until", "misfit")
    assert api.refused("PATCH", where, {"repeat": "daily", "until": "23:30"})[:2] == (400, "until")
    assert (said := change(repeat=None))["repeat"] is None
    assert (said["when"], said["until"]) == ("2040-01-23T00:00:00+09:00", None)
    assert change(when="2040-02-02T09:00")["when"] == "2040-02-02T09:00:00+09:00"
    assert api.refused("PATCH", where, {"count": 2})[:3] == (409, "count", "misfit")


def test_an_occurrence_that_has_fired_since_a_change_was_asked_for_does_not_come_again(api, monkeypatch):  # noqa: F811
    made = api.remind(when="2040-02-01T09:00")
    change = api.store.change

    def waits_for_its_turn(*arguments):
        api.now += 2 * SECOND
        return change(*arguments)

    monkeypatch.setattr(api.store, "change", waits_for_its_turn)
    _, said, _ = api.request("PATCH", f"/reminder/{made['id']}", {"repeat": "*:*:*"})
    assert said["when"] == "2040-01-16T13:00:03+01:00"


@pytest.mark.parametrize(("query", "count"), [("", 10), ("?n=1", 1), ("?n=1000", 1000)])
def test_what_is_to_come_can_be_seen(api, query, count):  # noqa: F811
    made = api.remind(when="2040-02-01T09:00")
    assert api.get(f"/reminder/{made['id']}/occurrences{query}") == [made["when"]]
    api.request("PATCH", f"/reminder/{made['id']}", {"repeat": "*:0/15"})
    found = [datetime.fromisoformat(text) for text in api.get(f"/reminder/{made['id']}/occurrences{query}")]
    assert found == [found[0] + number * timedelta(minutes=15) for number in range(count)]
    assert api.refused("GET", f"/reminder/{made['id'] + 1}/occurrences")[0] == 404


@pytest.mark.parametrize(
    ("fields", "behind"),
    [
        ({"count": 6}, ["14:30"]),
        ({"count": 3}, []),
        ({"until": "14:45"}, ["14:30", "14:45"]),
        ({"count": 6, "catch_up": "all"}, ["13:30", "13:45", "14:00", "14:15", "14:30"]),
    ],
)
def test_what_has_passed_and_will_not_fire_is_none_of_it(api, fields, behind):  # noqa: F811
    body = {"repeat": "*:0/15", "message": "tea", "method": "log"} | fields
    _, made, _ = api.request("POST", "/remind", body)
    where = f"/reminder/{made['id']}/occurrences"
    api.now += 80 * 60 * SECOND  # 14:20, and the one of 13:15 is still being tried
    assert [text[11:16] for text in api.get(where)] == ["13:15", *behind]
    ended = expire(api.store.get(made["id"]), api.now, Policy(SECOND))
    api.store.settle([ended._replace(state=State.MISSED, next=None)])
    assert len(api.get(where)) == 1


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
    made = api.remind(method="lamp", to="kitchen", options={"level": 3}, tz="Asia/Tokyo", max_late="1min", retries=1)
    api.end(api.begin(made), Outcome.DELIVERED, None)
    where = f"/reminder/{made['id']}/snooze"
    status, said, headers = api.request("POST", where, {"in": 600}, Idempotency_Key="k")
    assert (status, said["when"], said["snoozed_from"]) == (201, "2040-01-16T21:10:00+09:00", made["id"])
    assert headers["Location"] == f"/reminder/{said['id']}" != f"/reminder/{made['id']}"
    copied = ("message", "method", "to", "options", "tz", "max_late", "retries")
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


def test_one_that_was_delivered_and_does_not_fit_its_method_any_more_stays_there(api):  # noqa: F811
    made = api.remind(method="lamp", to="kitchen", options={"level": 3})
    api.end(api.begin(made), Outcome.DELIVERED, None)
    where = f"/reminder/{made['id']}/snooze"
    api.registry.become(Registry([LAMP._replace(options={})], loading=False))
    assert api.refused("POST", where, {"in": 5})[:3] == (409, "options.level", "misfit")
    api.registry.become(Registry([], loading=False))
    assert api.refused("POST", where, {"in": 5})[:3] == (409, "method", "misfit")
    assert api.get("/reminders") == []


def test_one_that_has_failed_is_not_snoozed_into_waiting_for_a_method_that_has_gone(api):  # noqa: F811
    made = api.remind(method="lamp", to="kitchen", options={"level": 3})
    api.end(api.begin(made), Outcome.FAILED, State.FAILED)
    where = f"/reminder/{made['id']}/snooze"
    api.registry.become(Registry([LAMP._replace(options={})], loading=False))
    assert api.refused("POST", where, {"in": 5})[:3] == (409, "options.level", "misfit")
    api.registry.become(Registry([], loading=False))
    assert api.refused("POST", where, {"in": 5})[:3] == (409, "method", "misfit")
    api.registry.become(Registry([LAMP], loading=False))
    assert api.request("POST", where, {"in": 5})[0] == 200
