"""How close do 1,000 `api` reminders, due at once, come to what the answering server allows?

It answers after 50 ms, and 32 attempts are made at once: 1,000 x 50 ms / 32 is the ideal, with nothing else costing
anything. Beside it 32 processes that do nothing but send the same with requests: so much of it is not the daemon's.
Cold: the daemon has just started, no worker of the method has been forked, and nothing has been imported.
"""

import asyncio
import json
import multiprocessing
import socket
import time
from contextlib import contextmanager

import requests

from tests.bench import clients
from tests.bench.outcomes import outcomes
from tests.bench.question import Question, Row, at_most
from tifftockd import clock

DELAY, CONCURRENCY = 0.050, 32
PATIENCE = 120
MESSAGE = "tea is ready"
SENDERS = f"{CONCURRENCY} processes, requests alone"


def _count(place):
    return place.pick(1_000, 200)


def _ideal(place):
    return {"warm": _count(place) * DELAY / CONCURRENCY, "cold": _count(place) * DELAY / CONCURRENCY}


def _senders(place):
    """Seconds in which the processes, which have sent one before, send the rest."""
    number = _count(place)
    context = multiprocessing.get_context("fork")
    together = context.Barrier(CONCURRENCY + 1)

    def send(url, count):
        requests.post(url, json={"message": MESSAGE}).raise_for_status()
        together.wait(PATIENCE)
        for _ in range(count):
            requests.post(url, json={"message": MESSAGE}).raise_for_status()
        together.wait(PATIENCE)

    with _server() as url:
        shares = [len(range(first, number, CONCURRENCY)) for first in range(CONCURRENCY)]
        senders = [context.Process(target=send, args=(url, share), daemon=True) for share in shares]
        for sender in senders:
            sender.start()
        together.wait(PATIENCE)
        began = time.monotonic()
        together.wait(PATIENCE)
        took = time.monotonic() - began
        for sender in senders:
            sender.join()
    return {"warm": took}


def _tifftockd(place):
    number = _count(place)
    with _server() as url, place.daemon(HANDLER_CONCURRENCY=str(CONCURRENCY), API_REMIND_URL=url) as daemon:
        cold = _fired(daemon, number)
        warm = _fired(daemon, number)
    return {"warm": warm, "cold": cold}


def _fired(daemon, number):
    """Seconds from the answer that all are stored, and due, until all are delivered."""
    burst = json.dumps([{"in": 0, "message": MESSAGE, "method": "api"}] * number)
    with outcomes(daemon) as recorded:
        before = recorded.count()
        clients.ask(daemon.socket_path, clients.post("/reminders", burst))
        began = clock.now()
        took = (recorded.wait(before + number, PATIENCE) - began) / clock.SECOND
    entries = daemon.get(f"/history?limit={number}")
    assert all(entry["outcome"] == "delivered" for entry in entries), "not all were delivered"
    return took


@contextmanager
def _server():
    """A server of its own process on the loopback; gives its URL."""
    context = multiprocessing.get_context("fork")
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        process = context.Process(target=lambda: asyncio.run(_serve(listening)), daemon=True)
        process.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            process.kill()
            process.join()


async def _serve(listening):
    async def talk(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].split(b"\r", 1)[0]
                await reader.readexactly(int(length or 0))
                await asyncio.sleep(DELAY)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, sock=listening)
    await server.serve_forever()


QUESTION = Question(
    "1,000 `api` reminders (200 in a quick run) due at once, to a server that answers after 50 ms, 32 at a time",
    {"tifftockd": _tifftockd, "the ideal": _ideal, SENDERS: _senders},
    (
        Row("warm", "s", "warm", beside="the ideal", reach=at_most(1.5)),
        Row("warm", "s", "warm", beside=SENDERS),
        Row("cold", "s", "cold", beside="the ideal", reach=at_most(1.7)),
    ),
    runs=3,
)
