"""The fields that a user sends: each checked alone, each error with its field and what would be right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from tifftockd.clock import SECOND, Micros
from tifftockd.config import LONGEST_LATE
from tifftockd.errors import InvalidInput, InvalidTime
from tifftockd.reminder import CatchUp, Overlap
from tifftockd.repeat import read_repeat
from tifftockd.when import find_zone, parse_span

Kind = TypeVar("Kind", bound=StrEnum)

LONGEST_MESSAGE = 32_768  # bytes of UTF-8
LONGEST_TO = 4_096
MOST_LATE: Micros = parse_span(LONGEST_LATE)
MOST_RETRIES = 1000
MOST_OCCURRENCES = 1_000_000
# Of `in`: 7,885 years
LONGEST_IN: Micros = 2_880_000 * 86_400 * SECOND


def read_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, checked as far as each field alone can be: spans in Micros. InvalidInput.

    A zone that `repeat` names at its end is given as `tz`.
    """
    for name in body:
        if name not in FIELDS:
            known = ", ".join(FIELDS)
            raise InvalidInput(
                f"there is no field {name[:64]!r}; known: {known}", field=name[:64], kind="unknown_field"
            )
    times = [name for name in ("when", "in", "repeat") if name in body and (name, body[name]) != ("repeat", None)]
    if len(times) > 1:
        both = " and ".join(map(repr, times))
        raise InvalidInput(f"{both} were given: send one of them", field=times[1])
    given = {name: FIELDS[name](name, value) for name, value in body.items()}
    if given.get("repeat") is not None:
        given["repeat"], zone = given["repeat"]
        if zone is not None and given.setdefault("tz", zone) != zone:
            raise InvalidInput(f"'repeat' names the zone {zone} and 'tz' another: send one of them", field="tz")
    return given


# ---- one function for each field: its name and its value in, what is kept out


def _when(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"'{name}' must be a string, like tomorrow 9:00, friday 17:30 or 18:30", field=name)
    return value


def _span(name: str, value: Any) -> Micros:
    try:
        return parse_span(value)
    except InvalidTime as error:
        raise InvalidTime(f"'{name}': {error.message}", field=name) from None


def _in(name: str, value: object) -> Micros:
    span = _span(name, value)
    if span > LONGEST_IN:
        days = LONGEST_IN // (86_400 * SECOND)
        raise InvalidTime(f"'{name}' is longer than {days} days: send 'when' with the date", field=name)
    return span


def _max_late(name: str, value: object) -> Micros:
    span = _span(name, value)
    if span > MOST_LATE:
        raise InvalidTime(f"'{name}' is longer than {LONGEST_LATE}: send a span from 0 to {LONGEST_LATE}", field=name)
    return span


def _message(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"'{name}' must be a string that is not empty", field=name)
    if len(value.encode("utf-8")) > LONGEST_MESSAGE:
        raise InvalidInput(f"'{name}' is longer than {LONGEST_MESSAGE} bytes of UTF-8: shorten it", field=name)
    return value


def _method(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"'{name}' must be the name of a method, like log", field=name)
    return value


def _to(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"'{name}' must be a string that is not empty, or null", field=name)
    if len(value.encode("utf-8")) > LONGEST_TO:
        raise InvalidInput(f"'{name}' is longer than {LONGEST_TO} bytes of UTF-8: shorten it", field=name)
    return value


def _options(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"'{name}' must be a JSON object", field=name)
    return value


def _tz(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidInput(f"'{name}' must be an IANA name like Europe/Berlin, or null", field=name)
    find_zone(value)
    return value


def _repeat(name: str, value: object) -> tuple[str, str | None] | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidInput(f"'{name}' must be a string like Mon..Fri 08:55, or null", field=name)
    return read_repeat(value)


def _until(name: str, value: object) -> str | None:
    return None if value is None else _when(name, value)


def _count(name: str, value: object) -> int | None:
    return None if value is None else _whole(name, value, 1, MOST_OCCURRENCES, ", or null")


def _catch_up(name: str, value: object) -> CatchUp:
    return choice(name, value, CatchUp)


def _overlap(name: str, value: object) -> Overlap:
    return choice(name, value, Overlap)


def choice(name: str, value: object, kinds: type[Kind]) -> Kind:
    """One of an enum's values. InvalidInput."""
    if isinstance(value, str) and value in [*kinds]:
        return kinds(value)
    raise InvalidInput(f"'{name}' must be one of {', '.join(kinds)}", field=name)


def _retries(name: str, value: object) -> int:
    return _whole(name, value, 0, MOST_RETRIES)


def _whole(name: str, value: object, least: int, most: int, other: str = "") -> int:
    # 5.0 is a whole number to JSON
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # bool is an int to Python, not to JSON
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidInput(f"'{name}' must be a whole number from {least} to {most}{other}", field=name)
    return value


FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "when": _when,
    "in": _in,
    "message": _message,
    "method": _method,
    "to": _to,
    "options": _options,
    "tz": _tz,
    "max_late": _max_late,
    "retries": _retries,
    "repeat": _repeat,
    "until": _until,
    "count": _count,
    "catch_up": _catch_up,
    "overlap": _overlap,
}
