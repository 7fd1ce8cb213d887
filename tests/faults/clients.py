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
# Of each method as many of the creates as it weighs; all but the built-in ones have the options of outside.MARK.
METHODS = {"mark": 45, "once": 25, "api": 20, "email": 10}
_BUILT_IN = {"api", "email"}
# How an attempt may end that does not go well.
ENDS = ("transient", "permanent", "error", "death")
# From "@SECONDS.MICROSECONDS" to microseconds.
_DIGITS = str.maketrans("", "", "@.")


class Client(threading.Thread):
    """One of several; each draws from a generator of its own, so that a seed gives the same requests again.

    `crowd`: one create in five is of up to so many that are due together.
    """

    def __init__(self, name, seed, daemon, outside, recorder, *, methods=METHODS, ends=ENDS, crowd=1):
        super().__init__(name=name, daemon=True)
        self._random = random.Random(f"{seed} {name}")
        self._daemon = daemon
        self._outside = outside
        self._recorder = recorder
        self._methods = methods
        self._ends = ends
        self._crowd = crowd
        self._numbers = itertools.count(1)
        self._going = threading.Event()
        self._going.set()
        self._ended = threading.Event()
        self.error = None

    def stop(self):
        self._ended.set()
        self.go_on()
        self.join()

    def pause(self):
        """Ask nothing, after what is being asked, until `go_on`."""
        self._going.clear()

    def go_on(self):
        self._going.set()

    def run(self):
        try:
            while not self._ended.wait(self._random.uniform(0, _PAUSE)):
                self._going.wait()
                self._act()
        except Exception as error:
            self.error = error

    def _act(self):
        kind = Kind(self._random.choices(list(_CHOICES), _CHOICES.values())[0])
        if kind is Kind.CREATE:
            if self._crowd > 1 and self._random.random() < 0.2:
                self._write_together()
            else:
                self._write(kind, "POST", "/remind", None, self._new(self._method()))
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

    def _method(self):
        return self._random.choices(list(self._methods), self._methods.values())[0]

    def _new(self, method):
        body = {"method": method, "retries": self._random.choice([0, 1, 5])} | self._due()
        if method not in _BUILT_IN:
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
            options["end"] = self._random.choice(self._ends)
        return options

    def _changed(self, one):
        body = {"max_late": 86_400} if self._random.random() < 0.2 else self._due()
        if one.method not in _BUILT_IN and self._random.random() < 0.5:
            body["options"] = {"file": str(self._outside.file)}
        return body

    # ---- asking

    def _write(self, kind, method, path, reminder, body):
        self._ask(self._operation(kind, body, reminder), method, path, body)

    def _write_together(self):
        """All or none of them, of one method; an answer that does not come says nothing of any."""
        method, due = self._method(), self._due()
        bodies = [self._new(method) | due for _ in range(self._random.randint(2, self._crowd))]
        asked = [self._operation(Kind.CREATE, body) for body in bodies]
        try:
            answer = answered(self._daemon, "POST", "/reminders", bodies)
        except NotSentError:
            return
        if answer is not None:
            made = map(shown, answer.json) if answer.status == 201 else [None] * len(asked)
            at = now()
            asked = [
                replace(operation, answered=at, status=answer.status, shown=one)
                for operation, one in zip(asked, made, strict=True)
            ]
        for operation in asked:
            self._recorder.add(operation)

    def _operation(self, kind, body, reminder=None):
        """To write this, which gets a message of its own."""
        body |= {"message": f"{self.name}-{next(self._numbers)}"}
        due = int(body["when"].translate(_DIGITS)) if "when" in body else None
        late = body["max_late"] * SECOND
        return Operation(kind, now(), reminder=reminder, message=body["message"], due=due, max_late=late)

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
    answer = answered(daemon, method, path, body)
    return operation if answer is None else _seen(operation, answer), answer


def answered(daemon, method, path, body=None):
    """The answer to a request; None where the connection broke. NotSentError when there is none."""
    connection = UnixConnection(daemon.socket_path)
    try:
        connection.connect()
    except OSError as error:
        connection.close()
        raise NotSentError from error
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read().decode())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _seen(operation, answer):
    seen = replace(operation, answered=now(), status=answer.status)
    if not seen.done or not answer.text:
        return seen
    if operation.kind is Kind.HISTORY:
        return replace(seen, entries=tuple(map(entry, answer.json)))
    return replace(seen, shown=shown(answer.json))
