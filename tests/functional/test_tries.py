"""Wrong keys over TCP: slowed down, address by address, without holding anything that others need."""

import contextlib
import http.client
import socket
import time

import pytest

from tests.daemon import wait_until
from tests.functional.test_routes import KEYS, api  # noqa: F401 a fixture
from tifftockd import server as server_module
from tifftockd.server import tries as tries_module
from tifftockd.server.tries import Tries, Waiting

FREE, STEP = tries_module._FREE, 0.4


@pytest.fixture
def quick(monkeypatch):
    """The same in less time."""
    monkeypatch.setattr(tries_module, "_STEP", STEP)
    monkeypatch.setattr(tries_module, "_LONGEST", 3 * STEP)


def guess(api, key="wrong"):  # noqa: F811
    """How long the answer takes."""
    start = time.monotonic()
    status, said, headers = api.request_tcp("GET", "/reminders", x_api_key=key)
    assert (status, said["kind"]) == (401, "unauthorized")
    return time.monotonic() - start, headers


def use_up(api):  # noqa: F811
    for _ in range(FREE):
        assert guess(api)[1]["Connection"] is None


# ---- how long


def test_an_address_has_a_few_tries_and_then_waits_longer_and_longer_up_to_a_limit():
    tries = Tries()
    waits = [tries.failed("192.0.2.1", 100.0) for _ in range(FREE + 8)]
    assert waits == [0.0] * FREE + [1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 5.0, 5.0]
    assert tries.failed("192.0.2.2", 100.0) == 0.0


def test_after_a_quiet_minute_an_address_begins_anew():
    tries = Tries()
    for _ in range(FREE):
        tries.failed("192.0.2.1", 100.0)
    assert tries.failed("192.0.2.1", 159.0) == 1.0
    assert tries.failed("192.0.2.1", 220.0) == 0.0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("192.0.2.1", "192.0.2.3", False),
        ("unknown", "unknown", True),
    ],
)
def test_of_ipv6_a_whole_network_is_one_address(one, other, same):
    tries = Tries()
    for _ in range(FREE):
        tries.failed(one, 100.0)
    assert (tries.failed(other, 100.0) > 0) == same


def test_so_many_addresses_are_remembered_and_the_oldest_is_forgotten():
    tries = Tries()
    for _ in range(FREE):
        tries.failed("192.0.2.1", 100.0)
    for number in range(tries_module._ADDRESSES - 1):
        tries.failed(f"10.0.{number // 256}.{number % 256}", 100.0)
    assert tries.failed("192.0.2.1", 100.0) == 1.0
    for number in range(tries_module._ADDRESSES):
        tries.failed(f"10.1.{number // 256}.{number % 256}", 100.0)
    assert len(tries._failed) == tries_module._ADDRESSES
    assert tries.failed("192.0.2.1", 100.0) == 0.0


def test_more_answers_than_may_wait_do_not_wait(monkeypatch):
    monkeypatch.setattr(tries_module, "_WAITING", 2)

    class Channel:
        released = False

        def release(self):
            self.released = True

    waiting = Waiting()
    first, second, third = Channel(), Channel(), Channel()
    for channel, until in ((first, 20.0), (second, 10.0), (third, 10.0)):
        waiting.add(channel, until)
    assert (third.released, waiting.next()) == (True, 10.0)
    waiting.release(10.0)
    assert (first.released, second.released, waiting.next()) == (False, True, 20.0)


# ---- what a client sees


def test_a_guesser_is_slowed_down_and_needs_a_connection_for_each_guess(quick, api):  # noqa: F811
    use_up(api)
    took, headers = guess(api)
    assert took >= STEP
    assert headers["Connection"] == "close"
    assert guess(api, "another")[0] >= 2 * STEP
    assert guess(api, "")[0] >= 3 * STEP


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_what_is_sent_behind_a_refused_guess_is_not_looked_at(quick, api, version):  # noqa: F811
    use_up(api)
    request = b"GET /health HTTP/%s\r\nHost: x\r\nConnection: keep-alive\r\nx-api-key: %s\r\n\r\n"
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as sock:
        sock.sendall(request % (version, b"wrong") + request % (version, KEYS[0].encode()))
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := sock.recv(65_536):
                answer += piece
    assert answer.count(b"HTTP/1.") == 1
    assert answer.startswith(b"HTTP/%s 401 " % version)
    assert answer.count(b"Connection: ") == 1


def test_who_has_the_right_key_is_let_in_at_once_while_a_neighbour_guesses(quick, api, monkeypatch):  # noqa: F811
    monkeypatch.setattr(tries_module, "_STEP", 60)
    monkeypatch.setattr(tries_module, "_LONGEST", 60)
    use_up(api)
    with contextlib.ExitStack() as stack:
        # More than there are threads
        for _ in range(server_module.THREADS + 10):
            connection = stack.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", api.port)))
            connection.request("GET", "/reminders", headers={"x-api-key": "wrong"})
        for _ in range(3):
            start = time.monotonic()
            assert api.request_tcp("GET", "/reminders", x_api_key=KEYS[0])[0] == 200
            assert api.request("GET", "/reminders")[0] == 200
            assert time.monotonic() - start < 30


def test_a_client_that_goes_while_its_answer_waits_harms_nobody(quick, api):  # noqa: F811
    use_up(api)
    for _ in range(5):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", api.port)) as connection:
            connection.request("GET", "/reminders", headers={"x-api-key": "wrong"})
    time.sleep(4 * STEP)  # until the loop has tried to answer
    assert api.request_tcp("GET", "/reminders", x_api_key=KEYS[0])[0] == 200


def test_an_answer_that_waits_does_not_hold_up_the_end(api, monkeypatch):  # noqa: F811
    monkeypatch.setattr(tries_module, "_STEP", 60)
    monkeypatch.setattr(tries_module, "_LONGEST", 60)
    use_up(api)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", api.port)) as connection:
        connection.request("GET", "/reminders", headers={"x-api-key": "wrong"})
        wait_until(api.server._waiting.next, "the answer to wait")
        start = time.monotonic()
        assert api.server.stop(20)
        assert time.monotonic() - start < 20
        assert connection.getresponse().status == 401


# ---- bodies

FOREVER = {"length": b"Content-Length: 7000000", "chunks": b"Transfer-Encoding: chunked"}


def answer_to_headers(api, *lines, version=b"1.1"):  # noqa: F811
    """What is answered to the beginning of a request, while the client says nothing more."""
    head = b"".join(b"%s\r\n" % line for line in (b"POST /reminders HTTP/" + version, b"Host: x", *lines, b""))
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as sock:
        sock.sendall(head)
        return sock.recv(65_536)  # an answer is sent as one


@pytest.mark.parametrize("body", FOREVER.values(), ids=FOREVER)
def test_whose_key_is_wrong_is_told_before_any_of_the_body_is_taken_in(quick, api, body):  # noqa: F811
    for wrong in ([], [b"x-api-key: wrong"], [b"Authorization: Bearer wrong"], [b"Expect: 100-continue"]):
        answer = answer_to_headers(api, body, *wrong)
        assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        assert answer.count(b"Connection: close\r\n") == 1
        assert b"\r\nwww-authenticate: bearer\r\n" in answer.lower()
        assert answer.endswith(b'{"error": "invalid api key", "kind": "unauthorized", "field": null}\n')
    old = answer_to_headers(api, FOREVER["length"], b"Connection: keep-alive", version=b"1.0")
    assert old.startswith(b"HTTP/1.0 401 ")
    assert old.lower().count(b"connection: ") == old.count(b"Connection: close\r\n") == 1
    for right in (b"x-api-key: %s" % KEYS[0].encode(), b"Authorization: Bearer %s" % KEYS[1].encode()):
        assert answer_to_headers(api, body, right, b"Expect: 100-continue").startswith(b"HTTP/1.1 100 Continue\r\n")


def test_who_sends_all_of_a_body_without_a_key_reads_why_it_was_refused(quick, api):  # noqa: F811
    for body in (b"{}", b" " * 4_000_000):
        assert api.request_tcp("POST", "/reminders", body, x_api_key="wrong")[0] == 401
    assert api.request_tcp("POST", "/reminders", b"[]", x_api_key=KEYS[0])[0] != 401


def test_guesses_with_a_body_wait_like_others(quick, api):  # noqa: F811
    use_up(api)
    start = time.monotonic()
    assert api.request_tcp("POST", "/remind", b"{}", x_api_key="wrong")[0] == 401
    assert time.monotonic() - start >= STEP
    assert guess(api)[0] >= 2 * STEP


def test_a_burst_is_one_event_and_no_key_is_in_it(quick, api, capfd):  # noqa: F811
    for number in range(FREE + 1):
        guess(api, f"secret-{number}")
    assert guess(api, KEYS[0] + "x")
    logged = capfd.readouterr().err
    assert logged.count("key-refused") == 1
    assert "address=127.0.0.1" in logged
    assert "secret" not in logged
    assert KEYS[0] not in logged


def test_on_the_unix_socket_there_is_nothing_to_guess(api, capfd):  # noqa: F811
    for _ in range(FREE + 2):
        assert api.request("GET", "/reminders", x_api_key="wrong")[0] == 200
    assert "key-refused" not in capfd.readouterr().err
