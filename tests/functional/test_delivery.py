"""The built-in methods through the whole daemon and real servers: what these got, and what is recorded."""

import json
import socket

import pytest

from tests.daemon import running, wait_until
from tests.servers import Answer, HttpServer, MailServer


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A daemon with short delays and deadlines."""
    with running(tmp_path_factory.mktemp("daemon"), RETRY_DELAY="100ms", HANDLER_TIMEOUT="1500ms") as daemon:
        yield daemon


def call(daemon, server, **fields):
    return daemon.remind(method="api", to=server.url, **fields)


def test_a_call_is_delivered_with_its_key(quick):
    with HttpServer(200) as server:
        made = call(quick, server, message="tea", options={"method": "PUT", "headers": {"X-Kind": "test"}})
        assert quick.outcome(made)["outcome"] == "delivered"
        [request] = server.requests
    assert request.method == "PUT"
    assert request.headers["x-kind"] == "test"
    assert request.headers["idempotency-key"] == made["key"]
    assert json.loads(request.body) == {"message": "tea"}


def test_too_many_requests_and_a_servers_fault_are_tried_again_with_the_same_key(quick):
    with HttpServer(Answer(429, b"", {"Retry-After": "1"}), 500, 200) as server:
        made = call(quick, server)
        assert [quick.outcome(made, n)["outcome"] for n in (1, 2, 3)] == ["failed", "failed", "delivered"]
        requests = list(server.requests)
    assert {request.headers["idempotency-key"] for request in requests} == {made["key"]}
    assert requests[1].at - requests[0].at >= 1


@pytest.mark.parametrize("status", [400, 404, 301])
def test_what_will_not_get_better_is_not_tried_again(quick, status):
    with HttpServer(Answer(status, b"no", {"Location": "http://127.0.0.1/elsewhere"})) as server:
        made = call(quick, server)
        entry = quick.outcome(made)
        assert (entry["outcome"], quick.state(made)) == ("failed", "failed")
        assert str(status) in entry["error"]
        assert len(server.requests) == 1


@pytest.mark.parametrize("manner", ["hang", "drip"])
def test_a_server_that_never_comes_to_an_end_meets_the_deadline(quick, manner):
    with HttpServer(Answer(200, b"x" * 1000, {}, manner), 200) as server:
        made = call(quick, server, retries=1)
        entry = quick.outcome(made)
        assert entry["outcome"] == "failed"
        assert "deadline of 1s 500ms" in entry["error"]
        assert quick.outcome(made, 2)["outcome"] == "delivered"
        assert server.requests


def test_a_server_that_is_not_there_is_tried_again_until_it_is(quick):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        made = quick.remind(method="api", to=f"http://127.0.0.1:{port}/", retries=20)
        assert quick.outcome(made)["outcome"] == "failed"
        assert quick.state(made) in ("pending", "firing"), "it waits for its next attempt, or is making it"
    with HttpServer(200, port=port):
        wait_until(lambda: quick.history(made)[-1]["outcome"] == "delivered", "the delivery")


def test_mail_arrives_once_and_says_who_it_is_from(tmp_path):
    with (
        MailServer("none") as server,
        running(
            tmp_path, SMTP_HOST="127.0.0.1", SMTP_PORT=str(server.port), SMTP_SECURITY="none", EMAIL_FROM="me@x.example"
        ) as daemon,
    ):
        made = daemon.remind(method="email", to="you@y.example", message="stand-up\nin ten", options={"subject": "s"})
        assert daemon.outcome(made)["outcome"] == "delivered"
        [mail] = server.mails
    assert made["key"] in str(mail.message["Message-ID"])
    assert mail.message["Subject"] == "s"
    assert mail.recipients == ["you@y.example"]


def test_a_mail_server_that_greylists_gets_the_mail_again_and_one_that_refuses_does_not(tmp_path):
    replies = {"grey@y.example": "451 later", "gone@y.example": "550 no such user"}
    with (
        MailServer("none", replies=replies) as server,
        running(
            tmp_path, SMTP_HOST="127.0.0.1", SMTP_PORT=str(server.port), SMTP_SECURITY="none",
            EMAIL_FROM="me@x.example", RETRY_DELAY="50ms",
        ) as daemon,
    ):  # fmt: skip
        grey = daemon.remind(method="email", to="grey@y.example", message="secret-word", retries=1)
        gone = daemon.remind(method="email", to="gone@y.example", message="secret-word")
        assert "451" in daemon.outcome(grey, 2)["error"]
        assert "550" in daemon.outcome(gone)["error"]
        assert daemon.state(gone) == "failed"
        assert server.mails == []
        assert "secret-word" not in daemon.log_text()
        assert "y.example" not in daemon.log_text()


def test_a_method_without_its_settings_is_refused_with_their_names(shared):
    for method, name in (("email", "SMTP_HOST"), ("sms", "TWILIO_ACCOUNT_SID")):
        answer = shared.request("POST", "/remind", {"in": 0, "message": "x", "method": method, "to": "+491234567"})
        assert (answer.status, answer.json["kind"]) == (400, "method_unavailable")
        assert name in answer.json["error"]
    answer = shared.request("POST", "/remind", {"in": 0, "message": "x", "method": "api"})
    assert (answer.status, answer.json["field"]) == (400, "to")
