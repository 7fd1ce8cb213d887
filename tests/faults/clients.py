"""Clients that create, change, cancel and look, all at once and at the same reminders, and write down what they see."""

import http.client
import itertools
import json
import random
import threading
import time
from dataclasses import replace

from tests.daemon import Answer, UnixConnection
from tests.faults.history import Kind, Operation, entry, now, shown

SECOND = 1_000_000
# So many of the latest requests are where a client looks for something to change.
_RECENT = 120
# Seconds that a client waits between two requests, at the most.
_PAUSE = 0.06
# Of each kind of request so many in a hundred.
_CHOICES = {"create": 45, "patch": 22, "cancel": 13, "read": 12, "history": 8}
# From "@SECONDS.MICROSECONDS" to microseconds.
_DIGITS = str.maketrans("", "", "@.")


class Client(threading.Thread):
    """One of several; each draws from a generator of its own, so that a seed gives the same requests again."""

    def __init__(self, name, seed, daemon, outside, recorder):
        super().__init__(name=name, daemon=True)
        self._random = random.Random(f"{seed} {name}")
        self._daemon = daemon
        self._outside = outside
        self._recorder = recorder
        self._numbers = itertools.count(1)
        self._ended = threading.Event()
        self.error = None

    def stop(self):
        self._ended.set()
        self.join()

    def run(self):
        try:
            while not self._ended.wait(self._random.uniform(0, _PAUSE)):
                self._act()
        except Exception as error:
            self.error = error

    def _act(self):
        kind = Kind(self._random.choices(list(_CHOICES), _CHOICES.values())[0])
        if kind is Kind.CREATE:
            self._write(kind, "POST", "/remind", None, self._new())
            return
        known = self._recorder.recent(_RECENT)
        if not known:
            return
        one = self._random.choice(known)
        if kind is Kind.PATCH:
            self._write(kind, "PATCH", f"/reminder/{one.id}", one.id, self._changed(one))
        elif kind is Kind.CANCEL:
            self._ask(Operation(kind, now(), reminder=one.id), "DELETE", f"/reminder/{one.id}")
        elif kind is Kind.READ:
            self._ask(Operation(kind, now(), reminder=one.id), "GET", f"/reminder/{one.id}")
        else:
            self._ask(Operation(kind, now(), reminder=one.id), "GET", f"/history?reminder={one.id}&limit=10000")

    # ---- what is asked for

    def _new(self):
        method = self._random.choices(["mark", "once", "api", "email"], [45, 25, 20, 10])[0]
        body = {"method": method, "retries": self._random.choice([0, 1, 5])} | self._due()
        if method in ("mark", "once"):
            body["options"] = self._options()
        elif method == "api":
            body["to"] = self._random.choice([self._outside.ready.url, self._outside.busy.url])
        return body

    def _due(self):
        far = self._random.random() < 0.08
        due = now() + (86_400 * SECOND if far else round(self._random.uniform(-0.1, 2.0) * SECOND))
        # Now and then so short that a pause of the daemon makes it miss its time.
        late = 86_400 if far or self._random.random() < 0.9 else 1
        return {"when": f"@{due // SECOND}.{due % SECOND:06}", "max_late": late}

    def _options(self):
        chance = self._random.random
        options = {"file": str(self._outside.file)}
        for when in ("before", "after"):
            if chance() < 0.4:
                options[when] = round(self._random.uniform(0, 0.15), 3)
        if chance() < 0.25:
            options["end"] = self._random.choice(["transient", "permanent", "error", "death"])
        return options

    def _changed(self, one):
        body = {"max_late": 86_400} if self._random.random() < 0.2 else self._due()
        if one.method in ("mark", "once") and self._random.random() < 0.5:
            body["options"] = {"file": str(self._outside.file)}
        return body

    # ---- asking

    def _write(self, kind, method, path, reminder, body):
        body |= {"message": f"{self.name}-{next(self._numbers)}"}
        due = int(body["when"].translate(_DIGITS)) if "when" in body else None
        late = body["max_late"] * SECOND
        operation = Operation(kind, now(), reminder=reminder, message=body["message"], due=due, max_late=late)
        self._ask(operation, method, path, body)

    def _ask(self, operation, method, path, body=None):
        try:
            seen, _ = ask(self._daemon, operation, method, path, body)
        except NotSentError:
            time.sleep(0.02)
        else:
            self._recorder.add(seen)


class NotSentError(Exception):
    """Nobody listens: nothing was asked."""


def ask(daemon, operation, method, path, body=None):
    """Send a request. Returns the operation with what came of it, and the answer, or None where the connection broke.

    NotSentError when there is no connection.
    """
    connection = UnixConnection(daemon.socket_path)
    try:
        connection.connect()
    except OSError as error:
        connection.close()
        raise NotSentError from error
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read().decode())
    except (OSError, http.client.HTTPException):
        return operation, None
    finally:
        connection.close()
    return _seen(operation, answer), answer


def _seen(operation, answer):
    seen = replace(operation, answered=now(), status=answer.status)
    if not seen.done or not answer.text:
        return seen
    if operation.kind is Kind.HISTORY:
        return replace(seen, entries=tuple(map(entry, answer.json)))
    return replace(seen, shown=shown(answer.json))
