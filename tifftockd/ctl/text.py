"""Text on a terminal: how wide it is, and made so that it can do no harm there."""

from __future__ import annotations

import re

# What a terminal may obey, or shows in a place where it is not: control characters (ECMA-48), breaks of lines, marks
# of direction (UAX #9), and halves of surrogate pairs, which cannot be written.
_HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\ufffb]"
)
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def harmless(text: str) -> str:
    """The text on one line, with what a terminal may obey escaped as in Python."""
    if text.isascii() and text.isprintable():
        return text
    return _HARMFUL.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def width(text: str) -> int:
    """How many cells of a terminal a harmless text takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if character.isascii():
        return 1
    import unicodedata

    # What is drawn over the character before; Hangul's vowels and finals join it, too.
    if unicodedata.category(character) in ("Mn", "Me", "Cf") or "\u1160" <= character <= "\u11ff":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, room: int, mark: str = "…") -> str:
    """A harmless text in at most `room` cells (1 or more): where it is longer, `mark` stands at its end."""
    if width(text) <= room:
        return text
    left = room - width(mark)
    if left < 0:
        return "." * room
    kept = []
    for character in text:
        left -= _cells(character)
        if left < 0:
            break
        kept.append(character)
    return "".join(kept).rstrip() + mark


def pad(text: str, room: int) -> str:
    """The text with spaces behind it up to `room` cells."""
    return text + " " * (room - width(text))


def count(number: int, noun: str) -> str:
    """1 line, 2 lines."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
