"""How long do 10,000 reminders take in one request, and how much is that better than one by one?"""

import json
import time

from tests.bench import clients
from tests.bench.question import Question, Row, at_least, below

COUNT = 10_000
REMINDER = {"in": "1h", "message": "tea is ready", "method": "log"}


def _tifftockd(place):
    one = clients.post("/remind", json.dumps(REMINDER))
    many = clients.post("/reminders", json.dumps([REMINDER] * COUNT))
    with place.daemon() as daemon:
        single = clients.run(daemon.socket_path, one, clients=1, seconds=place.pick(1.5, 0.5))
        began = time.monotonic()
        clients.ask(daemon.socket_path, many)
        took = time.monotonic() - began
    return {"seconds": took, "rate": COUNT / took, "single": single.rate}


QUESTION = Question(
    "A batch of 10,000 reminders, durable, all or none",
    {"tifftockd": _tifftockd},
    (
        Row("in one request", "s", "seconds", reach=below(1, "s")),
        Row("so", "a second", "rate", beside="tifftockd", beside_figure="single", reach=at_least(20)),
    ),
)
