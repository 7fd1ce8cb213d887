"""One event: its line, and its fields as the journal takes them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from functools import cache
from typing import NamedTuple

from tifftockd.journal.ids import MESSAGE_IDS

IDENTIFIER = "tifftockd"

# A value is cut here, in characters, so that one event cannot fill the journal.
_LONGEST = 1_000_000


class Level(IntEnum):
    """How grave an event is, by the names and numbers of syslog(3): the lower, the graver."""

    CRIT = 2
    ERR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


class Entry(NamedTuple):
    """An event, its fields as text, and the line that shows them."""

    name: str
    level: Level
    fields: dict[str, str]
    line: str

    def datagram(self) -> bytes:
        """The fields in the journal's native protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/."""
        known = {
            "MESSAGE": self.line,
            "PRIORITY": str(int(self.level)),
            "SYSLOG_IDENTIFIER": IDENTIFIER,
            "TIFFTOCK_EVENT": self.name,
        }
        if self.name in MESSAGE_IDS:
            known["MESSAGE_ID"] = MESSAGE_IDS[self.name]
        ours = {_field_name(key): value for key, value in self.fields.items()}
        return b"".join(_serialize(key, value) for key, value in (ours | known).items())


def make_entry(name: str, level: Level, fields: Mapping[str, object]) -> Entry:
    """Fields of None are left out; one that cannot be shown says so."""
    texts = {key: _text(value) for key, value in fields.items() if value is not None}
    return Entry(name, level, texts, format_line(name, texts))


def format_line(name: str, fields: Mapping[str, str]) -> str:
    """`event key=value key="quoted value"`: one printable line, which no value can leave or imitate."""
    return " ".join([_quote(name), *[f"{_quote(key)}={_quote(value)}" for key, value in fields.items()]])


def _text(value: object) -> str:
    try:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    except Exception as error:  # noqa: BLE001 one bad field does not take the event along
        text = f"{type(value).__name__} that cannot be shown ({type(error).__name__})"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _quote(text: str) -> str:
    if text.isalnum() or (text and text.isprintable() and not set(text) & set(' "=\\')):
        return text
    return '"' + "".join(_escape(mark) for mark in text) + '"'


def _escape(mark: str) -> str:
    if mark in '"\\':
        return "\\" + mark
    # Not printable: controls, line separators, and the marks that turn the direction of writing
    return mark if mark.isprintable() else mark.encode("unicode_escape").decode("ascii")


@cache  # there are few: without, 4 % of a create
def _field_name(key: str) -> str:
    """Capital letters, digits and underscores, at most 64: what journald takes."""
    name = "".join(mark if mark.isascii() and mark.isalnum() else "_" for mark in key)
    return f"TIFFTOCK_{name.upper()}"[:64]


def _serialize(key: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    if b"\n" in data:
        return b"%s\n%s%s\n" % (key.encode(), struct.pack("<Q", len(data)), data)
    return b"%s=%s\n" % (key.encode(), data)
