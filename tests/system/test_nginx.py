"""docs/nginx.md word for word, with the real nginx in front of the daemon, on this machine."""

import contextlib
import http.client
import json
import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.daemon import PATIENCE, Daemon, end, wait_until
from tests.system.tools import NEEDED
from tests.terminal import Terminal

DOCS = (Path(__file__).parents[2] / "docs/nginx.md").read_text()
NAME = "tock.example.org"
TEA = json.dumps({"in": "1h", "message": "tea", "method": "log"})

if not shutil.which("nginx"):
    pytest.skip(f"missing here: {NEEDED['nginx']}; as root, make test-system installs it", allow_module_level=True)


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)


WITH_KEYS, AT_THE_SOCKET = blocks("nginx")
[SETTINGS] = blocks("ini")
KEY = re.search(r"^API_KEY=(\S+)$", SETTINGS, re.MULTILINE)[1]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@dataclass
class Front:
    """nginx with one of the documented files, and the daemon behind it."""

    folder: Path
    daemon: Daemon
    authority: trustme.CA
    port: int

    def connect(self, client=None):
        """A connection of one that trusts the authority; `client`: with a certificate for this name."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if client is not None:
            self.authority.issue_cert(client).configure_cert(context)
        connection = http.client.HTTPSConnection(NAME, self.port, context=context, timeout=PATIENCE)
        connection.sock = context.wrap_socket(
            socket.create_connection(("127.0.0.1", self.port), PATIENCE), server_hostname=NAME
        )
        return contextlib.closing(connection)

    def ask(self, method, path, body=None, client=None, **headers):
        with self.connect(client) as connection:
            return ask(connection, method, path, body, **headers)


def ask(connection, method, path, body=None, **headers):
    connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
    answer = connection.getresponse()
    data = answer.read()
    return answer.status, json.loads(data) if data.startswith((b"{", b"[")) else data, answer.headers


@pytest.fixture
def folder():
    """One that nginx's worker processes can get into, too: not pytest's."""
    made = Path(tempfile.mkdtemp(prefix="tifftock-nginx-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@contextlib.contextmanager
def front(folder, daemon, text, upstream):
    """nginx as it is documented, apart from where things are."""
    authority, port = trustme.CA(), free_port()
    certificate = authority.issue_cert(NAME)
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "key.pem")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    for old, new in {
        "listen 443": f"listen 127.0.0.1:{port}",
        f"/etc/ssl/certs/{NAME}.pem": str(folder / "key.pem"),
        f"/etc/ssl/private/{NAME}.key": str(folder / "key.pem"),
        **({"/etc/ssl/certs/our-clients.pem": str(folder / "authority.pem")} if "our-clients" in text else {}),
        upstream[0]: upstream[1],
    }.items():
        assert old in text
        text = text.replace(old, new)
    places = "\n".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user www-data;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}\ndaemon off;\npid {folder}/pid;\nworker_processes 1;\nerror_log {folder}/error;\n"
        f"events {{}}\nhttp {{\naccess_log {folder}/access;\n{places}\n{text}\n}}\n"
    )
    with subprocess.Popen(["nginx", "-c", folder / "nginx.conf", "-e", folder / "error"]) as process:
        try:
            wait_until(lambda: is_open(port) or process.poll() is not None, "nginx")
            assert process.poll() is None, (folder / "error").read_text()
            yield Front(folder, daemon, authority, port)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def is_open(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture
def with_keys(folder):
    port = free_port()
    daemon = Daemon(folder).prepare()
    settings = SETTINGS.replace("127.0.0.1:5000", f"127.0.0.1:{port}")
    daemon.settings = dict(line.split("=", 1) for line in settings.split())
    # Beside it, for the harness: what the service inherits from systemd.
    daemon.settings["API_URL"] += f" unix:{daemon.socket_path}"
    try:
        daemon.start()
        with front(folder, daemon, WITH_KEYS, ("127.0.0.1:5000", f"127.0.0.1:{port}")) as made:
            yield made
    finally:
        end(daemon)


@pytest.fixture
def at_the_socket(folder):
    if os.geteuid():
        pytest.skip("that nginx's worker processes are another user takes root")
    daemon = Daemon(folder).prepare()
    try:
        daemon.start()
        # What the package and `adduser` do: the socket is for a group that nginx is in.
        os.chown(daemon.socket_path, -1, pwd.getpwnam("www-data").pw_gid)
        (folder / "run").chmod(0o755)
        with front(folder, daemon, AT_THE_SOCKET, ("unix:/run/tifftock.sock", f"unix:{daemon.socket_path}")) as made:
            yield made
    finally:
        end(daemon)


# ---- with the daemon's keys


def test_a_key_is_handed_on_and_nobody_gets_in_without_one(with_keys):
    for headers in ({"x_api_key": KEY}, {"Authorization": f"Bearer {KEY}"}):
        status, made, sent = with_keys.ask("POST", "/remind", TEA, **headers)
        assert (status, made["owner"]) == (201, None)
        assert with_keys.ask("GET", sent["Location"], **headers)[:2] == (200, made)
    for headers in ({}, {"x_api_key": "wrong"}):
        status, said, _ = with_keys.ask("GET", "/reminders", **headers)
        assert (status, said["kind"]) == (401, "unauthorized")
    assert KEY not in (with_keys.folder / "access").read_text()


def test_tifftockctl_comes_in_by_tls(with_keys):
    environ = {"TIFFTOCK_KEY": KEY, "SSL_CERT_FILE": str(with_keys.folder / "authority.pem")}
    # The name is nginx's, and its address is here: what a line in hosts(5) would say, without this machine's.
    with pytest.MonkeyPatch.context() as patch:
        find = socket.getaddrinfo
        patch.setattr(socket, "getaddrinfo", lambda host, *rest: find("127.0.0.1" if host == NAME else host, *rest))
        terminal = Terminal(environ | {"TIFFTOCK_URL": f"https://{NAME}:{with_keys.port}"})
        assert terminal.run("remind", "1h", "tea", "--method", "log").code == 0
        done = terminal.run("list", "--json")
    assert (done.code, json.loads(done.out)["message"], json.loads(done.out)["owner"]) == (0, "tea", None)


def test_what_the_daemon_answers_comes_through_as_it_is(with_keys):
    status, said, headers = with_keys.ask("GET", "/metrics", x_api_key=KEY)
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert said.startswith(b"# HELP")
    status, made, _ = with_keys.ask("POST", "/remind", TEA, x_api_key=KEY, Idempotency_Key="k")
    again = with_keys.ask("POST", "/remind", TEA, x_api_key=KEY, Idempotency_Key="k")
    assert again[:2] == (status, made)
    assert again[2]["Idempotent-Replayed"] == "true"
    assert with_keys.ask("DELETE", f"/reminder/{made['id']}", x_api_key=KEY)[0] == 204
    too_large = with_keys.ask("POST", "/reminders", b" " * (8 * 1024 * 1024 + 1), x_api_key=KEY)
    assert (too_large[0], too_large[1]["kind"]) == (413, "too_large")
    odd = with_keys.ask("GET", "/reminder/%00", x_api_key=KEY)
    assert odd[0] == 400


def test_one_connection_of_a_client_serves_many_requests_and_one_to_the_daemon_too(with_keys):
    with with_keys.connect() as connection:
        for _ in range(20):
            assert ask(connection, "GET", "/health", x_api_key=KEY)[0] == 200
    # As many as have been open at once, which nginx keeps.
    assert 1 <= connections(with_keys.daemon) <= 2


def connections(daemon):
    """How many TCP connections to the daemon are established: proc_pid_net(5)."""
    port = int(re.search(r"http://127\.0\.0\.1:(\d+)", daemon.log_text())[1])
    lines = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(local.endswith(f":{port:04X}") and state == "01" for _, local, _, state, *_ in lines)


def test_who_guesses_is_slowed_down_and_who_knows_is_not(with_keys):
    for _ in range(5):
        assert with_keys.ask("GET", "/reminders", x_api_key="wrong")[0] == 401
    start = time.monotonic()
    assert with_keys.ask("GET", "/reminders", x_api_key="wrong")[0] == 401
    assert time.monotonic() - start >= 1
    # Also on what nginx has kept open
    for _ in range(3):
        assert with_keys.ask("GET", "/reminders", x_api_key=KEY)[0] == 200
    assert with_keys.daemon.log_text().count("key-refused") == 1


def test_a_restart_of_the_daemon_is_survived(with_keys):
    assert with_keys.ask("GET", "/health", x_api_key=KEY)[0] == 200
    with_keys.daemon.stop()
    assert with_keys.ask("GET", "/health", x_api_key=KEY)[0] == 502
    with_keys.daemon.start()
    assert wait_until(lambda: with_keys.ask("GET", "/health", x_api_key=KEY)[0] == 200, "service")


# ---- at the Unix socket


def test_whom_nginx_knows_is_let_in_without_a_key_and_nginx_is_the_owner(at_the_socket):
    uid = pwd.getpwnam("www-data").pw_uid
    status, made, _ = at_the_socket.ask("POST", "/remind", TEA, client="ann.example.org")
    assert (status, made["owner"]) == (201, uid)
    _, mine, _ = at_the_socket.ask("GET", "/reminders?owner=me", client="bob.example.org")
    assert mine == [made]
    roots = at_the_socket.daemon.remind(**{"in": "1h"})
    assert roots["owner"] == os.getuid()
    assert at_the_socket.ask("GET", "/reminders?owner=me", client="bob.example.org")[1] == [made]


def test_who_shows_no_certificate_is_turned_away_by_nginx(at_the_socket):
    status, said, _ = at_the_socket.ask("POST", "/remind", TEA)
    assert status == 400
    assert b"No required SSL certificate" in said
    assert at_the_socket.daemon.get("/reminders") == []


def test_no_header_makes_a_client_somebody_else(at_the_socket):
    headers = {"X_Forwarded_For": "127.0.0.1", "x_api_key": "x", "Forwarded": "for=unix:"}
    status, made, _ = at_the_socket.ask("POST", "/remind", TEA, client="ann.example.org", **headers)
    assert (status, made["owner"]) == (201, pwd.getpwnam("www-data").pw_uid)
