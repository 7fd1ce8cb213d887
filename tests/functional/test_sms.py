"""The method `sms`: Twilio's own client, talking to an HTTP server on the loopback."""

import base64
import json
import subprocess
import sys
from functools import partial
from urllib.parse import parse_qs

import pytest

from tests.servers import Answer, HttpServer, failure_of, handler_environ, refused, trust, unreachable
from tifftockd import PermanentError, TransientError
from tifftockd.errors import HandlerError, InvalidInput
from tifftockd.handlers import outbound
from tifftockd.handlers.sms import Sms
from tifftockd.handlers.spec import describe

TWILIO = {
    "TWILIO_ACCOUNT_SID": "AC00000000000000000000000000000001",
    "TWILIO_AUTH_TOKEN": "tok3n-of-the-account",
    "TWILIO_PHONE_NUMBER_FROM": "+15005550006",
    "TWILIO_PHONE_NUMBER_TO": "+15005550009",
}
QUEUED = Answer(201, json.dumps({"sid": "SM1", "status": "queued", "body": "tea", "date_created": None}))


@pytest.fixture(autouse=True)
def environ():
    with handler_environ() as environ:
        environ.update(TWILIO)
        yield environ


def fire(to=None, message="tea is ready"):
    Sms({"id": 7, "when": "2026-11-24T21:00:00+01:00", "message": message, "to": to, "key": "0" * 32}).remind(message)


failure = partial(failure_of, fire)


def error_answer(status, code, message, **more):
    return Answer(status, json.dumps({"code": code, "message": message, "status": status}), **more)


def test_a_message_is_created_with_body_sender_and_recipient(environ):
    with HttpServer(QUEUED) as server:
        environ["TWILIO_API_URL"] = server.url
        fire(message="Tee: 95 °C")
        fire(to="+49 (170) 123-4567")
        fire(to="whatsapp:+491701234567")
    first, second, third = server.requests
    assert (first.method, first.target) == (
        "POST",
        f"/2010-04-01/Accounts/{TWILIO['TWILIO_ACCOUNT_SID']}/Messages.json",
    )
    login = f"{TWILIO['TWILIO_ACCOUNT_SID']}:{TWILIO['TWILIO_AUTH_TOKEN']}"
    assert first.headers["authorization"] == "Basic " + base64.b64encode(login.encode()).decode()
    assert parse_qs(first.body.decode()) == {
        "Body": ["Tee: 95 °C"],
        "From": ["+15005550006"],
        "To": ["+15005550009"],
    }
    assert parse_qs(second.body.decode())["To"] == ["+491701234567"]
    assert parse_qs(third.body.decode())["To"] == ["whatsapp:+491701234567"]


@pytest.mark.parametrize("body", ["", "no JSON", '{"date_created": "yesterday"}'])
def test_what_twilio_has_taken_is_delivered_whatever_its_description_looks_like(environ, body):
    with HttpServer(Answer(201, body)) as server:
        environ["TWILIO_API_URL"] = server.url
        fire()


def test_a_description_that_never_comes_does_not_undo_a_delivery(environ, monkeypatch):
    monkeypatch.setattr(outbound, "READ_TIMEOUT", 0.3)
    with HttpServer(Answer(201, "x" * 100, manner="hang body")) as server:
        environ["TWILIO_API_URL"] = server.url
        fire()


# ---- surely not sent, and worth another attempt


@pytest.mark.parametrize("status", [408, 425, 429])
def test_a_message_that_was_not_taken_yet_is_transient(environ, status):
    with HttpServer(error_answer(status, 20429, "Too Many Requests", headers={"Retry-After": "3"})) as server:
        environ["TWILIO_API_URL"] = server.url
        error = failure()
    assert type(error) is TransientError
    assert error.retry_after == 3
    assert "Too Many Requests" in str(error)


def test_a_refused_connection_is_transient(environ):
    with refused() as port:
        environ["TWILIO_API_URL"] = f"http://127.0.0.1:{port}"
        error = failure()
    assert type(error) is TransientError
    assert str(error) == "Twilio: no connection: Connection refused"


def test_a_host_that_cannot_be_reached_in_time_is_transient(environ, monkeypatch):
    monkeypatch.setattr(outbound, "READ_TIMEOUT", 0.2)
    with unreachable() as port:
        environ["TWILIO_API_URL"] = f"http://127.0.0.1:{port}"
        assert type(failure()) is TransientError


def test_a_proxy_out_of_reach_is_transient(environ):
    with refused() as port:
        environ |= {"TWILIO_API_URL": "http://twilio.example.org", "http_proxy": f"http://127.0.0.1:{port}"}
        assert type(failure()) is TransientError


def test_a_certificate_that_cannot_be_verified_is_transient_and_gets_nothing(environ, tmp_path):
    with HttpServer(QUEUED, tls=True) as server:
        environ["TWILIO_API_URL"] = server.url
        assert type(failure()) is TransientError
        assert server.requests == []
        environ |= trust(tmp_path)
        fire()
        assert len(server.requests) == 1


# ---- surely not sent, for good


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 301])
def test_a_refusal_is_permanent_and_told_in_twilios_words(environ, status):
    with HttpServer(error_answer(status, 21211, "The 'To' number is not\r\na valid phone number.")) as server:
        environ["TWILIO_API_URL"] = server.url
        error = failure()
    assert type(error) is PermanentError
    assert f"answered {status} (error 21211)" in str(error)
    assert "The 'To' number is not a valid phone number." in str(error)
    assert len(server.requests) == 1


def test_a_refusal_in_the_newer_form_is_told_too(environ):
    problem = {"type": "about:blank", "title": "Bad Request", "status": 400, "code": 21211, "detail": "no such number"}
    with HttpServer(Answer(400, json.dumps(problem))) as server:
        environ["TWILIO_API_URL"] = server.url
        error = failure()
    assert type(error) is PermanentError
    assert "answered 400" in str(error)


def test_account_and_token_are_not_shown(environ):
    basic = base64.b64encode(f"{TWILIO['TWILIO_ACCOUNT_SID']}:{TWILIO['TWILIO_AUTH_TOKEN']}".encode()).decode()
    with HttpServer(error_answer(401, 20003, f"bad: {TWILIO['TWILIO_AUTH_TOKEN']}, {basic}")) as server:
        environ["TWILIO_API_URL"] = server.url
        text = str(failure())
    assert "bad:" in text
    assert "tok3n" not in text
    assert basic not in text
    assert TWILIO["TWILIO_ACCOUNT_SID"] not in text


# ---- nobody knows


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_leaves_the_outcome_open(environ, status):
    with HttpServer(Answer(status, "<html>oops</html>", headers={"Retry-After": "1"})) as server:
        environ["TWILIO_API_URL"] = server.url
        error = failure()
    assert type(error) is HandlerError
    assert f"answered {status}" in str(error)
    assert "not known" in str(error)
    assert len(server.requests) == 1, "the library tried again by itself"


@pytest.mark.parametrize("manner", ["hang", "close"])
def test_a_lost_answer_leaves_the_outcome_open(environ, monkeypatch, manner):
    monkeypatch.setattr(outbound, "READ_TIMEOUT", 0.3)
    with HttpServer(Answer(manner=manner)) as server:
        environ["TWILIO_API_URL"] = server.url
        error = failure()
    assert type(error) is HandlerError
    assert TWILIO["TWILIO_ACCOUNT_SID"] not in str(error)
    assert len(server.requests) == 1, "the library tried again by itself"


# ---- what it declares


def spec(env):
    return describe(Sms, "built-in", env)


def test_a_second_text_costs_more_than_a_lost_one():
    assert not spec(TWILIO).repeatable


def test_settings_that_are_wanting_or_wrong_are_named():
    assert spec(TWILIO).missing is None
    assert spec({}).missing == "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN and TWILIO_PHONE_NUMBER_FROM not set"
    assert spec(TWILIO | {"TWILIO_AUTH_TOKEN": ""}).missing == "TWILIO_AUTH_TOKEN not set"


def test_a_recipient_is_needed_only_without_a_default(environ):
    assert not spec(TWILIO).needs_to
    assert spec(TWILIO | {"TWILIO_PHONE_NUMBER_TO": ""}).needs_to
    del environ["TWILIO_PHONE_NUMBER_TO"]
    error = failure()
    assert type(error) is PermanentError
    assert "TWILIO_PHONE_NUMBER_TO" in str(error)
    del environ["TWILIO_AUTH_TOKEN"]
    assert "TWILIO_AUTH_TOKEN" in str(failure())


@pytest.mark.parametrize(
    "to",
    ["+491701234567", "0170 1234567", "+1 (500) 555-0006", "(030) 123456", "12345", "whatsapp:+1500", "messenger:42a"],
)
def test_numbers_are_accepted(to):
    spec(TWILIO).check(to, {})


@pytest.mark.parametrize(
    "to", ["", "+", "12", "   ", "ann", "+49170\n", "+49170\0", "tel:+49170", "whatsapp:", "++4917", "1" * 40]
)
def test_what_is_no_number_is_refused(to):
    with pytest.raises(InvalidInput) as caught:
        spec(TWILIO).check(to, {})
    assert caught.value.field == "to"


def test_there_are_no_options():
    with pytest.raises(InvalidInput):
        spec(TWILIO).check(None, {"body": "x"})


def test_twilio_is_imported_to_prepare_and_not_before(environ):
    code = """
import sys
from tifftockd.handlers.sms import Sms

assert not {"requests", "twilio"} & sys.modules.keys()
Sms.prepare()
assert "twilio.rest.api.v2010.account.message" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], env=dict(environ), timeout=20, check=True)
