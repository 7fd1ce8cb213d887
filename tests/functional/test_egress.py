"""Where a URL of a reminder's own may lead: real servers on the loopback, and a resolver that a test gives answers."""

import os
import socket
from types import SimpleNamespace

import pytest

from tests.daemon import Daemon, running
from tests.servers import Answer, HttpServer, handler_environ, refused, trust
from tifftockd import PermanentError, TransientError
from tifftockd.errors import HandlerError
from tifftockd.handlers.api import Api

# All of them lead to 127.0.0.1.
IPV4 = [
    "127.0.0.1", "127.1", "127.0.1", "127.0x1", "127.0.01", "127.000.000.001", "0x7f.1", "0x7f.0.0.1",
    "0x7F.0x0.0x0.0x1", "0x7f000001", "0X7F000001", "2130706433", "017700000001", "0177.1", "0177.0.0.1",
    "0000000177.0x0.00.1", "0", "0.0", "0x0", "00000", "0.0.0.0", "localhost", "LocalHost",
    "[::ffff:127.0.0.1]", "[::FFFF:127.0.0.1]", "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]", "[0000:0000:0000:0000:0000:ffff:7f00:0001]", "[::ffff:0.0.0.0]", "[::ffff:0:0]",
    "ann:secret@127.0.0.1", "example.org@127.1", "example.org:80@0x7f.1", "example.org%40@127.0.0.1",
]  # fmt: skip
# So do these, or they are no URL, which depends on the version of a library.
PERHAPS = [
    "１２７.0.0.1",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "127．0．0．1",
    "127.0.0.1.",
    "localhost.",
    "127%2e0%2e0%2e1",
    "[::1%251]",
]
# And these to ::1.
IPV6 = ["[::1]", "[0:0:0:0:0:0:0:1]", "[::0001]", "[0000::1]", "[::]", "[0::0]", "example.org@[::1]"]


@pytest.fixture(autouse=True)
def environ():
    with handler_environ() as environ:
        yield environ


@pytest.fixture(scope="module")
def servers():
    with HttpServer() as ipv4, HttpServer(host="::1") as ipv6:
        yield {"127.0.0.1": ipv4, "::1": ipv6}


@pytest.fixture
def resolver(monkeypatch):
    """Answers for names, one list of addresses for each look-up; what was asked is kept."""
    script, asked, real = [], [], socket.getaddrinfo

    def getaddrinfo(host, port, *args, **kwargs):
        if not host.endswith(".example"):
            return real(host, port, *args, **kwargs)
        asked.append(host)
        return [info for address in script.pop(0) for info in real(address, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return SimpleNamespace(script=script, asked=asked)


def fire(url=None, **options):
    Api({"id": 7, "when": "then", "message": "tea", "to": url, "options": options, "key": "k"}).remind("tea")


def refusal(url):
    with pytest.raises(PermanentError) as caught:
        fire(url)
    return str(caught.value)


# ---- spellings


@pytest.mark.parametrize(("host", "server"), [(h, "127.0.0.1") for h in IPV4] + [(h, "::1") for h in IPV6])
def test_every_spelling_of_an_address_leads_there_and_is_denied(environ, servers, host, server):
    """That it leads there shows that the denial is one."""
    server = servers[server]
    url = f"http://{host}:{server.port}/"
    environ["HTTP_DENY"] = "none"
    before = len(server.requests)
    fire(url)
    assert len(server.requests) == before + 1
    environ["HTTP_DENY"] = "loopback"
    text = refusal(url)
    assert "HTTP_DENY forbids its address " in text
    assert "secret" not in text
    assert len(server.requests) == before + 1


@pytest.mark.parametrize("host", PERHAPS)
def test_what_may_be_a_spelling_of_an_address_does_not_lead_there(environ, servers, host):
    environ["HTTP_DENY"] = "loopback"
    before = {name: len(server.requests) for name, server in servers.items()}
    for server in servers.values():
        with pytest.raises((PermanentError, TransientError)):
            fire(f"http://{host}:{server.port}/")
    assert before == {name: len(server.requests) for name, server in servers.items()}


def test_the_default_lets_a_lamp_in_the_house_be_reached(servers):
    fire(servers["127.0.0.1"].url)


# ---- names


def test_a_name_is_looked_up_once_and_what_was_judged_is_connected_to(environ, resolver):
    environ["HTTP_DENY"] = "127.0.0.2"
    with HttpServer(host="127.0.0.1") as allowed, HttpServer(host="127.0.0.2", port=allowed.port) as denied:
        resolver.script += [["127.0.0.1"], ["127.0.0.2"]]
        fire(f"http://changes.example:{allowed.port}/")
        assert (len(allowed.requests), len(denied.requests)) == (1, 0)
        assert resolver.asked == ["changes.example"]
        assert allowed.requests[0].headers["host"] == f"changes.example:{allowed.port}"


def test_a_name_that_was_judged_is_not_looked_up_again_in_the_hope_of_a_better_answer(environ, resolver):
    environ["HTTP_DENY"] = "127.0.0.2"
    with HttpServer(host="127.0.0.1") as allowed, HttpServer(host="127.0.0.2", port=allowed.port) as denied:
        resolver.script += [["127.0.0.2"], ["127.0.0.1"]]
        text = refusal(f"http://changes.example:{allowed.port}/")
        assert text == f"http://changes.example:{allowed.port}: HTTP_DENY forbids its address 127.0.0.2"
        assert (allowed.requests, denied.requests) == ([], [])


@pytest.mark.parametrize("addresses", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]])
def test_of_several_addresses_those_denied_are_left_out(environ, resolver, addresses):
    environ["HTTP_DENY"] = "127.0.0.2"
    with HttpServer(host="127.0.0.1") as allowed, HttpServer(host="127.0.0.2", port=allowed.port) as denied:
        resolver.script.append(addresses)
        fire(f"http://several.example:{allowed.port}/")
        assert (len(allowed.requests), len(denied.requests)) == (1, 0)


def test_a_denied_address_is_no_way_out_when_the_allowed_one_does_not_answer(environ, resolver):
    environ["HTTP_DENY"] = "127.0.0.2"
    with refused() as port, HttpServer(host="127.0.0.2", port=port) as denied:
        resolver.script.append(["127.0.0.1", "127.0.0.2"])
        with pytest.raises(TransientError, match="no connection: Connection refused"):
            fire(f"http://several.example:{port}/")
        assert denied.requests == []


def test_the_next_address_is_tried_when_one_does_not_answer(resolver):
    with refused() as port, HttpServer(host="127.0.0.2", port=port) as other:
        resolver.script.append(["127.0.0.1", "127.0.0.2"])
        fire(f"http://several.example:{port}/")
        assert len(other.requests) == 1


def test_where_all_are_denied_all_are_named(environ, resolver):
    environ["HTTP_DENY"] = "loopback"
    resolver.script.append(["127.0.0.2", "::1", "127.0.0.2"])
    assert refusal("http://several.example/").endswith("HTTP_DENY forbids its addresses 127.0.0.2, ::1")


def test_a_name_that_is_not_known_is_tried_again(monkeypatch):
    def getaddrinfo(*args, **kwargs):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(TransientError, match="no connection: Temporary failure in name resolution"):
        fire("http://unknown.example/")


# ---- TLS, redirects, proxies


def test_a_certificate_is_checked_for_the_name_and_not_for_the_address(environ, resolver, tmp_path):
    environ |= trust(tmp_path)
    with HttpServer(tls=True) as server:
        fire(f"https://localhost:{server.port}/")
        resolver.script.append(["127.0.0.1"])
        with pytest.raises(TransientError, match="no connection: .*[Cc]ertificate"):
            fire(f"https://other.example:{server.port}/")
        environ["HTTP_DENY"] = "loopback"
        assert "HTTP_DENY forbids its address 127.0.0.1" in refusal(f"https://localhost:{server.port}/")
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_leads_nowhere(environ, status):
    environ["HTTP_DENY"] = "127.0.0.2"
    with HttpServer(host="127.0.0.2") as inside:
        with HttpServer(Answer(status, headers={"Location": inside.url})) as server:
            assert "redirects are not followed" in refusal(server.url)
        assert inside.requests == []


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "All_Proxy"])
def test_a_proxy_is_for_the_operators_url_and_for_no_other(environ, name):
    with HttpServer() as server, HttpServer() as proxy:
        environ |= {name: proxy.url, "API_REMIND_URL": server.url + "/hook", "HTTP_DENY": "loopback"}
        fire()
        assert [request.target for request in proxy.requests] == [server.url + "/hook"]
        assert "HTTP_DENY" in refusal(server.url)
        assert (len(proxy.requests), server.requests) == (1, [])


def test_a_proxy_is_for_https_too(environ, tmp_path):
    """This one knows no CONNECT; without it the request would arrive."""
    with HttpServer(tls=True) as server, HttpServer() as proxy:
        environ |= trust(tmp_path) | {"https_proxy": proxy.url, "API_REMIND_URL": server.url}
        with pytest.raises(HandlerError, match="501"):
            fire()
        assert server.requests == []
        environ["no_proxy"] = "127.0.0.1"
        fire()
        assert len(server.requests) == 1


def test_the_operators_url_may_lead_anywhere_and_by_no_login_but_its_own(environ, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login operator password hunter2\n")
    with HttpServer() as server:
        environ |= {"API_REMIND_URL": server.url, "HTTP_DENY": "loopback", "NETRC": str(netrc)}
        fire(headers={"Authorization": "Bearer mine"})
        assert server.requests[0].headers["authorization"] == "Bearer mine"


# ---- the daemon


def test_a_denied_url_is_a_failure_that_says_why_and_is_not_tried_again(tmp_path):
    with HttpServer() as server, running(tmp_path, HTTP_DENY="loopback", API_REMIND_URL=server.url) as daemon:
        made = daemon.remind(method="api", to=f"http://localhost:{server.port}/")
        entry = daemon.outcome(made)
        assert entry["outcome"] == "failed"
        assert entry["error"] == f"http://localhost:{server.port}: HTTP_DENY forbids its address 127.0.0.1"
        assert daemon.state(made) == "failed"
        assert daemon.outcome(daemon.remind(method="api"))["outcome"] == "delivered"
        assert len(server.requests) == 1


@pytest.mark.parametrize(("text", "named"), [("loopback, lan", "'lan'"), ("10.0.0.1/8", "'10.0.0.1/8'")])
def test_a_bad_setting_stops_the_start(tmp_path, text, named):
    daemon = Daemon(tmp_path, {"HTTP_DENY": text}).prepare()
    for arguments in ([], ["--check"]):
        done = daemon.command(*arguments)
        assert done.returncode == os.EX_CONFIG
        assert f"HTTP_DENY is {named}: " in done.stderr


def test_a_bad_setting_is_not_taken_up_by_a_reload(tmp_path):
    with HttpServer() as server, running(tmp_path) as daemon:
        settings = daemon.folder / ".env"
        for text, outcome in (("loopback", "failed"), ("lan", "failed"), ("none", "delivered")):
            settings.write_text(f"HTTP_DENY={text}\n")
            daemon.reload()
            assert daemon.outcome(daemon.remind(method="api", to=server.url))["outcome"] == outcome
