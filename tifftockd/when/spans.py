"""Spans of time as in systemd.time(7): "10m", "1h 30min", 1.5 seconds."""

from __future__ import annotations

import math
import re
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache

from tifftockd.clock import SECOND, Micros
from tifftockd.errors import InvalidTime
from tifftockd.when.echo import LONGEST, shown

_UNITS: dict[str, Micros] = {
    **dict.fromkeys(("us", "usec", "\u00b5s", "\u03bcs"), 1),  # the micro sign, and the Greek letter
    **dict.fromkeys(("ms", "msec"), SECOND // 1000),
    **dict.fromkeys(("s", "sec", "second", "seconds"), SECOND),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60 * SECOND),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600 * SECOND),
    **dict.fromkeys(("d", "day", "days"), 86_400 * SECOND),
    **dict.fromkeys(("w", "week", "weeks"), 7 * 86_400 * SECOND),
}
_OF_NO_FIXED_LENGTH = frozenset(("M", "month", "months", "y", "year", "years"))
_CANONICAL = (("h", 3600 * SECOND), ("min", 60 * SECOND), ("s", SECOND), ("ms", SECOND // 1000), ("us", 1))

_PART = re.compile(r"([0-9]+)(?:\.([0-9]+))? *([A-Za-z\u00b5\u03bc]*) *")

# All the years that there are: no two instants are further apart.
_MOST: Micros = timedelta(days=date.max.toordinal()) // timedelta(microseconds=1)
# What JSON calls them
_NO_SPAN = {type(None): "null", bool: "a boolean", list: "an array", dict: "an object"}
_HOW = "write it like 10m, 1h 30min or 1.5h, or as a number of seconds"


def parse_span(value: str | float) -> Micros:
    """A span, exact to the microsecond: a number of seconds, or a string of parts with the units of systemd.time(7).

    From 0 to 9999 years, else InvalidTime, without a field. A float is rounded to the microsecond; a string that asks
    for less than a microsecond is refused.
    """
    # bool is an int to Python, not to JSON
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidTime(f"a span cannot be {_NO_SPAN.get(type(value), f'of type {type(value).__name__}')}: {_HOW}")
    try:
        span = _from_text(value.strip()) if isinstance(value, str) else _from_number(value)
        if span > _MOST:
            raise ValueError("it is longer than 9999 years")
    except ValueError as error:
        what = shown(value) if isinstance(value, str) else "of this number of seconds"
        raise InvalidTime(f"cannot use the span {what}: {error}") from None
    return span


def _from_number(seconds: float) -> Micros:
    if seconds < 0:
        raise ValueError("it is negative")
    if isinstance(seconds, int):
        return seconds * SECOND
    if not math.isfinite(seconds):
        raise ValueError("it is not a finite number")
    # by way of what is written: 0.1 is a tenth here, not the nearest binary fraction
    return round(Decimal(repr(seconds)) * SECOND)


@lru_cache(256)  # nearly all requests have the same few: without, a batch takes 8 % longer
def _from_text(text: str) -> Micros:
    if len(text) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} characters")
    if text.startswith("-"):
        raise ValueError("it is negative")
    parts: list[tuple[str, str, str]] = []
    place = 0
    while place < len(text):
        match = _PART.match(text, place)
        if match is None:
            raise ValueError(_HOW)
        whole, decimals, unit = match.groups(default="")
        parts.append((whole, decimals, unit))
        place = match.end()
    if not parts:
        raise ValueError(_HOW)
    if len(parts) > 1 and not all(unit for _, _, unit in parts):
        raise ValueError("each of its parts needs a unit, like 1h 30min")
    return sum(_part(whole, decimals, unit or "s") for whole, decimals, unit in parts)


def _part(whole: str, decimals: str, unit: str) -> Micros:
    if unit in _OF_NO_FIXED_LENGTH:
        raise ValueError("months and years differ in length: use 'when' with the date")
    if unit not in _UNITS:
        raise ValueError(f"there is no unit {shown(unit)}: use us, ms, s, min (or m), h, d or w")
    scale: int = 10 ** len(decimals)
    span, rest = divmod(int(whole + decimals) * _UNITS[unit], scale)
    if rest:
        raise ValueError("a microsecond is the finest that can be kept")
    return span


@lru_cache(256)  # likewise, 7 %
def format_span(span: Micros) -> str:
    """A span of at least 0 in the canonical form, which parse_span reads back exactly: "24h", "1h 30min", "0s"."""
    if span < 0:
        raise ValueError(f"a span cannot be negative: {span}")
    parts, left = [], span
    for unit, length in _CANONICAL:
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"
