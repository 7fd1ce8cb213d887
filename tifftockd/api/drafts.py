"""From the fields that a user has sent to a Draft: what is asked for as a whole, at one instant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from typing import Any

from tifftockd import clock
from tifftockd.clock import SECOND, Micros
from tifftockd.config import Config
from tifftockd.errors import ClockWrong, InvalidInput, InvalidTime, Misfit, TifftockError
from tifftockd.reminder import FINAL, Draft, Entry, Reminder, Repeat
from tifftockd.repeat import first_occurrence
from tifftockd.when import format_instant, format_span, is_absolute, parse_when, zone_or

# How old a due instant may be: a request takes its time, and clocks differ.
GRACE: Micros = 60 * SECOND
# How far it reaches: not into the year 10000, in whatever zone that is shown.
HORIZON: Micros = clock.micros(datetime(9999, 12, 31, tzinfo=UTC))

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# What is only for a reminder that repeats
_ABOUT_REPEAT = ("until", "count", "catch_up", "overlap")
# What is kept of a reminder as it was sent
_AS_THEY_ARE = ("message", "method", "to", "options", "max_late", "retries")


def new_draft(given: Mapping[str, Any], config: Config, now: Micros) -> Draft:
    """What a create asks for; `given` is from read_fields and has a method. InvalidInput, ClockWrong."""
    if "message" not in given:
        raise InvalidInput("'message' is missing: send the text to remind of", field="message", kind="missing")
    tz = given.get("tz")
    zone = zone_or(tz, config.zone)
    repeat = _read_repeat(given, None, zone, now, InvalidInput)
    due = _read_due(given, zone, now) if repeat is None else _first(repeat, zone, now)
    if due is None:
        raise InvalidInput(
            "'when' is missing: send a time like tomorrow 9:00, 'in' with a span like 10m, or 'repeat' with an "
            "expression like Mon..Fri 08:55",
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
        repeat=repeat,
    )


def revised_draft(reminder: Reminder, given: Mapping[str, Any], config: Config, now: Micros) -> Draft:
    """What a reminder asks for when the fields that were given have changed. InvalidInput, Misfit, ClockWrong.

    One that has ended and gets no time is to fire now.
    """
    tz = given.get("tz", reminder.tz)
    zone = zone_or(tz, config.zone)
    repeat = _read_repeat(given, reminder.repeat, zone, now, Misfit)
    if repeat is not None and ("when" in given or "in" in given):
        raise Misfit(
            "it repeats, so that 'repeat' makes its time: send another 'repeat', or \"repeat\": null too, or snooze it",
            field="when" if "when" in given else "in",
        )
    if repeat is not None and ("repeat" in given or "tz" in given):
        due = _first(repeat, zone, now)
    else:
        due = _read_due(given, zone, now) or _present(reminder, now)
        if "until" in given:
            _check_until(repeat, due[0], Misfit)
    said = {name: given[name] for name in _AS_THEY_ARE if name in given}
    return _draft_of(reminder)._replace(due=due[0], written=due[1], tz=tz, repeat=repeat, **said)


def snoozed_draft(reminder: Reminder, span: Micros, now: Micros) -> Draft:
    """The same, due `span` from now. InvalidTime, ClockWrong."""
    return _draft_of(reminder)._replace(due=_read_in(span, now), written=_written_in(span))


def _draft_of(reminder: Reminder) -> Draft:
    return Draft(
        due=reminder.due,
        written=reminder.written,
        message=reminder.message,
        method=reminder.method,
        to=reminder.to,
        options=reminder.options,
        tz=reminder.tz,
        max_late=reminder.max_late,
        retries=reminder.retries,
        repeat=reminder.repeat,
        snoozed_from=reminder.snoozed_from,
    )


def draft_again(entry: Entry, span: Micros, config: Config, now: Micros) -> Draft:
    """One like that which an entry of history tells of, due `span` from now. InvalidTime, ClockWrong."""
    return Draft(
        due=_read_in(span, now),
        written=_written_in(span),
        message=entry.message,
        method=entry.method,
        to=entry.to,
        options=entry.options,
        tz=entry.tz,
        max_late=config.max_late if entry.max_late is None else entry.max_late,
        retries=config.retries if entry.retries is None else entry.retries,
        snoozed_from=entry.reminder,
    )


@contextmanager
def fitting() -> Iterator[None]:
    """What is refused for what the reminder is: RFC 5789, 2.2, wants to have that told from a wrong request."""
    try:
        yield
    except InvalidInput as error:
        raise Misfit(error.message, field=error.field) from None


def _read_repeat(
    given: Mapping[str, Any], before: Repeat | None, zone: tzinfo, now: Micros, lonely: type[TifftockError]
) -> Repeat | None:
    """How it is to come back, by what was given and how it has until now; None if it does not.

    `lonely`: what to raise where something about repeating was given, and it does not repeat.
    """
    expression = given.get("repeat", before.expression if before is not None else None)
    if expression is None:
        for name in _ABOUT_REPEAT:
            if given.get(name) is not None:
                raise lonely(f"'{name}' is for what repeats: send 'repeat' too, or leave it out", field=name)
        return None
    said = {name: given[name] for name in _ABOUT_REPEAT if name in given}
    if said.get("until") is not None:
        said["until"] = _read_until(said["until"], zone, now)
    return (before or Repeat(expression))._replace(expression=expression, **said)


def _read_until(text: str, zone: tzinfo, now: Micros) -> Micros:
    if _DAY.fullmatch(text.strip()):
        text = f"{text.strip()} 23:59:59"  # who names a day means that day too
    return read_when(text, zone, now, "until")


def _present(reminder: Reminder, now: Micros) -> tuple[Micros, str]:
    """When one is due that gets no other time."""
    if reminder.state not in FINAL:
        return reminder.due, reminder.written
    if clock.is_wrong(now):
        raise _clock_wrong("'now' cannot be told", "when")
    return now, "now"


def _first(repeat: Repeat, zone: tzinfo, now: Micros) -> tuple[Micros, str]:
    """The first occurrence after now, and what was written for it."""
    if clock.is_wrong(now):
        raise _clock_wrong("the next occurrence cannot be told", "repeat")
    due = first_occurrence(repeat.expression, zone, now)
    if due is None:
        raise InvalidInput("'repeat' never fires after now: send another expression", field="repeat", kind="never")
    _check_until(repeat, due, InvalidInput)
    return due, repeat.expression


def _check_until(repeat: Repeat | None, due: Micros, wrong: type[TifftockError]) -> None:
    if repeat is not None and repeat.until is not None and due > repeat.until:
        raise wrong("it would never fire: its next time is after 'until', so send a later one", field="until")


def read_when(text: str, zone: tzinfo, now: Micros, field: str) -> Micros:
    """The instant that a field's text means. InvalidTime; ClockWrong if that depends on a clock that is wrong."""
    due = clock.micros(parse_when(text, tz=zone, now=clock.moment(now), field=field))
    if clock.is_wrong(now) and not is_absolute(text):
        raise _clock_wrong("a time without an offset cannot be read", field, field)
    return due


def _read_due(given: Mapping[str, Any], zone: tzinfo, now: Micros) -> tuple[Micros, str] | None:
    """The due instant and what was written for it, or None where no time was given."""
    if "in" in given:
        return _read_in(given["in"], now), _written_in(given["in"])
    if "when" not in given:
        return None
    text: str = given["when"]
    due = read_when(text, zone, now, "when")
    if due < now - GRACE:
        then, today = (format_instant(instant, zone) for instant in (due, now))
        raise InvalidInput(
            f"'when' is {then}, which has passed; it is {today} now: send a later time", field="when", kind="too_late"
        )
    return due, text


def _written_in(span: Micros) -> str:
    return f"in {format_span(span)}"


def _read_in(span: Micros, now: Micros) -> Micros:
    if clock.is_wrong(now):
        raise _clock_wrong("a relative time cannot be read", "in")
    if span > HORIZON - now:
        raise InvalidTime("'in' leads past the horizon, the year 9999: send a shorter span", field="in")
    return now + span


def _clock_wrong(what: str, field: str, instead: str = "when") -> ClockWrong:
    return ClockWrong(
        f"the machine's clock is wrong, so {what}: send '{instead}' with an offset, or try again when the clock is set",
        field=field,
    )
