"""Many at once, and one that is sent twice: POST /reminders and Idempotency-Key."""

import functools
import json
import threading
from collections import Counter

import pytest

from tests.functional.test_routes import HOUR, NOW, api, shared  # noqa: F401 fixtures
from tifftockd import clock

ONE = {"in": "1h", "message": "tea", "method": "log"}
DAY = 24 * HOUR


def post(api, path, body, key=None, ask=None):  # noqa: F811
    return (ask or api.request)("POST", path, body, **({} if key is None else {"Idempotency-Key": key}))


# ---- many


def test_many_are_created_in_their_order(api):  # noqa: F811
    first = api.remind()
    status, made, _ = post(api, "/reminders", [ONE | {"message": str(n), "in": f"{9 - n}h"} for n in range(9)])
    assert status == 201
    assert [one["message"] for one in made] == [str(n) for n in range(9)]
    assert [one["id"] for one in made] == list(range(first["id"] + 1, first["id"] + 10))
    assert len({one["key"] for one in made}) == 9
    assert made == [api.get(f"/reminder/{one['id']}") for one in made]
    assert api.remind()["id"] == made[-1]["id"] + 1
    assert api.get("/health")["counts"]["pending"] == 11


def test_none_is_created_when_one_is_wrong(shared):  # noqa: F811
    wrong = [ONE, {"in": "1h", "method": "log"}, 7, ONE | {"method": "nothing"}, ONE | {"in": "soon"}]
    status, said, _ = post(shared, "/reminders", wrong)
    assert (status, said["kind"], said["field"]) == (400, "some_invalid", None)
    assert said["error"] == "4 of 5 reminders are wrong, so none was created"
    assert [(one["index"], one["field"], one["kind"]) for one in said["errors"]] == [
        (1, "message", "missing"), (2, None, "malformed"), (3, "method", "unknown_method"), (4, "in", "invalid_time"),
    ]  # fmt: skip


def test_one_that_cannot_be_kept_is_named_among_many(shared):  # noqa: F811
    deep = functools.reduce(lambda inner, _: [inner], range(32), "x")
    wrong = [
        ONE, ONE | {"message": "a\0b"}, ONE | {"options": {"\ud800": 1}}, ONE | {"options": {"a": deep}}, ["\0"],
        ONE | {"in": "soon"}, ONE | {"\0": 1}, ONE,
    ]  # fmt: skip
    for key in (None, "k"):
        status, said, _ = post(shared, "/reminders", wrong, key)
        assert (status, said["kind"]) == (400, "some_invalid")
        assert said["error"] == "6 of 8 reminders are wrong, so none was created"
        assert [(one["index"], one["field"], one["kind"], one["error"][:20]) for one in said["errors"]] == [
            (1, "message", "malformed", "the body holds a NUL"), (2, "options", "malformed", "the body holds half "),
            (3, "options", "malformed", "the body is nested d"), (4, None, "malformed", "it is not a JSON obj"),
            (5, "in", "invalid_time", "'in': cannot use the"), (6, None, "malformed", "the body holds a NUL"),
        ]  # fmt: skip


def test_there_may_be_none_and_ten_thousand_and_no_more(api):  # noqa: F811
    assert post(api, "/reminders", [])[:2] == (201, [])
    status, made, _ = post(api, "/reminders", [ONE] * 10_000)
    assert (status, len(made)) == (201, 10_000)
    assert api.refused("POST", "/reminders", [ONE] * 10_001)[:3] == (400, None, "too_many")
    assert len(api.get("/reminders?limit=10000")) == 10_000


@pytest.mark.parametrize("body", [{}, b"[", ONE])
def test_what_is_no_array_is_refused(shared, body):  # noqa: F811
    assert shared.refused("POST", "/reminders", body)[:3] == (400, None, "malformed")


# ---- the same twice


def test_the_same_again_gives_the_same_answer_and_makes_nothing(api):  # noqa: F811
    status, made, headers = post(api, "/remind", ONE, "k-1")
    assert status == 201
    assert "Idempotent-Replayed" not in headers
    # Written in another way, and later, and when it has been dropped
    api.now += HOUR
    again = post(api, "/remind", json.dumps(ONE, indent=2, sort_keys=True), "k-1")
    assert again[:2] == (201, made)
    assert (again[2]["Idempotent-Replayed"], again[2]["Location"]) == ("true", f"/reminder/{made['id']}")
    api.request("DELETE", f"/reminder/{made['id']}")
    assert post(api, "/remind", ONE, "k-1")[:2] == (201, made)
    assert post(api, "/remind", ONE, "k-2")[1]["id"] == made["id"] + 1


def test_a_repeat_whose_time_has_passed_meanwhile_is_still_one(api):  # noqa: F811
    soon = ONE | {"when": "2040-01-16T12:00:01Z"}
    del soon["in"]
    made = post(api, "/remind", soon, "k")[1]
    api.now += HOUR
    assert post(api, "/remind", soon, "k")[:2] == (201, made)
    assert post(api, "/remind", soon)[0] == 400


def test_many_are_repeated_as_a_whole(api):  # noqa: F811
    made = post(api, "/reminders", [ONE, ONE], "k")[1]
    status, again, headers = post(api, "/reminders", [ONE, ONE], "k")
    assert (status, again, headers["Idempotent-Replayed"]) == (201, made, "true")
    assert len(api.get("/reminders")) == 2


def test_another_body_with_the_same_key_is_a_conflict(api):  # noqa: F811
    post(api, "/remind", ONE, "k")
    status, said, _ = post(api, "/remind", ONE | {"message": "coffee"}, "k")
    assert (status, said["kind"], said["field"]) == (409, "key_reused", "Idempotency-Key")
    assert len(api.get("/reminders")) == 1


def test_a_key_is_the_callers_and_the_routes_own(api):  # noqa: F811
    def ask_tcp(*arguments, **headers):
        return api.request_tcp(*arguments, **headers, x_api_key="first-key")

    ids = [
        post(api, "/remind", ONE, "k")[1]["id"],
        post(api, "/remind", ONE, "k", ask_tcp)[1]["id"],
        post(api, "/reminders", [ONE], "k")[1][0]["id"],
    ]
    assert len(set(ids)) == 3
    assert post(api, "/remind", ONE, "k", ask_tcp)[1]["id"] == ids[1]


def test_an_error_is_not_kept(api):  # noqa: F811
    assert post(api, "/remind", ONE | {"in": "soon"}, "k")[0] == 400
    assert post(api, "/remind", ONE, "k")[0] == 201


def test_an_answer_is_kept_for_a_day(api):  # noqa: F811
    first = post(api, "/remind", ONE, "k")[1]["id"]
    api.now = NOW + DAY - 1
    assert post(api, "/remind", ONE, "k")[1]["id"] == first
    api.now = NOW + 2 * DAY
    assert post(api, "/remind", ONE, "k")[1]["id"] != first


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 256])
def test_a_key_that_is_none_is_refused(shared, key):  # noqa: F811
    status, said, _ = post(shared, "/remind", ONE, key.encode("utf-8"))
    assert (status, said["field"]) == (400, "Idempotency-Key")


def test_of_requests_with_one_key_at_the_same_time_one_is_carried_out(api):  # noqa: F811
    answers = []

    def ask():
        answers.append(post(api, "/remind", ONE, "k", lambda *a, **h: api.request_tcp(*a, **h, x_api_key="first-key")))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(status for status, *_ in answers) == {201: 8}
    assert len({said["id"] for _, said, _ in answers}) == 1
    assert len(api.get("/reminders")) == 1


def test_what_was_made_by_a_clock_that_was_wrong_is_not_made_again_when_it_is_right(api):  # noqa: F811
    """A board wakes in 1970; the answer is lost, and the clock is set before the request comes again."""
    body = {"when": "2041-01-31T09:00:00+01:00", "message": "tea", "method": "log"}
    api.now = DAY
    made = post(api, "/remind", body, "key")[1]
    api.now = NOW
    assert post(api, "/remind", body, "key")[1] == made
    # From the next one on it is kept for a day, as all others are.
    post(api, "/remind", ONE, "another")
    api.now = NOW + DAY - 1
    assert post(api, "/remind", body, "key")[1] == made
    api.now = NOW + 2 * DAY
    assert post(api, "/remind", body, "key")[1]["id"] > made["id"] + 1


def test_an_upgrade_to_a_newer_release_makes_no_old_answer_a_fresh_one(api, monkeypatch):  # noqa: F811
    api.now = clock.RELEASED + HOUR
    made = post(api, "/remind", ONE, "every-monday")[1]
    monkeypatch.setattr(clock, "RELEASED", clock.RELEASED + 2 * DAY)
    api.now = clock.RELEASED + HOUR
    assert post(api, "/remind", ONE, "every-monday")[1]["id"] == made["id"] + 1
