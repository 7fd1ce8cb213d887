"""What answers hold, as far as it is used: an answer of another shape is no reason to fall over it."""

from __future__ import annotations

from types import NoneType
from typing import Any

from tifftockd.ctl.client import Client

# The states of a reminder that has ended and is kept.
FINAL = ("failed", "uncertain", "missed")

_TEXT = (str,)
_PERHAPS = (str, NoneType)
_WHOLE = (int,)

Shape = dict[str, tuple[type, ...]]

REMINDER: Shape = {
    "id": _WHOLE,
    "when": _TEXT,
    "message": _TEXT,
    "method": _TEXT,
    "to": _PERHAPS,
    "options": (dict,),
    "tz": _PERHAPS,
    "max_late": _TEXT,
    "state": _TEXT,
    "attempts": _WHOLE,
    "retries": _WHOLE,
    "created": _TEXT,
    "last_error": _PERHAPS,
}
ENTRY: Shape = {
    "id": _WHOLE,
    "reminder": _WHOLE,
    "attempt": _WHOLE,
    "key": _TEXT,
    "method": _TEXT,
    "to": _PERHAPS,
    "message": _TEXT,
    "due": _TEXT,
    "started": _PERHAPS,
    "finished": _TEXT,
    "late_ms": (int, float, NoneType),
    "outcome": _TEXT,
    "error": _PERHAPS,
    "output": _PERHAPS,
}
METHOD: Shape = {
    "method": _TEXT,
    "source": _TEXT,
    "available": (bool,),
    "reason": _PERHAPS,
    "options": (dict, NoneType),
    "needs_to": (bool,),
    "timeout": _TEXT,
    "concurrency": _WHOLE,
}
FAILED_FILE: Shape = {"file": _TEXT, "error": _TEXT}
HANDLERS: Shape = {"methods": (list,), "failures": (list,), "loading": (bool,)}
HEALTH: Shape = {
    "status": _TEXT,
    "version": _TEXT,
    "scheduler": _TEXT,
    "store": _TEXT,
    "next_due": _PERHAPS,
    "counts": (dict,),
}


def check(client: Client, value: Any, shape: Shape) -> dict[str, Any]:
    """The value, if it is an object that has these names with values of these types. Failure."""
    if not isinstance(value, dict):
        raise client.stranger("an object was expected")
    for name, types in shape.items():
        if not isinstance(value.get(name), types) or (name not in value):
            raise client.stranger(f"its answer has no {name}, or a strange one")
    return value


def reminder(client: Client, id_: int) -> dict[str, Any]:
    """One reminder. Refused if there is none."""
    return check(client, client.get(f"/reminder/{id_}"), REMINDER)


def history(client: Client, id_: int, limit: int | None = None) -> list[dict[str, Any]]:
    """The entries of one reminder, newest first."""
    path = f"/history?reminder={id_}&limit={min(limit or 1000, 1000)}"
    return [check(client, item, ENTRY) for item in client.items(path, limit)]


def handlers(client: Client) -> dict[str, Any]:
    """The methods, and the files that could not be loaded."""
    given = check(client, client.get("/handlers"), HANDLERS)
    for method in given["methods"]:
        check(client, method, METHOD)
    for failure in given["failures"]:
        check(client, failure, FAILED_FILE)
    return given


def health(client: Client) -> dict[str, Any]:
    """What the daemon says of itself."""
    given = check(client, client.get("/health"), HEALTH)
    if not all(isinstance(number, int) for number in given["counts"].values()):
        raise client.stranger("its counts are none")
    return given
