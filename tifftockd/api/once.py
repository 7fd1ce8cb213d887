"""Idempotency-Key: a POST that is sent again, because its answer was lost, is not carried out again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from tifftockd.api.access import Peer
from tifftockd.api.route import Answer, Api, Parameter, Request
from tifftockd.errors import InvalidInput
from tifftockd.reminder import Reminder
from tifftockd.store import Once

HEADER = "Idempotency-Key"
# Said of an answer that was given before.
REPLAYED = {"Idempotent-Replayed": "true"}
# Visible characters, in quotes or not: the key of a structured header and that of everybody else.
_KEY = re.compile(r"[!-~]{1,255}")
KEY = Parameter(
    HEADER,
    {"type": "string", "pattern": f"^{_KEY.pattern}$"},
    "The same key with the same body gives the first answer again, for a day, and is not carried out again.",
)


def read_once(
    api: Api, request: Request, route: str, body: Any, answer: Callable[[list[Reminder]], bytes]
) -> Once | None:
    """What this request's key stands for, or None without one; `answer` says what there is to say of reminders.

    Bodies are compared as they were read, not as they were written: `{"a":1}` is `{ "a": 1 }`. InvalidInput; Replayed
    if it was answered before, KeyReused if something else was. To be called before the body is judged: a repeat may
    come when its time has passed.
    """
    key = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise InvalidInput(f"{HEADER} must be 1 to 255 visible ASCII characters, such as a UUID", field=HEADER)
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    once = Once(_caller(request.peer), route, key, hashlib.sha256(canonical).digest(), request.now, answer)
    api.store.refuse_repeat(once)
    return once


def _caller(peer: Peer) -> str:
    """Over TCP all keys are one caller."""
    return "tcp" if peer.uid is None else f"uid:{peer.uid}"


def replayed(answer: bytes, location: Callable[[Any], str] | None = None) -> Answer:
    """The answer that was given before, and where what it speaks of is."""
    headers = {"Location": location(json.loads(answer))} if location else {}
    return Answer(answer, REPLAYED | headers)
