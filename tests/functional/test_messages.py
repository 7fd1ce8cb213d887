"""Messages with content through the daemon: a mistake is refused when the reminder is made; what is right arrives."""

import pytest

from tests.daemon import running
from tests.servers import HttpServer, MailServer

LATER = {"in": "1h", "message": "tea"}


@pytest.fixture(scope="module")
def servers():
    with MailServer("none") as mails, HttpServer() as web:
        yield mails, web


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, servers):
    mails, _ = servers
    settings = {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(mails.port),
        "SMTP_SECURITY": "none",
        "EMAIL_FROM": "me@x.example",
    }
    with running(tmp_path_factory.mktemp("daemon"), **settings) as daemon:
        yield daemon


EMAIL = {"method": "email", "to": "you@y.example"}
API = {"method": "api", "to": "http://127.0.0.1:9/"}
NOTIFY = {"method": "notify", "to": "json://127.0.0.1:9/"}
EVIL = "tea\r\nBcc: eve@example.org"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        (EMAIL | {"options": {"subject": EVIL}}, "options.subject"),
        (EMAIL | {"options": {"subject": "tea\x1b[31m"}}, "options.subject"),
        (EMAIL | {"options": {"subject": ["tea"]}}, "options.subject"),
        (EMAIL | {"options": {"html": {"p": "tea"}}}, "options.html"),
        (EMAIL | {"options": {"attachments": ["/etc/passwd"]}}, "options.attachments"),
        (EMAIL | {"to": "you@y.example\r\nBcc: eve@example.org"}, "to"),
        (API | {"options": {"headers": {"X-A": EVIL}}}, "options.headers"),
        (API | {"options": {"headers": {"X-A\nX-B": "tea"}}}, "options.headers"),
        (API | {"options": {"headers": {"X-A": 5}}}, "options.headers"),
        (API | {"options": {"headers": {"Content-Length": "5"}}}, "options.headers"),
        (API | {"options": {"headers": {"X-A": "{message}"}}, "message": EVIL}, "options.headers"),
        (API | {"options": {"query": {"a": {"b": 1}}}}, "options.query"),
        (API | {"options": {"body": "{message}" * 2000}, "message": "x" * 30_000}, "options.body"),
        (API | {"to": "http://127.0.0.1:9/\r\nX-A: b"}, "to"),
        (NOTIFY | {"options": {"title": EVIL}}, "options.title"),
        (NOTIFY | {"options": {"type": "alarm"}}, "options.type"),
        (NOTIFY | {"to": "nobody"}, "to"),
    ],
)
def test_a_mistake_is_a_400_that_names_the_field_and_makes_no_reminder(daemon, fields, field):
    before = daemon.get("/reminders")
    answer = daemon.request("POST", "/remind", LATER | fields)
    assert (answer.status, answer.json["field"]) == (400, field)
    assert "eve@" not in answer.text
    assert daemon.get("/reminders") == before


def test_a_change_is_looked_at_like_a_new_reminder(daemon):
    made = daemon.remind(**LATER | API | {"options": {"headers": {"X-Title": "{message}"}}})
    path = f"/reminder/{made['id']}"
    for change, status, field in (
        # What is wrong only with what the reminder has is a conflict with it.
        ({"message": EVIL}, 409, "options.headers"),
        ({"options": {"headers": {"X-A": EVIL}}}, 409, "options.headers"),
        ({"method": "email", "to": "you@y.example", "options": {"subject": EVIL}}, 400, "options.subject"),
    ):
        answer = daemon.request("PATCH", path, change)
        assert (answer.status, answer.json["field"]) == (status, field)
    assert daemon.get(path) == made
    assert daemon.request("PATCH", path, {"message": EVIL, "options": {}}).status == 200
    assert daemon.request("DELETE", path).status == 204


def test_what_is_right_arrives(daemon, servers):
    mails, web = servers
    message = 'say "hi"\n{id}'
    mail = daemon.remind(**EMAIL, message=message, options={"subject": "Tee", "html": "<b>hi</b>\n"})
    call = daemon.remind(
        method="api",
        to=web.url,
        message=message,
        options={
            "headers": {"Content-Type": "application/vnd.lamp+json", "X-Id": "{id}"},
            "query": {"at": "{when}"},
            "body": '{"text": "{message}"}',
        },
    )
    for made in (mail, call):
        assert daemon.outcome(made)["outcome"] == "delivered"
    assert mails.mails[0].text == message + "\n"
    assert (mails.mails[0].part("html"), mails.mails[0].message["Subject"]) == ("<b>hi</b>\n", "Tee")
    [request] = web.requests
    assert request.json() == {"text": message}
    assert request.headers["x-id"] == str(call["id"])
    assert "at=2" in request.query
