"""Clients that cost little: what is measured is the server."""

import multiprocessing
import socket
import time
from dataclasses import dataclass

# A bound for everything that is waited for, in seconds.
PATIENCE = 30

# Forked, and so started in a millisecond: this program has no threads that a fork could break.
_context = multiprocessing.get_context("fork")


class Refused(Exception):
    """An answer that is no 2xx."""


@dataclass(frozen=True)
class Load:
    """What some clients had answered together."""

    rate: float  # answers a second
    latencies: list[float]  # seconds


def post(path, body, **headers):
    """The bytes of a request. A header's name is given with _ for -."""
    return _request("POST", path, {"Content-Type": "application/json", "Content-Length": len(body)} | headers, body)


def get(path, **headers):
    """Likewise."""
    return _request("GET", path, headers)


def _request(method, path, headers, body=""):
    named = {"Host": "localhost"} | headers
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n{body}".encode()


def connect(address):
    """A connection to a Unix socket's path, or to a host and port."""
    unix = isinstance(address, str)
    connection = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
    try:
        connection.settimeout(PATIENCE)
        connection.connect(address)
        if not unix:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def run(address, request, *, clients, seconds=PATIENCE, most=1_000_000, keep=True, pause=0.0):
    """Send one request again and again by so many clients, for so long, each up to `most` times; all answers are 2xx.

    `keep`: on one connection each, opened anew where the server closes it; else on one for each request, whose opening
    is part of what is waited for. `pause`: seconds between an answer and the next request.

    Processes, each with a bare socket and bytes made beforehand, as the obvious client would measure itself: for one
    request http.client takes five times as long, as much as a server without a store does, and threads take turns.
    """
    barrier = _context.Barrier(clients)
    running = []
    try:
        for _ in range(clients):
            ours, theirs = _context.Pipe(duplex=False)
            arguments = (address, request, seconds, most, keep, pause, barrier, theirs)
            process = _context.Process(target=_client, args=arguments, daemon=True)
            process.start()
            theirs.close()
            running.append((process, ours))
        times = [_result(ours, seconds) for _, ours in running]
    finally:
        for process, ours in running:
            process.kill()
            process.join()
            ours.close()
    latencies = [ended - began for client in times for began, ended in client]
    began = min(client[0][0] for client in times)
    ended = max(client[-1][1] for client in times)
    return Load(len(latencies) / (ended - began), latencies)


def ask(address, request):
    """One request on a connection of its own; the body of its answer. Refused."""
    with connect(address) as connection:
        connection.sendall(request)
        return read_answer(connection)[0]


def _result(pipe, seconds):
    if not pipe.poll(seconds + PATIENCE):
        raise TimeoutError(f"a client has not come back within {seconds + PATIENCE} s")
    try:
        return pipe.recv()
    except EOFError:
        raise RuntimeError("a client has failed; it has said why") from None


def _client(address, request, seconds, most, keep, pause, barrier, pipe):
    connection = connect(address) if keep else None
    barrier.wait(PATIENCE)
    times = []
    ended = time.monotonic()
    end = ended + seconds
    while ended < end and len(times) < most:
        began = time.monotonic()
        if connection is None:
            connection = connect(address)
        connection.sendall(request)
        _, closing = read_answer(connection)
        if closing or not keep:
            connection.close()
            connection = None
        ended = time.monotonic()
        times.append((began, ended))
        if pause:
            time.sleep(pause)
    pipe.send(times)


def read_answer(connection):
    """The body of a 2xx, and whether the server says that it closes the connection. Refused."""
    answer = b""
    while (body := answer.find(b"\r\n\r\n") + 4) < 4:
        answer += _receive(connection)
    if not answer.startswith(b"HTTP/1.1 2"):
        raise Refused(answer.decode(errors="replace"))
    head = answer[:body].lower()
    at = head.find(b"content-length: ")
    length = int(head[at + 16 :].split(b"\r", 1)[0]) if at >= 0 else 0
    parts = [answer[body:]]
    left = length - len(parts[0])
    while left > 0:
        parts.append(_receive(connection))
        left -= len(parts[-1])
    return b"".join(parts), b"\r\nconnection: close\r\n" in head


def _receive(connection):
    data = connection.recv(65_536)
    assert data, "the server has closed the connection"
    return data
