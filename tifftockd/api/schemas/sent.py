"""What is sent: by which method, for when, and what else there may be.

Exact, so that a program can tell beforehand what will be accepted: what a method takes, which zones there are, and
which dates are in the future are this daemon's, and this day's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from tifftockd.api import patterns
from tifftockd.api.fields import LONGEST_IN, LONGEST_MESSAGE, LONGEST_TO, MOST_LATE, MOST_RETRIES
from tifftockd.api.query import MOST
from tifftockd.api.schemas.parts import CHOICES, COUNT, LINE, OCCURRENCES, OPTION, TEXT, Schema, object_of, ref
from tifftockd.clock import SECOND
from tifftockd.handlers.spec import MethodSpec
from tifftockd.when import zone_names

# What a form cannot say
_NO_TEXT = ("int", "float", "bool", "list", "dict", "headers", "query")

_IN = patterns.span(6, 5)
_MAX_LATE = patterns.span(4, 3)

# Bodies that any daemon takes, whatever its settings are.
EXAMPLES: dict[str, dict[str, Any]] = {
    "NewReminder": {
        "soon": {"value": {"in": "10m", "message": "tea is ready", "method": "log"}},
        "a time of day": {"value": {"when": "tomorrow 9:00", "message": "call the bank", "method": "log"}},
        "an instant": {
            "value": {
                "when": "2035-01-31T09:00:00+01:00",
                "tz": "Europe/Berlin",
                "message": "new passport",
                "method": "log",
                "max_late": "7d",
                "retries": 10,
            }
        },
        "again and again": {"value": {"repeat": "Mon..Fri 08:55", "message": "stand-up", "method": "log", "count": 10}},
    },
    "NewReminders": {
        "two": {
            "value": [
                {"in": "3min", "message": "tea is ready", "method": "log"},
                {"in": 300, "message": "egg is ready", "method": "log"},
            ]
        }
    },
    "NewReminderForm": {
        "by hand": {"value": {"when": "tomorrow 9:00", "message": "call the dentist", "method": "log"}},
    },
    "ChangeForm": {
        "snooze": {"value": {"in": "10m"}},
    },
    "Snooze": {
        "a while": {"value": {"in": "10min"}},
    },
    "SnoozeForm": {
        "a while": {"value": {"in": "10min"}},
    },
    "Change": {
        "snooze": {"value": {"in": "10m"}},
        "another time and text": {"value": {"when": "friday 17:30", "message": "call the other bank"}},
        "again, if it has ended": {"value": {}},
    },
}


def schemas(usable: Sequence[MethodSpec], today: date) -> dict[str, Schema]:
    """By their names. `usable`: the methods that there are, and lack nothing."""
    return {
        "NewReminder": _one_of("NewReminder", usable),
        **{f"NewReminder.{spec.method}": _new(spec, _fields(spec)) for spec in usable},
        "NewReminderForm": _one_of("NewReminderForm", usable),
        **{f"NewReminderForm.{spec.method}": _new(spec, _form_fields(spec), **_form(spec)) for spec in usable},
        "NewReminders": {"type": "array", "items": ref("NewReminder"), "maxItems": MOST},
        "Change": {"anyOf": [_change(spec, _fields(spec)) for spec in (None, *usable)]},
        "ChangeForm": {
            "anyOf": [_change(spec, _form_fields(spec), minProperties=1, **_form(spec)) for spec in (None, *usable)]
        },
        "Snooze": object_of({"in": ref("In")}),
        "SnoozeForm": object_of({"in": {"type": "string", "pattern": _IN}}),
        "When": _when(today),
        "Repeat": _REPEAT,
        "Until": _until(today),
        "In": _span(LONGEST_IN // SECOND, _IN, "10m", "Counted from the request on."),
        "Message": TEXT | {"minLength": 1, "maxLength": LONGEST_MESSAGE, "description": "Bytes of UTF-8."},
        "Zone": {"type": "string", "pattern": _zones(), "description": "An IANA name that this machine knows."},
        "MaxLate": _span(MOST_LATE // SECOND, _MAX_LATE, "2h", "How late it may still fire."),
        "Retries": COUNT | {"maximum": MOST_RETRIES, "description": "Further attempts after a failure."},
        "Json": _JSON,
        "Object": {"type": "object", "propertyNames": TEXT, "additionalProperties": ref("Json")},
    }


def _one_of(name: str, specs: Sequence[MethodSpec]) -> Schema:
    """By the method, what is called after it."""
    names = {spec.method: f"{name}.{spec.method}" for spec in specs}
    mapping = {method: f"#/components/schemas/{name}" for method, name in names.items()}
    return {
        "type": "object",
        "oneOf": [ref(name) for name in names.values()],
        "discriminator": {"propertyName": "method", "mapping": mapping},
    }


def _new(spec: MethodSpec, fields: Mapping[str, Schema], **more: Any) -> Schema:
    required = ["message", "method", *(["to"] if spec.needs_to else [])]
    return object_of(fields, required, oneOf=[_at("when"), _at("in"), _at("repeat")], **more)


def _at(name: str) -> Schema:
    """Due by this field and by none of the other two; about repeating only what repeats has something to say."""
    if name == "repeat":
        return {"required": ["repeat"], "properties": {"repeat": {"type": "string"}, "when": False, "in": False}}
    other = {"when": "in", "in": "when"}[name]
    once = dict.fromkeys(("repeat", "until", "count", "catch_up", "overlap"), False)
    return {"required": [name], "properties": {other: False, **once}}


def _change(spec: MethodSpec | None, fields: Mapping[str, Schema], **more: Any) -> Schema:
    """A change that names this method, or none: then `to` and `options` have to fit the one that the reminder has."""
    both = {"anyOf": [{"required": ["when", "in"]}, {"required": ["when", "repeat"]}, {"required": ["in", "repeat"]}]}
    return object_of(fields, ["method"] if spec else [], **{"not": both}, **more)


def _fields(spec: MethodSpec | None) -> dict[str, Schema]:
    to = _to(spec)
    return {
        "when": ref("When"),
        "in": ref("In"),
        "message": ref("Message"),
        **({"method": {"const": spec.method}} if spec else {}),
        "to": to if spec is not None and spec.needs_to else {"anyOf": [to, {"type": "null"}]},
        "options": _options(spec),
        "tz": {"anyOf": [ref("Zone"), {"type": "null"}]},
        "max_late": ref("MaxLate"),
        "retries": ref("Retries"),
        "repeat": {"anyOf": [ref("Repeat"), {"type": "null"}]},
        "until": {"anyOf": [ref("Until"), {"type": "null"}]},
        "count": {"anyOf": [OCCURRENCES, {"type": "null"}]},
        **CHOICES,
    }


def _form_fields(spec: MethodSpec | None) -> dict[str, Schema]:
    """The same as text: null is nothing, and an option whose value is a text is a field of its own."""
    to, nothing = _to(spec), {"const": ""}
    options = {} if spec is None or spec.options is None else spec.options
    return {
        "when": ref("When"),
        "in": {"type": "string", "pattern": _IN},
        "message": ref("Message"),
        **({"method": {"const": spec.method}} if spec else {}),
        "to": to if spec is not None and spec.needs_to else {"anyOf": [to, nothing]},
        **{f"options.{name}": _text_option(kind) for name, kind in options.items() if kind not in _NO_TEXT},
        "tz": {"anyOf": [ref("Zone"), nothing]},
        "max_late": {"type": "string", "pattern": _MAX_LATE},
        "retries": ref("Retries"),
        "repeat": {"anyOf": [ref("Repeat"), nothing]},
        "until": {"anyOf": [ref("Until"), nothing]},
        "count": {"anyOf": [OCCURRENCES, nothing]},
        **CHOICES,
    }


def _form(spec: MethodSpec | None) -> Schema:
    """What else a form may have: any option, where the method is not known, or does not say which it takes."""
    known = spec is not None and spec.options is not None
    return {} if known else {"patternProperties": {"^options\\.[^\\u0000]*$": TEXT}}


def _to(spec: MethodSpec | None) -> Schema:
    to = TEXT | {"minLength": 1, "maxLength": LONGEST_TO}
    return to if spec is None or spec.to_pattern is None else to | {"pattern": f"^({spec.to_pattern})$"}


def _options(spec: MethodSpec | None) -> Schema:
    if spec is None or spec.options is None:
        return ref("Object")
    return object_of({name: _option(wanted) for name, wanted in spec.options.items()}, [])


def _option(wanted: str | list[str]) -> Schema:
    return {"enum": wanted} if isinstance(wanted, list) else OPTION[wanted]


def _text_option(wanted: str | list[str]) -> Schema:
    if isinstance(wanted, list):
        return {"enum": wanted}
    return LINE if wanted == "line" else TEXT


def _zones() -> str:
    return f"^({'|'.join(zone_names())})$".replace("+", "\\+")


def _when(today: date) -> Schema:
    return {
        "type": "string",
        "anyOf": [
            {"title": "the next such time", "pattern": patterns.NEXT, "examples": ["tomorrow 9:00", "friday 17:30"]},
            {
                "title": "ISO 8601, RFC 3339",
                "description": "From the day after tomorrow on. What is left until then is accepted too.",
                "pattern": patterns.iso_from(today),
                "examples": ["2035-01-31T09:00", "2035-01-31T09:00:00+01:00"],
            },
            {"title": "seconds since 1970", "pattern": patterns.epoch_from(today), "examples": ["@2053846800"]},
        ],
        "description": "Without an offset it is local time in `tz`, or in the server's zone.",
    }


def _until(today: date) -> Schema:
    return {
        "type": "string",
        "pattern": patterns.iso_from(today, _YEARS),
        "description": "No occurrence is later. A date alone includes that day. Sooner ones, and what else `when` may "
        "be, are accepted if there is an occurrence before them.",
        "examples": ["2035-12-31"],
    }


def _span(longest: int, pattern: str, example: str, description: str) -> Schema:
    return {
        "anyOf": [
            {"title": "with units", "type": "string", "pattern": pattern, "examples": [example]},
            {"title": "seconds", "type": "number", "minimum": 0, "maximum": longest},
        ],
        "description": description,
    }


# What `until` may be without a look at the expression: all that the patterns match fire within a year.
_YEARS = timedelta(days=2 * 366)
_REPEAT: Schema = {
    "type": "string",
    "anyOf": [
        {"title": "OnCalendar", "pattern": patterns.ONCALENDAR, "examples": ["Mon..Fri 08:55", "daily"]},
        {"title": "cron", "pattern": patterns.CRON, "examples": ["55 8 * * 1-5"]},
    ],
    "description": "All that systemd.time(7) and crontab(5) have is accepted; these are the usual forms.",
}

_JSON: Schema = {
    "anyOf": [
        {"type": "null"},
        {"type": "boolean"},
        OPTION["float"],
        TEXT,
        {"type": "array", "items": ref("Json")},
        ref("Object"),
    ],
    "description": "Any JSON, up to 32 levels deep, with integers of 64 bits and without NUL.",
}
