"""From the text of a setting to its value. Each parser raises Unusable: what is wrong, then what would be right."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import tzinfo
from pathlib import Path

from tifftockd.clock import Micros
from tifftockd.errors import InvalidInput, InvalidTime
from tifftockd.when import parse_span, server_zone

# Before the path of a database in a file, dataset's and SQLAlchemy's way.
SQLITE = "sqlite:///"

# What can be requested, as a regular expression: a scheme, a host, and nothing that is no part of a URL.
HTTP_URL = r"[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#\x00-\x1f\x7f-\x9f]+(?:[/?#][^\s\x00-\x1f\x7f-\x9f]*)?"

_FACTORS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SIZE = re.compile(r"([0-9]{1,19})([KMGT]?)")
_LARGEST = 2**63 - 1  # what setrlimit(2) takes
_HOW_SIZE = "write bytes, or units of 1024 like 8K, 512M or 2G"


class Unusable(ValueError):
    """What is wrong with a setting, and what would be right; `value`: the part of it that is meant, or None for all."""

    def __init__(self, why: str, value: str | None = None) -> None:
        super().__init__(why)
        self.value = value


def parse_size(value: str | int) -> int:
    """A size in bytes, up to 2**63-1: a number, or a string like "8192", "8K", "512M", "1G", "2T" (times 1024).

    InvalidInput if it is anything else.
    """
    # bool is an int to Python, not to people
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        size = int(match[1]) * _FACTORS[match[2]]
        if size <= _LARGEST:
            return size
    raise InvalidInput(f"{value!r:.100} is not a size; {_HOW_SIZE}")


def size(least: str, most: str) -> Callable[[str], int]:
    """A parser of sizes within these bounds."""

    def parse(text: str) -> int:
        try:
            value = parse_size(text)
        except InvalidInput:
            raise Unusable(f"not a size; {_HOW_SIZE}") from None
        if not parse_size(least) <= value <= parse_size(most):
            raise Unusable(f"out of range; it must be from {least} to {most}")
        return value

    return parse


def choice(*words: str) -> Callable[[str], str]:
    """A parser of one of these words."""

    def parse(text: str) -> str:
        if text not in words:
            raise Unusable(f"it must be one of {', '.join(words)}")
        return text

    return parse


def optional(parse: Callable[[str], object]) -> Callable[[str], object]:
    """A parser that takes the empty text for None."""
    return lambda text: parse(text) if text else None


def url(text: str) -> str:
    """A URL that can be requested."""
    if not re.fullmatch(HTTP_URL, text):
        raise Unusable("not a URL; write it like https://example.org")
    return text


def number(least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers within these bounds."""

    def parse(text: str) -> int:
        must = f"it must be from {least} to {most}"
        if not re.fullmatch(r"-?[0-9]{1,19}", text):
            raise Unusable(f"not a whole number; {must}")
        value = int(text)
        if not least <= value <= most:
            raise Unusable(f"out of range; {must}")
        return value

    return parse


def span(most: str) -> Callable[[str], Micros]:
    """A parser of spans from a microsecond to `most`, into microseconds."""
    bound = parse_span(most)

    def parse(text: str) -> Micros:
        try:
            value = parse_span(text)
        except InvalidTime:
            raise Unusable("not a span; write it like 90s, 24h or 1h 30min (units: us, ms, s, min, h, d, w)") from None
        if not 0 < value <= bound:
            raise Unusable(f"out of range; it must be longer than nothing and at most {most}")
        return value

    return parse


def keys(text: str) -> tuple[str, ...]:
    """Keys, separated by spaces."""
    # RFC 9110, 5.5: what a header field can carry in one way only.
    if not all(key.isascii() and key.isprintable() for key in text.split()):
        raise Unusable("it holds a character that an HTTP header cannot carry; use printable ASCII")
    return tuple(dict.fromkeys(text.split()))


def database(text: str) -> str:
    """The URL of an SQLite file as dataset takes it, made absolute."""
    right = "write sqlite:////var/lib/tifftock/tifftock.db, with an absolute path after three slashes"
    if not text.startswith("sqlite:"):
        raise Unusable(f"only SQLite is supported; {right}")
    path = text.removeprefix(SQLITE)
    if text in ("sqlite:", "sqlite:/", "sqlite://") or path in ("", ":memory:"):
        raise Unusable(f"a database in memory would lose what it has accepted; {right}")
    if path == text or path.endswith("/"):
        raise Unusable(f"it names no file; {right}")
    if "?" in path:
        raise Unusable(f"options after a '?' are not supported; {right}")
    return f"{SQLITE}{Path(path).absolute()}"


def folder(text: str) -> Path:
    """A folder, made absolute; it need not be there."""
    return Path(text).absolute()


def zone(text: str | None) -> tzinfo:
    """The server's zone, as in tzset(3)."""
    try:
        return server_zone(text)
    except InvalidTime as error:
        raise Unusable(str(error)) from None
