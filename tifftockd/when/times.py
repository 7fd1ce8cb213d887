"""Instants as people and programs write them, and as RFC 3339 writes them back."""

from __future__ import annotations

import re
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache

from tifftockd.clock import EPOCH, SECOND, Micros, moment
from tifftockd.errors import InvalidTime
from tifftockd.when.echo import LONGEST, shown
from tifftockd.when.spans import parse_span

# Strict patterns, because datetime.fromisoformat takes more than it should (any separator, week dates, decimals that
# it then cuts off) and less (no `z`), and \d takes the digits of every script.
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_ISO = re.compile(
    rf"({_DATE})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?"
    r"(?: ?([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?))?)?"
)
_EPOCH = re.compile(r"@(-?)([0-9]+)(?:\.([0-9]+))?")
_PEOPLE = re.compile(rf"(?:([A-Za-z]+|{_DATE}) +)?([0-9]{{1,2}}):([0-9]{{2}})(?::([0-9]{{2}}))?")

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKDAYS = {name: number for number, day in enumerate(_DAYS) for name in (day, day[:3])}

_HORIZON = "it is outside the years 1 to 9999 (the horizon is the year 9999)"
# What ISO 8601 has and this does not, by its shape.
_NOT_TAKEN = (
    (re.compile(r"[0-9]{4}-?[Ww].*"), "week dates are not read, write the date as YYYY-MM-DD"),
    (re.compile(r"[0-9]{4}-?[0-9]{3}(?:[Tt ].*)?"), "dates by the day of the year are not read, write YYYY-MM-DD"),
    (re.compile(r"[0-9]{8}(?:[Tt ].*)?"), "the basic format is not read, write the date as YYYY-MM-DD"),
    (re.compile(rf"{_DATE}[Tt ][0-9]{{4}}.*"), "the basic format is not read, write the time of day as HH:MM"),
    (re.compile(r"[+-]?[0-9]{5,}-.*"), _HORIZON),
)


def parse_when(text: str, *, tz: tzinfo, now: datetime, field: str = "when") -> datetime:
    """What `text` means, as an aware datetime in UTC; InvalidTime of `field`, with three that work, if nothing.

    ISO 8601's extended format, RFC 3339 included, a date alone being its midnight; `@EPOCH`, seconds since 1970;
    `[today|tomorrow|WEEKDAY|DATE] H:MM[:SS]`, where a weekday, or no day at all, is the next such time after `now`.
    Without an offset it is local time in `tz`: one that a change of offset skips is the first moment after the gap,
    one that occurs twice the first. Decimals go to the microsecond.
    """
    try:
        instant = _read(text, tz, now, field)
        if not MINYEAR < instant.year < MAXYEAR:
            instant.astimezone(tz)  # OverflowError where tz is in the year 0 or 10000
        return instant
    except OverflowError:
        reason = _HORIZON
    except ValueError as error:  # datetime's own say what is out of range
        reason = str(error)
    reasons = "; ".join(filter(None, (reason, f"write it like {_examples(tz, now)}")))
    raise InvalidTime(f"cannot use the time {shown(text)}: {reasons}", field=field)


def is_absolute(text: str) -> bool:
    """Whether `text` carries an offset, `Z` or `@EPOCH`, so that it can be read without a clock that is right."""
    match = _ISO.fullmatch(text.strip())
    if (match is None or match[6] is None) and not text.strip().startswith("@"):
        return False
    try:
        parse_when(text, tz=UTC, now=EPOCH)
    except InvalidTime:
        return False
    return True


def format_when(instant: datetime, tz: tzinfo) -> str:
    """RFC 3339 with the offset that applies in `tz` at `instant`, an aware datetime; decimals only if there are any.

    In UTC where `tz` cannot be written: in the year 0 or 10000, or with seconds in the offset (local mean time).
    """
    try:
        local = instant.astimezone(tz)
    except OverflowError:
        return instant.astimezone(UTC).isoformat()
    offset = local.utcoffset()
    if offset is None or offset.seconds % 60 or offset.microseconds:
        local = instant.astimezone(UTC)
    return local.isoformat()


@lru_cache(256)  # in a burst and in a batch many are of one instant: without this and the next, a fifth longer
def format_instant(instant: Micros, tz: tzinfo) -> str:
    """The same of an instant as it is stored."""
    second, decimals = divmod(instant, SECOND)
    text = _format_second(second, tz)
    return f"{text[:19]}.{decimals:06}{text[19:]}" if decimals else text


@lru_cache(256)  # what many clients make and ask for is of a few seconds: 2 us each
def _format_second(second: int, tz: tzinfo) -> str:
    return format_when(moment(second * SECOND), tz)


def _read(text: str, tz: tzinfo, now: datetime, field: str) -> datetime:
    if len(text) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} characters")
    text = text.strip()
    if match := _ISO.fullmatch(text):
        day, hour, minute, second, decimals, offset = match.groups()
        wall = datetime.combine(date.fromisoformat(day), _time(hour, minute, second, decimals))
        return wall.replace(tzinfo=UTC) - _offset(offset) if offset else from_local(wall, tz)
    if match := _PEOPLE.fullmatch(text):
        day, hour, minute, second = match.groups()
        return _next(day and day.lower(), _time(hour, minute, second, None), tz, now)
    if match := _EPOCH.fullmatch(text):
        sign, seconds, decimals = match.groups()
        micros = int(seconds) * SECOND + _micros(decimals)
        return moment(-micros if sign else micros)
    raise ValueError(_why(text, field))


def _time(hour: str | None, minute: str | None, second: str | None, decimals: str | None) -> time:
    if hour == "24":
        raise ValueError("24:00 is not read, use 00:00 of the next day")
    if second == "60":
        raise ValueError("the clock has no leap seconds (:60), use :59 or :00 of the next minute")
    return time(int(hour or 0), int(minute or 0), int(second or 0), _micros(decimals))


def _micros(decimals: str | None) -> Micros:
    if decimals is None:
        return 0
    if decimals[6:].strip("0"):
        raise ValueError("a microsecond (6 decimals) is the finest that can be kept")
    return int(decimals[:6].ljust(6, "0"))


def _offset(text: str) -> timedelta:
    if text in "Zz":
        return timedelta(0)
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or 0)
    if hours > 23 or minutes > 59:
        raise ValueError("an offset from UTC goes from -23:59 to +23:59")
    offset = timedelta(hours=hours, minutes=minutes)
    return -offset if text.startswith("-") else offset


def _next(day: str | None, clock: time, tz: tzinfo, now: datetime) -> datetime:
    """`clock` on the day that a date or a word means; for a weekday, or none, the next such time after `now`."""
    today = now.astimezone(tz).date()
    if day is None:
        first, again = today, timedelta(days=1)
    elif day in _WEEKDAYS:
        first, again = today + timedelta(days=(_WEEKDAYS[day] - today.weekday()) % 7), timedelta(weeks=1)
    elif day == "today":
        first, again = today, None
    elif day == "tomorrow":
        first, again = today + timedelta(days=1), None
    elif day.isalpha():
        raise ValueError(f"there is no day {shown(day)}, use today, tomorrow, a weekday or YYYY-MM-DD")
    else:
        first, again = date.fromisoformat(day), None
    instant = from_local(datetime.combine(first, clock), tz)
    if again is not None and instant <= now:
        return from_local(datetime.combine(first + again, clock), tz)
    return instant


def from_local(wall: datetime, tz: tzinfo) -> datetime:
    """The first instant at which the clocks of `tz` show `wall`, or else the first at which they are past it.

    `wall` is naive, what comes back aware, in UTC. OverflowError outside the years 1 to 9999.
    """
    instant = wall.replace(tzinfo=tz).astimezone(UTC)  # with fold=0, the first of two (PEP 495)
    if instant.astimezone(tz).replace(tzinfo=None) == wall:
        return instant
    # Skipped. Read with the offset from after the change it lies before it, with the one from before it lies after
    # it: the change is in between.
    return offset_change(wall.replace(tzinfo=tz, fold=1).astimezone(UTC), instant, tz)


def offset_change(before: datetime, after: datetime, tz: tzinfo) -> datetime:
    """The first whole second with another offset of `tz` than at `before`; there is one change until `after`.

    All three are aware, in UTC. Changes are at whole seconds.
    """
    before, after = before.replace(microsecond=0), after.replace(microsecond=0)
    old = before.astimezone(tz).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // timedelta(seconds=2) * timedelta(seconds=1)
        if middle.astimezone(tz).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after


def _why(text: str, field: str) -> str:
    """What is wrong with a text that has none of the forms; nothing where that says it all."""
    for shape, reason in _NOT_TAKEN:
        if shape.fullmatch(text):
            return reason
    if field != "when":
        return ""
    try:
        parse_span(text)
    except InvalidTime:
        return ""
    return "it is a span, which belongs in 'in'"


def _examples(tz: tzinfo, now: datetime) -> str:
    """Three times in the future."""
    soon = now.replace(minute=0, second=0, microsecond=0) + timedelta(days=1 if now.year < MAXYEAR else 0)
    return f"{format_when(soon, tz)}, tomorrow 7:30 or @{soon.timestamp():.0f}"
