"""The routes on a real server and a real store, with a clock of the test's and no workers."""

import contextlib
import functools
import http.client
import itertools
import json
import os
import random
import re
import socket
import sqlite3
import threading
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.contract import Contract
from tifftockd import __version__, clock
from tifftockd.api import openapi, pages
from tifftockd.api.access import PEER, Peer, holds_key
from tifftockd.api.app import ROUTES, make_app
from tifftockd.clock import SECOND, micros
from tifftockd.config import Address, load_config
from tifftockd.handlers.builtin import builtin_specs
from tifftockd.handlers.registry import Registry
from tifftockd.handlers.spec import MethodSpec
from tifftockd.reminder import Outcome, Settlement, State
from tifftockd.scheduler import Scheduler
from tifftockd.server import Server, open_sockets
from tifftockd.settling import Policy
from tifftockd.store import Store, Want
from tifftockd.when import format_instant

# Far enough from now that nothing is due, whatever day it is.
NOW = micros(datetime(2040, 1, 16, 12, 0, tzinfo=UTC))
HOUR = 3600 * SECOND
KEYS = ("first-key", "zweiter-Schlüssel")

LAMP = MethodSpec(
    method="lamp", source="lamp.py", options={"color": ["red", "green"], "level": "int"}, needs_to=True,
    to_pattern="[a-z]+", to_hint="it must be a room", timeout=5 * SECOND, concurrency=1, repeatable=False,
    memory=None, output=None, renew=None, missing=None,
)  # fmt: skip


class Api:
    """A client, and what is behind the routes."""

    def __init__(self, folder):
        self.now = NOW
        environ = {"XDG_STATE_HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "TZ": "Europe/Berlin"}
        self.config = replace(load_config(environ), api_keys=KEYS)
        self.database = folder / "t.db"
        self.store = Store(f"sqlite:///{self.database}", self.database)
        self.store.open()
        self.scheduler = Scheduler(self.store, self.config)
        self.registry = Registry([*builtin_specs({}), LAMP], loading=False)
        self.path = folder / "t.sock"
        sockets = open_sockets(
            [Address("", path=str(self.path)), Address("http://127.0.0.1:0", host="127.0.0.1", port=0)]
        )
        self.port = sockets[1].getsockname()[1]
        self.server = Server(app_of(self), sockets, lambda *given: holds_key(*given, self.config.api_keys))
        self.server.start()
        self.connection = http.client.HTTPConnection("localhost")

    def close_store(self):
        if self.store is not None:
            self.store.close()
            self.store = None

    def close(self):
        self.connection.close()
        self.server.stop(5)
        self.close_store()

    def request(self, method, path, body=None, **headers):
        """Ask on the Unix socket: status, JSON, headers."""
        if self.connection.sock is None:
            self.connection.sock = socket.socket(socket.AF_UNIX)
            self.connection.sock.connect(str(self.path))
        return self._ask(self.connection, method, path, body, headers)

    def request_tcp(self, method, path, body=None, **headers):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port)) as connection:
            return self._ask(connection, method, path, body, headers)

    def _ask(self, connection, method, path, body, headers):
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        data = response.read()
        contract().check(method, path, response.status, response.headers, data)
        said = json.loads(data) if data and response.headers["Content-Type"] == "application/json" else data.decode()
        return response.status, said if data else None, response.headers

    def get(self, path):
        status, said, _ = self.request("GET", path)
        assert status == 200, said
        return said

    def remind(self, **fields):
        given = {"in": "1h", "message": "tea", "method": "log"} | fields
        # A time instead of the span
        body = {name: value for name, value in given.items() if name != "in" or "when" not in fields}
        status, said, _ = self.request("POST", "/remind", body)
        assert status == 201, said
        return said

    def refused(self, method, path, body=None, **headers):
        """An error: its status, field, kind and text."""
        status, said, _ = self.request(method, path, body, **headers)
        assert list(said) == ["error", "kind", "field"]
        return status, said["field"], said["kind"], said["error"]

    def begin(self, reminder):
        """Claim a reminder, as the scheduler does when it is due."""
        turn = self.store.turn(
            [], [Want(reminder["method"], 1, 2**62, True)], self.now, policy=Policy(SECOND), allowance=100,
            expiring=0, hold=lambda _: lambda: None,
        )  # fmt: skip
        [claimed] = [claimed for claimed in turn.claimed if claimed.id == reminder["id"]]
        return claimed

    def end(self, claimed, outcome=Outcome.FAILED, state=State.FAILED):
        """Settle it."""
        self.store.settle(
            [
                Settlement(
                    claimed, outcome, state, claimed.fire_at, claimed.attempts, 1, 0, claimed.due + 1500,
                    claimed.due + SECOND, "no route", "a line",
                )
            ]
        )  # fmt: skip


@functools.cache
def contract():
    """What each answer in this file is held against."""
    routes = SimpleNamespace(registry=Registry([*builtin_specs({}), LAMP], loading=False), routes=ROUTES)
    peer = Peer(tcp=False, uid=None, address="unix")
    answer = openapi.read_openapi.handler(routes, SimpleNamespace(now=NOW, peer=peer))
    return Contract(json.loads(answer.body))


@pytest.fixture
def api(tmp_path):
    made = Api(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """For tests that change nothing: it has one reminder, with the id 1."""
    made = Api(tmp_path_factory.mktemp("api"))
    assert made.remind()["id"] == 1
    yield made
    assert len(made.get("/reminders")) == 1
    made.close()


# ---- create, read, cancel


def test_a_reminder_is_created_and_can_be_read(api):
    status, said, headers = api.request(
        "POST", "/remind",
        {"when": "2040-01-16T21:00", "message": "tea \N{HOT BEVERAGE}", "method": "lamp", "to": "kitchen",
         "options": {"color": "red"}, "tz": "America/New_York", "max_late": 90, "retries": 2},
    )  # fmt: skip
    assert status == 201
    assert headers["Location"] == f"/reminder/{said['id']}"
    assert re.fullmatch("[0-9a-f]{32}", said["key"])
    assert said == {
        "id": said["id"],
        "when": "2040-01-16T21:00:00-05:00",
        "message": "tea \N{HOT BEVERAGE}",
        "method": "lamp",
        "to": "kitchen",
        "options": {"color": "red"},
        "tz": "America/New_York",
        "max_late": "1min 30s",
        "state": "pending",
        "attempts": 0,
        "key": said["key"],
        "owner": os.getuid(),
        "retries": 2,
        "repeat": None,
        "until": None,
        "count": None,
        "catch_up": "one",
        "overlap": "wait",
        "snoozed_from": None,
        "created": said["created"],
        "last_error": None,
    }
    assert api.get(headers["Location"]) == said


def test_curls_own_content_type_is_no_hindrance(api):
    body = json.dumps({"in": 60, "message": "tea", "method": "log"})
    status, said, _ = api.request("POST", "/remind", body, Content_Type="application/x-www-form-urlencoded")
    assert status == 201
    assert said["when"] == "2040-01-16T13:01:00+01:00"


def test_a_cancelled_reminder_is_gone_and_in_history(api):
    made = api.remind()
    status, said, headers = api.request("DELETE", f"/reminder/{made['id']}")
    assert (status, said) == (204, None)
    assert "Content-Type" not in headers
    assert api.refused("GET", f"/reminder/{made['id']}")[:3] == (404, None, "not_found")
    assert api.refused("DELETE", f"/reminder/{made['id']}")[0] == 404
    assert [entry["outcome"] for entry in api.get(f"/history?reminder={made['id']}")] == ["cancelled"]


def test_one_that_has_ended_can_be_cancelled(api):
    made = api.remind()
    api.end(api.begin(made))
    assert api.request("DELETE", f"/reminder/{made['id']}")[0] == 204


def test_one_whose_attempt_runs_can_be_neither_cancelled_nor_changed(api):
    made = api.remind()
    claimed = api.begin(made)
    for method in ("DELETE", "PATCH"):
        assert api.refused(method, f"/reminder/{made['id']}", {"message": "x"})[:3] == (409, None, "firing")
    api.end(claimed)
    assert api.request("PATCH", f"/reminder/{made['id']}", {"message": "x"})[0] == 200


def test_without_a_method_those_there_are_are_listed(shared):
    status, field, kind, error = shared.refused("POST", "/remind", {"in": "1m", "message": "x"})
    assert (status, field, kind) == (400, "method", "missing")
    assert error.endswith("there are: api, email, lamp, log, notify, sms")


@pytest.mark.parametrize(
    ("fields", "field", "kind", "wrong"),
    [
        ({"method": "fax"}, "method", "unknown_method", "no method 'fax'; there are: api,"),
        ({"method": "sms"}, "method", "method_unavailable", "TWILIO_ACCOUNT_SID"),
        ({"method": "lamp"}, "to", "missing", "needs a recipient"),
        ({"method": "lamp", "to": "KITCHEN"}, "to", "invalid", "it must be a room"),
        ({"method": "lamp", "to": "a", "options": {"colour": "red"}}, "options.colour", "unknown_field", "no option"),
        ({"method": "lamp", "to": "a", "options": {"color": "blue"}}, "options.color", "invalid", "one of red, green"),
        ({"method": "lamp", "to": "a", "options": {"level": True}}, "options.level", "invalid", "of type int"),
        ({"in": "1h", "when": "13:00"}, "in", "invalid", "one of them"),
        ({"in": 5, "metod": "log"}, "metod", "unknown_field", "no field 'metod'"),
    ],
)
def test_what_a_method_does_not_take_is_refused(shared, fields, field, kind, wrong):
    body = {"in": "1h", "message": "x", "method": "log"} | fields
    status, *said, error = shared.refused("POST", "/remind", body)
    assert (status, said) == (400, [field, kind])
    assert wrong in error


@pytest.mark.parametrize("body", [None, b"", b"{", b"[]", b"\xff", b'{"in": NaN}', b'"x"'])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_body_that_is_no_json_object_is_refused(shared, method, body):
    path = "/remind" if method == "POST" else "/reminder/1"
    assert shared.refused(method, path, body)[:3] == (400, None, "malformed")


def test_a_body_that_is_too_large_is_refused(shared):
    assert shared.refused("POST", "/remind", b" " * 65_537)[:3] == (413, None, "too_large")
    assert shared.refused("POST", "/remind", b" " * (8 * 1024 * 1024))[:3] == (413, None, "too_large")


def test_a_request_waits_for_a_drop_in_that_is_being_loaded(api):
    api.registry.become(Registry(builtin_specs({}), loading=True))
    timer = threading.Timer(0.1, lambda: api.registry.add([LAMP]))
    timer.start()
    assert api.remind(method="lamp", to="attic")["method"] == "lamp"
    timer.join()


# ---- change


def test_a_change_keeps_what_is_not_given(api):
    made = api.remind(to="me", tz="Asia/Tokyo", max_late="2h", retries=1)
    status, said, _ = api.request("PATCH", f"/reminder/{made['id']}", {"message": "coffee"})
    assert (status, said) == (200, made | {"message": "coffee"})
    assert api.get(f"/reminder/{made['id']}") == said
    assert api.request("PATCH", f"/reminder/{made['id']}", {})[1] == said


def test_a_change_is_checked_as_a_whole(api):
    made = api.remind(to="KITCHEN")
    path = f"/reminder/{made['id']}"
    # What is wrong whatever the reminder is, and what does not fit this one (RFC 5789, 2.2)
    assert api.refused("PATCH", path, {"method": "fax"})[:3] == (400, "method", "unknown_method")
    assert api.refused("PATCH", path, {"method": "lamp", "to": "ATTIC"})[:3] == (400, "to", "invalid")
    assert api.refused("PATCH", path, {"method": "lamp", "options": {"x": 1}})[:3] == (
        400, "options.x", "unknown_field",
    )  # fmt: skip
    assert api.refused("PATCH", path, {"colour": 1})[:3] == (400, "colour", "unknown_field")
    assert api.refused("PATCH", path, {"method": "lamp"})[:3] == (409, "to", "misfit")
    assert api.refused("PATCH", path, {"options": {"level": 3}})[:3] == (409, "options.level", "misfit")
    assert api.get(path) == made
    said = api.request("PATCH", path, {"method": "lamp", "to": "kitchen", "options": {"level": 3}})[1]
    assert (said["method"], said["to"], said["options"]) == ("lamp", "kitchen", {"level": 3})


def test_one_that_has_failed_is_armed_anew(api):
    made = api.remind()
    api.end(api.begin(made))
    path = f"/reminder/{made['id']}"
    failed = api.get(path)
    assert (failed["state"], failed["attempts"], failed["last_error"]) == ("failed", 1, "no route")
    api.now += 2 * HOUR
    said = api.request("PATCH", path, {})[1]
    assert (said["state"], said["attempts"], said["last_error"]) == ("pending", 0, None)
    assert said["when"] == format_instant(api.now, api.config.zone)
    assert said["key"] != made["key"]


def test_one_whose_method_has_gone_can_be_moved_and_can_get_another(api):
    made = api.remind(method="lamp", to="attic")
    api.registry.become(Registry(builtin_specs({}), loading=False))
    path = f"/reminder/{made['id']}"
    for change in ({"message": "x"}, {"to": "x"}, {"options": {}, "in": "2h"}):
        assert api.refused("PATCH", path, change)[:3] == (409, "method", "misfit")
    for change in ({"in": "2h"}, {"when": "2040-01-16T21:00", "retries": 1}, {}, {"method": "log"}):
        assert api.request("PATCH", path, change)[0] == 200


def test_one_whose_method_has_gone_is_not_armed_anew(api):
    made = api.remind(method="lamp", to="attic")
    api.end(api.begin(made), Outcome.FAILED, State.FAILED)
    api.registry.become(Registry(builtin_specs({}), loading=False))
    for change in ({}, {"in": "2h"}):
        assert api.refused("PATCH", f"/reminder/{made['id']}", change)[:3] == (409, "method", "misfit")


def test_one_that_its_method_takes_no_more_can_be_moved(api):
    made = api.remind(method="lamp", to="attic", options={"level": 3})
    api.registry.become(Registry([LAMP._replace(options={})], loading=False))
    path = f"/reminder/{made['id']}"
    assert api.request("PATCH", path, {"in": "2h"})[0] == 200
    assert api.refused("PATCH", path, {"message": "x"})[:3] == (409, "options.level", "misfit")
    assert api.refused("PATCH", path, {"method": "lamp"})[:3] == (409, "options.level", "misfit")


def test_a_reminder_that_is_not_there_cannot_be_changed(api):
    assert api.refused("PATCH", "/reminder/99", {"message": "x"})[:3] == (404, None, "not_found")
    assert api.refused("PATCH", "/reminder/99", {"method": "log"})[:3] == (404, None, "not_found")


# ---- lists


def ids(found):
    return [item["id"] for item in found]


def follow(api, path):
    """All pages of a list."""
    found = []
    while path:
        status, said, headers = api.request("GET", path)
        assert status == 200, said
        found.append(said)
        link = headers["Link"]
        path = re.fullmatch('<(.+)>; rel="next"', link)[1] if link else None
    return found


def test_reminders_are_listed_soonest_first_and_those_that_have_ended_when_asked_for(api):
    late, soon, ended = api.remind(**{"in": "3h"}), api.remind(**{"in": "2h"}), api.remind()
    api.end(api.begin(ended))
    firing = api.remind(**{"in": 60})
    api.begin(firing)
    assert ids(api.get("/reminders")) == [firing["id"], soon["id"], late["id"]]
    assert ids(api.get("/reminders?state=pending")) == [soon["id"], late["id"]]
    assert ids(api.get("/reminders?state=firing")) == [firing["id"]]
    assert ids(api.get("/reminders?state=failed")) == [ended["id"]]
    assert ids(api.get("/reminders?state=all")) == [firing["id"], ended["id"], soon["id"], late["id"]]
    assert ids(api.get("/reminders?state=missed")) == []


def test_reminders_are_found_by_method_owner_and_time(api):
    log, lamp = api.remind(), api.remind(method="lamp", to="attic", **{"in": "2h"})
    tcp = api.request_tcp("POST", "/remind", {"in": "3h", "message": "x", "method": "log"}, x_api_key=KEYS[0])[1]
    assert ids(api.get("/reminders?method=lamp")) == [lamp["id"]]
    assert ids(api.get("/reminders?method=fax")) == []
    assert ids(api.get("/reminders?owner=me")) == ids(api.get(f"/reminders?owner={os.getuid()}"))
    assert ids(api.get("/reminders?owner=me&method=log")) == [log["id"]]
    assert tcp["owner"] is None
    assert tcp["id"] in ids(api.get("/reminders"))
    assert ids(api.get("/reminders?owner=4294967294")) == []
    # 15:00 in Berlin is when lamp is due: "before" does not include it.
    for due in ("2040-01-16T15:00", "15:00", "2040-01-16T14:00Z", "2040-01-16T15:00:00%2B01:00", "@2210335200"):
        assert ids(api.get(f"/reminders?due_before={due}")) == [log["id"]], due
    assert ids(api.get("/reminders?due_before=2040-01-16T15:00:01+01:00")) == [log["id"], lamp["id"]]
    assert ids(api.get("/reminders?due_before=tomorrow+9:00")) == [log["id"], lamp["id"], tcp["id"]]


@pytest.mark.parametrize("piece", [3, 5, 500])
def test_pages_lead_through_the_whole_list(api, monkeypatch, piece):
    monkeypatch.setattr("tifftockd.api.pages.PIECE", piece)
    made = [api.remind(**{"in": 3600 + n % 3})["id"] for n in range(10)]
    found = follow(api, "/reminders?limit=4&state=pending&method=log")
    assert [len(page) for page in found] == [4, 4, 2]
    whole = ids(api.get("/reminders"))
    assert [id_ for page in found for id_ in ids(page)] == whole
    assert sorted(whole) == made
    assert [len(page) for page in follow(api, "/reminders?limit=5")] == [5, 5]
    assert [len(page) for page in follow(api, "/reminders?limit=10")] == [10]


@pytest.mark.parametrize(("looked", "piece"), [(2, 500), (2000, 3)])
def test_a_list_has_all_that_fits_and_nothing_else(api, monkeypatch, looked, piece):
    """Whatever is asked for, and by whichever index it is found."""
    monkeypatch.setattr("tifftockd.api.pages.PIECE", piece)
    monkeypatch.setattr("tifftockd.store.steps.LOOKED", looked)
    draw = random.Random(looked)
    for n in range(60):
        method, ask = draw.choice(["log", "log", "lamp"]), draw.choice([api.request, api.request_tcp])
        fields = {"in": 3600 + n % 7, "message": "x", "method": method} | ({"to": "attic"} if method == "lamp" else {})
        assert ask("POST", "/remind", fields, x_api_key=KEYS[0])[0] == 201
    with contextlib.closing(sqlite3.connect(api.database)) as database, database:
        for id_, state in enumerate(draw.choices([*State], weights=[4, 1, 1, 1, 1], k=60), start=1):
            ended = None if state in ("pending", "firing") else NOW
            database.execute("UPDATE reminder SET state = ?, ended = ? WHERE id = ?", (state, ended, id_))
    everything = api.get("/reminders?state=all")
    assert len(everything) == 60
    for state, method, owner in itertools.product(
        [None, "all", *State], [None, "log", "lamp", "fax"], [None, "me", "7"]
    ):
        states = {None: {"pending", "firing"}, "all": {*State}}.get(state, {state})
        asked = {"state": state, "method": method, "owner": owner}
        fitting = [
            one["id"]
            for one in everything
            if one["state"] in states
            and method in (None, one["method"])
            and (owner is None or one["owner"] == {"me": os.getuid(), "7": 7}[owner])
        ]
        query = urlencode({name: value for name, value in asked.items() if value is not None} | {"limit": 4})
        assert [id_ for page in follow(api, f"/reminders?{query}") for id_ in ids(page)] == fitting, query


@pytest.mark.parametrize(("looked", "piece"), [(2, 500), (2000, 3)])
def test_history_has_all_that_fits_and_nothing_else(api, monkeypatch, looked, piece):
    monkeypatch.setattr("tifftockd.api.pages.PIECE", piece)
    monkeypatch.setattr("tifftockd.store.steps.LOOKED", looked)
    for n in range(30):
        reminder = api.remind()
        if n % 3:
            api.end(api.begin(reminder))
            api.request("POST", f"/reminder/{reminder['id']}/snooze", {"in": "1h"})
        api.request("DELETE", f"/reminder/{reminder['id']}")
    everything = api.get("/history?limit=1000")
    outcomes = {one["outcome"] for one in everything}
    assert outcomes == {"failed", "cancelled"}
    for reminder, outcome in itertools.product([None, 2, 3, 99], [None, *sorted(outcomes), "delivered"]):
        fitting = [
            one["id"] for one in everything if reminder in (None, one["reminder"]) and outcome in (None, one["outcome"])
        ]
        asked = {"reminder": reminder, "outcome": outcome}
        query = urlencode({name: value for name, value in asked.items() if value is not None} | {"limit": 3})
        assert [id_ for page in follow(api, f"/history?{query}") for id_ in ids(page)] == fitting, query


def test_a_page_that_takes_too_long_ends_with_what_it_has(api, monkeypatch):
    """Also with nothing, where what fits is rare: the rest is where its Link leads."""
    monkeypatch.setattr("tifftockd.store.steps.LOOKED", 3)
    for _ in range(4):
        api.request_tcp("POST", "/remind", {"in": "1h", "message": "x", "method": "log"}, x_api_key=KEYS[0])
    made = [api.remind() for _ in range(8)]
    monkeypatch.setattr(pages, "PATIENCE", -1)
    path = "/reminders?method=log&owner=me"
    assert [len(page) for page in follow(api, path)] == [0, 2, 3, 3, 0]
    assert [id_ for page in follow(api, path) for id_ in ids(page)] == ids(made)


def test_a_page_ends_before_it_gets_too_large(api, monkeypatch):
    made = [api.remind(message="x" * 1000, **{"in": 3600 + n})["id"] for n in range(5)]
    monkeypatch.setattr(pages, "LARGEST", 3000)
    found = follow(api, "/reminders")
    assert [ids(page) for page in found] == [made[:2], made[2:4], made[4:]]
    monkeypatch.setattr(pages, "LARGEST", 10)
    assert [len(page) for page in follow(api, "/reminders")] == [1] * 5


def test_history_is_listed_newest_first_and_found_by_reminder_and_outcome(api):
    one, other = api.remind(), api.remind(tz="Asia/Tokyo")
    api.end(api.begin(one))
    api.request("DELETE", f"/reminder/{other['id']}")
    newest, oldest = api.get("/history")
    assert (newest["reminder"], newest["outcome"], newest["started"]) == (other["id"], "cancelled", None)
    assert oldest == {
        "id": oldest["id"],
        "reminder": one["id"],
        "attempt": 1,
        "key": one["key"],
        "method": "log",
        "to": None,
        "message": "tea",
        "options": {},
        "due": "2040-01-16T14:00:00+01:00",
        "started": "2040-01-16T14:00:00.001500+01:00",
        "finished": "2040-01-16T14:00:01+01:00",
        "late_ms": 1.5,
        "outcome": "failed",
        "error": "no route",
        "output": "a line",
    }
    assert api.get(f"/history?reminder={one['id']}") == [oldest]
    assert api.get("/history?outcome=cancelled") == [newest]
    assert api.get(f"/history?outcome=cancelled&reminder={one['id']}") == []


@pytest.mark.parametrize("piece", [3, 5, 500])
def test_pages_lead_through_the_whole_history(api, monkeypatch, piece):
    monkeypatch.setattr("tifftockd.api.pages.PIECE", piece)
    for _ in range(5):
        api.request("DELETE", f"/reminder/{api.remind()['id']}")
    found = follow(api, "/history?limit=2&outcome=cancelled")
    assert [len(page) for page in found] == [2, 2, 1]
    assert [id_ for page in found for id_ in ids(page)] == ids(api.get("/history"))


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/reminders?state=done", "state"),
        ("/reminders?state=", "state"),
        ("/reminders?owner=root", "owner"),
        ("/reminders?owner=4294967296", "owner"),
        ("/reminders?due_before=soon", "due_before"),
        ("/reminders?limit=0", "limit"),
        ("/reminders?limit=10001", "limit"),
        ("/reminders?limit=-1", "limit"),
        ("/reminders?limit=%D9%A1", "limit"),
        ("/reminders?limit=" + "9" * 5000, "limit"),
        ("/reminders?limit=1&limit=2", "limit"),
        ("/reminders?after=7", "after"),
        ("/reminders?after=" + "9" * 40 + ".1", "after"),
        ("/reminders?offset=5", "offset"),
        ("/history?reminder=x", "reminder"),
        ("/history?reminder=9223372036854775808", "reminder"),
        ("/history?outcome=ok", "outcome"),
        ("/history?before=0", "before"),
        ("/history?after=1", "after"),
        ("/handlers?x", "x"),
        ("/health?verbose=1", "verbose"),
        ("/reminder/1?x=y", "x"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(shared, path, field):
    status, named, _, error = shared.refused("GET", path)
    assert (status, named) == (400, field)
    assert error
    assert field != "owner" or error.endswith(", or 'me'")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/remind"), ("POST", "/reminders"), ("PATCH", "/reminder/1"), ("POST", "/reminder/1/snooze")],
)
def test_who_sends_no_body_is_told_one_that_will_do(api, method, path):
    api.remind(**{"in": "1h"})
    status, _, _, error = api.refused(method, path)
    example = re.fullmatch(r"the body is empty: send a JSON (object|array) like (.+)", error)[2]
    assert status == 400
    assert api.request(method, path, json.loads(example))[0] in (200, 201)


def test_a_span_is_sent_on_to_the_field_that_takes_one(shared):
    hint = "it is a span, which belongs in 'in'"
    least = {"message": "x", "method": "log"}
    assert hint in shared.refused("POST", "/remind", least | {"when": "10d"})[3]
    for refused in (
        shared.refused("POST", "/remind", least | {"repeat": "daily", "until": "10d"}),
        shared.refused("GET", "/reminders?due_before=10d"),
    ):
        assert refused[1] in ("until", "due_before")
        assert refused[3].startswith("cannot use the time '10d': write it like ")


@pytest.mark.parametrize("query", ["%ff", "state=%ff", "%00", "&&&=&", "state=%ED%A0%80"])
def test_a_query_that_is_no_text_is_a_400(shared, query):
    assert shared.request("GET", f"/reminders?{query}")[0] == 400


# ---- handlers and health


def test_handlers_are_listed_with_what_they_need(api):
    api.registry.fail("broken.py", "line 3: invalid syntax")
    said = api.get("/handlers")
    assert said["loading"] is False
    assert said["failures"] == [{"file": "broken.py", "error": "line 3: invalid syntax"}]
    methods = {method["method"]: method for method in said["methods"]}
    assert list(methods) == ["api", "email", "lamp", "log", "notify", "sms"]
    assert methods["lamp"] == {
        "method": "lamp",
        "source": "lamp.py",
        "available": True,
        "reason": None,
        "options": {"color": ["red", "green"], "level": "int"},
        "needs_to": True,
        "repeatable": False,
        "timeout": "5s",
        "concurrency": 1,
    }
    assert (methods["log"]["timeout"], methods["log"]["concurrency"]) == ("1min", 4)
    assert methods["sms"]["available"] is False
    assert "TWILIO_ACCOUNT_SID" in methods["sms"]["reason"]


class Scheduling:
    def __init__(self, condition):
        self.condition = condition


def app_of(api, scheduler=None):
    return make_app(
        store=api.store,
        scheduler=scheduler or api.scheduler,
        registry=api.registry,
        config=lambda: api.config,
        now=lambda: api.now,
    )


def test_health_tells_what_there_is(api):
    api.remind()
    soon = api.remind(**{"in": "1min"})
    status, said = call(app_of(api, Scheduling("dead")), "GET", "/health")
    assert status == 503
    assert (said["status"], said["scheduler"]) == ("failing", "dead")
    status, said, _ = api.request("GET", "/health")
    assert (status, said["scheduler"]) == (200, "starting")
    status, said = call(app_of(api, Scheduling("alive")), "GET", "/health")
    assert status == 200
    assert said["counts"]["pending"] == 2
    assert (said["status"], said["scheduler"], said["store"], said["version"]) == ("ok", "alive", "ok", __version__)
    assert said["next_due"] == soon["when"]


def call(app, method, path, query="", body=b""):
    """Ask an application as a peer of a Unix socket, without a server."""
    environ = {
        "REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "wsgi.input": BytesIO(body),
        "CONTENT_LENGTH": str(len(body)), PEER: Peer(tcp=False, uid=1000, address="unix"),
    }  # fmt: skip
    answered = []
    data = b"".join(app(environ, lambda status, headers, exc_info=None: answered.append(status)))
    return int(answered[0].split()[0]), json.loads(data) if data else None


def test_without_its_store_every_route_that_needs_it_says_503(api):
    made = api.remind()
    api.close_store()
    path = f"/reminder/{made['id']}"
    for method, where, body in [
        ("POST", "/remind", {"in": "1h", "message": "x", "method": "log"}),
        ("GET", path, None),
        ("PATCH", path, {"message": "x"}),
        ("DELETE", path, None),
        ("GET", "/reminders", None),
        ("GET", "/history", None),
    ]:
        status, said, headers = api.request(method, where, body)
        assert (status, said["kind"], headers["Retry-After"]) == (503, "store_unavailable", "1"), where
    status, said, _ = api.request("GET", "/health")
    assert (status, said["status"], said["next_due"], said["counts"]) == (503, "failing", None, {})
    assert said["store"] != "ok"
    assert api.request("GET", "/handlers")[0] == 200


# ---- a wrong clock


def test_a_wrong_clock_is_said_with_when_to_try_again(api):
    made = api.remind()
    api.now = clock.RELEASED - SECOND
    for method, path, body, field, instead in [
        ("POST", "/remind", {"in": "1h", "message": "x", "method": "log"}, "in", "when"),
        ("PATCH", f"/reminder/{made['id']}", {"when": "13:00"}, "when", "when"),
        ("PATCH", f"/reminder/{made['id']}", {"repeat": "daily", "until": "13:00"}, "until", "until"),
        ("GET", "/reminders?due_before=tomorrow+9:00", None, "due_before", "due_before"),
    ]:
        status, said, headers = api.request(method, path, body)
        assert (status, said["kind"], headers["Retry-After"]) == (503, "clock_wrong", "10"), path
        assert said["field"] == field
        assert f": send '{instead}' with an offset, or" in said["error"]
    status, _, _ = api.request("POST", "/remind", {"when": "@2210335200", "message": "x", "method": "log"})
    assert status == 201


# ---- who may


@pytest.fixture
def patient(monkeypatch):
    """As many wrong keys as a test likes."""
    monkeypatch.setattr("tifftockd.server.tries._FREE", 10_000)


EVERYWHERE = [(route.method, route.path.replace("<id>", "1")) for route in ROUTES] + [
    ("GET", "/"),
    ("GET", "/nothing"),
    ("PUT", "/remind"),
    ("OPTIONS", "/remind"),
    ("HEAD", "/health"),
    ("GET", "/n%ff"),
    ("GET", "/reminder/x%00"),
    ("GET", "/reminder/abc"),
    ("GET", "/reminders?nonsense=1"),
    ("TRACE", "/health"),
]


@pytest.mark.parametrize(("method", "path"), EVERYWHERE)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_api_key": ""},
        {"x_api_key": "first-ke"},
        {"x_api_key": "FIRST-KEY"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic first-key"},
        {"Authorization": "first-key"},
        {"x_api_key": "\xff\xfe"},
    ],
)
def test_over_tcp_nothing_is_told_without_a_key(shared, patient, method, path, headers):
    status, said, answered = shared.request_tcp(method, path, **headers)
    assert status == 401
    assert answered["WWW-Authenticate"] == "Bearer"
    assert "Allow" not in answered
    if method != "HEAD":
        assert said == {"error": "invalid api key", "kind": "unauthorized", "field": None}


@pytest.mark.parametrize(
    "headers",
    [
        {"x_api_key": KEYS[0]},
        {"X_API_Key": KEYS[1].encode()},
        {"Authorization": f"Bearer {KEYS[0]}"},
        {"Authorization": f"bearer  {KEYS[0]}"},
        {"Authorization": f"Bearer {KEYS[1]}".encode()},
        {"x_api_key": "wrong", "Authorization": f"Bearer {KEYS[0]}"},
    ],
)
def test_over_tcp_each_key_opens(shared, headers):
    assert shared.request_tcp("GET", "/reminders", **headers)[0] == 200


def test_over_tcp_nobody_is_me(shared):
    status, said, _ = shared.request_tcp("GET", "/reminders?owner=me", x_api_key=KEYS[0])
    assert (status, said["field"]) == (400, "owner")


def test_without_keys_in_the_settings_nobody_gets_in_over_tcp(api):
    api.config = replace(api.config, api_keys=())
    assert api.request_tcp("GET", "/reminders", x_api_key="")[0] == 401
    assert api.request("GET", "/reminders")[0] == 200


def test_a_reload_changes_the_keys_and_the_defaults(api):
    api.config = replace(api.config, api_keys=("new",), retries=9)
    assert api.request_tcp("GET", "/reminders", x_api_key=KEYS[0])[0] == 401
    assert api.request_tcp("GET", "/reminders", x_api_key="new")[0] == 200
    assert api.remind()["retries"] == 9


def test_without_a_servers_word_a_caller_is_a_stranger(api):
    answered = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/reminders", "QUERY_STRING": ""}
    b"".join(app_of(api)(environ, lambda status, headers, exc_info=None: answered.append(status)))
    assert answered[0].startswith("401 ")


# ---- what is no route


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/reminders/", "/remind/", "/reminder/", "/reminder/1/x", "/Health", "//x"]
)
def test_a_path_that_is_none_is_a_404(shared, path):
    status, field, kind, error = shared.refused("GET", path)
    assert (status, field, kind) == (404, None, "not_found")
    assert "/remind" in error


@pytest.mark.parametrize(
    "id_", ["0", "-1", "01", "abc", "1.0", "1%0A", "%D9%A1", "9223372036854775808", "9" * 4300, "+1"]
)
def test_an_id_that_cannot_be_one_is_a_404(shared, id_):
    for method in ("GET", "DELETE", "PATCH"):
        status, field, kind, _ = shared.refused(
            method, f"/reminder/{id_}", {"message": "x"} if method == "PATCH" else None
        )
        assert (status, field, kind) == (404, None, "not_found")


@pytest.mark.parametrize("path", ["/reminders%ff", "/reminder/1%ff", "/%c3%28", "/reminder/1%00", "/%00"])
def test_a_path_that_is_no_text_is_a_400(shared, path):
    assert shared.refused("GET", path)[:3] == (400, None, "malformed")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/remind", "OPTIONS, POST"),
        ("PUT", "/reminders", "GET, HEAD, OPTIONS, POST"),
        ("PUT", "/reminder/1", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("ANY", "/health", "GET, HEAD, OPTIONS"),
        ("PROXY", "/health", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_is_none_is_a_405(shared, method, path, allow):
    status, said, headers = shared.request(method, path)
    assert (status, said["kind"], headers["Allow"]) == (405, "method_not_allowed", allow)
    assert allow in said["error"]


def test_options_tells_what_a_path_takes(shared):
    status, said, headers = shared.request("OPTIONS", "/reminders")
    assert (status, said, headers["Allow"]) == (204, None, "GET, HEAD, OPTIONS, POST")
    assert shared.request("OPTIONS", "/nowhere")[0] == 404


@pytest.mark.parametrize("path", [route.path.replace("<id>", "1") for route in ROUTES if route.method == "GET"])
def test_head_is_get_without_the_body_on_every_route(shared, path):
    status, _, headers = shared.request("GET", path)
    assert status == 200
    status, said, head = shared.request("HEAD", path)
    assert (status, said, head["Content-Type"]) == (200, None, headers["Content-Type"])
    if path != "/metrics":  # what it measures goes on
        assert head["Content-Length"] == headers["Content-Length"]


def test_a_time_that_cannot_be_read_is_answered_with_three_that_work(api):
    for wrong in ("soon", "2040-13-01T09:00", "2040-W01-1", "25:00", "10m", "@x", "9999-12-31T23:59-14:00", "x" * 999):
        for fields in ({"when": wrong}, {"when": wrong, "tz": "Asia/Tokyo"}):
            status, field, kind, error = api.refused("POST", "/remind", fields | {"message": "x", "method": "log"})
            assert (status, field, kind) == (400, "when", "invalid_time")
            for right in re.search("write it like (.+), (.+) or (.+)$", error).groups():
                made = api.remind(**fields | {"when": right})
                assert made["state"] == "pending"


def test_head_is_get_without_the_body(shared):
    _, said, headers = shared.request("GET", "/reminders")
    assert len(said) == 1
    status, said, head = shared.request("HEAD", "/reminders")
    assert (status, said, head["Content-Length"]) == (200, None, headers["Content-Length"])
    assert shared.request("HEAD", "/nothing")[:2] == (404, None)


# ---- whatever is sent


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    made = Api(tmp_path_factory.mktemp("api"))
    yield app_of(made)
    made.close()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
TIMES = st.sampled_from(["13:00", "9999-12-31T23:59:59Z", "@99999999999999999999", "10m", "now", "1h", "2040-01-17"])
FIELDS = st.dictionaries(
    st.sampled_from(["when", "in", "message", "method", "to", "options", "tz", "max_late", "retries", "x"]),
    VALUES | TIMES | st.sampled_from(["log", "lamp", "kitchen", "Europe/Berlin"]),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(FIELDS, st.booleans())
def test_whatever_is_sent_it_is_taken_or_the_senders_fault(app, fields, change):
    body = json.dumps({"in": 60, "message": "x", "method": "log"} | fields if not change else fields).encode()
    if change:
        id_ = call(app, "POST", "/remind", body=b'{"in": 60, "message": "x", "method": "log"}')[1]["id"]
        status, said = call(app, "PATCH", f"/reminder/{id_}", body=body)
    else:
        status, said = call(app, "POST", "/remind", body=body)
    assert status in ({200, 400, 409} if change else {201, 400}), said
    if status < 400:
        assert call(app, "GET", f"/reminder/{said['id']}") == (200, said)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["/reminders", "/history"]),
    st.lists(
        st.sampled_from([*"&=%;+.-", "limit", "after", "before", "due_before", "1", "%ff", "state", "all", "\xff"])
    ),
)
def test_whatever_is_asked_it_is_answered_or_the_askers_fault(app, path, parts):
    assert call(app, "GET", path, "".join(parts))[0] in {200, 400}


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_whatever_the_path_the_answer_is_json(app, path):
    assert call(app, "GET", "/reminder/" + path.decode("latin-1"))[0] in {400, 404, 200}
