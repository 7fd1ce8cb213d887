"""Clients that cost little: what is measured is the server."""

import multiprocessing
import socket
import time
from dataclasses import dataclass

# A bound for everything that is waited for, in seconds.
PATIENCE = 30

# Forked, and so started in a millisecond: this program has no threads that a fork could break.
_context = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Load:
    """What some clients had answered together."""

    rate: float  # answers a second
    latencies: list[float]  # seconds


def post(path, body):
    """The bytes of a request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


def run(socket_path, request, *, clients, seconds=PATIENCE, most=1_000_000):
    """Send one request again and again by so many clients, for so long, each up to `most` times. All answers are 201.

    Processes, each with a bare socket and bytes made beforehand, as the obvious client would measure itself: for one
    request http.client takes five times as long, as much as a server without a store does, and threads take turns.
    """
    barrier = _context.Barrier(clients)
    running = []
    try:
        for _ in range(clients):
            ours, theirs = _context.Pipe(duplex=False)
            arguments = (socket_path, request, seconds, most, barrier, theirs)
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


def _result(pipe, seconds):
    if not pipe.poll(seconds + PATIENCE):
        raise TimeoutError(f"a client has not come back within {seconds + PATIENCE} s")
    try:
        return pipe.recv()
    except EOFError:
        raise RuntimeError("a client has failed; it has said why") from None


def _client(socket_path, request, seconds, most, barrier, pipe):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(socket_path)
        barrier.wait(PATIENCE)
        times = []
        ended = time.monotonic()
        end = ended + seconds
        while ended < end and len(times) < most:
            began = time.monotonic()
            connection.sendall(request)
            _read_answer(connection)
            ended = time.monotonic()
            times.append((began, ended))
    pipe.send(times)


def _read_answer(connection):
    answer = b""
    while (body := answer.find(b"\r\n\r\n") + 4) < 4:
        answer += _receive(connection)
    assert answer.startswith(b"HTTP/1.1 201 "), answer
    length = int(answer[answer.index(b"Content-Length: ") + 16 :].split(b"\r", 1)[0])
    while len(answer) < body + length:
        answer += _receive(connection)


def _receive(connection):
    data = connection.recv(65_536)
    assert data, "the server has closed the connection"
    return data
