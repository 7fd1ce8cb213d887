"""Sockets of Python that are watched: whatever gets a peer is judged, and nothing else is touched."""

import asyncio
import smtplib
import socket
import threading

import pytest

from tests.servers import HOST, HttpServer, plain_sockets
from tifftockd.config.networks import parse_networks
from tifftockd.handlers.egress import Denied
from tifftockd.handlers.watch import watched

LOOPBACK = parse_networks("loopback")
OTHERS = parse_networks("link-local")


@pytest.fixture(autouse=True)
def _sockets():
    with plain_sockets():
        yield


@pytest.fixture
def listener():
    with socket.create_server((HOST, 0)) as listener:
        yield listener


@pytest.fixture
def receiver():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((HOST, 0))
        receiver.settimeout(10)
        yield receiver


def stream():
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def datagrams():
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


@pytest.mark.parametrize("call", ["connect", "connect_ex"])
@pytest.mark.parametrize("host", [HOST, "localhost", "127.1", "0"])
def test_a_denied_peer_is_not_connected_to(listener, call, host):
    port = listener.getsockname()[1]
    with watched(LOOPBACK) as seen, stream() as sock, pytest.raises(Denied):
        getattr(sock, call)((host, port))
    assert (seen.reached, seen.failed) == (False, False)
    assert len(seen.denied) == 1
    listener.settimeout(0.05)
    with pytest.raises(TimeoutError):
        listener.accept()


@pytest.mark.parametrize("call", ["connect", "connect_ex"])
@pytest.mark.parametrize("host", [HOST, "localhost", "127.1"])
@pytest.mark.parametrize("networks", [(), OTHERS])
def test_any_other_is(listener, call, host, networks):
    with watched(networks) as seen, stream() as sock:
        assert not getattr(sock, call)((host, listener.getsockname()[1]))
        assert listener.accept()[0].close() is None
    assert (seen.reached, seen.failed, seen.denied) == (True, False, [])


@pytest.mark.parametrize("networks", [(), OTHERS])
def test_a_connection_that_fails_is_noted(networks):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        with watched(networks) as seen, stream() as sock, pytest.raises(ConnectionRefusedError):
            sock.connect(taken.getsockname())
        with stream() as sock, watched(networks) as also:
            assert sock.connect_ex(taken.getsockname())
    for traffic in (seen, also):
        assert (traffic.reached, traffic.failed, traffic.denied) == (False, True, [])


SENDS = {
    "sendto": lambda sock, address: sock.sendto(b"tea", address),
    "sendto with flags": lambda sock, address: sock.sendto(b"tea", 0, address),
    "sendmsg": lambda sock, address: sock.sendmsg([b"t", b"ea"], [], 0, address),
}


@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)
@pytest.mark.parametrize("host", [HOST, "localhost"])
def test_nothing_is_sent_to_a_denied_peer_without_a_connection(receiver, send, host):
    address = (host, receiver.getsockname()[1])
    with datagrams() as sock:
        with watched(LOOPBACK) as seen, pytest.raises(Denied):
            send(sock, address)
        assert (seen.reached, seen.denied) == (False, [HOST])
        with watched(OTHERS) as seen:
            assert send(sock, address) == 3
        assert (seen.reached, seen.denied) == (True, [])
    # What was denied would have come first.
    assert receiver.recv(10) == b"tea"
    receiver.setblocking(False)
    with pytest.raises(BlockingIOError):
        receiver.recv(10)


def test_what_has_a_peer_sends_to_it(receiver):
    with datagrams() as sock, watched(OTHERS):
        sock.connect(receiver.getsockname())
        assert sock.sendmsg([b"tea"]) == 3
    assert receiver.recv(10) == b"tea"


def test_libraries_are_judged_by_what_they_connect_to():
    with HttpServer() as server, watched(LOOPBACK) as seen:
        with pytest.raises(OSError, match="HTTP_DENY"):
            smtplib.SMTP("localhost", server.port, timeout=5)
        with pytest.raises(OSError, match="HTTP_DENY"):
            asyncio.run(asyncio.open_connection("127.0.0.1", server.port))
        assert server.requests == []
    assert set(seen.denied) == {HOST}


def test_sockets_of_other_kinds_are_left_alone(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen()
        with watched(LOOPBACK) as seen:
            client.connect(path)
    assert (seen.reached, seen.failed, seen.denied) == (False, False, [])


def test_afterwards_all_is_as_before_unless_a_thread_goes_on(listener):
    address = listener.getsockname()
    before = socket.socket.connect
    with watched(LOOPBACK):
        assert socket.socket.connect is not before
    assert socket.socket.connect is before
    go, results = threading.Event(), []

    def later():
        go.wait(10)
        with stream() as sock:
            try:
                sock.connect(address)
            except OSError as error:
                results.append(error)

    with watched(LOOPBACK):
        thread = threading.Thread(target=later)
        thread.start()
    go.set()
    thread.join(10)
    assert isinstance(results[0], Denied)
