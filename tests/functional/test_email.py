"""The method `email` against a real SMTP server, and against an HTTP server in Mailgun's place."""

import base64
import subprocess
import sys
import time
from datetime import UTC, datetime
from email.utils import getaddresses
from functools import partial
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings, strategies as st

from tests.servers import Answer, HttpServer, MailServer, RawServer, failure_of, handler_environ, refused, trust
from tifftockd import PermanentError, TransientError
from tifftockd.errors import HandlerError, InvalidInput
from tifftockd.handlers import email as module
from tifftockd.handlers.email import Email, default_subject
from tifftockd.handlers.spec import describe

KEY = "0123456789abcdef0123456789abcdef"
MAILGUN = {
    "MAILGUN_API_KEY": "key-4711",
    "MAILGUN_EMAIL_DOMAIN": "mg.example.org",
    "MAILGUN_EMAIL_FROM": "Excited User <mailgun@mg.example.org>",
    "MAILGUN_EMAIL_TO": "default@example.org",
}


@pytest.fixture(autouse=True)
def environ():
    with handler_environ() as environ:
        yield environ


def fire(message="tea is ready", to="ann@example.org", attempt=1, **options):
    reminder = {"id": 7, "when": "2026-11-24T21:00:00+01:00", "message": message, "to": to, "options": options}
    Email(reminder | {"attempt": attempt, "key": KEY}).remind(message)


failure = partial(failure_of, fire)


def by_smtp(environ, server, security="none", **more):
    environ |= {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(server.port),
        "SMTP_SECURITY": security,
        "EMAIL_FROM": "tifftock@home.example.org",
        **more,
    }


# ---- what is sent by SMTP


def test_a_mail_arrives_with_its_headers_and_text(environ):
    with MailServer() as server:
        by_smtp(environ, server, EMAIL_FROM="Tiff Töck <tifftock@home.example.org>")
        fire("Tee ist fertig: 95 °C\n\nSchnell!\n")
    (mail,) = server.mails
    assert (mail.sender, mail.recipients) == ("tifftock@home.example.org", ["ann@example.org"])
    assert mail.message["From"] == "Tiff Töck <tifftock@home.example.org>"
    assert mail.message["To"] == "ann@example.org"
    assert mail.message["Subject"] == "Tee ist fertig: 95 °C"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert abs((mail.message["Date"].datetime - datetime.now(UTC)).total_seconds()) < 5
    assert mail.text == "Tee ist fertig: 95 °C\n\nSchnell!\n"
    assert mail.content.isascii()


def test_the_message_id_is_the_same_at_each_attempt(environ):
    with MailServer() as server:
        by_smtp(environ, server)
        fire(attempt=1)
        fire(attempt=2)
    assert [mail.message["Message-ID"] for mail in server.mails] == [f"<{KEY}@home.example.org>"] * 2


def test_the_subject_may_be_given(environ):
    with MailServer() as server:
        by_smtp(environ, server)
        fire(subject="Überschrift, " * 20 + "Ende")
    assert server.mails[0].message["Subject"] == "Überschrift, " * 20 + "Ende"


HTML = "<p>Tee ist <b>fertig</b>: 95&nbsp;°C</p>\n" + "<!-- " + "x" * 2000 + " -->\n.\n"


def test_an_html_form_of_the_text_is_the_other_part_of_the_mail(environ):
    with MailServer() as server:
        by_smtp(environ, server)
        fire("Tee ist fertig: 95 °C\n", html=HTML, subject="Tee")
        fire("plain", html="")
    mail, plain = server.mails
    assert mail.message.get_content_type() == "multipart/alternative"
    # RFC 2046, 5.1.4: the best is the last.
    assert [part.get_content_type() for part in mail.message.iter_parts()] == ["text/plain", "text/html"]
    assert mail.text == "Tee ist fertig: 95 °C\n"
    assert mail.part("html") == HTML
    assert mail.message["Subject"] == "Tee"
    assert (mail.content.isascii(), max(len(line) for line in mail.content.splitlines()) <= 998) == (True, True)
    assert plain.message.get_content_type() == "text/plain"


def test_html_is_sent_as_it_is(environ):
    text = "<a href='cid:1'>{message} {id}</a> <img src=\"file:///etc/passwd\">\n"
    with MailServer() as server:
        by_smtp(environ, server)
        fire(html=text)
    assert server.mails[0].part("html") == text
    assert list(server.mails[0].message.iter_attachments()) == []


def test_long_lines_and_leading_dots_arrive_whole(environ):
    text = ".\n..dots\n" + "x" * 5000 + "\nend\n"
    with MailServer() as server:
        by_smtp(environ, server)
        fire(text)
    assert server.mails[0].text == text
    assert max(len(line) for line in server.mails[0].content.splitlines()) <= 998


def test_several_recipients_get_one_mail(environ):
    with MailServer() as server:
        by_smtp(environ, server)
        fire(to="ann@example.org, bob@example.org")
    assert server.mails[0].recipients == ["ann@example.org", "bob@example.org"]
    assert server.mails[0].message["To"] == "ann@example.org, bob@example.org"


def test_the_default_recipient_may_have_a_name(environ):
    with MailServer() as server:
        by_smtp(environ, server, EMAIL_TO='"Smith, Ann" <ann@example.org>, bob@example.org')
        fire(to=None)
    assert server.mails[0].recipients == ["ann@example.org", "bob@example.org"]


def test_addresses_beyond_ascii_go_to_a_server_that_takes_them(environ):
    with MailServer() as server:
        by_smtp(environ, server)
        fire(to="jürgen@bücher.example.org")
    assert server.mails[0].recipients == ["jürgen@bücher.example.org"]


def test_smtp_wins_over_mailgun(environ):
    with MailServer() as server, HttpServer() as mailgun:
        by_smtp(environ, server)
        environ |= MAILGUN | {"MAILGUN_API_URL": mailgun.url}
        fire()
    assert len(server.mails) == 1
    assert mailgun.requests == []


# ---- security and login


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_the_login_and_the_mail_go_encrypted_to_a_trusted_server(environ, tmp_path, security):
    with MailServer(security, login=("ann", "hunter2")) as server:
        by_smtp(environ, server, security, SMTP_USER="ann", SMTP_PASSWORD="hunter2", **trust(tmp_path))
        fire()
    assert server.logins == [("ann", True)]
    assert (server.mails[0].user, server.mails[0].encrypted) == ("ann", True)


def test_starttls_is_the_default(environ, tmp_path):
    with MailServer("starttls") as server:
        by_smtp(environ, server, "", **trust(tmp_path))
        fire()
    assert server.mails[0].encrypted


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_that_cannot_be_verified_gets_neither_login_nor_mail(environ, security):
    with MailServer(security, login=("ann", "hunter2")) as server:
        by_smtp(environ, server, security, SMTP_USER="ann", SMTP_PASSWORD="hunter2")
        error = failure()
    assert isinstance(error, TransientError)
    assert "certificate verify failed" in str(error)
    assert (server.logins, server.mails) == ([], [])


def test_a_certificate_for_another_host_is_not_accepted(environ, tmp_path):
    with MailServer("tls") as server:
        by_smtp(environ, server, "tls", SMTP_HOST="127.1", **trust(tmp_path))
        assert "certificate verify failed" in str(failure())


@pytest.mark.parametrize("security", ["starttls", "", "NONE"])
def test_a_server_without_starttls_is_refused_unless_it_may_be(environ, security):
    with MailServer("none", login=("ann", "hunter2")) as server:
        by_smtp(environ, server, security, SMTP_USER="ann", SMTP_PASSWORD="hunter2")
        error = failure()
    assert isinstance(error, PermanentError)
    assert f":{server.port} offers no STARTTLS: set SMTP_SECURITY=tls" in str(error)
    assert (server.logins, server.mails) == ([], [])


def test_a_wrong_password_is_permanent_and_not_shown(environ):
    with MailServer(login=("ann", "hunter2")) as server:
        by_smtp(environ, server, SMTP_USER="ann", SMTP_PASSWORD="wr0ng-secret")
        error = failure()
    assert isinstance(error, PermanentError)
    assert "535" in str(error)
    assert "wr0ng-secret" not in str(error)
    assert server.mails == []


def test_a_password_that_smtp_cannot_carry_is_permanent_and_not_shown(environ):
    with MailServer(login=("ann", "hunter2")) as server:
        by_smtp(environ, server, SMTP_USER="ann", SMTP_PASSWORD="gehéim-secret")
        error = failure()
    assert isinstance(error, PermanentError)
    assert "secret" not in str(error)


def test_a_login_at_a_server_that_knows_none_is_permanent(environ):
    with MailServer() as server:
        by_smtp(environ, server, SMTP_USER="ann", SMTP_PASSWORD="hunter2")
        assert isinstance(failure(), PermanentError)
    assert server.mails == []


def test_a_password_that_the_server_echoes_is_not_shown(environ):
    plain = base64.b64encode(b"\0ann\0hunter2-long").decode()
    replies = {"MAIL": f"550 you said hunter2-long or {plain}"}
    with MailServer(login=("ann", "hunter2-long"), replies=replies) as server:
        by_smtp(environ, server, SMTP_USER="ann", SMTP_PASSWORD="hunter2-long")
        text = str(failure())
    assert "550 you said" in text
    assert "hunter2" not in text
    assert plain not in text


# ---- refusals


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize(
    ("reply", "kind"), [("451 4.3.0 try later", TransientError), ("554 5.7.1 not here", PermanentError)]
)
def test_4xx_is_transient_and_5xx_permanent(environ, step, reply, kind):
    with MailServer(replies={step: reply}) as server:
        by_smtp(environ, server)
        error = failure()
    assert type(error) is kind
    assert f"SMTP server 127.0.0.1:{server.port} answered {reply}" in str(error)
    assert server.mails == []


def test_a_server_that_knows_no_ehlo_gets_the_mail_all_the_same(environ):
    with MailServer(replies={"EHLO": "502 what?"}) as server:
        by_smtp(environ, server)
        fire()
    assert len(server.mails) == 1


@pytest.mark.parametrize(
    ("greeting", "kind"), [(b"421 too busy\r\n", TransientError), (b"554 no service\r\n", PermanentError)]
)
def test_a_greeting_may_refuse_too(environ, greeting, kind):
    with RawServer(greeting) as server:
        by_smtp(environ, server)
        error = failure()
    assert type(error) is kind
    assert greeting.decode().strip() in str(error)


def test_what_is_no_smtp_is_transient(environ):
    with RawServer(b"\x1b[31mHTTP/1.1 400 Bad Request\r\n\r\n") as server:
        by_smtp(environ, server)
        error = failure()
    assert type(error) is TransientError
    assert str(error).isprintable()


def test_a_partial_refusal_is_told_and_the_others_get_the_mail_once(environ):
    replies = {"bob@example.org": "550 no such user", "eve@example.org": "450 greylisted"}
    with MailServer(replies=replies) as server:
        by_smtp(environ, server)
        error = failure(to="bob@example.org,ann@example.org,eve@example.org")
    assert isinstance(error, PermanentError)
    assert "sent to 1 of 3" in str(error)
    assert "bob@example.org (550 no such user)" in str(error)
    assert "eve@example.org (450 greylisted)" in str(error)
    assert [mail.recipients for mail in server.mails] == [["ann@example.org"]]


def test_all_refused_is_tried_again_while_one_of_them_may_be_accepted(environ):
    replies = {"bob@example.org": "550 no such user", "eve@example.org": "450 greylisted"}
    with MailServer(replies=replies) as server:
        by_smtp(environ, server)
        assert type(failure(to="bob@example.org,eve@example.org")) is TransientError
        error = failure(to="bob@example.org")
    assert type(error) is PermanentError
    assert "bob@example.org" in str(error)
    assert server.mails == []


# ---- lost connections


def test_a_refused_connection_is_transient(environ):
    with refused() as port:
        environ |= {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(port), "EMAIL_FROM": "a@example.org"}
        error = failure()
    assert type(error) is TransientError
    assert "Connection refused" in str(error)
    assert f"127.0.0.1:{port}" in str(error)


@pytest.mark.parametrize("step", ["EHLO", "MAIL", "RCPT"])
@pytest.mark.parametrize("reply", ["", "hang"])
def test_a_connection_lost_before_data_is_transient(environ, monkeypatch, step, reply):
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    with MailServer(replies={step: reply}) as server:
        by_smtp(environ, server)
        assert type(failure()) is TransientError
    assert server.mails == []


@pytest.mark.parametrize("reply", ["", "hang"])
def test_a_connection_lost_after_data_leaves_the_outcome_open(environ, monkeypatch, reply):
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    with MailServer(replies={"DATA": reply}) as server:
        by_smtp(environ, server)
        error = failure()
    assert type(error) is HandlerError
    assert "after DATA" in str(error)


def test_a_silent_server_is_not_waited_for_for_ever(environ, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    with RawServer() as server:
        by_smtp(environ, server)
        assert type(failure()) is TransientError


@pytest.mark.parametrize("reply", ["", "hang", "421 no"])
def test_a_bad_goodbye_does_not_undo_a_delivery(environ, monkeypatch, reply):
    monkeypatch.setattr(module, "QUIT_TIMEOUT", 0.3)
    with MailServer(replies={"QUIT": reply}) as server:
        by_smtp(environ, server)
        started = time.monotonic()
        fire()
        assert time.monotonic() - started < 2
    assert len(server.mails) == 1


# ---- Mailgun


def test_mailgun_gets_tifftocks_form_with_a_message_id(environ):
    with HttpServer(Answer(200, '{"id": "<x>", "message": "Queued"}')) as server:
        environ |= MAILGUN | {"MAILGUN_API_URL": server.url + "/"}
        fire("Tee ist fertig\nbald kalt", to=None)
        fire(to="ann@example.org,bob@example.org", subject="Über")
    first, second = server.requests
    assert (first.method, first.target) == ("POST", "/v3/mg.example.org/messages")
    assert first.headers["authorization"] == "Basic " + base64.b64encode(b"api:key-4711").decode()
    assert first.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(first.body.decode()) == {
        "from": ["Excited User <mailgun@mg.example.org>"],
        "to": ["default@example.org"],
        "subject": ["Tee ist fertig"],
        "text": ["Tee ist fertig\nbald kalt"],
        "h:Message-Id": [f"<{KEY}@mg.example.org>"],
    }
    form = parse_qs(second.body.decode())
    assert (form["to"], form["subject"]) == (["ann@example.org,bob@example.org"], ["Über"])


def test_mailgun_gets_the_html_form_too(environ):
    with HttpServer() as server:
        environ |= MAILGUN | {"MAILGUN_API_URL": server.url}
        fire("Tee ist fertig", html=HTML)
        fire("Tee ist fertig", html="")
    first, second = (parse_qs(request.body.decode()) for request in server.requests)
    assert (first["text"], first["html"]) == (["Tee ist fertig"], [HTML])
    assert "html" not in second


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(401, "Forbidden"), PermanentError),
        (Answer(400, '{"message": "to parameter is not a valid address"}'), PermanentError),
        (Answer(301, headers={"Location": "https://elsewhere.example.org/"}), PermanentError),
        (Answer(429, headers={"Retry-After": "7"}), TransientError),
        (Answer(500), TransientError),
        (Answer(manner="close"), HandlerError),
    ],
)
def test_mailguns_answers_are_judged(environ, answer, kind):
    with HttpServer(answer) as server:
        environ |= MAILGUN | {"MAILGUN_API_URL": server.url}
        error = failure()
    assert type(error) is kind
    assert str(error).startswith("Mailgun")
    assert getattr(error, "retry_after", None) == (7 if answer.status == 429 else None)


def test_mailguns_key_is_not_shown(environ):
    basic = base64.b64encode(b"api:key-4711").decode()
    with HttpServer(Answer(401, f"bad key: key-4711, {basic}")) as server:
        environ |= MAILGUN | {"MAILGUN_API_URL": server.url}
        text = str(failure())
    assert "bad key" in text
    assert "4711" not in text
    assert basic not in text


def test_the_domain_that_mailgun_complains_of_is_shown(environ):
    with HttpServer(Answer(404, "Domain not found: mg.example.org")) as server:
        environ |= MAILGUN | {"MAILGUN_API_URL": server.url}
        assert str(failure()).endswith(": Domain not found: mg.example.org")


def test_mailgun_out_of_reach_is_transient(environ):
    with refused() as port:
        environ |= MAILGUN | {"MAILGUN_API_URL": f"http://127.0.0.1:{port}"}
        assert type(failure()) is TransientError


# ---- what cannot be sent


@pytest.mark.parametrize("way", ["smtp", "mailgun"])
@pytest.mark.parametrize(
    ("what", "named"),
    [
        ({"to": "ann@example.org\r\nBcc: eve@example.org"}, "to"),
        ({"to": "ann@example.org\0"}, "to"),
        ({"subject": "tea\nBcc: eve@example.org"}, "subject"),
        ({"subject": "tea\r"}, "subject"),
        ({"subject": "tea\0"}, "subject"),
        ({"subject": "tea\u2028Bcc: eve@example.org"}, "subject"),
    ],
)
def test_line_breaks_cannot_become_headers(environ, way, what, named):
    with MailServer() as mails, HttpServer() as mailgun:
        if way == "smtp":
            by_smtp(environ, mails)
        environ |= MAILGUN | {"MAILGUN_API_URL": mailgun.url}
        error = failure(**what)
    assert isinstance(error, PermanentError)
    assert named in str(error)
    assert (mails.mails, mailgun.requests) == ([], [])


def test_a_text_that_cannot_be_encoded_is_a_permanent_failure(environ):
    with MailServer() as server:
        by_smtp(environ, server)
        assert isinstance(failure("\ud800"), PermanentError)
        assert isinstance(failure(to=" , "), PermanentError)


def test_what_is_not_set_is_named_by_the_failure(environ):
    assert "SMTP_HOST" in str(failure())
    environ |= MAILGUN
    del environ["MAILGUN_EMAIL_TO"]
    assert "MAILGUN_EMAIL_TO" in str(failure(to=None))


@pytest.mark.parametrize(
    ("message", "subject"),
    [
        ("tea is ready", "tea is ready"),
        ("\n  \n  tea\tis \x1b ready \nsecond", "tea is ready"),
        ("", "Reminder"),
        ("\r\n", "Reminder"),
        ("x" * 78, "x" * 78),
        ("x" * 79, "x" * 77 + "…"),
        ("word " * 40, ("word " * 15).strip() + "…"),
        ("a " + "x" * 100, "a " + "x" * 75 + "…"),
    ],
)
def test_the_subject_is_the_first_line_that_says_something(message, subject):
    assert default_subject(message) == subject
    assert len(subject) <= 78


# ---- what it declares


def spec(env):
    return describe(Email, "built-in", env)


SMTP = {"SMTP_HOST": "mail.example.org", "EMAIL_FROM": "a@example.org"}


@pytest.mark.parametrize(
    ("env", "missing"),
    [
        ({}, "set SMTP_HOST and EMAIL_FROM, or MAILGUN_API_KEY, MAILGUN_EMAIL_DOMAIN and MAILGUN_EMAIL_FROM"),
        (
            {"SMTP_HOST": "h", "MAILGUN_API_KEY": "k", "MAILGUN_EMAIL_FROM": "f"},
            "set EMAIL_FROM, or MAILGUN_EMAIL_DOMAIN",
        ),
        (SMTP, None),
        (MAILGUN, None),
        (MAILGUN | {"SMTP_HOST": "h"}, None),
        (SMTP | {"SMTP_USER": "ann"}, "set SMTP_PASSWORD too, or neither it nor SMTP_USER"),
        (SMTP | {"SMTP_PASSWORD": "x"}, "set SMTP_USER too, or neither it nor SMTP_PASSWORD"),
        (SMTP | {"EMAIL_FROM": "me"}, "EMAIL_FROM is 'me'; it must be an address like tifftock@example.org"),
        (SMTP | {"EMAIL_FROM": "Me <me@example.org>", "SMTP_PORT": "2525", "SMTP_SECURITY": "none"}, None),
    ],
)
def test_settings_that_are_wanting_or_wrong_are_named(env, missing):
    assert spec(env).missing == missing


@pytest.mark.parametrize(
    ("env", "needed"),
    [
        (SMTP, True),
        (SMTP | {"EMAIL_TO": "a@example.org"}, False),
        (SMTP | {"MAILGUN_EMAIL_TO": "a@example.org"}, True),
        (MAILGUN, False),
        (MAILGUN | {"MAILGUN_EMAIL_TO": "", "EMAIL_TO": "a@example.org"}, True),
    ],
)
def test_a_recipient_is_needed_where_the_chosen_way_has_no_default(env, needed):
    assert spec(env).needs_to is needed


@pytest.mark.parametrize(
    "to",
    [
        *("a@b", "ann.o'hara+x@example.org", "a@b.c, d@e.f,g@h", "jürgen@bücher.de"),
        *("ann@[192.0.2.1]", "ann@[192.0.2.1], bob@[IPv6:2001:db8::1]"),
    ],
)
def test_addresses_are_accepted(to):
    spec(SMTP).check(to, {"subject": "s"})


@pytest.mark.parametrize(
    "to", ["ann", "@", "a@", "@b", "a b@c", "a@b c@d", "a@b\n", "a@b\r\nBcc: c@d", "a@b,", "a@b;c@d", "a\0@b", "a@@b"]
)
def test_what_is_no_address_is_refused(to):
    with pytest.raises(InvalidInput) as caught:
        spec(SMTP).check(to, {})
    assert caught.value.field == "to"


@pytest.mark.parametrize(
    "to",
    [
        *("(a@b.org", "a:b@c.org", "a(x@b.org, c)@d.org", "a@b(c)", '"a"@b.org', '"a@b, c"@d.org', "a\\b@c.org"),
        *("a@b:25", "a[b@c.org", "a@b]c.org", "a@b.[c", "a@[192.0.2.1", "a@[b]c.org", "a@[]", "a@[(b]", "[a]@b.org"),
    ],
)
def test_what_would_be_taken_for_a_comment_a_group_or_a_quote_is_refused(to):
    with pytest.raises(InvalidInput):
        spec(SMTP).check(to, {})


PARTS = st.text("ab.()\":\\[]!'", min_size=1, max_size=6)


@settings(max_examples=500)
@given(st.lists(st.tuples(PARTS, PARTS).map("@".join), min_size=1, max_size=3))
def test_what_is_accepted_is_what_is_dialled(addresses):
    try:
        spec(SMTP).check(",".join(addresses), {})
    except InvalidInput:
        return
    assert [address for _, address in getaddresses([",".join(addresses)])] == addresses


def test_a_long_hostile_recipient_is_judged_at_once():
    started = time.monotonic()
    for to in ("a@b," * 5000 + "!", "a" * 20000 + "@", "a@b" + " " * 20000 + "c"):
        with pytest.raises(InvalidInput):
            spec(SMTP).check(to, {})
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(("env", "wanted"), [(SMTP, "smtplib"), (MAILGUN, "requests")])
def test_only_what_the_settings_need_is_imported_and_only_to_prepare(environ, env, wanted):
    code = """
import sys
from tifftockd.handlers.email import Email

heavy = {"smtplib", "ssl", "requests"}
assert not heavy & sys.modules.keys()
Email.prepare()
print(*sorted({"smtplib", "requests"} & sys.modules.keys()))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=dict(environ) | env, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == f"{wanted}\n"
