"""Whatever bytes arrive, on either socket: a clear error in JSON or a closed connection, and the service goes on."""

import json
import re
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from tests.contract import FAULTS
from tests.daemon import PATIENCE, running

KEY = b"a-key"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    with running(folder, API_URL=f"unix:{folder}/run/tifftock.sock http://127.0.0.1:0", API_KEY=KEY.decode()) as made:
        assert made.remind(**{"in": "1h"})["id"] == 1
        yield made
        log = made.log_text()
        for fault in (*FAULTS, "Traceback", " library "):
            assert fault not in log
        assert made.get("/health")["counts"]["pending"] == 1


def connect(daemon, place):
    if place == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(daemon.socket_path)
    else:
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)", daemon.log_text())[1])
        sock = socket.create_connection(("127.0.0.1", port))
    sock.settimeout(PATIENCE)
    return sock


def answer(daemon, place, data):
    """All that comes back until the connection is closed, after these bytes and no more of them."""
    with connect(daemon, place) as sock:
        with suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        received = bytearray()
        with suppress(ConnectionResetError):
            while piece := sock.recv(65_536):
                received += piece
    return bytes(received)


def request(line, *headers, body=None, length=True):
    """A request with the key, with a Host, and with the length of its body."""
    lines = [line + b" HTTP/1.1", b"Host: x", b"x-api-key: " + KEY, *headers]
    if body is not None and length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def remind(body, *headers):
    return request(b"POST /remind", *headers, body=body)


def field(name, value):
    """A reminder with one field that is wrong; `value` as it is written."""
    fields = {b"in": b"60", b"message": b'"x"', b"method": b'"log"'} | {name: value}
    return remind(b"{" + b", ".join(b'"%s": %s' % pair for pair in fields.items()) + b"}")


def chunked(data):
    return request(b"POST /remind", b"Transfer-Encoding: chunked") + data


FORM = b"Content-Type: application/x-www-form-urlencoded"
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(64)) * 3

# 400, unless it is said what else; None: closed without an answer, or a 400.
CASES = {
    # what is no HTTP
    "nothing": (b"", None),
    "empty lines": (b"\r\n" * 100, None),
    "half a request line": (b"GET /heal", None),
    "half the headers": (b"GET /health HTTP/1.1\r\nHost: x\r\n", None),
    "garbage": (bytes(range(256)) * 8, None),
    "garbage and an end": (bytes(range(256)) * 8 + b"\r\n\r\n", 400),
    "NULs": (b"\0" * 1000 + b"\r\n\r\n", 400),
    "a TLS hello": (TLS_HELLO, None),
    "a TLS hello and an end": (TLS_HELLO + b"\r\n\r\n", 400),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", None),
    "SMTP": (b"EHLO x\r\nMAIL FROM:<a@b>\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /health\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/9.9": (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505),
    "HTTP/1": (b"GET / HTTP/1\r\nHost: x\r\n\r\n", 400),
    "HTTP/1.1x": (b"GET / HTTP/1.1x\r\nHost: x\r\n\r\n", 400),
    "no target": (b"GET  HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a lower-case method": (b"get /health HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a method of odd characters": (b"G\xc3\x84T /health HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a request line of 20,000 bytes": (request(b"GET /" + b"a" * 20_000), 431),
    # headers
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", 400),
    "two hosts": (request(b"GET /health", b"Host: y"), 400),
    "a header without a name": (request(b"GET /health", b": x"), 400),
    "a header without a colon": (request(b"GET /health", b"x"), 400),
    "a space before the colon": (request(b"GET /health", b"X : y"), 400),
    "a folded header": (request(b"GET /health", b"X: y", b" z"), 400),
    "a bare line feed": (request(b"GET /health", b"X: y\nZ: a"), 400),
    "a bare carriage return": (request(b"GET /health", b"X: y\rZ: a"), 400),
    "a NUL in a header": (request(b"GET /health", b"X: a\0b"), 400),
    "a header of 20,000 bytes": (request(b"GET /health", b"X: " + b"y" * 20_000), 431),
    "5,000 headers": (request(b"GET /health", *(b"X%d: y" % number for number in range(5000))), 431),
    # lengths
    "two lengths": (request(b"POST /remind", b"Content-Length: 2", b"Content-Length: 3") + b"{}x", 400),
    "two lengths in one": (request(b"POST /remind", b"Content-Length: 2, 2") + b"{}", 400),
    "a negative length": (request(b"POST /remind", b"Content-Length: -1"), 400),
    "a length with a sign": (request(b"POST /remind", b"Content-Length: +2") + b"{}", 400),
    "a length in hexadecimal": (request(b"POST /remind", b"Content-Length: 0x2") + b"{}", 400),
    "a length with a line": (request(b"POST /remind", b"Content-Length: 1_0") + b"x" * 10, 400),
    "a length of other digits": (request(b"POST /remind", "Content-Length: ٢".encode()) + b"{}", 400),
    "a length of 10,000 digits": (request(b"POST /remind", b"Content-Length: " + b"9" * 10_000), 400),
    "a length beyond all": (request(b"POST /remind", b"Content-Length: 99999999999"), 413),
    "a length above the body": (request(b"POST /remind", b"Content-Length: 1000") + b"{}", None),
    "a length and chunks": (request(b"POST /remind", b"Content-Length: 2", b"Transfer-Encoding: chunked"), 400),
    "chunks and a length": (request(b"POST /remind", b"Transfer-Encoding: chunked", b"Content-Length: 2"), 400),
    # chunks
    "chunks in HTTP/1.0": (b"POST /remind HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "another encoding": (request(b"POST /remind", b"Transfer-Encoding: gzip"), 501),
    "chunked twice": (request(b"POST /remind", b"Transfer-Encoding: chunked, chunked"), 400),
    "chunked in two headers": (
        request(b"POST /remind", b"Transfer-Encoding: Chunked", b"Transfer-Encoding:chunked"),
        400,
    ),
    "chunked with something behind": (request(b"POST /remind", b"Transfer-Encoding: chunked;x=y"), (400, 501)),
    "a chunk size that is none": (chunked(b"xyz\r\n"), 400),
    "a chunk size with a sign": (chunked(b"-1\r\n"), 400),
    "a chunk size with a line": (chunked(b"1_0\r\n"), 400),
    "a chunk size of 5,000 digits": (chunked(b"f" * 5000 + b"\r\n"), 413),
    "a chunk larger than a body may be": (chunked(b"800002\r\nx"), 413),
    "an endless trailer": (chunked(b"0\r\n" + b"X: y\r\n" * 10_000), 400),
    "a chunk without an end": (chunked(b"2\r\n{}0\r\n\r\n"), 400),
    "an endless chunk extension": (chunked(b"2;" + b"x" * 5000), 400),
    "chunks without an end": (chunked(b"2\r\n{}\r\n"), None),
    "chunks of more than may be": (chunked((b"10000\r\n" + b" " * 65_536 + b"\r\n") * 140), 413),
    # the path
    "bad UTF-8 in the path": (request(b"GET /reminder/%ff"), 400),
    "raw bad UTF-8 in the path": (request(b"GET /reminder/\xff\xfe"), 400),
    "a cut character in the path": (request(b"GET /reminders%c3"), 400),
    "a NUL in the path": (request(b"GET /reminder/1%00"), 400),
    "an id beyond 64 bits": (request(b"GET /reminder/9223372036854775808"), 404),
    "an id of 10,000 digits": (request(b"GET /reminder/" + b"9" * 10_000), 404),
    "a negative id": (request(b"DELETE /reminder/-1"), 404),
    "a path that climbs": (request(b"GET /../../etc/passwd"), 404),
    "an encoded path that climbs": (request(b"GET /%2e%2e/%2e%2e/etc/passwd"), 404),
    "half of an IPv6 address": (request(b"GET http://[::1/"), 400),
    "a target that is no path": (request(b"GET health"), (400, 404)),
    "an asterisk": (request(b"OPTIONS *"), 204),
    # the query
    "bad UTF-8 in the query": (request(b"GET /reminders?method=%ff"), 400),
    "raw bad UTF-8 in the query": (request(b"GET /reminders?method=\xff"), 400),
    "a surrogate in the query": (request(b"GET /reminders?method=%ed%a0%80"), 400),
    "a number of 10,000 digits in the query": (request(b"GET /history?limit=" + b"9" * 10_000), 400),
    "3,000 parameters": (request(b"GET /history?" + b"a&" * 3000), 400),
    # methods
    "TRACE": (request(b"TRACE /health"), 405),
    "CONNECT": (request(b"CONNECT localhost:80"), (400, 404, 405)),
    "a method of 1,000 letters": (request(b"A" * 1000 + b" /health"), 405),
    # the body
    "no body": (request(b"POST /remind"), 400),
    "a body that is no JSON": (remind(b"{"), 400),
    "bad UTF-8 in the body": (remind(b'{"message": "\xff"}'), 400),
    "UTF-16": (remind('{"in": 1}'.encode("utf-16")), 400),
    "a BOM in the middle": (remind(b'{"in": 1}\xef\xbb\xbf'), 400),
    "two values": (remind(b"{}{}"), 400),
    "the same name twice": (remind(b'{"in": 60, "in": 61, "message": "x", "method": "log"}'), 400),
    "the same name twice inside": (field(b"options", b'{"a": 1, "a": 2}'), 400),
    "NaN": (field(b"in", b"NaN"), 400),
    "Infinity": (field(b"retries", b"-Infinity"), 400),
    "a number beyond a double": (field(b"in", b"1e999"), 400),
    "a number of 10,000 digits": (field(b"retries", b"9" * 10_000), 400),
    "a fraction of 10,000 digits": (field(b"retries", b"0." + b"9" * 10_000), 400),
    "a number beyond 64 bits": (field(b"retries", b"9223372036854775808"), 400),
    "a NUL in a text": (field(b"message", b'"a\\u0000b"'), 400),
    "a raw NUL in a text": (field(b"message", b'"a\0b"'), 400),
    "half a surrogate pair": (field(b"message", b'"\\ud800"'), 400),
    "the other half": (field(b"to", b'"\\udc00"'), 400),
    "half a pair in a name": (field(b"options", b'{"\\ud800": 1}'), 400),
    "nested 100,000 arrays": (remind(b"[" * 32_000 + b"]" * 32_000), 400),
    "nested 30,000 objects": (field(b"options", b'{"a":' * 10_000 + b"1" + b"}" * 10_000), 400),
    "nested 100,000 deep among many": (request(b"POST /reminders", body=b"[" * 100_000 + b"]" * 100_000), 400),
    "a message above 32 KiB": (field(b"message", b'"' + b"x" * 32_769 + b'"'), 400),
    "a body above 64 KiB": (remind(b" " * 65_537), 413),
    "a form with bad UTF-8": (remind(b"message=%ff&in=1m&method=log", FORM), 400),
    "a form with a NUL": (remind(b"message=%00&in=1m&method=log", FORM), 400),
    "a form of 2,000 fields": (remind(b"a=b&" * 2000, FORM), 400),
    "a form with a field twice": (remind(b"in=1m&in=2m&message=x&method=log", FORM), 400),
    "a multipart form": (remind(b"--x\r\n\r\n--x--", b"Content-Type: multipart/form-data; boundary=x"), 400),
    "a multipart form without a boundary": (remind(b"--x", b"Content-Type: multipart/form-data"), 400),
    "a compressed body": (remind(b"\x1f\x8b\x08\0\0\0\0\0", b"Content-Encoding: gzip"), 400),
    "an expectation that is refused": (
        request(b"POST /remind", b"Expect: 100-continue", b"Content-Length: 99999999"),
        413,
    ),
    "a key that is none": (remind(b'{"in": 60, "message": "x", "method": "log"}', b"Idempotency-Key: \xff"), 400),
}


@pytest.mark.parametrize("place", ["unix", "tcp"])
@pytest.mark.parametrize("case", CASES)
def test_bad_input_gets_an_error_in_json_or_a_closed_connection(daemon, place, case):
    data, expected = CASES[case]
    received = answer(daemon, place, data)
    if expected is None and not received:
        return
    head, _, body = received.partition(b"\r\n\r\n")
    status = int(re.match(rb"HTTP/1\.[01] ([0-9]{3}) ", head)[1])
    allowed = {400} if expected is None else {expected} if isinstance(expected, int) else {*expected}
    if place == "tcp" and KEY not in data:
        # Without a key a stranger does not even learn what is wrong, where it reaches so far.
        allowed |= {401}
    assert status in allowed
    if status == 204:
        return
    assert re.search(rb"\r\nContent-Type: application/json\r\n", head)
    # One answer: nothing of what was sent is taken for a second request.
    error, end = json.JSONDecoder().raw_decode(body.decode())
    assert body[end:] == b"\n"
    assert error["error"]
    assert {"error", "kind", "field"} <= error.keys()
    for leak in ("Traceback", "waitress", "bottle", str(Path(__file__).parents[2])):
        assert leak not in received.decode("latin-1")


@pytest.mark.parametrize("place", ["unix", "tcp"])
def test_good_requests_on_one_connection_are_answered_one_by_one(daemon, place):
    """So that the cases above do not pass because everything is refused."""
    # There is no body to be waited for: RFC 9110, 10.1.1
    expecting = request(b"GET /health", b"Expect: 100-continue") + request(b"GET /health") * 2
    received = answer(daemon, place, expecting + request(b"GET /reminders", b"Connection: x, Close"))
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 4
    assert b"100 Continue" not in received
