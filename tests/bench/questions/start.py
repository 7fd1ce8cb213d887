"""How long from exec until a request is answered, and until a reminder is durable?

Both are asked as soon as they can be connected to, and an answer is a 2xx. TiffTock is its API's process alone, and
asked for its list.
"""

import json
import time

from tests.bench import clients
from tests.bench.peers import tifftock
from tests.bench.peers.environment import program
from tests.bench.question import Question, Row, Skipped, at_most
from tests.daemon import end

STARTS = 3
# Seconds between two tries to connect
_RETRY = 0.001


def _with(pending):
    def run(place):
        if place.quick and pending > 0:
            raise Skipped("not in a quick run")
        create = clients.post("/remind", json.dumps({"in": "1h", "message": "tea is ready", "method": "log"}))
        daemon = place.prepare(pending=pending)
        return _started(place, lambda: _of_daemon(daemon, create))

    return run


def _of_daemon(daemon, create):
    began = time.monotonic()
    daemon.start(wait=False)
    try:
        return _answered(daemon.socket_path, clients.get("/health"), create, began)
    finally:
        end(daemon)


def _tifftock(place):
    program()  # to install it is no part of its start

    def start():
        began = time.monotonic()
        with tifftock.serving(place.folder) as (address, _):
            return _answered(address, tifftock.LIST, tifftock.CREATE, began)

    return _started(place, start)


def _started(place, start):
    start()  # byte code is written, files are in the page cache
    pairs = [start() for _ in range(place.pick(STARTS, 1))]
    answered, durable = zip(*pairs, strict=True)
    return {"answered": list(answered), "durable": list(durable)}


def _answered(address, ask, create, began):
    """Milliseconds until the one, and then the other, was answered."""
    return tuple(_retried(address, request, began) for request in (ask, create))


def _retried(address, request, began):
    while True:
        try:
            clients.ask(address, request)
        except (ConnectionRefusedError, FileNotFoundError, clients.Refused):
            assert time.monotonic() < began + clients.PATIENCE, "it has not started"
            time.sleep(_RETRY)
        else:
            return (time.monotonic() - began) * 1000


MANY = "tifftockd, 1,000,000 stored"
QUESTION = Question(
    "Start, from exec",
    {"tifftockd": _with(0), MANY: _with(1_000_000), "TiffTock": _tifftock},
    (
        Row("to the first answer", "ms", ("answered", 50), beside="TiffTock", reach=at_most(0.8)),
        Row("to the first durable create", "ms", ("durable", 50), beside="TiffTock", reach=at_most(1)),
        Row("to the first answer, with 1,000,000", "ms", ("answered", 50), MANY, "tifftockd", reach=at_most(1.2)),
        Row(
            "to the first durable create, with 1,000,000", "ms", ("durable", 50), MANY, "tifftockd", reach=at_most(1.2)
        ),
    ),
    runs=3,
    ours=("tifftockd", MANY),
)
