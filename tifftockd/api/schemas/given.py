"""What is given: reminders, history, methods, the daemon's health, and errors."""

from __future__ import annotations

from tifftockd.api.query import LAST_ID
from tifftockd.api.schemas.parts import CHOICES, COUNT, OCCURRENCES, OPTION, Schema, object_of, ref
from tifftockd.reminder import Outcome, State

_TIME: Schema = {"type": "string", "format": "date-time"}
_ID: Schema = {"type": "integer", "minimum": 1, "maximum": LAST_ID}
_SPAN: Schema = {"type": "string", "pattern": "^([0-9]+(h|min|s|ms|us) ?)+$", "examples": ["1h 30min"]}
_KEY: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_OPTIONS_GIVEN: Schema = {"type": "object", "description": "As they were sent."}

# Each `kind` that an error may have: what programs can rely on.
KINDS = (
    *("invalid", "invalid_time", "missing", "unknown_field", "unknown_method", "method_unavailable", "too_late"),
    *("never", "malformed", "some_invalid", "unauthorized", "not_found", "method_not_allowed", "firing", "misfit"),
    *("key_reused", "too_large", "too_many", "store_unavailable", "overloaded", "handlers_loading", "clock_wrong"),
    *("not_implemented", "http_version", "internal"),
)

_REMINDER = object_of(
    {
        "id": _ID,
        "when": _TIME,
        "message": {"type": "string"},
        "method": {"type": "string"},
        "to": {"type": ["string", "null"]},
        "options": _OPTIONS_GIVEN,
        "tz": {"type": ["string", "null"]},
        "max_late": _SPAN,
        "state": {"enum": [*State]},
        "attempts": COUNT,
        "key": _KEY,
        "owner": {"type": ["integer", "null"], "description": "The uid of who made it; over TCP nobody's."},
        "retries": COUNT,
        "repeat": {"type": ["string", "null"]},
        "until": {"type": ["string", "null"], "format": "date-time"},
        "count": {"anyOf": [OCCURRENCES, {"type": "null"}], "description": "With the present one."},
        **CHOICES,
        "snoozed_from": {"anyOf": [_ID, {"type": "null"}], "description": "The delivered one that it brings back."},
        "created": _TIME,
        "last_error": {"type": ["string", "null"]},
    }
)

_ENTRY = object_of(
    {
        "id": _ID,
        "reminder": _ID,
        "attempt": COUNT,
        "key": _KEY,
        "method": {"type": "string"},
        "to": {"type": ["string", "null"]},
        "message": {"type": "string"},
        "options": _OPTIONS_GIVEN,
        "due": _TIME,
        "started": {"type": ["string", "null"], "format": "date-time"},
        "finished": _TIME,
        "late_ms": {"type": ["number", "null"]},
        "outcome": {"enum": [*Outcome]},
        "error": {"type": ["string", "null"]},
        "output": {"type": ["string", "null"]},
    }
)

_HANDLERS = object_of(
    {
        "methods": {
            "type": "array",
            "items": object_of(
                {
                    "method": {"type": "string"},
                    "source": {"type": "string"},
                    "available": {"type": "boolean"},
                    "reason": {"type": ["string", "null"]},
                    "options": {
                        "type": ["object", "null"],
                        "additionalProperties": {
                            "anyOf": [{"enum": [*OPTION]}, {"type": "array", "items": {"type": "string"}}]
                        },
                    },
                    "needs_to": {"type": "boolean"},
                    "repeatable": {"type": "boolean"},
                    "timeout": _SPAN,
                    "concurrency": COUNT,
                }
            ),
        },
        "failures": {"type": "array", "items": object_of({"file": {"type": "string"}, "error": {"type": "string"}})},
        "loading": {"type": "boolean"},
    }
)

_HEALTH = object_of(
    {
        "status": {"enum": ["ok", "failing"]},
        "version": {"type": "string"},
        "scheduler": {"enum": ["starting", "alive", "dead"]},
        "store": {"type": "string"},
        "next_due": {"type": ["string", "null"], "format": "date-time"},
        "counts": object_of(dict.fromkeys((*State, "history"), COUNT), []),
    }
)

_WRONG: dict[str, Schema] = {
    "error": {"type": "string"},
    "kind": {"enum": [*KINDS]},
    "field": {"type": ["string", "null"]},
}
_ERROR = object_of(_WRONG)
_SOME_INVALID = object_of(_WRONG | {"errors": {"type": "array", "items": object_of({"index": COUNT, **_WRONG})}})

# By their names
SCHEMAS: dict[str, Schema] = {
    "Reminder": _REMINDER,
    "Reminders": {"type": "array", "items": ref("Reminder")},
    "Occurrences": {"type": "array", "items": _TIME},
    "Entry": _ENTRY,
    "History": {"type": "array", "items": ref("Entry")},
    "Handlers": _HANDLERS,
    "Health": _HEALTH,
    "Error": _ERROR,
    "SomeInvalid": {"anyOf": [ref("Error"), _SOME_INVALID]},
    "Document": {"type": "object", "required": ["openapi", "paths", "components"]},
}
