"""Messages with content: what a header can carry, and `{message}`, `{id}` and `{when}` in what a reminder sends.

The daemon checks with this what it accepts, and a handler what it sends: a reminder may be older than a check.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tifftockd.handlers.outbound import printable

# What ends a line for somebody, and what no line of text needs. Python's own e-mail takes the last two for line breaks.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_A_CONTROL = "a line break or another control character"
# RFC 9110, 5.6.2
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# They follow from the body; a wrong one makes the receiver wait, or take a part of it for a second request.
FRAMING = frozenset({"content-length", "transfer-encoding"})
# Bytes of JSON: a short option with the message in it a thousand times is a mistake, or no friend of the receiver.
LARGEST = 1024 * 1024

_PLACE = re.compile(r"\{(message|id|when)\}")


# ---- replacement: literal, once, and nothing else between braces


def fill(text: str, words: Mapping[str, str]) -> str:
    """A text with `{message}`, `{id}` and `{when}` replaced. What is put in is not looked at again."""
    return _PLACE.sub(lambda found: words[found[1]], text)


def fill_strings(value: Any, words: Mapping[str, str]) -> Any:
    """A JSON value with its strings filled, but for the names of its members."""
    if isinstance(value, str):
        return fill(value, words)
    if isinstance(value, dict):
        return {name: fill_strings(item, words) for name, item in value.items()}
    return [fill_strings(item, words) for item in value] if isinstance(value, list) else value


def escaped(words: Mapping[str, str]) -> dict[str, str]:
    """The words as they are written within a string of JSON."""
    return {name: json.dumps(word)[1:-1] for name, word in words.items()}


# ---- what is wrong with an option, or None; `message` is what would be put into it


def fault_of_line(value: str, message: str = "") -> str | None:  # noqa: ARG001  nothing is put into it
    """A text that goes into a header of an e-mail."""
    return f"it has {_A_CONTROL} in it" if _CONTROL.search(value) else None


def fault_of_headers(value: Mapping[str, Any], message: str) -> str | None:
    """The headers of a request. The values may be secrets, and are not repeated."""
    for name, text in value.items():
        shown = printable(name)
        if not TOKEN.fullmatch(name):
            return f"'{shown}' is not a header's name"
        if name.lower() in FRAMING:
            return f"{shown} follows from the body and cannot be set"
        if not isinstance(text, str):
            return f"the value of {shown} must be a string"
        if _CONTROL.search(text):
            return f"the value of {shown} has {_A_CONTROL} in it"
        if "{message}" in text and _CONTROL.search(message):
            return f"{shown} is to hold the message, which has {_A_CONTROL} in it"
    return fault_of_size(value, message)


def fault_of_query(value: Mapping[str, Any], message: str) -> str | None:
    """The parameters of a URL."""
    for name, items in value.items():
        for item in items if isinstance(items, list) else [items]:
            if item is None or isinstance(item, (dict, list)):
                return f"'{printable(name)}' must be a string, a number, a boolean, or a list of those"
    return fault_of_size(value, message)


def fault_of_size(value: object, message: str) -> str | None:
    """The body of a request, which may be any JSON."""
    text = json.dumps(value)
    if len(text) + text.count("{message}") * len(json.dumps(message)) <= LARGEST:
        return None
    return f"with the message wherever it says {{message}} it is larger than {LARGEST} bytes"


class Kind(NamedTuple):
    """A kind of option: its type in JSON, and what else can be wrong with it."""

    type: str
    fault: Callable[[Any, str], str | None]


# What a class may declare by name, beside the types.
KINDS = {
    "line": Kind("str", fault_of_line),
    "headers": Kind("dict", fault_of_headers),
    "query": Kind("dict", fault_of_query),
    "body": Kind("any", fault_of_size),
}
