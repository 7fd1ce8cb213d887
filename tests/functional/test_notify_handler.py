"""The method `notify`: Apprise's own services, against real servers on the loopback."""

import json
import os
import subprocess
import sys
import warnings

import apprise
import pytest

from tests.daemon import running, wait_until
from tests.servers import Answer, HttpServer, MailServer, handler_environ, plain_sockets, refused, trust
from tifftockd import PermanentError, TransientError
from tifftockd.errors import HandlerError, InvalidInput
from tifftockd.handlers.notify import Notify
from tifftockd.handlers.spec import describe
from tifftockd.worker import kin


@pytest.fixture(autouse=True)
def environ():
    with handler_environ() as environ:
        yield environ


def fire(to, message="tea is ready", **options):
    reminder = {"id": 7, "when": "2026-11-24T21:00:00+01:00", "message": message, "to": to, "options": options}
    with plain_sockets():
        Notify(reminder | {"attempt": 1, "key": "0123"}).remind(message)


def failure(*args, **options):
    with pytest.raises(HandlerError) as caught:
        fire(*args, **options)
    return caught.value


def url_of(server, login=""):
    return server.url.replace("http://", f"json://{login}")


# ---- what is sent


def test_the_message_goes_to_the_service_of_the_url():
    with HttpServer() as server:
        fire(url_of(server) + "/hook", "Tee <b>ist</b> fertig: 95 °C\nSchnell! {id}", title="Küche", type="warning")
        fire(url_of(server))
    first, second = server.requests
    assert (first.method, first.path) == ("POST", "/hook")
    told = first.json()
    assert told["message"] == "Tee <b>ist</b> fertig: 95 °C\nSchnell! {id}"
    assert (told["title"], told["type"]) == ("Küche", "warning")
    assert (second.json()["title"], second.json()["type"]) == ("", "info")
    assert first.headers["user-agent"] == "tifftockd"


@pytest.mark.parametrize("to", ["family", "Family", "FAMILY"])
def test_a_name_means_the_url_that_is_set_for_it(environ, to):
    with HttpServer() as server:
        environ["NOTIFY_FAMILY"] = url_of(server)
        fire(to)
    assert len(server.requests) == 1


def test_a_name_that_is_set_no_more_is_a_failure_that_lists_those_there_are(environ):
    environ |= {"NOTIFY_PHONE": "json://host", "NOTIFY_ME": "json://host/secret"}
    error = failure("family")
    assert isinstance(error, PermanentError)
    assert "one of the names me, phone" in str(error)
    assert "secret" not in str(error)


# ---- how failures are judged


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_what_the_service_refuses_is_not_tried_again(status):
    with HttpServer(status) as server:
        error = failure(url_of(server))
    assert isinstance(error, PermanentError)
    assert f"error={status}" in str(error)
    assert str(error).startswith("Apprise (JSON): ")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_what_may_get_better_is_tried_again(status):
    with HttpServer(status) as server:
        error = failure(url_of(server))
    assert isinstance(error, TransientError)
    assert f"error={status}" in str(error)


def test_a_service_that_is_not_there_is_tried_again():
    with refused() as port:
        assert isinstance(failure(f"json://127.0.0.1:{port}/"), TransientError)


def test_a_connection_that_is_lost_leaves_it_open():
    with HttpServer(Answer(manner="close")) as server:
        error = failure(url_of(server))
    assert type(error) is HandlerError
    assert "not known" in str(error)


@pytest.mark.parametrize("to", ["bogus://host/S3CRETTOKEN", "discord://S3CRETTOKEN", "slack://S3CRETTOKEN/a"])
def test_a_url_that_apprise_cannot_use_is_a_permanent_failure(to):
    error = failure(to)
    assert isinstance(error, PermanentError)
    assert str(error).startswith("Apprise: ")
    assert "S3CRET" not in str(error)


# ---- secrets


def test_no_part_of_a_url_is_in_an_error_a_log_or_the_output(tmp_path):
    secrets = ["us3rn4me", "p4ssw0rd", "p4thS3cret", "h34derS3cret", "qu3ryS3cret"]
    url = "json://us3rn4me:p4ssw0rd@{}/p4thS3cret/?+X-Token=h34derS3cret&-key=qu3ryS3cret"
    with (
        HttpServer(Answer(400, " ".join(secrets))) as server,
        refused() as nobody,
        running(
            tmp_path,
            NOTIFY_FAMILY=url.format(f"127.0.0.1:{server.port}"),
            NOTIFY_NOBODY=url.format(f"127.0.0.1:{nobody}"),
            NOTIFY_BOGUS=url.format("127.0.0.1").replace("json:", "bogus:"),
            NOTIFY_UNVERIFIED=url.format(f"127.0.0.1:{server.port}").replace("json:", "jsons:") + "&verify=no",
        ) as daemon,
    ):
        for name in ("family", "nobody", "bogus", "unverified"):
            made = daemon.remind(method="notify", to=name, retries=0)
            entry = daemon.outcome(made)
            assert entry["outcome"] == "failed"
            assert entry["error"].startswith("Apprise")
            told = json.dumps([entry, daemon.get("/handlers")])
            assert not [secret for secret in secrets if secret.lower() in told.lower()]
        assert server.requests[0].headers["x-token"] == "h34derS3cret"
        assert not [secret for secret in secrets if secret.lower() in daemon.log_text().lower()]


def test_what_a_service_prints_or_raises_is_not_kept_with_the_url(capfd, monkeypatch):
    def broken(self, *args, **kwargs):
        warnings.warn("of json://host/S3CRETTOKEN", stacklevel=1)
        raise RuntimeError("no luck with json://host/S3CRETTOKEN")

    monkeypatch.setattr(type(apprise.Apprise.instantiate("json://host")), "send", broken)
    error = failure("json://host/S3CRETTOKEN")
    assert "S3CRET" not in str(error)
    assert "S3CRET" not in "".join(capfd.readouterr())


# ---- where it may lead


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "0.0.0.0"])
def test_a_callers_url_does_not_lead_where_it_is_denied_and_a_name_may(environ, host):
    with HttpServer() as server:
        url = f"json://{host}:{server.port}/"
        environ |= {"HTTP_DENY": "loopback", "NOTIFY_FAMILY": url}
        error = failure(url)
        assert isinstance(error, PermanentError)
        assert "HTTP_DENY forbids its address " in str(error) or "Unparseable" in str(error)
        assert server.requests == []
        environ["NOTIFY_FAMILY"] = url_of(server)
        fire("family")
        assert len(server.requests) == 1


def test_a_redirect_does_not_lead_there_either(environ):
    with HttpServer(host="127.0.0.2") as inside:
        redirect = Answer(307, headers={"Location": inside.url + "/"})
        with HttpServer(redirect) as server:
            environ["HTTP_DENY"] = "127.0.0.2"
            error = failure(url_of(server))
            assert isinstance(error, PermanentError)
            assert "HTTP_DENY forbids its address 127.0.0.2" in str(error)
            assert (len(server.requests), inside.requests) == (1, [])
            environ["HTTP_DENY"] = "none"
            fire(url_of(server))
            assert len(inside.requests) == 1


def test_no_other_protocol_leads_there(environ):
    with MailServer() as server:
        url = f"mailto://localhost:{server.port}/?from=a@example.org&to=b@example.org"
        environ["HTTP_DENY"] = "loopback"
        assert "HTTP_DENY forbids its address" in str(failure(url))
        assert server.mails == []
        environ["HTTP_DENY"] = "none"
        fire(url)
        assert server.mails[0].recipients == ["b@example.org"]


def test_the_operators_proxies_and_logins_are_for_names_alone(environ, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login operator password hunter2\n")
    with HttpServer() as server, HttpServer() as proxy:
        environ |= {"http_proxy": proxy.url, "NETRC": str(netrc), "NOTIFY_FAMILY": url_of(server)}
        before = dict(environ)
        fire(url_of(server))
        assert (len(server.requests), len(proxy.requests)) == (1, 0)
        assert "authorization" not in server.requests[0].headers
        assert dict(environ) == before
        fire("family")
        assert (len(server.requests), len(proxy.requests)) == (1, 1)


def test_a_callers_url_cannot_have_a_file_sent_and_the_operators_can(environ, tmp_path):
    card = tmp_path / "card.json"
    card.write_text(json.dumps({"type": "message", "attachments": [{"contentType": "x"}], "secret": "for nobody"}))
    environ |= trust(tmp_path)
    with HttpServer(tls=True) as server:
        url = f"workflows://127.0.0.1:{server.port}/0123456789abcdef/0123456789abcdef?template={card}"
        failure(url)
        assert server.requests == []
        environ["NOTIFY_CARD"] = url
        # Apprise 1.2, which Debian 12 has, does not know this service.
        if apprise.Apprise.instantiate(url) is not None:
            fire("card")
            assert server.requests[0].json()["secret"] == "for nobody"


# ---- what it declares


def spec(env):
    return describe(Notify, "built-in", env)


def test_without_apprise_it_is_unavailable_and_says_what_to_do(monkeypatch):
    assert spec({}).missing is None
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert spec({}).missing.startswith("Apprise is not installed: pip install apprise")
    assert "apt install apprise" in spec({}).missing
    assert "Apprise is not installed" in str(failure("json://host"))


def test_a_folder_of_that_name_is_not_taken_for_it(monkeypatch, tmp_path):
    (tmp_path / "apprise").mkdir()
    monkeypatch.delitem(sys.modules, "apprise", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert spec({}).missing is not None


def test_apprise_is_not_imported_to_see_whether_it_is_there():
    code = "import sys; from tifftockd.handlers.builtin import builtin_specs; builtin_specs({}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert "apprise" not in done.stdout.split()
    assert "tifftockd.handlers.notify" in done.stdout.split()


def test_a_recipient_is_always_needed():
    with pytest.raises(InvalidInput) as refused:
        spec({"NOTIFY_FAMILY": "json://host"}).check(None, {})
    assert (refused.value.field, refused.value.kind) == ("to", "missing")


NAMES = {
    "NOTIFY_FAMILY": "json://host",
    "NOTIFY_2nd_phone": "ntfy://host/t?a=b",
    "NOTIFY_EMPTY": "",
    "NOTIFY_ODD": "yes",
}


@pytest.mark.parametrize("to", ["family", "FAMILY", "2nd_Phone", "json://h", "tgram://123:abc/-100", "https://h/x?y=z"])
def test_urls_and_names_are_accepted(to):
    spec(NAMES).check(to, {"title": "t", "type": "failure"})


@pytest.mark.parametrize(
    "to",
    ["famil", "family ", "family2", "empty", "odd", "socket", "://h", "json://", "json://a b", "json:/h", ".*", ""],
)
def test_what_is_neither_is_refused_with_the_names_there_are(to):
    with pytest.raises(InvalidInput) as refused:
        spec(NAMES).check(to, {})
    assert refused.value.field == "to"
    if to:
        assert "an Apprise URL like ntfy://example.org/topic, or one of the names 2nd_phone, family" in str(
            refused.value
        )
        assert "NOTIFY_ODD cannot be used, being no such URL" in str(refused.value)


def test_where_no_name_is_set_that_is_told():
    with pytest.raises(InvalidInput, match="or a name, of which none is set"):
        spec({}).check("family", {})


@pytest.mark.parametrize("options", [{"type": "bad"}, {"type": "INFO"}, {"title": 1}, {"attach": "/etc/passwd"}])
def test_options_of_another_kind_are_refused(options):
    with pytest.raises(InvalidInput) as refused:
        spec({}).check("json://host", options)
    assert refused.value.field == f"options.{next(iter(options))}"


# ---- the daemon


def descendants(pid):
    return {child: descendants(child) for child in kin.children(pid)}


def test_through_the_daemon_by_a_worker_that_can_be_used_again(tmp_path):
    with HttpServer() as server, running(tmp_path, NOTIFY_FAMILY=url_of(server)) as daemon:
        workers = []
        for to in ("Family", url_of(server), "family"):
            made = daemon.remind(method="notify", to=to, message="tea", options={"title": "Kitchen"})
            entry = daemon.outcome(made)
            assert (entry["outcome"], entry["to"], entry["output"]) == ("delivered", to, None)
            workers.append(descendants(daemon.process.pid))
        assert workers[0] == workers[1] == workers[2]
        assert [request.json()["title"] for request in server.requests] == ["Kitchen"] * 3
        answer = daemon.request("POST", "/remind", {"in": 0, "message": "x", "method": "notify", "to": "friends"})
        assert (answer.status, answer.json["field"]) == (400, "to")
        assert "family" in answer.json["error"]


def test_a_new_name_is_there_after_a_reload(tmp_path):
    with HttpServer() as server, running(tmp_path) as daemon:
        body = {"in": 0, "message": "x", "method": "notify", "to": "family"}
        assert daemon.request("POST", "/remind", body).status == 400
        (daemon.folder / ".env").write_text(f"NOTIFY_FAMILY={url_of(server)}\n")
        os.chmod(daemon.folder / ".env", 0o600)
        daemon.reload()
        assert daemon.outcome(daemon.remind(**body))["outcome"] == "delivered"
        wait_until(lambda: server.requests, "the request")
