"""The method `api` against a real HTTP server."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import pytest
import trustme

from tests.servers import Answer, HttpServer, RawServer, failure_of, handler_environ, refused, trust, unreachable
from tifftockd import PermanentError, TransientError, __version__
from tifftockd.errors import HandlerError, InvalidInput
from tifftockd.handlers import outbound
from tifftockd.handlers.api import Api
from tifftockd.handlers.spec import describe

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def environ():
    with handler_environ() as environ:
        yield environ


def fire(to=None, message="tea is ready", **options):
    reminder = {"id": 7, "when": "2026-11-24T21:00:00+01:00", "message": message, "to": to, "options": options}
    Api(reminder | {"attempt": 1, "key": KEY}).remind(message)


failure = partial(failure_of, fire)


# ---- what is sent


def test_the_message_is_posted_as_json_to_the_url_of_the_settings(environ):
    with HttpServer() as server:
        environ["API_REMIND_URL"] = server.url + "/hook"
        fire(message="Tee, schön heiß")
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/hook")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.json() == {"message": "Tee, schön heiß"}


def test_a_reminder_may_name_its_own_target(environ):
    with HttpServer() as server:
        environ["API_REMIND_URL"] = "http://127.0.0.1:1/"
        fire(server.url + "/mine?a=1")
    assert server.requests[0].target == "/mine?a=1"
    assert server.requests[0].json() == {"message": "tea is ready"}


def test_the_key_lets_the_receiver_tell_a_repeat_from_a_second_reminder():
    with HttpServer() as server:
        fire(server.url)
        fire(server.url, headers={"idempotency-key": "mine", "USER-AGENT": "me"})
    assert server.requests[0].headers["idempotency-key"] == KEY
    assert server.requests[0].headers["user-agent"] == f"tifftockd/{__version__}"
    assert server.requests[1].headers["idempotency-key"] == "mine"
    assert server.requests[1].headers["user-agent"] == "me"


def test_method_headers_body_and_query_are_the_callers():
    with HttpServer() as server:
        fire(
            server.url + "/lamp?room=1",
            method="PUT",
            headers={"X-Token": "grün", "Content-Type": "text/csv"},
            body="a;b",
            query={"on": True, "level": 5, "tag": ["x y", "z"]},
        )
    (request,) = server.requests
    assert (request.method, request.path, request.query) == ("PUT", "/lamp", "room=1&on=true&level=5&tag=x+y&tag=z")
    assert request.headers["x-token"].encode("latin-1").decode() == "grün"
    assert request.headers["content-type"] == "text/csv"
    assert request.body == b"a;b"


@pytest.mark.parametrize(
    ("body", "content_type", "sent"),
    [
        ("tschüß", "text/plain; charset=utf-8", "tschüß".encode()),
        ("", "text/plain; charset=utf-8", b""),
        ({"a": [1, None]}, "application/json", b'{"a": [1, null]}'),
        ([], "application/json", b"[]"),
        (None, "application/json", b"null"),
        (False, "application/json", b"false"),
    ],
)
def test_a_string_is_sent_as_it_is_and_anything_else_as_json(body, content_type, sent):
    with HttpServer() as server:
        fire(server.url, body=body)
    assert server.requests[0].body == sent
    assert server.requests[0].headers["content-type"] == content_type


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_method_without_a_body_has_none_unless_it_is_given_one(method):
    with HttpServer() as server:
        fire(server.url, method=method)
        fire(server.url, method=method, body={"a": 1})
    assert [request.method for request in server.requests] == [method, method]
    assert server.requests[0].body == b""
    assert "content-type" not in server.requests[0].headers
    assert server.requests[1].json() == {"a": 1}


NASTY = 'say "hi" \\\\ {id} {{when}}\nTee, schön heiß ☕'


def test_message_id_and_when_are_replaced_in_headers_query_and_body():
    with HttpServer() as server:
        fire(
            server.url + "/{message}",
            message="tea & {id} = %41?",
            headers={"X-Title": "{id}: {message}", "X-When": "{when}", "X-Other": "{{}} {to}"},
            query={"q": "{message}", "at": ["{when}", 7], "{id}": "{}"},
            body={"text": "{message}", "{message}": 1, "list": ["{id}", {"deep": "{when}!"}], "n": 7},
        )
    (request,) = server.requests
    assert request.path == "/%7Bmessage%7D"
    assert parse_qsl(request.query) == [
        ("q", "tea & {id} = %41?"),
        ("at", "2026-11-24T21:00:00+01:00"),
        ("at", "7"),
        ("{id}", "{}"),
    ]
    assert request.headers["x-title"] == "7: tea & {id} = %41?"
    assert request.headers["x-when"] == "2026-11-24T21:00:00+01:00"
    assert request.headers["x-other"] == "{{}} {to}"
    assert request.json() == {
        "text": "tea & {id} = %41?",
        "{message}": 1,
        "list": ["7", {"deep": "2026-11-24T21:00:00+01:00!"}],
        "n": 7,
    }


@pytest.mark.parametrize("content_type", ["application/json", "Application/Problem+JSON; charset=utf-8", "text/json"])
def test_in_a_string_that_is_json_the_message_is_escaped(content_type):
    with HttpServer() as server:
        fire(
            server.url,
            message=NASTY,
            headers={"content-type": content_type},
            body='{"text": "<{message}>", "id": {id}, "q": "\\"{when}\\""}',
        )
    assert server.requests[0].json() == {"text": f"<{NASTY}>", "id": 7, "q": '"2026-11-24T21:00:00+01:00"'}
    assert server.requests[0].headers["content-type"] == content_type


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/csv"}])
def test_in_any_other_string_the_message_is_as_it_is(headers):
    with HttpServer() as server:
        fire(server.url, message=NASTY, headers=headers, body="{id};{message}")
    assert server.requests[0].body.decode() == f"7;{NASTY}"


def test_without_a_body_of_the_callers_the_message_is_as_it_is():
    with HttpServer() as server:
        fire(server.url, message="{id} {message}")
    assert server.requests[0].json() == {"message": "{id} {message}"}


def test_a_message_in_a_header_may_be_any_line():
    with HttpServer() as server:
        fire(server.url, message="  Tee, schön: heiß ☕ ", headers={"X-Title": "{message}"})
    assert server.requests[0].headers["x-title"].encode("latin-1").decode() == "Tee, schön: heiß ☕"


def test_a_message_cannot_become_a_header():
    with HttpServer() as server:
        error = failure(server.url, message="tea\r\nX-Evil: 1", headers={"X-Title": "{message}"})
    assert isinstance(error, PermanentError)
    assert "X-Title" in str(error)
    assert server.requests == []


def test_what_was_put_into_a_header_or_a_query_is_hidden_like_a_secret():
    with HttpServer(Answer(400, "you said tea-is-ready and 7:tea-is-ready")) as server:
        text = str(
            failure(server.url, message="tea-is-ready", headers={"X-A": "7:{message}"}, query={"a": "{message}"})
        )
    assert text.endswith("you said [hidden] and [hidden]")


def test_the_user_and_password_of_a_url_become_basic_authentication():
    with HttpServer() as server:
        fire(server.url.replace("//", "//ann:p%40ss@"))
    assert server.requests[0].headers["authorization"] == "Basic YW5uOnBAc3M="


def test_proxies_and_netrc_of_the_environment_are_left_alone(environ, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login operator password hunter2\n")
    with HttpServer() as server, HttpServer() as proxy:
        environ |= {"http_proxy": proxy.url, "NETRC": str(netrc)}
        fire(server.url)
    assert len(server.requests) == 1
    assert proxy.requests == []
    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize("answer", [Answer(200, "done"), Answer(204), Answer(404, "no such lamp"), Answer(404)])
@pytest.mark.parametrize("chosen_by", ["caller", "operator"])
def test_each_attempt_has_a_connection_of_its_own(environ, answer, chosen_by):
    """The server would go on with the first one; but it may as well have closed that when the second is made."""
    with HttpServer(answer) as server:
        environ["API_REMIND_URL"] = server.url
        for _ in range(2):
            with contextlib.suppress(PermanentError):
                fire(server.url if chosen_by == "caller" else None)
        first, second = server.requests
    assert first.port != second.port


def test_https_by_a_trusted_certificate_is_delivered_and_by_another_is_not_sent(environ, tmp_path):
    with HttpServer(tls=True) as server:
        error = failure(server.url)
        assert isinstance(error, TransientError)
        assert "certificate verify failed" in str(error)
        assert server.requests == []
        environ |= trust(tmp_path)
        fire(server.url)
        assert len(server.requests) == 1


def test_authorities_are_read_again_when_their_file_is_another(environ, tmp_path):
    environ |= trust(tmp_path)
    path = Path(environ["REQUESTS_CA_BUNDLE"])
    written = path.stat().st_mtime_ns
    with HttpServer(tls=True) as server:
        fire(server.url)
        # All times alike, as in an image of a system
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "new.pem"))
        os.utime(tmp_path / "new.pem", ns=(written, written))
        (tmp_path / "new.pem").replace(path)
        assert "certificate verify failed" in str(failure(server.url))
        path.write_text("no certificate")
        unreadable = failure(server.url)
        path.unlink()
        missing = failure(server.url)
        assert len(server.requests) == 1
    for error in (unreadable, missing):
        assert isinstance(error, TransientError)
        assert str(error).startswith(f"the certificate authorities in {path} cannot be read: ")


def test_the_operators_own_authorities_take_the_place_of_the_usual_ones(environ, tmp_path, monkeypatch):
    usual, own = trust(tmp_path)["REQUESTS_CA_BUNDLE"], tmp_path / "own.pem"
    trustme.CA().cert_pem.write_to_path(str(own))
    for module in ("utils", "adapters"):
        monkeypatch.setattr(f"requests.{module}.DEFAULT_CA_BUNDLE_PATH", usual)
    with HttpServer(tls=True) as server:
        fire(server.url)
        environ |= {"REQUESTS_CA_BUNDLE": str(own), "API_REMIND_URL": server.url}
        assert "certificate verify failed" in str(failure(server.url))
        assert "certificate verify failed" in str(failure())
        # curl's is for what the operator chose.
        environ["CURL_CA_BUNDLE"] = environ.pop("REQUESTS_CA_BUNDLE")
        assert "certificate verify failed" in str(failure())
        fire(server.url)
        assert len(server.requests) == 2


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl gives the files in it their names")
def test_a_folder_may_hold_the_authorities(environ, tmp_path):
    environ |= trust(tmp_path)
    subprocess.run(["openssl", "rehash", tmp_path], check=True)
    environ["REQUESTS_CA_BUNDLE"] = str(tmp_path)
    with HttpServer(tls=True) as server:
        fire(server.url)
    assert len(server.requests) == 1


# ---- how answers are judged


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_delivered(status):
    with HttpServer(status) as server:
        fire(server.url)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_an_answer_that_may_change_is_transient(status):
    with HttpServer(status) as server:
        error = failure(server.url)
    assert isinstance(error, TransientError)
    assert error.retry_after is None
    assert f"{server.url} answered {status}" in str(error)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 422, 451])
def test_any_other_4xx_is_permanent(status):
    with HttpServer(Answer(status, "no such hook\r\n\x1b[31m", headers={"Retry-After": "1"})) as server:
        error = failure(server.url)
    assert isinstance(error, PermanentError)
    assert f"answered {status}" in str(error)
    assert str(error).endswith("no such hook [31m")


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_in_seconds_is_passed_on(status):
    with HttpServer(Answer(status, headers={"Retry-After": "120"})) as server:
        assert failure(server.url).retry_after == 120


def test_retry_after_as_a_date_is_passed_on_in_seconds():
    then = datetime.now(UTC) + timedelta(seconds=90)
    with HttpServer(
        Answer(503, headers={"Retry-After": format_datetime(then, usegmt=True)}),
        Answer(503, headers={"Retry-After": "Sunday, 06-Nov-94 08:49:37 GMT"}),
    ) as server:
        assert 85 < failure(server.url).retry_after <= 90
        assert failure(server.url).retry_after == 0


@pytest.mark.parametrize("header", ["soon", "-1", "1.5", "", "9" * 400, "Sun, 99 Nov 1994 08:49:37 GMT", "٣"])
def test_a_retry_after_that_cannot_be_read_is_as_none(header):
    assert outbound.retry_after(header) is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_named(status):
    with HttpServer() as other:
        target = other.url.replace("//", "//ann:secret@") + "/new?token=secret"
        with HttpServer(Answer(status, headers={"Location": target})) as server:
            error = failure(server.url)
    assert isinstance(error, PermanentError)
    assert f"{other.url}/new" in str(error)
    assert "secret" not in str(error)
    assert other.requests == []


def test_a_relative_or_missing_location_is_told():
    with HttpServer(Answer(302, headers={"Location": "/there"}), 304) as server:
        assert f"{server.url}/there" in str(failure(server.url + "/here"))
        assert "without a Location" in str(failure(server.url + "/here"))


# ---- no answer


def test_a_refused_connection_is_transient():
    with refused() as port:
        error = failure(f"http://127.0.0.1:{port}/path?q=1")
    assert isinstance(error, TransientError)
    assert str(error) == f"http://127.0.0.1:{port}: no connection: Connection refused"


def test_a_host_that_cannot_be_reached_in_time_is_transient(monkeypatch):
    monkeypatch.setattr(outbound, "CONNECT_TIMEOUT", 0.2)
    with unreachable() as port:
        error = failure(f"http://127.0.0.1:{port}/")
    assert isinstance(error, TransientError)
    assert "no connection: timed out" in str(error)


@pytest.mark.parametrize("manner", ["hang", "close"])
def test_a_server_without_an_answer_leaves_the_outcome_open(manner, monkeypatch):
    monkeypatch.setattr(outbound, "READ_TIMEOUT", 0.2)
    with HttpServer(Answer(manner=manner)) as server:
        error = failure(server.url)
    assert type(error) is HandlerError
    assert "not known" in str(error)
    assert len(server.requests) == 1


def test_what_is_no_http_leaves_the_outcome_open():
    with RawServer(b"220 mail.example.org ESMTP\r\n\r\n", close=True) as server:
        error = failure(server.url)
    assert type(error) is HandlerError


@pytest.mark.parametrize("manner", ["drip body", "hang body"])
def test_a_status_counts_without_its_body(manner):
    started = time.monotonic()
    with HttpServer(Answer(200, "x" * 100_000, manner=manner)) as server:
        fire(server.url)
    assert time.monotonic() - started < 1


def test_a_body_that_drips_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(outbound, "EXCERPT_TIME", 0.3)
    with HttpServer(Answer(404, "x" * 1000, manner="drip body")) as server:
        started = time.monotonic()
        error = failure(server.url)
        assert time.monotonic() - started < 2
    assert isinstance(error, PermanentError)
    assert "404 Not Found: x" in str(error)


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}])
@pytest.mark.parametrize(("status", "kind"), [(404, PermanentError), (503, TransientError)])
def test_a_body_that_never_comes_does_not_change_the_verdict(monkeypatch, headers, status, kind):
    monkeypatch.setattr(outbound, "EXCERPT_TIME", 0.2)
    if headers:
        monkeypatch.setattr(outbound, "READ_TIMEOUT", 0.2)
    with HttpServer(Answer(status, "x" * 1000, headers, manner="hang body")) as server:
        started = time.monotonic()
        assert type(failure(server.url)) is kind
        assert time.monotonic() - started < 2


def test_the_body_of_a_redirect_is_not_waited_for():
    with HttpServer(Answer(302, "x" * 1000, {"Location": "http://[broken/"}, manner="hang body")) as server:
        started = time.monotonic()
        assert isinstance(failure(server.url), PermanentError)
        assert time.monotonic() - started < 2


def test_of_a_large_body_only_the_beginning_is_read():
    with HttpServer(Answer(500, "x" * 10_000_000)) as server:
        assert len(str(failure(server.url))) < 1200


# ---- secrets


def test_secrets_that_a_server_echoes_do_not_reach_the_error_text():
    echo = "user ann, hunter2, Basic YW5uOmh1bnRlcjI=, token=s%2Fcret or s/cret, key abcdefgh, more zyxwvu"
    with HttpServer(Answer(400, echo)) as server:
        url = server.url.replace("//", "//ann:hunter2@") + "/path?token=s%2Fcret"
        text = str(failure(url, headers={"X-Api-Key": "Bearer abcdefgh"}, query={"more": "zyxwvu"}))
    for secret in ("hunter2", "YW5uOmh1bnRlcjI", "s%2Fcret", "s/cret", "abcdefgh", "zyxwvu"):
        assert secret not in text
    assert "400 Bad Request: user" in text


@pytest.mark.parametrize("path", ["/a/T00/s3cret-token", "/a%2FT00/s3cret%2Dtoken/"])
@pytest.mark.parametrize("status", [404, 301])
def test_a_token_in_the_path_does_not_reach_the_error_text(environ, status, path):
    with HttpServer() as server:
        environ["API_REMIND_URL"] = url = f"http://localhost:{server.port}{path}"
        echo = f"Cannot POST {path}, {unquote(path)}, id s3cret-token for a"
        server.answers = [Answer(status, echo, {"Location": url.replace("http:", "https:")})]
        text = str(failure())
    assert text.startswith(f"http://localhost:{server.port} answered {status} ")
    for secret in (path, unquote(path), "s3cret"):
        assert secret not in text
    if status == 301:
        assert f"its Location is https://localhost:{server.port}[hidden]" in text
    else:
        assert ": Cannot POST [hidden], [hidden], id " in text
        assert text.endswith(" for a")


def test_a_host_stays_readable_that_is_a_part_of_the_path_too():
    with HttpServer() as server:
        url = f"http://localhost:{server.port}"
        server.answers = [Answer(301, headers={"Location": f"{url}/localhost/location/answered"})]
        text = str(failure(f"{url}/localhost/location/answered"))
    told = "Moved Permanently: redirects are not followed; its Location is"
    assert text == f"{url} answered 301 {told} {url}[hidden]"


@pytest.mark.parametrize(
    ("header", "secrets"),
    [
        ("session=abcdef123; theme=dark", ["abcdef123"]),
        ('Digest username="ann", response="6629fae49393", opaque=5ccc069c403e', ["6629fae49393", "5ccc069c403e"]),
        ("Bearer abcde", ["abcde"]),
    ],
)
def test_no_part_of_a_header_that_may_be_a_secret_reaches_the_error_text(header, secrets):
    with HttpServer(Answer(401, f"dark theme for Bearer of the session: {', '.join(secrets)}")) as server:
        text = str(failure(server.url, headers={"X-Header": header}))
    assert text.endswith(f": dark theme for Bearer of the session: {', '.join('[hidden]' for _ in secrets)}")


@pytest.mark.parametrize("port", ["1", "99999", "x"])
def test_a_url_is_shown_without_user_password_path_and_query(port):
    text = str(failure(f"http://ann:hunter2@127.0.0.1:{port}/T0PSECRET?token=secret#secret"))
    for secret in ("ann", "hunter2", "T0PSECRET", "secret"):
        assert secret not in text
    assert "127.0.0.1" in text


def test_half_a_password_with_a_slash_is_not_taken_for_a_port():
    assert outbound.origin("http://ann:hun/ter2@host/") == "http://ann"
    assert outbound.origin("https://ann:x@[::1]:8080/a") == "https://[::1]:8080"


# ---- what cannot be sent


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"headers": {"X-A": "b\r\nX-Evil: 1"}}, "X-A"),
        ({"headers": {"X A": "b"}}, "X A"),
        ({"headers": {"X-A": 1}}, "X-A"),
        ({"headers": {"Content-Length": "5"}}, "Content-Length"),
        ({"headers": {"transfer-encoding": "chunked"}}, "transfer-encoding"),
        ({"query": {"a": {"b": 1}}}, "'a'"),
        ({"query": {"a": [None]}}, "'a'"),
        ({"body": "\ud800"}, "body"),
        ({"body": float("nan")}, "body"),
    ],
)
def test_options_that_cannot_be_sent_are_permanent_failures_that_name_them(options, named):
    with HttpServer() as server:
        error = failure(server.url, **options)
    assert isinstance(error, PermanentError)
    assert named in str(error)
    assert "Evil" not in str(error)
    assert server.requests == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/", "http://a..b/", "http://[::1/", f"http://{'a' * 70}.org/"])
def test_a_url_that_cannot_be_requested_is_a_permanent_failure(url):
    assert isinstance(failure(url), PermanentError)


def test_without_any_target_the_failure_says_what_to_set():
    error = failure()
    assert isinstance(error, PermanentError)
    assert "API_REMIND_URL" in str(error)


# ---- what it declares


def spec(env):
    return describe(Api, "built-in", env)


def test_a_target_is_needed_only_without_one_in_the_settings():
    assert spec({}).needs_to
    assert not spec({"API_REMIND_URL": "http://localhost/"}).needs_to
    assert spec({}).missing is None


def test_a_setting_that_is_no_url_makes_the_method_unavailable_without_showing_it():
    missing = spec({"API_REMIND_URL": "hooks.example.org/T0PSECRET"}).missing
    assert "API_REMIND_URL" in missing
    assert "T0PSECRET" not in missing


@pytest.mark.parametrize(
    "to", ["http://h", "https://user:pw@h.example:8443/p?q=1#f", "HTTP://[::1]:5000", "http://ä.de/"]
)
def test_urls_are_accepted(to):
    spec({}).check(to, {})


@pytest.mark.parametrize(
    "to", ["h/p", "ftp://h/", "http://", "http:///p", "http://h/a b", "http://h/\r\n", "file:///e", ""]
)
def test_what_is_no_url_is_refused(to):
    with pytest.raises(InvalidInput) as caught:
        spec({}).check(to, {})
    assert caught.value.field == "to"


@pytest.mark.parametrize("body", ["text", 1, 1.5, True, None, [], {}])
def test_a_body_may_be_anything(body):
    spec({}).check("http://h", {"body": body, "method": "PATCH", "headers": {}, "query": {}})


@pytest.mark.parametrize(
    "options", [{"method": "TRACE"}, {"method": "post"}, {"headers": []}, {"query": "a=1"}, {"json": {}}]
)
def test_options_of_another_kind_are_refused(options):
    with pytest.raises(InvalidInput) as caught:
        spec({}).check("http://h", options)
    assert caught.value.field == f"options.{next(iter(options))}"


def test_requests_is_imported_to_prepare_and_not_before(environ):
    code = """
import sys
from tifftockd.handlers.api import Api

assert "requests" not in sys.modules
Api.prepare()
assert "requests" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], env=dict(environ), timeout=20, check=True)


def test_what_is_declared_can_be_shown_as_json():
    assert json.loads(json.dumps(spec({}).options))["body"] == "body"
