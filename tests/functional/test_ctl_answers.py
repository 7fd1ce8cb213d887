"""tifftockctl in front of servers that are not what it expects: one line and an exit code, never a traceback."""

import contextlib
import json
import socket
from urllib.parse import parse_qs

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.servers import Answer, HttpServer, RawServer, trust
from tests.terminal import Terminal
from tifftockd.ctl import client

COMMANDS = [
    ["list"],
    ["show", "7"],
    ["history"],
    ["history", "7"],
    ["explain", "7"],
    ["next", "7"],
    ["snooze", "7", "10min"],
    ["cancel", "7"],
    ["rearm", "7", "10min"],
    ["try", "log", "x", "--timeout", "1"],
    ["handlers"],
    ["status"],
    ["remind", "10min", "x", "--method", "log"],
    ["import", "-"],
]
ONE_LINE = b'{"when": "tomorrow 9:00", "message": "x", "method": "log"}\n'


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(client, "_PERSISTENCE", 0.5)
    monkeypatch.setattr(client, "_PAUSE", 0.001)


def run(server, *arguments, **environ):
    basic = {"TIFFTOCK_URL": server.url, "TIFFTOCK_KEY": "secret", "TZ": "UTC"}
    return Terminal(basic | environ).run(*arguments, stdin=ONE_LINE)


def said_no(done, code=None):
    assert done.code in ((1, 4, 65, 69, 75, 76, 77) if code is None else (code,)), done
    assert done.error.isprintable()
    assert done.out == ""


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(200, "<html>hello</html>", {"Content-Type": "text/html"}), 76),
        (Answer(502, "<html>Bad Gateway", {"Content-Type": "text/html"}), 76),
        (Answer(301, "", {"Location": "/elsewhere"}), 76),
        (Answer(200, ""), 76),
        (Answer(200, "[NaN]"), 76),
        (Answer(200, "[" * 100_000), 76),
        (Answer(200, b"\xff\xfe"), 76),
        (Answer(599, '{"error": "x"}'), 76),
        (Answer(500, '{"error": "the \\u001b[31mworld\\nhas ended", "kind": "internal"}'), 1),
        (Answer(404, '{"error": "not found"}'), 4),
        (Answer(401, '{"error": "invalid api key"}'), 77),
        (Answer(503, '{"error": "later", "kind": "overloaded"}', {"Retry-After": "1"}), 75),
        (Answer(manner="close"), 69),
    ],
    ids=lambda value: value.body[:20] if isinstance(value, Answer) else str(value),
)
def test_what_no_daemon_would_say_ends_in_one_line(answer, code):
    with HttpServer(answer) as server:
        for command in COMMANDS if code in (76, 77) else COMMANDS[:1]:
            done = run(server, *command)
            if command[0] == "cancel" and answer.status == 200 and not answer.body:
                continue
            said_no(done, code)


def test_over_tls_it_talks_only_to_a_server_whose_certificate_is_its_hosts(tmp_path):
    with HttpServer(Answer(200, "[]"), tls=True) as server:
        for environ in ({}, trust(tmp_path) | {"TIFFTOCK_URL": server.url.replace("127.0.0.1", "127.1")}):
            done = run(server, "list", **environ)
            said_no(done, 69)
            assert ": its certificate is refused: " in done.error
            assert "; SSL_CERT_FILE=FILE" in done.error
        assert not server.requests, "nobody else is told the key"
        done = run(server, "list", **trust(tmp_path))
        assert done.code == 0
        assert done.error.startswith("nothing is coming")
    assert [request.headers["x-api-key"] for request in server.requests] == ["secret"]


def test_a_server_without_tls_is_told_from_one_that_is_not_there():
    with HttpServer(Answer(200, "[]")) as server:
        url = server.url.replace("http:", "https:")
        done = run(server, "remind", "1h", "x", "--method", "log", "--url", url)
        assert (done.code, done.error) == (69, f"{url} speaks no TLS, or another one: WRONG_VERSION_NUMBER")
    assert "such as nginx" in run(server, "list", "--url", url).error


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("manner", ["hang", "drip", "hang body"])
def test_a_server_that_is_slow_is_given_up(manner, tls, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "PATIENCE", 0.3)
    with HttpServer(Answer(200, "[" + " " * 100 + "]", manner=manner), tls=tls) as server:
        said_no(run(server, "list", **trust(tmp_path)), 69)
        done = run(server, "remind", "10min", "x", "--method", "log", **trust(tmp_path))
        said_no(done, 69)
        assert "whether it was done is not known" in done.error


def test_a_server_that_takes_nobody_in_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "PATIENCE", 0.3)
    path = str(tmp_path / "full.sock")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
        listener.bind(path)
        listener.listen(0)
        while True:
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            if waiting.connect_ex(path):
                break
        said_no(Terminal({"TIFFTOCK_URL": f"unix:{path}"}).run("list"), 69)


def test_what_is_no_http_or_half_of_it():
    half = (b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]")
    for greeting in (b"220 mail.example.org ESMTP\r\n", b"\0\0\0\0", b"HTTP/1.1 abc\r\n\r\n", *half):
        with RawServer(greeting, close=True) as server:
            done = run(server, "list")
            assert done.code in (69, 76), done


def test_a_lost_connection_is_tried_again_where_that_is_safe():
    lost = Answer(manner="close")
    with HttpServer(lost, lost, Answer(200, "[]")) as server:
        assert run(server, "list").code == 0
        assert len(server.requests) == 3
    with HttpServer(lost) as server:
        said_no(run(server, "remind", "10min", "x", "--method", "log"), 69)
        assert len(server.requests) == 4
        assert len({request.headers["idempotency-key"] for request in server.requests}) == 1
    with HttpServer(lost) as server:
        said_no(run(server, "rearm", "7", "10min"), 69)
        assert len(server.requests) == 1


def test_the_key_is_sent_and_shown_nowhere():
    with HttpServer(Answer(401, '{"error": "invalid api key"}')) as server:
        done = run(server, "list")
        assert server.requests[0].headers["x-api-key"] == "secret"
        assert "secret" not in done.err
        assert "the key is wrong" in done.error


def test_a_list_that_leads_on_for_ever_is_left():
    with HttpServer(Answer(200, "[]", {"Link": '</reminders?after=1>; rel="next"'})) as server:
        said_no(run(server, "list"), 76)
    to_and_fro = [Answer(200, "[]", {"Link": f'</reminders?after={n % 2}>; rel="next"'}) for n in range(9)]
    with HttpServer(*to_and_fro) as server:
        said_no(run(server, "list"), 76)
    with HttpServer(Answer(200, "[{}]")) as server:
        said_no(run(server, "list"), 76)


def test_an_empty_page_that_leads_on_is_followed():
    """The daemon may not have found anything yet."""
    with HttpServer(Answer(200, "[]", {"Link": '</reminders?after=1>; rel="next"'}), Answer(200, "[]")) as server:
        assert run(server, "list").code == 0
        assert server.requests[-1].target == "/reminders?after=1"


# Things that an answer may be made of.
NAMES = ["id", "when", "message", "method", "to", "options", "state", "attempts", "retries", "created", "last_error"]
NAMES += ["reminder", "attempt", "key", "due", "started", "finished", "late_ms", "outcome", "error", "output", "tz"]
NAMES += ["methods", "failures", "loading", "status", "version", "scheduler", "store", "next_due", "counts", "max_late"]
VALUES = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)),
    st.sampled_from(["2026-11-25T09:00:00+01:00", "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+14:00", "24h"]),
    *(st.just([]), st.just({})),
)
# A reminder and an entry of history at once, whose values may be anything of the right kind.
TIMES = st.sampled_from(
    ["2026-11-25T09:00:00+01:00", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "now", ""]
)
WHOLE = st.integers(-(2**70), 2**70)
TEXT = st.text(max_size=8)
LIKELY = st.fixed_dictionaries(
    {
        **dict.fromkeys(("when", "created", "due", "finished"), TIMES),
        **dict.fromkeys(("id", "attempts", "retries", "reminder", "attempt"), WHOLE),
        **dict.fromkeys(("message", "method", "key", "outcome", "max_late", "version", "scheduler", "store"), TEXT),
        **dict.fromkeys(("to", "tz", "last_error", "error", "output", "repeat"), st.none() | TEXT),
        **dict.fromkeys(("started", "next_due", "until"), st.none() | TIMES),
        "state": st.sampled_from(["pending", "firing", "failed", "missed", "uncertain", "odd"]),
        "options": st.just({"a": 1}),
        "late_ms": st.none() | st.floats(allow_nan=False, allow_infinity=False) | WHOLE,
        "methods": st.just([]),
        "failures": st.just([]),
        "loading": st.booleans(),
        "status": TEXT,
        "counts": st.dictionaries(TEXT, WHOLE, max_size=2),
    }
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(data=st.data())
def test_no_answer_makes_it_fall_over(server_of_anything, data):
    nearly = st.builds(lambda likely, name, value: likely | {name: value}, LIKELY, st.sampled_from(NAMES), VALUES)
    some = st.one_of(LIKELY, nearly, st.dictionaries(st.sampled_from(NAMES), VALUES), VALUES)
    bodies = data.draw(st.lists(st.one_of(some, st.lists(some, max_size=3)), min_size=1, max_size=4))
    status = data.draw(st.sampled_from([200, 200, 200, 400]))
    server_of_anything.answers = [Answer(status, json.dumps(body)) for body in bodies]
    for command in COMMANDS:
        if command[0] != "try":  # which would wait
            server_of_anything.requests.clear()
            done = run(server_of_anything, *command)
            assert done.code in (0, 1, 4, 65, 69, 75, 76), done
            assert "\x1b" not in done.out + done.err


@pytest.fixture(scope="module")
def server_of_anything():
    with HttpServer() as server:
        yield server


# ---- what the daemon is going to say of reminders that repeat

REPEATING = {
    "id": 7,
    "when": "2026-11-30T08:55:00+01:00",
    "message": "stand-up",
    "method": "log",
    "to": None,
    "options": {},
    "tz": "Europe/Berlin",
    "max_late": "24h",
    "state": "pending",
    "attempts": 0,
    "key": "b" * 32,
    "owner": 0,
    "retries": 5,
    "created": "2026-11-24T21:00:00+01:00",
    "last_error": None,
    "repeat": "Mon..Fri 08:55",
    "until": None,
    "count": 3,
    "catch_up": "one",
    "overlap": "wait",
    "snoozed_from": None,
}
OCCURRENCES = [f"2026-{day}T08:55:00+01:00" for day in ("11-30", "12-01", "12-02")]
BEFORE = {
    "id": 1,
    "reminder": 7,
    "attempt": 1,
    "key": "a" * 32,
    "method": "log",
    "to": None,
    "message": "stand-up",
    "options": {},
    "due": "2026-11-27T08:55:00+01:00",
    "started": "2026-11-27T08:55:00.001+01:00",
    "finished": "2026-11-27T08:55:00.002+01:00",
    "late_ms": 1.0,
    "outcome": "delivered",
    "error": None,
    "output": None,
}
LOG = {
    "method": "log",
    "source": "built-in",
    "available": True,
    "reason": None,
    "options": {},
    "needs_to": False,
    "repeatable": True,
    "timeout": "1min",
    "concurrency": 4,
}
HANDLERS = {"methods": [LOG], "failures": [], "loading": False}
HEALTH = {
    "status": "ok",
    "version": "0.1.0",
    "scheduler": "alive",
    "store": "ok",
    "next_due": OCCURRENCES[0],
    "counts": {"pending": 1, "history": 1},
}


def stub(*values, status=200):
    return HttpServer(*(Answer(status, json.dumps(value)) for value in values))


def test_a_repeating_reminder_is_asked_for_and_shown():
    more = ("--count=3", "--until=2027-01-01", "--catch-up=none", "--overlap=skip", "--tz=Europe/Berlin")
    with stub(REPEATING, status=201) as server:
        done = run(server, "remind", "--repeat", "Mon..Fri 08:55", "stand-up", "--method", "log", *more)
        [request] = server.requests
    assert (request.method, request.path, request.json()) == (
        *("POST", "/remind"),
        {"repeat": "Mon..Fri 08:55", "message": "stand-up", "method": "log", "count": 3, "until": "2027-01-01",
         "catch_up": "none", "overlap": "skip", "tz": "Europe/Berlin"},
    )  # fmt: skip
    assert done.out.startswith("7  Mon 2026-11-30 07:55 UTC  ")
    assert done.out.endswith("  repeats Mon..Fri 08:55  log  stand-up\n")


def test_a_daemon_that_knows_no_repeating_is_told_to_be_older():
    said = {"error": "there is no field 'repeat'", "kind": "unknown_field", "field": "repeat"}
    with stub(said, status=400) as server:
        done = run(server, "remind", "--repeat", "daily", "x", "--method", "log")
    said_no(done, 1)
    assert "this daemon knows no repeating reminders" in done.error
    said = {"error": "31 February never comes", "kind": "never", "field": "repeat"}
    with stub(said, status=400) as server:
        done = run(server, "remind", "--repeat", "02-31", "x", "--method", "log")
    assert (done.code, done.error) == (1, "31 February never comes")


def test_the_next_times_are_listed():
    with stub(OCCURRENCES) as server:
        done = run(server, "next", "7", "-n", "3")
        assert run(server, "next", "7", "--json").lines == [f'"{one}"' for one in OCCURRENCES]
        assert [(request.path, parse_qs(request.query)["n"]) for request in server.requests] == [
            ("/reminder/7/occurrences", ["3"]), ("/reminder/7/occurrences", ["10"]),
        ]  # fmt: skip
    assert [line[:24] for line in done.lines[1:]] == [
        "Mon 2026-11-30 07:55 UTC", "Tue 2026-12-01 07:55 UTC", "Wed 2026-12-02 07:55 UTC",
    ]  # fmt: skip


def test_snoozing_sends_a_span_and_shows_what_came_of_it():
    again = REPEATING | {"id": 9, "repeat": None, "snoozed_from": 7}
    with stub(again, status=201) as server:
        done = run(server, "snooze", "7", "10min")
        assert run(server, "snooze", "7", "9:00").code == 2
        assert run(server, "snooze", "7", "10").code == 2
        [request] = server.requests
    assert (request.method, request.path, request.json()) == ("POST", "/reminder/7/snooze", {"in": "10min"})
    assert request.headers["idempotency-key"]
    assert done.out.startswith("9  Mon 2026-11-30 07:55 UTC")


def test_what_repeats_is_shown_and_explained():
    with stub([REPEATING, REPEATING | {"repeat": None}]) as server:
        head, first, _ = run(server, "list").lines
    assert head.split() == ["ID", "WHEN", "IN", "REPEATS", "METHOD", "MESSAGE"]
    assert "Mon..Fri 08:55  log" in first
    with stub(REPEATING) as server:
        shown = run(server, "show", "7").out
    assert "repeat    Mon..Fri 08:55\ncount     3\ncatch up  one\n" in shown
    with stub(REPEATING, [BEFORE], HEALTH, OCCURRENCES, HANDLERS, HEALTH, []) as server:
        done = run(server, "explain", "7")
    assert "It repeats: Mon..Fri 08:55 in Europe/Berlin, 3 times more with the present one.\n" in done.out
    assert "After the present one it comes Tue 2026-12-01 07:55 UTC, Wed 2026-12-02 07:55 UTC.\n" in done.out
    assert "The one before was due Fri 2026-11-27 07:55 UTC and ended delivered, 1.0ms late.\n" in done.out
