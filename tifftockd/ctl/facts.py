"""What the API knows of one reminder."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from tifftockd.ctl import shapes, times
from tifftockd.ctl.client import Client
from tifftockd.ctl.errors import EX_NOT_FOUND, Failure, Refused

# So many attempts are looked at.
_LOOKED_AT = 100


class Facts(NamedTuple):
    """What is known of a reminder. Without `reminder` it is no longer stored: delivered, or cancelled."""

    id: int
    reminder: dict[str, Any] | None
    history: list[dict[str, Any]]  # newest first
    handlers: dict[str, Any]
    health: dict[str, Any]
    occurrences: list[str]  # the present one and those after it
    clock: datetime | None  # the daemon's
    firing: int = 0  # how many reminders of its method are, if it should have begun by now

    @property
    def method(self) -> dict[str, Any] | None:
        """What there is to know of the reminder's method; None if it is not loaded."""
        name = self.reminder["method"] if self.reminder else None
        return next((one for one in self.handlers["methods"] if one["method"] == name), None)


def gather(client: Client, id_: int) -> Facts:
    """Ask for all of it. Failure if there was never such a reminder."""
    try:
        reminder = shapes.reminder(client, id_)
    except Refused as refused:
        if refused.status != 404:
            raise
        reminder = None
    history = shapes.history(client, id_, _LOOKED_AT)
    if reminder is None and not history:
        raise Failure(f"there is no reminder {id_}, and nothing of one in the history", EX_NOT_FOUND)
    answer = client.ask("GET", "/health")
    occurrences: list[str] = []
    if reminder is not None and reminder.get("repeat"):
        given = client.get(f"/reminder/{id_}/occurrences?n=4")
        occurrences = [one for one in given if isinstance(one, str)] if isinstance(given, list) else []
    return Facts(
        id_,
        reminder,
        history,
        shapes.handlers(client),
        shapes.health(client),
        occurrences,
        _date(answer.headers.get("Date")),
        _firing_beside(client, reminder),
    )


def _firing_beside(client: Client, reminder: dict[str, Any] | None) -> int:
    """What is before one that is overdue."""
    if reminder is None or reminder["state"] != "pending" or not _is_over(reminder["when"]):
        return 0
    method = quote(reminder["method"], safe="")
    return sum(1 for _ in client.items(f"/reminders?state=firing&method={method}"))


def _is_over(text: str) -> bool:
    at = times.read(text)
    return at is not None and at <= times.now()


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else None
