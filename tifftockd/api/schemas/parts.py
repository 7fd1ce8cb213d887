"""What the schemas of what is sent and of what is given have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tifftockd.api.fields import MOST_OCCURRENCES
from tifftockd.api.query import LAST_ID
from tifftockd.handlers.content import FRAMING, TOKEN
from tifftockd.reminder import CatchUp, Overlap

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """The component of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def object_of(properties: Mapping[str, Schema], required: Sequence[str] | None = None, **more: Any) -> Schema:
    """An object with these properties and no others: all of them, unless it is said which."""
    names = list(properties) if required is None else list(required)
    return {"type": "object", "properties": dict(properties), "required": names, "additionalProperties": False, **more}


def _any_case(name: str) -> str:
    """A pattern, as JSON Schema's have no flags."""
    return "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in name)


# A string may hold anything but NUL. Its length is counted in bytes of UTF-8, which a schema cannot.
TEXT: Schema = {"type": "string", "pattern": "^[^\\u0000]*$"}
COUNT: Schema = {"type": "integer", "minimum": 0}
# Of an e-mail's or a request's header
LINE: Schema = {"type": "string", "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]*$"}
_HEADER = f"^{TOKEN.pattern}$"
_FRAMING = f"^({'|'.join(map(_any_case, sorted(FRAMING)))})$"
# Of a URL's parameters
_WORD: Schema = {"anyOf": [TEXT, {"type": "boolean"}, {"type": "number", "minimum": -(2**63), "maximum": LAST_ID}]}

# The kinds of a method's options, by their names in /handlers.
OPTION: dict[str, Schema] = {
    "str": TEXT,
    "int": {"type": "integer", "minimum": -(2**63), "maximum": LAST_ID},
    "float": {"type": "number", "minimum": -(2**63), "maximum": LAST_ID},
    "bool": {"type": "boolean"},
    "list": {"type": "array", "items": ref("Json")},
    "dict": ref("Object"),
    "any": ref("Json"),
    "line": LINE,
    "headers": {
        "type": "object",
        "propertyNames": {"pattern": _HEADER, "not": {"pattern": _FRAMING}},
        "additionalProperties": LINE,
        "description": "With {message} in one, the message must be of one line too.",
    },
    "query": {
        "type": "object",
        "propertyNames": TEXT,
        "additionalProperties": {"anyOf": [_WORD, {"type": "array", "items": _WORD}]},
    },
    "body": ref("Json"),
}

OCCURRENCES: Schema = {"type": "integer", "minimum": 1, "maximum": MOST_OCCURRENCES}
CHOICES: dict[str, Schema] = {"catch_up": {"enum": [*CatchUp]}, "overlap": {"enum": [*Overlap]}}
