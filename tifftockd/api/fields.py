"""From the fields that a user sends to a Draft: each checked, each error with its field and what would be right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from tifftockd import clock
from tifftockd.clock import SECOND, Micros
from tifftockd.config import Config
from tifftockd.errors import ClockWrong, InvalidInput, InvalidTime
from tifftockd.reminder import FINAL, Draft, Reminder
from tifftockd.when import find_zone, format_span, format_when, is_absolute, parse_span, parse_when

LONGEST_MESSAGE = 32_768  # bytes of UTF-8
LONGEST_TO = 4_096
MOST_LATE: Micros = 3650 * 86_400 * SECOND
MOST_RETRIES = 1000
# How old a due instant may be: a request takes its time, and clocks differ.
GRACE: Micros = 60 * SECOND
# Of `in`: 7,885 years
LONGEST_IN: Micros = 2_880_000 * 86_400 * SECOND
# How far it reaches: not into the year 10000, in whatever zone that is shown.
HORIZON: Micros = clock.micros(datetime(9999, 12, 31, tzinfo=UTC))


def read_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, checked as far as each field alone can be: spans in Micros. InvalidInput."""
    for name in body:
        if name not in FIELDS:
            known = ", ".join(FIELDS)
            raise InvalidInput(
                f"there is no field {name[:64]!r}; known: {known}", field=name[:64], kind="unknown_field"
            )
    if "when" in body and "in" in body:
        raise InvalidInput("'when' and 'in' were both given: send one of them", field="in")
    return {name: FIELDS[name](name, value) for name, value in body.items()}


def new_draft(given: Mapping[str, Any], config: Config, now: Micros) -> Draft:
    """What a create asks for; `given` is from read_fields and has a method. InvalidInput, ClockWrong."""
    if "message" not in given:
        raise InvalidInput("'message' is missing: send the text to remind of", field="message", kind="missing")
    tz = given.get("tz")
    due = _read_due(given, zone_of(tz, config), now)
    if due is None:
        raise InvalidInput(
            "'when' is missing: send a time like tomorrow 9:00, or 'in' with a span like 10m",
            field="when",
            kind="missing",
        )
    return Draft(
        due=due[0],
        written=due[1],
        message=given["message"],
        method=given["method"],
        to=given.get("to"),
        options=given.get("options", {}),
        tz=tz,
        max_late=given.get("max_late", config.max_late),
        retries=given.get("retries", config.retries),
    )


def revised_draft(reminder: Reminder, given: Mapping[str, Any], config: Config, now: Micros) -> Draft:
    """What a reminder asks for when the fields that were given have changed. InvalidInput, ClockWrong.

    One that has ended and gets no time is to fire now.
    """
    tz = given.get("tz", reminder.tz)
    due = _read_due(given, zone_of(tz, config), now)
    if due is None and reminder.state in FINAL:
        if clock.is_wrong(now):
            raise _clock_wrong("'now' cannot be told", "when")
        due = now, "now"
    if due is None:
        due = reminder.due, reminder.written
    return Draft(
        due=due[0],
        written=due[1],
        message=given.get("message", reminder.message),
        method=given.get("method", reminder.method),
        to=given.get("to", reminder.to),
        options=given.get("options", reminder.options),
        tz=tz,
        max_late=given.get("max_late", reminder.max_late),
        retries=given.get("retries", reminder.retries),
    )


def zone_of(tz: str | None, config: Config) -> tzinfo:
    """The zone in which a reminder's times are read and shown; the server's where its own is no longer known."""
    if tz is None:
        return config.zone
    try:
        return find_zone(tz)
    except InvalidTime:
        return config.zone


def read_when(text: str, zone: tzinfo, now: Micros) -> Micros:
    """The instant that a text means. InvalidTime; ClockWrong if that depends on a clock that is wrong."""
    due = clock.micros(parse_when(text, tz=zone, now=clock.moment(now)))
    if clock.is_wrong(now) and not is_absolute(text):
        raise _clock_wrong("a time without an offset cannot be read", "when")
    return due


def _read_due(given: Mapping[str, Any], zone: tzinfo, now: Micros) -> tuple[Micros, str] | None:
    """The due instant and what was written for it, or None where no time was given."""
    if "in" in given:
        return _read_in(given["in"], now), f"in {format_span(timedelta(microseconds=given['in']))}"
    if "when" not in given:
        return None
    text: str = given["when"]
    due = read_when(text, zone, now)
    if due < now - GRACE:
        then, today = (format_when(clock.moment(instant), zone) for instant in (due, now))
        raise InvalidInput(
            f"'when' is {then}, which has passed; it is {today} now: send a later time", field="when", kind="too_late"
        )
    return due, text


def _read_in(span: Micros, now: Micros) -> Micros:
    if clock.is_wrong(now):
        raise _clock_wrong("a relative time cannot be read", "in")
    if span > HORIZON - now:
        raise InvalidTime("'in' leads past the horizon, the year 9999: send a shorter span", field="in")
    return now + span


def _clock_wrong(what: str, field: str) -> ClockWrong:
    return ClockWrong(
        f"the machine's clock is wrong, so {what}: send 'when' with an offset, or try again when the clock is set",
        field=field,
    )


# ---- one function for each field: its name and its value in, what is kept out


def _when(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"'{name}' must be a string, like tomorrow 9:00, friday 17:30 or 18:30", field=name)
    return value


def _span(name: str, value: Any) -> Micros:
    try:
        return parse_span(value) // timedelta(microseconds=1)
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
        raise InvalidTime(f"'{name}' is longer than 3650 days: send a span from 0 to 3650d", field=name)
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


def _retries(name: str, value: object) -> int:
    # 5.0 is a whole number to JSON
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # bool is an int to Python, not to JSON
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_RETRIES:
        raise InvalidInput(f"'{name}' must be a whole number from 0 to {MOST_RETRIES}", field=name)
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
}
