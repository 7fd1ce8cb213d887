"""Instants and spans as people say them: "Wed 2026-11-25 09:00 CET", "in 11h 48min", "2min ago"."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta

from tifftockd import clock

_UNITS = (("y", 31_556_952), ("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def now() -> datetime:
    """The present moment, aware."""
    return clock.moment(clock.now())


def read(text: object) -> datetime | None:
    """The instant that an answer has, or None if it is none that can be read."""
    try:
        instant = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return instant if instant is not None and instant.tzinfo is not None else None


def local(text: object, *, seconds: bool = False, since: object = None) -> str:
    """An instant in the zone of who reads it. `seconds`: also where they are zero.

    On the day of the instant `since` the time of day is enough.
    """
    instant = read(text)
    if instant is None:
        return "-" if text is None else str(text)
    here, before = _here(instant), read(since)
    clock_time = "%H:%M:%S" if seconds or here.second else "%H:%M"
    if before is not None and _here(before).date() == here.date():
        return here.strftime(clock_time)
    # The year by hand: %Y has no zeros before it in all C libraries.
    return f"{here:%a} {here.year:04}-{here:%m-%d} {here.strftime(clock_time)} {here.tzname()}"


def _here(instant: datetime) -> datetime:
    """The instant in the zone of who reads it."""
    try:
        return instant.astimezone()
    except (OverflowError, ValueError):  # at the first year, and the last
        return instant


def with_seconds(texts: Iterable[object]) -> bool:
    """Whether any of these instants has seconds: then all in its column are to show theirs."""
    return any((instant := read(text)) is not None and instant.second for text in texts)


def relative(text: object, now: datetime) -> str:
    """How far away an instant is."""
    instant = read(text)
    if instant is None:
        return "-"
    seconds = (instant - now) / timedelta(seconds=1)
    if abs(seconds) < 1:
        return "now"
    return f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"


def span(seconds: float) -> str:
    """Whole seconds in their two largest units that are next to each other: 11h 48min, 2d 3h."""
    left = round(seconds)
    for place, (unit, length) in enumerate(_UNITS):
        if left >= length:
            whole, rest = divmod(left, length)
            if place + 1 == len(_UNITS):
                return f"{whole}{unit}"
            finer, part = _UNITS[place + 1]
            return f"{whole}{unit} {rest // part}{finer}" if rest >= part else f"{whole}{unit}"
    return "0s"


def late(milliseconds: object) -> str:
    """How late something was: 0.4ms, 12ms, 3.4s, 2min 10s."""
    if not isinstance(milliseconds, (int, float)) or not math.isfinite(milliseconds):
        return "-"
    if abs(milliseconds) < 10:
        return f"{milliseconds:.1f}ms"
    if abs(milliseconds) < 1000:
        return f"{milliseconds:.0f}ms"
    return f"{milliseconds / 1000:.1f}s" if abs(milliseconds) < 60_000 else span(milliseconds / 1000)
