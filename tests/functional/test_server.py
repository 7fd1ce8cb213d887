"""The server on real sockets, with small applications."""

import contextlib
import errno
import fcntl
import http.client
import json
import logging
import os
import pwd
import re
import resource
import socket
import stat
import threading
import time
from pathlib import Path

import pytest
from waitress import wasyncore

from tifftockd import server as server_module
from tifftockd.api.access import PEER
from tifftockd.config import Address
from tifftockd.errors import ListenError
from tifftockd.server import Server, connection as connection_module, listeners, open_sockets, parser as parser_module
from tifftockd.server.loop import Loop
from tifftockd.server.sockets import UnixListener

ANYWHERE = Address("http://127.0.0.1:0", host="127.0.0.1", port=0)


def unix(path):
    return Address(f"unix:{path}", path=str(path))


def tcp(port, host="127.0.0.1"):
    return Address(f"http://{host}:{port}", host=host, port=port)


def echo(environ, start_response):
    peer = environ[PEER]
    body = environ["wsgi.input"].read()
    said = {
        "tcp": peer.tcp,
        "uid": peer.uid,
        "address": peer.address,
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"],
        "received": len(body),
        "forwarded": environ.get("HTTP_X_FORWARDED_FOR"),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(said).encode() + b"\n"]


@contextlib.contextmanager
def serving(sockets, app=echo):
    server = Server(app, sockets)
    server.start()
    try:
        yield server
    finally:
        server.stop(5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "t.sock"


@pytest.fixture
def served(path):
    """A server on a Unix socket: its path."""
    with serving(open_sockets([unix(path)])):
        yield path


def connect(where):
    """A client's socket, to a path or to a port."""
    sock = socket.socket(socket.AF_UNIX if isinstance(where, Path) else socket.AF_INET)
    try:
        sock.connect(str(where) if isinstance(where, Path) else ("127.0.0.1", where))
    except OSError:
        sock.close()
        raise
    sock.settimeout(10)  # with one before, a full backlog would be an error instead of a wait
    return sock


class Connection(http.client.HTTPConnection):
    def __init__(self, where):
        super().__init__("localhost")
        self.sock = connect(where)

    def get(self, path="/", **headers):
        self.request("GET", path, headers=headers)
        response = self.getresponse()
        return response.status, json.loads(response.read())


def get(where, path="/", **headers):
    with contextlib.closing(Connection(where)) as connection:
        return connection.get(path, **headers)


def read_all(sock):
    data = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65_536):
            data += piece
    return bytes(data)


def raw(where, data):
    """What is answered to these bytes until the connection is closed: status, headers, body."""
    with connect(where) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
        head, _, body = read_all(sock).partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    return int(line.split()[1]), dict(header.split(": ", 1) for header in headers), body


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be in time"
        time.sleep(0.005)


def is_closed(sock):
    """Whether the server has closed this connection."""
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


# ---- making Unix sockets


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_a_unix_socket_has_mode_0660_whatever_the_umask(path, umask):
    before = os.umask(umask)
    try:
        (sock,) = open_sockets([unix(path)])
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    with sock:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_live_socket_is_left_to_its_daemon(path):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        who = rf"\(pid {os.getpid()}, uid {os.getuid()}\)"
        with pytest.raises(ListenError, match=rf"unix:{path}: it is in use by another daemon {who}"):
            open_sockets([unix(path)])
        with connect(path):
            pass


def test_a_live_socket_whose_backlog_is_full_is_left_to_its_daemon(path):
    with socket.socket(socket.AF_UNIX) as other, contextlib.ExitStack() as clients:
        other.bind(str(path))
        other.listen(0)
        with contextlib.suppress(BlockingIOError):
            for _ in range(100):
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
        with pytest.raises(ListenError, match="in use by another daemon"):
            open_sockets([unix(path)])
        assert path.is_socket()


def test_a_stale_socket_is_replaced(path):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
    assert path.is_socket()
    with serving(open_sockets([unix(path)])):
        assert get(path)[0] == 200


def test_of_daemons_that_start_at_once_on_a_stale_socket_one_gets_it(path):
    def start(begin, won, lost):
        begin.wait()
        try:
            won.extend(open_sockets([unix(path)]))
        except ListenError as error:
            lost.append(str(error))

    for _ in range(10):
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
        begin = threading.Barrier(4)
        won, lost = [], []

        threads = [threading.Thread(target=start, args=(begin, won, lost)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert all("in use by another daemon" in error for error in lost)
        with won[0], connect(path):
            pass


def test_a_daemon_that_starts_waits_for_another_that_is_starting_beside_it(path):
    fd = os.open(path.parent, os.O_RDONLY)
    opened = []
    thread = threading.Thread(target=lambda: opened.extend(open_sockets([unix(path)])))
    fcntl.flock(fd, fcntl.LOCK_EX)
    thread.start()
    thread.join(0.1)
    assert not opened
    assert not path.exists()
    os.close(fd)
    thread.join(5)
    opened[0].close()


def test_a_folder_that_stays_locked_is_not_waited_for_without_end(path, monkeypatch):
    monkeypatch.setattr("tifftockd.server.sockets._PATIENCE", 0.05)
    fd = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(ListenError, match=r"keeps the folder .* locked"):
        open_sockets([unix(path)])
    os.close(fd)


def test_a_file_that_is_no_socket_is_left_alone(path):
    path.write_text("precious")
    with pytest.raises(ListenError, match="is no socket"):
        open_sockets([unix(path)])
    assert path.read_text() == "precious"


def test_a_symbolic_link_is_left_alone(path):
    path.symlink_to("/nowhere")
    with pytest.raises(ListenError, match="is no socket"):
        open_sockets([unix(path)])
    assert path.is_symlink()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ListenError, match=rf"there is no folder {tmp_path}/none: create it"):
        open_sockets([unix(tmp_path / "none" / "t.sock")])


def test_a_path_that_the_kernel_would_cut_is_refused(tmp_path):
    path = tmp_path / ("x" * (107 - len(str(tmp_path)) - 1))
    with contextlib.closing(open_sockets([unix(path)])[0]):
        assert path.is_socket()
    with pytest.raises(ListenError, match="longer than 107 bytes"):
        open_sockets([unix(f"{path}y")])


def test_the_file_goes_with_its_socket(path):
    (sock,) = open_sockets([unix(path)])
    sock.close()
    assert not path.exists()


def test_a_file_that_has_become_another_ones_stays(path):
    (first,) = open_sockets([unix(path)])
    path.rename(path.with_name("moved"))
    (second,) = open_sockets([unix(path)])
    first.close()
    assert path.is_socket()
    second.close()


# ---- making TCP sockets


def test_localhost_is_every_address_that_it_stands_for():
    addresses = {name[0] for _, _, _, _, name in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    sockets = open_sockets([tcp(0, "localhost")])
    try:
        assert {sock.getsockname()[0] for sock in sockets} <= addresses
        assert "127.0.0.1" in {sock.getsockname()[0] for sock in sockets}
    finally:
        for sock in sockets:
            sock.close()


def test_a_family_that_the_machine_lacks_is_done_without(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("192.0.2.1", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
    (sock,) = open_sockets([tcp(0, "both.test")])
    with sock:
        assert sock.getsockname()[0] == "127.0.0.1"


def test_an_address_that_the_machine_has_not_is_refused():
    with pytest.raises(ListenError, match=r"http://192\.0\.2\.1:0: Cannot assign requested address"):
        open_sockets([tcp(0, "192.0.2.1")])


def test_a_host_that_cannot_be_resolved_is_refused():
    with pytest.raises(ListenError, match=r"http://nowhere\.invalid:1: "):
        open_sockets([tcp(1, "nowhere.invalid")])


def test_a_port_in_use_is_refused_and_nothing_stays_open(path):
    (other,) = open_sockets([ANYWHERE])
    user = re.escape(pwd.getpwuid(os.geteuid()).pw_name)
    with other, pytest.raises(ListenError, match=rf"port \d+ is in use by a program of user {user} "):
        open_sockets([unix(path), tcp(other.getsockname()[1])])
    assert not path.exists()


def test_an_address_of_an_inherited_socket_is_not_opened_again(path):
    with socket.create_server(("127.0.0.1", 0)) as inherited, socket.socket(socket.AF_UNIX) as inherited_unix:
        inherited_unix.bind(str(path))
        inherited_unix.listen()
        port = inherited.getsockname()[1]
        assert open_sockets([tcp(port), unix(path)], [inherited, inherited_unix]) == []
        opened = open_sockets([ANYWHERE], [inherited, inherited_unix])
        assert len(opened) == 1
        opened[0].close()


def test_an_inherited_socket_on_all_addresses_covers_each():
    with socket.create_server(("0.0.0.0", 0)) as inherited:
        assert open_sockets([tcp(inherited.getsockname()[1])], [inherited]) == []


# ---- who is calling


def test_a_peer_of_a_unix_socket_is_known_by_its_uid(served):
    status, said = get(served)
    assert status == 200
    assert (said["tcp"], said["uid"], said["address"]) == (False, os.getuid(), "unix")


def test_unix_tcp_and_inherited_sockets_are_served_at_once(path, tmp_path):
    inherited_path = tmp_path / "inherited.sock"
    inherited = socket.socket(socket.AF_UNIX)
    inherited.bind(str(inherited_path))
    inherited.listen()
    opened = open_sockets([unix(path), ANYWHERE])
    port = opened[1].getsockname()[1]
    with serving([*opened, inherited]):
        assert get(path)[1]["tcp"] is False
        assert get(inherited_path)[1]["uid"] == os.getuid()
        said = get(port)[1]
        assert (said["tcp"], said["uid"], said["address"]) == (True, None, "127.0.0.1")
    assert not path.exists()
    assert inherited_path.is_socket()


def test_an_answer_comes_in_one_piece(served):
    with connect(served) as sock:
        for _ in range(50):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head, _, body = sock.recv(65_536).partition(b"\r\n\r\n")
            assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")


def test_to_stop_is_no_fault(path, capfd):
    with serving(open_sockets([unix(path)])):
        silent = connect(path)
        get(path)
    silent.close()
    assert "server-fault" not in capfd.readouterr().err


def test_no_header_says_who_is_calling(served):
    said = get(served, **{"X-Forwarded-For": "10.0.0.1", "tifftockd.peer": "x", "Remote-Addr": "10.0.0.1"})[1]
    assert (said["uid"], said["address"], said["forwarded"]) == (os.getuid(), "unix", None)


def test_a_socket_that_is_neither_unix_nor_tcp_is_refused():
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as sock,
        pytest.raises(ListenError, match="must be a Unix or"),
    ):
        Server(echo, [sock])


# ---- what never reaches the application

POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
BAD = {
    "no request line": (b"\x00\x01\x02\r\n\r\n", 400, "malformed"),
    "no version": (b"GET /\r\n\r\n", 400, "malformed"),
    "a version that is none": (b"GET / HTTP/11\r\nHost: x\r\n\r\n", 400, "malformed"),
    "a lower-case method": (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400, "malformed"),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "malformed"),
    "a header without a name": (b"GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", 400, "malformed"),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, "malformed"),
    "a bare line feed": (b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400, "malformed"),
    "half of an IPv6 address": (b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed"),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n", 400, "malformed"),
    "two lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, "malformed"),
    "a length of 5000 digits": (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400, "malformed"),
    "a length and chunks": (
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "malformed",
    ),
    "chunks in HTTP/1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "malformed"),
    "a chunk size that is none": (CHUNKED + b"zz\r\n", 400, "malformed"),
    "an endless chunk extension": (CHUNKED + b"1;" + b"x" * 5000, 400, "malformed"),
    "a body refused unsent": (POST + b"Expect: 100-continue\r\nContent-Length: 8388609\r\n\r\n", 413, "too_large"),
    "chunks without an end": (CHUNKED + (b"10000\r\n" + b"x" * 65_536 + b"\r\n") * 129, 413, "too_large"),
    "a header that is too large": (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 17_000 + b"\r\n\r\n", 431, "too_large"),
    "another encoding": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "not_implemented"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version"),
    "HTTP/3 with a body": (b"POST / HTTP/3.0\r\nHost: x\r\nContent-Length: 9\r\n\r\n", 505, "http_version"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_request_that_is_no_http_gets_json(served, case):
    data, status, kind = BAD[case]
    answered, headers, body = raw(served, data)
    assert answered == status
    assert headers["Content-Type"] == "application/json"
    assert headers["Connection"] == "close"
    assert "Server" not in headers
    assert body.endswith(b"}\n")
    error = json.loads(body)
    assert list(error) == ["error", "kind", "field"]
    assert error["error"]
    assert (error["kind"], error["field"]) == (kind, None)


def test_the_largest_body_is_taken(served):
    data = POST + b"Connection: close\r\nContent-Length: 8388608\r\n\r\n" + b"x" * 8_388_608
    status, _, body = raw(served, data)
    assert (status, json.loads(body)["received"]) == (200, 8_388_608)


def test_empty_lines_between_chunks_do_not_go_on_for_ever(served, monkeypatch):
    monkeypatch.setattr(parser_module, "LARGEST_CHUNKED", 100_000)
    assert raw(served, CHUNKED + b"\r\n" * 100_000)[0] == 413


def test_a_header_may_speak_of_chunks(served):
    assert raw(served, b"GET /chunked HTTP/1.0\r\nX: chunked, chunked, unchunked\r\n\r\n")[0] == 200


def test_a_client_that_sends_too_much_before_it_reads_learns_why(served):
    body = b"x" * (20 * 1024 * 1024)
    with connect(served) as sock:
        # No exception: the server reads on after its refusal.
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert sock.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_later_minor_version_is_served_as_http_1_1(served):
    status, _, body = raw(served, b"POST / HTTP/1.2\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")
    assert status == 200
    assert json.loads(body)["received"] == 3


def test_http_1_0_needs_no_host(served):
    assert raw(served, b"GET / HTTP/1.0\r\n\r\n")[0] == 200


def test_chunks_are_put_together(served):
    data = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    data += b"3\r\nabc\r\n2;name=value\r\nde\r\n0\r\n\r\n"
    assert json.loads(raw(served, data)[2])["received"] == 5


# ---- an application that fails


@pytest.mark.parametrize("error", [ValueError("secret"), SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_whatever_the_application_raises_the_client_gets_json_and_the_server_goes_on(path, error, capfd):
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/bad":
            raise error
        return echo(environ, start_response)

    with serving(open_sockets([unix(path)]), app), contextlib.closing(Connection(path)) as connection:
        status, body = connection.get("/bad")
        assert status == 500
        assert (body["kind"], body["field"]) == ("internal", None)
        assert "secret" not in body["error"]
        connection.request("HEAD", "/bad")
        response = connection.getresponse()
        assert (response.status, response.read()) == (500, b"")
        assert connection.get("/good")[0] == 200
    logged = capfd.readouterr().err
    assert "request-failed" in logged
    assert type(error).__name__ in logged
    assert "test_server.py" in logged
    assert "secret" not in logged


def test_an_answer_that_cannot_be_sent_becomes_a_500(path):
    def app(environ, start_response):
        start_response("200 OK", [("X", "a\r\nb")])
        return [b"x"]

    with serving(open_sockets([unix(path)]), app):
        status, body = get(path)
    assert (status, body["kind"]) == (500, "internal")


# ---- clients that are slow on purpose


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(connection_module, "PATIENCE", 0.25)
    monkeypatch.setattr(connection_module, "KEEP_ALIVE", 0.8)
    monkeypatch.setattr(server_module, "SWEEP", 0.03)


def drip(sock, data, seconds):
    """Send one byte after the other, until the server has had enough; how long that took."""
    start = time.monotonic()
    try:
        for byte in data:
            sock.sendall(bytes([byte]))
            if time.monotonic() > start + seconds or is_closed(sock):
                break
            time.sleep(0.02)
    except OSError:
        pass
    return time.monotonic() - start


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nX: " + b"y" * 5000,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + b"y" * 5000,
        b"\r\n\r\n" * 2000,
    ],
    ids=["header", "body", "empty lines"],
)
def test_a_drip_is_ended(impatient, served, data):
    with connect(served) as sock:
        assert 0.2 < drip(sock, data, 5) < 2


def test_a_silent_client_is_closed(impatient, served):
    with connect(served) as sock:
        until(lambda: is_closed(sock), 2)


def test_a_body_that_comes_at_a_fair_speed_has_more_time(impatient, monkeypatch, served):
    monkeypatch.setattr(connection_module, "SLOWEST", 1000)
    with connect(served) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        start = time.monotonic()
        for _ in range(10):
            sock.sendall(b"x" * 100)
            time.sleep(0.05)
        assert time.monotonic() - start > 0.4
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_an_idle_connection_is_kept_for_a_while_after_an_answer(impatient, served):
    with contextlib.closing(Connection(served)) as connection:
        for _ in range(2):
            assert connection.get()[0] == 200
            time.sleep(0.45)  # longer than a first request may take
        until(lambda: is_closed(connection.sock), 3)


def test_a_request_that_takes_long_is_not_the_clients_fault(impatient, path):
    def app(environ, start_response):
        time.sleep(0.5)
        return echo(environ, start_response)

    sockets = open_sockets([unix(path)])
    with contextlib.closing(Connection(path)) as connection:
        # Before it is accepted: on a machine that halts in between, it would be the client that is late.
        connection.request("GET", "/")
        with serving(sockets, app):
            assert connection.getresponse().status == 200


@pytest.fixture
def halt(monkeypatch):
    """Set, it has the server's thread do nothing for longer than a client may."""
    wanted, real = threading.Event(), Loop.turn

    def turn(self, patience):
        if wanted.is_set():
            wanted.clear()
            time.sleep(0.5)
        real(self, patience)

    monkeypatch.setattr(Loop, "turn", turn)
    return wanted


def test_a_client_is_not_late_because_the_server_was_halted(impatient, halt, monkeypatch, served):
    monkeypatch.setattr(connection_module, "SLOWEST", 50_000_000)
    with connect(served) as sock:
        headers = b"Host: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n"
        sock.sendall(b"POST / HTTP/1.1\r\n" + headers + b"\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")  # so it has been read
        halt.set()
        until(lambda: not halt.is_set())
        # More than is read at a time
        sock.sendall(b"x" * 100_000)
        assert b'"received": 100000' in read_all(sock)


@pytest.fixture
def occupied(impatient, monkeypatch, path):
    """A server with one thread: called, the function has it at work until it is called again."""
    monkeypatch.setattr(server_module, "THREADS", 1)
    begun, go_on = threading.Event(), threading.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            begun.set()
            assert go_on.wait(10)
        return echo(environ, start_response)

    with serving(open_sockets([unix(path)]), app), connect(path) as slow:

        def toggle():
            if begun.is_set():
                go_on.set()
            else:
                slow.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
                assert begun.wait(10)

        yield toggle


def test_nor_because_all_threads_were_at_work(occupied, path):
    with connect(path) as sock:
        occupied()
        sock.sendall(b"GET /other HTTP/1.0\r\n\r\n")
        time.sleep(0.5)  # longer than a client may take
        occupied()
        assert b'"path": "/other"' in read_all(sock)


def test_nor_with_a_part_of_a_body(occupied, path):
    with connect(path) as sock:
        sock.sendall(b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nx")
        occupied()
        sock.sendall(b"x")
        time.sleep(0.5)
        occupied()
        time.sleep(0.1)
        sock.sendall(b"x")
        assert b'"received": 3' in read_all(sock)


def test_nor_because_a_thread_has_read_its_request_while_it_is_judged():
    class Read(connection_module.Channel):
        """Seen for the first time it has begun a request, and then it has none."""

        _request_began = property(lambda self: self.looks.pop())

        def __init__(self):
            self.looks = [None, None, 9.0]
            self._waiting = self._lingering = False
            self._sent_at = 0.0
            self.requests, self.request = [], None

    assert not Read().is_overdue(10.0)


def test_nor_because_it_had_been_idle_before_it_was_told_to_send(impatient, monkeypatch, path):
    class Slow(connection_module.Channel):
        def send(self, data, do_close=True):
            if b" 100 " in data:
                time.sleep(0.1)  # more than one look for clients that are late
            return super().send(data, do_close)

    monkeypatch.setattr(listeners.UnixServer, "channel_class", Slow)
    with serving(open_sockets([unix(path)])), contextlib.closing(Connection(path)) as connection:
        assert connection.get()[0] == 200
        time.sleep(0.4)  # longer than an answer may wait to be read
        sock = connection.sock
        headers = b"Host: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 1\r\n"
        sock.sendall(b"POST / HTTP/1.1\r\n" + headers + b"\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"x")
        assert b'"received": 1' in read_all(sock)


def test_nor_when_the_answer_before_took_long(impatient, path):
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            time.sleep(0.5)  # longer than a client may take
        return echo(environ, start_response)

    with serving(open_sockets([unix(path)]), app), connect(path) as sock:
        slow = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
        sock.sendall(slow + b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\n")
        assert b"/slow" in sock.recv(65_536)
        time.sleep(0.1)
        sock.sendall(b"x")
        assert b'"received": 1' in read_all(sock)


def test_nor_when_it_is_asked_between_two_requests(monkeypatch, path):
    class Slow(connection_module.Channel):
        def _next(self):
            time.sleep(0.05)
            return super()._next()

    monkeypatch.setattr(listeners.UnixServer, "channel_class", Slow)
    server = Server(echo, open_sockets([unix(path)]))
    server.start()
    with connect(path) as sock:
        sock.sendall(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"/1" in sock.recv(65_536)
        sock.sendall(b"GET /2 HTTP/1.0\r\n\r\n")
        assert server.stop(5)
        assert b"/2" in read_all(sock)


def test_nor_when_it_was_halted_as_it_accepted(impatient, monkeypatch, path):
    class Halting(listeners.UnixServer):
        def handle_accept(self):
            super().handle_accept()
            time.sleep(0.4)

    monkeypatch.setattr(server_module, "UnixServer", Halting)
    with serving(open_sockets([unix(path)])):
        assert get(path)[0] == 200


def long_or_short(calls, long=8 * 1024 * 1024):
    def app(environ, start_response):
        calls.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b"x" * (long if environ["PATH_INFO"] == "/long" else 1)]

    return app


def test_clients_that_do_not_read_their_answers_do_not_take_the_threads(monkeypatch, path):
    monkeypatch.setattr(server_module, "THREADS", 2)
    calls = []
    # Pipelined: with more than 16 MiB to send waitress would let the thread wait for the client.
    app = long_or_short(calls, 17 * 1024 * 1024)
    with serving(open_sockets([unix(path)]), app), connect(path) as one, connect(path) as other:
        for client in (one, other):
            client.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n" * 4)
        until(lambda: len(calls) == 2)
        with connect(path) as sock:
            sock.sendall(b"GET /short HTTP/1.0\r\n\r\n")
            assert read_all(sock).endswith(b"\r\n\r\nx")
        assert calls == ["/long", "/long", "/short"]


def test_nor_do_those_that_read_them_slowly(monkeypatch, path):
    monkeypatch.setattr(server_module, "THREADS", 1)
    calls = []
    with serving(open_sockets([unix(path)]), long_or_short(calls)), connect(path) as slow:
        slow.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n" * 4)
        for _ in range(20):
            assert slow.recv(50_000, socket.MSG_WAITALL)
            time.sleep(0.01)
        with connect(path) as sock:
            sock.sendall(b"GET /short HTTP/1.0\r\n\r\n")
            assert read_all(sock).endswith(b"\r\n\r\nx")
        assert calls == ["/long", "/short"]


def test_a_client_that_asks_and_asks_and_does_not_read_is_closed(impatient, path):
    with serving(open_sockets([unix(path)]), long_or_short([])) as server, connect(path) as sock:
        sock.settimeout(0.1)
        with contextlib.suppress(TimeoutError, BrokenPipeError, ConnectionResetError):
            for _ in range(100_000):
                sock.sendall(b"GET /short HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        until(lambda: not server._channels())


def test_what_is_left_of_an_answer_does_not_wait_for_the_next_request(path):
    go_on = threading.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            assert go_on.wait(10)
        return long_or_short([])(environ, start_response)

    with serving(open_sockets([unix(path)]), app), connect(path) as sock:
        sock.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\nGET /slow HTTP/1.0\r\n\r\n")
        received = 0
        while received < 8 * 1024 * 1024:
            received += len(sock.recv(65_536))
        go_on.set()
        assert read_all(sock).endswith(b"\r\n\r\nx")


def test_a_client_that_reads_its_answer_drop_by_drop_is_closed(impatient, monkeypatch, path):
    monkeypatch.setattr(connection_module, "SLOWEST", 50_000_000)
    with serving(open_sockets([unix(path)]), long_or_short([])), connect(path) as sock:
        sock.sendall(b"GET /long HTTP/1.0\r\n\r\n")
        received = 0
        for _ in range(150):
            received += len(sock.recv(20_000))
            time.sleep(0.005)
        assert received + len(read_all(sock)) < 8 * 1024 * 1024


def test_a_client_on_tcp_that_reads_at_a_fair_speed_is_not_closed(monkeypatch):
    monkeypatch.setattr(connection_module, "PATIENCE", 0.5)
    monkeypatch.setattr(server_module, "SWEEP", 0.03)
    sockets = open_sockets([ANYWHERE])
    port = sockets[0].getsockname()[1]
    with serving(sockets, long_or_short([])), connect(port) as sock:
        sock.sendall(b"GET /long HTTP/1.0\r\n\r\n")
        received = 0
        for _ in range(40):
            received += len(sock.recv(50_000, socket.MSG_WAITALL))
            time.sleep(0.05)
        assert received + len(read_all(sock)) > 8 * 1024 * 1024


def test_the_time_to_read_an_answer_begins_with_the_answer(impatient, monkeypatch, path):
    monkeypatch.setattr(connection_module, "SLOWEST", 1_000_000_000)
    monkeypatch.setattr(connection_module, "PATIENCE", 3)  # for 8 MiB, also on a busy machine
    monkeypatch.setattr(connection_module, "KEEP_ALIVE", 30)
    with serving(open_sockets([unix(path)]), long_or_short([])), connect(path) as sock:
        sock.sendall(b"GET /short HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(65_536)
        time.sleep(3.1)  # longer than an answer may wait to be read
        sock.sendall(b"GET /long HTTP/1.0\r\n\r\n")
        time.sleep(0.1)
        assert len(read_all(sock)) > 8 * 1024 * 1024


def test_after_a_crowd_of_silent_clients_service_is_back(impatient, monkeypatch, path):
    monkeypatch.setattr(server_module, "CONNECTIONS", 120)
    with serving(open_sockets([unix(path)])), contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connect(path))
        assert get(path)[0] == 200


def test_a_place_is_taken_as_soon_as_it_is_free(monkeypatch, path):
    monkeypatch.setattr(server_module, "CONNECTIONS", 20)
    monkeypatch.setattr(server_module, "SWEEP", 30)
    with serving(open_sockets([unix(path)])), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(path)) for _ in range(40)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert all(read_all(client).startswith(b"HTTP/1.1 200 ") for client in clients)


def test_a_place_that_one_socket_gives_back_is_there_for_another(monkeypatch, path):
    monkeypatch.setattr(server_module, "CONNECTIONS", 130)
    monkeypatch.setattr(server_module, "SWEEP", 30)
    opened = open_sockets([unix(path), ANYWHERE])
    port = opened[1].getsockname()[1]
    with serving(opened) as server, contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connect(path))
        until(lambda: len(server._channels()) == 40)
        with connect(port) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            stack.close()
            assert read_all(sock).startswith(b"HTTP/1.0 200 ")


def test_a_crowd_on_tcp_does_not_lock_the_unix_socket_out(monkeypatch, path):
    monkeypatch.setattr(server_module, "CONNECTIONS", 130)
    opened = open_sockets([unix(path), ANYWHERE])
    port = opened[1].getsockname()[1]
    with serving(opened), contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(connect(port))
        with connect(port) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                sock.recv(1)
        assert get(path)[0] == 200


def test_two_thousand_connections_are_served(path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 6_000:
        pytest.skip("this process may not open 4,000 files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with serving(open_sockets([unix(path)])), contextlib.ExitStack() as stack:
            clients = [stack.enter_context(connect(path)) for _ in range(2000)]
            for client in clients[::-50]:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert client.recv(65_536).startswith(b"HTTP/1.0 200 ")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_limit_of_open_files_is_raised_when_it_is_too_low(path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        server = Server(echo, open_sockets([unix(path)]))
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(hard, 4096), hard)
        server.stop(1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---- idle


def switches(thread):
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return int(status.rsplit("\nvoluntary_ctxt_switches:", 1)[1].split()[0])


def settled(thread):
    """Whether it has done nothing for a while."""
    before = switches(thread)
    time.sleep(0.1)
    return switches(thread) == before


def test_while_nobody_calls_the_server_sleeps(impatient, served):
    assert get(served)[0] == 200
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "server"]
    with connect(served) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert read_all(sock)
    until(lambda: settled(thread))  # it has to see the end of that
    before = switches(thread)
    time.sleep(0.3)
    assert switches(thread) == before
    assert get(served)[0] == 200


# ---- many at once


def test_each_request_is_answered_once_and_to_its_client(served):
    """Connections that are kept, pipelined, ended early and opened anew, so that descriptors change hands."""

    def client(number, found):
        for turn in range(30):
            paths = [f"/{number}-{turn}-{place}" for place in range(1 + turn % 4)]
            with connect(served) as sock:
                requests = [f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths]
                if turn % 5 == 4:
                    sock.sendall(b"".join(requests)[:-5])
                    continue  # and gone
                last = requests[-1].replace(b"Host", b"Connection: close\r\nHost")
                sock.sendall(b"".join([*requests[:-1], last]))
                found.append((paths, re.findall(r'"path": "([^"]*)"', read_all(sock).decode())))

    found = [[] for _ in range(12)]
    clients = [threading.Thread(target=client, args=arguments) for arguments in enumerate(found)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join(60)
    for answers in found:
        assert len(answers) == 24
        assert all(sent == answered for sent, answered in answers)


def test_what_one_thread_answers_no_other_reads(path):
    calls, go_on = [], threading.Event()

    def app(environ, start_response):
        calls.append(environ["PATH_INFO"])
        assert go_on.wait(10)
        return echo(environ, start_response)

    with serving(open_sockets([unix(path)]), app) as server, connect(path) as sock:
        sock.sendall(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: calls)
        sock.sendall(b"GET /2 HTTP/1.0\r\n\r\n")
        (channel,) = server._channels()
        # As after an event of a connection that had the same number before
        channel.arrived()
        go_on.set()
        assert re.findall(rb'"path": "([^"]*)"', read_all(sock)) == [b"/1", b"/2"]
    assert calls == ["/1", "/2"]


def test_requests_of_one_client_take_turns_with_those_of_others(monkeypatch, path):
    monkeypatch.setattr(server_module, "THREADS", 1)
    calls, go_on = [], threading.Event()

    def app(environ, start_response):
        calls.append(environ["PATH_INFO"])
        assert go_on.wait(10)
        return echo(environ, start_response)

    with serving(open_sockets([unix(path)]), app), connect(path) as many, connect(path) as one:
        many.sendall(b"GET /many HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        until(lambda: calls)
        one.sendall(b"GET /one HTTP/1.0\r\n\r\n")
        time.sleep(0.1)  # until the kernel has it
        go_on.set()
        assert b'"path": "/one"' in read_all(one)
        assert calls.index("/one") < 5


def test_a_request_counts_whose_client_does_not_wait_for_the_answer(path):
    calls = []
    with serving(open_sockets([unix(path)]), long_or_short(calls)):
        for number in range(20):
            with connect(path) as sock:
                sock.sendall(f"GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        until(lambda: len(calls) == 20)


def test_urgent_data_is_no_event(monkeypatch, caplog):
    calls = []

    class Counting(connection_module.Channel):
        def arrived(self):
            calls.append(self)
            super().arrived()

    monkeypatch.setattr(listeners.TcpServer, "channel_class", Counting)
    sockets = open_sockets([ANYWHERE])
    port = sockets[0].getsockname()[1]
    with serving(sockets), connect(port) as sock:
        sock.send(b"!", socket.MSG_OOB)
        time.sleep(0.2)
        assert len(calls) < 10
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.0 200 ")
    assert caplog.records == []


def test_an_answer_that_breaks_off_ends_its_connection(path, capfd):
    def broken():
        yield b"x"
        raise SystemExit("no")

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "2")])
        return broken()

    with serving(open_sockets([unix(path)]), app), connect(path) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        read_all(sock)
    assert "server-fault error=SystemExit" in capfd.readouterr().err


def test_a_connection_that_is_called_for_nothing_is_served_on(path):
    with serving(open_sockets([unix(path)])) as server, contextlib.closing(Connection(path)) as connection:
        assert connection.get()[0] == 200
        (channel,) = server._channels()
        channel.arrived()
        channel.arrived()
        assert connection.get()[0] == 200


def test_what_a_thread_stumbles_over_costs_neither_it_nor_the_others(monkeypatch, path, capfd):
    monkeypatch.setattr(server_module, "THREADS", 1)
    stumbling = [SystemExit("no"), ValueError("no")]

    class Stumbling(connection_module.Channel):
        def service(self):
            if stumbling:
                raise stumbling.pop()
            super().service()

    monkeypatch.setattr(listeners.UnixServer, "channel_class", Stumbling)
    with serving(open_sockets([unix(path)])) as server:
        with connect(path) as one, connect(path) as other:
            for client in (one, other):
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            until(lambda: not stumbling)
        assert get(path)[0] == 200
        server.stop(0.1)
    assert capfd.readouterr().err.count("server-fault") == 2


# ---- the daemon's own question


def healthy(environ, start_response):
    """As a framework answers HEAD."""
    assert (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == ("HEAD", "/health")
    start_response("503 Service Unavailable", [("Content-Length", "100")])
    return []


def answered(server, patience=10.0):
    probe = server.probe()
    probe.ask()
    return probe.answered(patience)


def test_a_probe_wakes_a_thread_that_answers_and_no_other(impatient, path):
    with serving(open_sockets([unix(path)]), healthy) as server:
        assert answered(server)
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "server"]
        until(lambda: settled(thread))
        before = switches(thread)
        assert answered(server)
        time.sleep(1)  # longer than a client may be idle
        assert switches(thread) == before
        assert answered(server)


def test_a_server_that_accepts_nothing_any_more_calls_nobody(monkeypatch, path):
    reached, held = [], threading.Event()

    class Held(listeners.UnixServer):
        def handle_accept(self):
            reached.append(self)
            held.wait(30)
            super().handle_accept()

    monkeypatch.setattr(server_module, "UnixServer", Held)
    with serving(open_sockets([unix(path)]), healthy) as server:
        called = threading.Event()
        with connect(path):
            until(lambda: len(reached) == 1)
            server.call(called.set)
            assert answered(server), "what it has does not wait for that"
            assert not called.is_set()
            held.set()
            assert called.wait(10)


def test_a_probe_is_answered_while_clients_take_every_place(monkeypatch, path):
    monkeypatch.setattr(server_module, "CONNECTIONS", 20)
    with serving(open_sockets([unix(path)]), healthy) as server, contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connect(path))
        assert answered(server)


def test_an_answer_that_came_late_is_not_taken_for_the_next_probes(path):
    go_on, late = threading.Event(), threading.Event()

    def slow(environ, start_response):
        go_on.wait(30)
        late.set()
        return healthy(environ, start_response)

    with serving(open_sockets([unix(path)]), slow) as server:
        assert not answered(server, 0.1)
        go_on.set()
        assert late.wait(10)
        go_on.clear()
        assert not answered(server, 0.2)
        go_on.set()
        assert answered(server)


def test_a_probe_that_is_asked_when_nobody_waits_any_more_harms_nothing(path):
    with serving(open_sockets([unix(path)]), healthy) as server:
        probe = server.probe()
        assert not probe.answered(0.01)
        probe.ask()
        assert answered(server)


# ---- the end


def test_stop_lets_requests_be_answered_and_takes_no_more(path, caplog):
    caplog.set_level(logging.INFO)
    began, finish = threading.Event(), threading.Event()

    def app(environ, start_response):
        began.set()
        assert finish.wait(10)
        return echo(environ, start_response)

    server = Server(app, open_sockets([unix(path)]))
    server.start()
    with connect(path) as busy, connect(path) as idle:
        busy.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert began.wait(5)
        stopped = []
        stopping = threading.Thread(target=lambda: stopped.append(server.stop(10)))
        stopping.start()
        until(lambda: not path.exists())
        with pytest.raises(OSError, match="No such file"):
            connect(path)
        until(lambda: is_closed(idle))
        assert stopping.is_alive()
        finish.set()
        assert read_all(busy).startswith(b"HTTP/1.1 200 ")
        stopping.join(10)
    assert stopped == [True]
    assert not server._thread.is_alive()
    assert caplog.records == []


def test_stop_does_not_wait_for_ever(path):
    began, finish = threading.Event(), threading.Event()

    def app(environ, start_response):
        began.set()
        finish.wait(10)
        return echo(environ, start_response)

    server = Server(app, open_sockets([unix(path)]))
    server.start()
    with connect(path) as busy:
        busy.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert began.wait(5)
        start = time.monotonic()
        assert server.stop(0.3) is False
        assert time.monotonic() - start < 3
        assert read_all(busy) == b""
    finish.set()
    assert server.stop(5) is True


def test_a_server_that_was_never_started_closes_its_sockets(path):
    Server(echo, open_sockets([unix(path)])).stop(1)
    assert not path.exists()


def test_a_listener_that_was_never_bound_closes(path):
    UnixListener(str(path)).close()


# ---- when files, memory or time run short


def post(sock, length, sent):
    sock.sendall(
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % length + b"x" * sent
    )


def unnamed_files():
    files = Path("/proc/self/fd").iterdir()
    return [name for file in files if file.is_symlink() and (name := os.readlink(file)).endswith(" (deleted)")]


def test_a_large_body_takes_no_file(served):
    before = unnamed_files()
    with connect(served) as sock:
        post(sock, 2_000_000, 1_500_000)
        until(lambda: len(parser_module._large) == 1)
        assert unnamed_files() == before
        sock.sendall(b"x" * 500_000)
        assert b'"received": 2000000' in read_all(sock)
    until(lambda: not parser_module._large)


def test_so_many_large_bodies_are_taken_in_at_a_time(monkeypatch, served):
    monkeypatch.setattr(parser_module, "_MOST_LARGE", 2)
    large = parser_module.LARGE + 1
    with connect(served) as first, connect(served) as second:
        for taken, sock in enumerate((first, second), 1):
            post(sock, large + 1, large)
            until(lambda taken=taken: len(parser_module._large) == taken)
        with connect(served) as third:
            post(third, large + 1, large)
            head, _, body = read_all(third).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in head
        assert json.loads(body)["kind"] == "overloaded"
        # One that is given up makes room, and so does one that is answered.
        first.close()
        until(lambda: len(parser_module._large) == 1)
        second.sendall(b"x")
        assert b'"received": 524290' in read_all(second)
    assert raw(served, b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % large + b"x" * large)[0] == 200


def test_a_large_body_that_is_given_up_makes_room_whatever_the_application_keeps(path):
    kept = []

    def app(environ, start_response):
        kept.append(environ)
        return echo(environ, start_response)

    with serving(open_sockets([unix(path)]), app), connect(path) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(1000)
        post(sock, 2_000_000, 1_500_000)
        until(lambda: len(parser_module._large) == 1)
        sock.close()
        until(lambda: not parser_module._large)


def test_without_a_descriptor_for_it_a_connection_is_left_waiting_and_not_tried_without_a_pause(
    monkeypatch, impatient, served, capfd
):
    monkeypatch.setattr(listeners, "_REST", 0.1)
    accept, tries, short = wasyncore.dispatcher.accept, [], threading.Event()
    short.set()

    def accept_if_it_can(self):
        tries.append(self)
        if short.is_set():
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(self)

    monkeypatch.setattr(wasyncore.dispatcher, "accept", accept_if_it_can)
    with contextlib.closing(Connection(served)) as connection:
        time.sleep(0.5)
        assert 1 <= len(tries) <= 6
        short.clear()
        assert connection.get()[0] == 200
    assert capfd.readouterr().err.count("server-fault error=OSError") == 1


def test_a_connection_that_cannot_be_waited_for_does_not_close_the_door_behind_it(monkeypatch, impatient, served):
    watch, failed = Loop.watch, threading.Event()

    def watch_but_once(self, *args, **fields):
        if not failed.is_set():
            failed.set()
            raise OSError(errno.ENOSPC, "No space left on device")
        watch(self, *args, **fields)

    monkeypatch.setattr(listeners, "_REST", 0.01)
    monkeypatch.setattr(Loop, "watch", watch_but_once)
    with connect(served):
        assert failed.wait(10)
        assert get(served)[0] == 200


def test_an_answer_that_is_given_while_the_server_stops_is_its_connections_last(path):
    begun, go_on = threading.Event(), threading.Event()

    def app(environ, start_response):
        begun.set()
        assert go_on.wait(10)
        return echo(environ, start_response)

    with serving(open_sockets([unix(path)]), app) as server, connect(path) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert begun.wait(10)
        stopping = threading.Thread(target=server.stop, args=(10,))
        stopping.start()
        until(lambda: server._servers[0].ending)
        go_on.set()
        assert b"Connection: close" in read_all(sock)
        stopping.join(10)
        assert not stopping.is_alive()


def test_a_connection_that_was_answered_since_it_was_judged_is_not_closed():
    class Answered(connection_module.Channel):
        total_outbufs_len = 1

        def __init__(self):
            self._watching, self._awaited, self._taken = threading.Lock(), 0, True
            self.closed = False

        def handle_close(self):
            self.closed = True

    channel, verdicts = Answered(), [False, True]
    channel.close_if(lambda _now: verdicts.pop(), 0.0)
    assert not channel.closed
    channel.close_if(lambda _now: True, 0.0)
    assert channel.closed


def test_an_idle_connection_keeps_no_memory_of_what_it_was_sent(path):
    def app(_environ, start_response):
        start_response("200 OK", [("Content-Length", "3000000")])
        return [b"x" * 3_000_000]

    with serving(open_sockets([unix(path)]), app) as server, connect(path) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        channels = server._servers[0].active_channels
        until(lambda: any(channel.total_outbufs_len for channel in channels.values()))
        (channel,) = channels.values()
        received = 0
        while received < 3_000_000:
            received += len(sock.recv(1_000_000))
        until(lambda: not channel.total_outbufs_len and channel.outbufs[0].buf is None)
