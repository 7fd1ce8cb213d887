"""When a repeating reminder is due: OnCalendar expressions of systemd.time(7), and lines of crontab(5).

An expression lists wall-clock times. One that a change of offset skips is moved to the first moment after the change
(those that fall on one moment are one occurrence), one that occurs twice is meant the first time: as in `when`.
All of them end with the year 2199, as systemd's do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import copy
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from cronsim import CronSim
from oncalendar import SPECIALS, BaseIterator

from tifftockd import clock
from tifftockd.clock import SECOND, Micros
from tifftockd.errors import InvalidInput, InvalidTime
from tifftockd.when import find_zone, from_local, offset_change
from tifftockd.when.echo import shown

_SOME_DAY = clock.EPOCH.replace(tzinfo=None)

_LAST_YEAR = 2199

# In characters; all that means something is shorter.
_LONGEST = 256

# What first_occurrence has found: from where on, and which. It is so until that has passed. Without, a batch with one
# expression takes three times as long, and a create by itself half as long again, as it asks twice.
_first: dict[tuple[str, tzinfo], tuple[Micros, Micros | None]] = {}
_MOST_KEPT = 256

# crontab(5)
_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# What systemd takes beside the words of systemd.time(7).
_OTHER_WORDS = {
    "anually": "annually",
    "biannually": "semiannually",
    "bi-annually": "semiannually",
    "semi-annually": "semiannually",
}

# systemd's grammar (calendarspec.c), which the library reads more loosely: an expression means the same to both, or is
# refused.
_DAY = r"(?:mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?)"
_DAYS = rf"{_DAY}(?:(?:\.\.|-){_DAY})?"
_TERM = r"[0-9]+(?:\.\.[0-9]+)?(?:/[0-9]+)?"
_LIST = rf"(?:\*|{_TERM}(?:,{_TERM})*)"
_DATE = rf"(?:(?P<year>{_LIST})-)?(?P<month>{_LIST})(?P<end>[-~])(?P<day>{_LIST})"
_TIME = rf"(?P<hour>{_LIST}):(?P<minute>{_LIST})(?::(?P<second>{_LIST}))?"
# Compiled with the first: 1 % of the daemon's start.
_ON_CALENDAR = rf"(?=.)(?:{_DAYS}(?:,{_DAYS})*,?(?: |$))?(?:{_DATE}(?: |$))?(?:{_TIME})?"
_OPEN_STEP = re.compile(r"(?<![0-9.])([0-9]+)/([0-9]+)")
_STEPPED_RANGE = re.compile(r"([0-9]+)\.\.([0-9]+)/([0-9]+)")
_LARGEST = {"year": _LAST_YEAR, "month": 12, "day": 31, "hour": 23, "minute": 59, "second": 59}
_DECIMALS = re.compile(r"[0-9:,/]\.[0-9]")

# What the libraries call a field, and what is right for it.
_RIGHT = {
    "second": "from 0 to 59",
    "minute": "from 0 to 59",
    "hour": "from 0 to 23",
    "day-of-month": "from 1 to 31 (after ~, the days from the month's end, to 28)",
    "month": "from 1 to 12",
    "year": "from 1970 to 2199",
    "day-of-week": "from Mon to Sun, in cron lines from 0 to 7",
}
_CRON_FIELDS = "a cron line has minute, hour, day of month, month and day of week, or these with seconds before them"
_HOW = 'write it like "Mon..Fri 08:55", "*-*-01 06:00" or "daily" (OnCalendar), or like "55 8 * * 1-5" (cron)'


def read_repeat(text: str) -> tuple[str, str | None]:
    """What is kept of a `repeat`: the expression, white space made single, and the zone named at its end, or None.

    InvalidInput(field="repeat") if it cannot be read (kind "invalid"), or never fires from now on (kind "never").
    """
    if len(text) > _LONGEST:
        raise _refusal(text, f"it is longer than {_LONGEST} characters; {_HOW}")
    expression, name = _without_zone(text)
    try:
        _parsed(expression)
    except _NeverError:
        raise _never(text) from None
    except ValueError as error:
        raise _refusal(text, str(error)) from None
    zone = _zone(text, name)
    # Where no zone is named it is read in one that is less than a day from UTC.
    start = clock.now() - (0 if name else 86_400 * SECOND)
    if first_occurrence(expression, zone, start) is None:
        raise _never(text)
    return expression, name


def first_occurrence(expression: str, zone: tzinfo, after: Micros) -> Micros | None:
    """The first of `occurrences`, None without one. Many that are asked for with one expression cost one search."""
    asked, found = _first.get((expression, zone), (after + 1, None))
    if not (asked <= after and (found is None or after < found)):
        found = next(occurrences(expression, zone, after), None)
        if len(_first) >= _MOST_KEPT:
            _first.clear()
        _first[expression, zone] = after, found
    return found


def occurrences(expression: str, zone: tzinfo, after: Micros) -> Iterator[Micros]:
    """The instants later than `after`, ascending, each once; ends where there are no more.

    `expression` as read_repeat gave it. Instants are in microseconds since the epoch.
    """
    last = after
    walls = _walls(expression, _latest_shown(after, zone))
    while (wall := next(walls, None)) is not None and wall.year <= _LAST_YEAR:
        moment = from_local(wall, zone)
        instant = clock.micros(moment)
        if instant > last:  # whatever a zone does: an occurrence that is not later would be fired for ever
            yield instant
            last = instant
        local = moment.astimezone(zone).replace(tzinfo=None)
        if local > wall:  # skipped, as is all until `local`: an hour, or a day, of seconds perhaps
            walls = _walls(expression, local)


class _NeverError(ValueError):
    """There is no such date."""


def _refusal(text: str, why: str) -> InvalidInput:
    return InvalidInput(f"cannot use the repeat {shown(text)}: {why}", field="repeat")


def _never(text: str) -> InvalidInput:
    return InvalidInput(
        f"the repeat {shown(text)} never fires from now on: it needs a date that there is, and that is to come",
        field="repeat",
        kind="never",
    )


def _without_zone(text: str) -> tuple[str, str | None]:
    """The expression alone, and the name of a zone if the last word can only be one."""
    words = text.split()
    if _is_cron(words) or len(words) < 2 or not words[-1][0].isalpha() or re.match(_DAY, words[-1], re.IGNORECASE):
        return " ".join(words), None
    name = words.pop()
    return " ".join(words), "UTC" if name.upper() == "UTC" else name


def _zone(text: str, name: str | None) -> tzinfo:
    if name is None:
        return UTC
    try:
        return find_zone(name)
    except InvalidTime as error:
        raise _refusal(text, error.message) from None


def _is_cron(words: list[str]) -> bool:
    return len(words) > 4 or "".join(words).startswith("@")


def _walls(expression: str, after: datetime) -> Iterator[datetime]:
    """The wall-clock times later than `after`, ascending, all of them naive."""
    walk = copy(_parsed(expression))
    walk.dt = after.replace(microsecond=0)
    return walk


def _latest_shown(instant: Micros, zone: tzinfo) -> datetime:
    """The latest wall-clock time, naive, that the clocks of `zone` have shown until `instant`."""
    moment = clock.moment(instant)
    local = moment.astimezone(zone)
    if local.fold:  # all that is shown for the second time is over, up to where the clocks were set back
        change = offset_change(local.replace(fold=0).astimezone(UTC), moment, zone)
        local = (change - timedelta(seconds=1)).astimezone(zone)
    return local.replace(tzinfo=None)


# Reading costs as much as some ten steps of the walk: without, such a batch takes nearly twice as long.
@lru_cache(maxsize=256)
def _parsed(expression: str) -> BaseIterator | CronSim:
    """What walks through an expression's wall-clock times. ValueError says what is wrong with it."""
    if not expression.isascii():
        raise ValueError(f"it has characters beyond ASCII; {_HOW}")
    words = expression.split()
    return _cron(words) if _is_cron(words) else _on_calendar(expression)


def _cron(words: list[str]) -> CronSim:
    first = words[0].lower()
    if first.startswith("@"):
        if first not in _NICKNAMES:
            raise ValueError(f"use one of {', '.join(_NICKNAMES)}; a single time belongs in 'when'")
        if len(words) > 1:
            raise ValueError(f"{first} stands alone; a zone belongs in 'tz'")
        words = _NICKNAMES[first].split()
    if len(words) > 6:
        raise ValueError(f"{_CRON_FIELDS}, and nothing else; a zone belongs in 'tz'")
    try:
        return CronSim(" ".join(words), _SOME_DAY)
    except Exception as error:
        problem = _problem(error)
    try:
        # The library's word for a day that none of the months has; in every month it would do.
        CronSim(" ".join([*words[:-2], "*", words[-1]]), _SOME_DAY)
    except Exception:
        raise ValueError(f"{problem}; {_CRON_FIELDS}") from None
    raise _NeverError


def _on_calendar(expression: str) -> BaseIterator:
    word = expression.lower()
    word = _OTHER_WORDS.get(word, word)
    if word not in SPECIALS:
        if _DECIMALS.search(word):
            raise ValueError("once a second, at the whole second, is the most often that it can fire: no decimals")
        match = re.fullmatch(_ON_CALENDAR, word)
        if match is None:
            raise ValueError(_HOW)
        for field, largest in _LARGEST.items():
            for step in _OPEN_STEP.finditer(match[field] or ""):
                _check_step(field, largest, step, from_end=field == "day" and match["end"] == "~")
        word = _STEPPED_RANGE.sub(_up_to_its_last, word)
    try:
        return BaseIterator(word, _SOME_DAY)
    except Exception as error:
        raise ValueError(f"{_problem(error)}; {_HOW}") from None


def _check_step(field: str, largest: int, step: re.Match[str], *, from_end: bool) -> None:
    """Refuse a step that leads nowhere, such as 30/45 for minutes, as systemd does: it is not what was meant."""
    start, width = int(step[1]), int(step[2])
    if field == "year":
        start = _year(start)
    if width > (start - 1 if from_end else largest - start):
        raise ValueError(f"the step of {step[0]} leads beyond the last {field}; without it, it means the same")


def _up_to_its_last(step: re.Match[str]) -> str:
    """A stepped range that ends at its last step, which is how systemd reads it.

    The library counts the steps of ~1..6/2 from 6 on, and takes 5..5/2 for 5/2.
    """
    start, stop, width = (int(number) for number in step.groups())
    if max(start, stop) >= 100:  # years, of which one may have two digits
        start, stop = _year(start), _year(stop)
    if width == 0 or stop < start:  # for the library to refuse
        return step[0]
    stop -= (stop - start) % width
    return f"{start}..{stop}/{width}" if stop > start else str(start)


def _year(number: int) -> int:
    """Of two digits, as systemd reads them: 1970 to 2069."""
    return number + (0 if number >= 100 else 1900 if number >= 70 else 2000)


def _problem(error: Exception) -> str:
    """What a library said, and what would be right."""
    name = str(error).removeprefix("Bad ")
    return f"its {name} goes {_RIGHT[name]}" if name in _RIGHT else "it cannot be read"
