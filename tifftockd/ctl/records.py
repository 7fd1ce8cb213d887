"""Files of reminders: a JSON array, JSON lines, or CSV with a head. Nothing is asked of the daemon here."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, NoReturn

from tifftockd.ctl.client import no_constant
from tifftockd.ctl.errors import EX_DATAERR, Failure
from tifftockd.ctl.shapes import FINAL

# What a reminder may be made of.
FIELDS = (
    *("when", "in", "repeat", "message", "method", "to", "options", "tz", "max_late", "retries"),
    *("until", "count", "catch_up", "overlap"),
)
# What a daemon adds to it: no part of what is to be made.
SERVER_MADE = ("id", "state", "attempts", "key", "owner", "created", "last_error", "snoozed_from")
_OF_REPEAT = ("until", "count", "catch_up", "overlap")
# In CSV, where all is text
_NUMBERS = ("retries", "count", "id")
_OPTION = "options."
_WHOLE = re.compile(r"[0-9]{1,19}")
_SPACE = re.compile(r"[ \t\r\n]*")
_DELIMITERS = ",;\t"
# One of csv's own (131,072) is less than what a message may have with its options.
_LONGEST_CELL = 1024 * 1024


class Record(NamedTuple):
    """A reminder to be made; which of the file's it is, and where that begins, the first being 1."""

    number: int
    where: str  # "line 12", and of an array, which may be all on one, "line 1, item 3"
    fields: dict[str, Any]


class Bad(NamedTuple):
    """One that cannot be made, and what is wrong with it."""

    number: int
    where: str
    why: str


class Found(NamedTuple):
    """What a file holds. `dropped`: fields that mean nothing to the daemon, each once, in their order."""

    records: list[Record]
    bad: list[Bad]
    dropped: dict[str, None]


class _Wrong(ValueError):
    """What is wrong with a record."""


def read_records(data: bytes, kind: str | None = None) -> Found:
    """The records of a file of this kind: json, jsonl or csv; None: as it looks. Failure if it is none of them."""
    text = _decode(data)
    if not text.strip():
        raise Failure("the file is empty", EX_DATAERR)
    found = Found([], [], {})
    readers = {"json": _read_json, "jsonl": _read_lines, "csv": _read_csv}
    kind = kind or _kind_of(text)
    for number, (line, item) in enumerate(readers[kind](text), 1):
        where = f"line {line}, item {number}" if kind == "json" else f"line {line}"
        try:
            if isinstance(item, _Wrong):
                raise item
            found.records.append(Record(number, where, _fields(item, found.dropped)))
        except _Wrong as wrong:
            found.bad.append(Bad(number, where, str(wrong)))
    return found


def _decode(data: bytes) -> str:
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Failure(f"line {line} is not UTF-8: save the file in that encoding", EX_DATAERR) from None


def _kind_of(text: str) -> str:
    start = text.lstrip()
    if start.startswith("["):
        return "json"
    if not start.startswith("{"):
        return "csv"
    try:
        json.loads(start.split("\n", 1)[0])
    except (ValueError, RecursionError):
        # One object over several lines, or a line that is wrong
        return "json" if _is_json(start) else "jsonl"
    return "jsonl"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


# ---- one reader for each format: the line and what is there, or what is wrong with it


def _read_json(text: str) -> Iterator[tuple[int, Any]]:
    """An array's items one by one, so that each has its line; or one object. Broken JSON ends it."""
    lines = _Lines(text)
    place = _skip(text, 0)
    if text[place : place + 1] != "[":
        item, place = _item(text, place, lines)
        yield lines.at(0), item
        if not isinstance(item, _Wrong) and _skip(text, place) != len(text):
            yield lines.at(place), _Wrong("there is more behind the object: write an array, or one object a line")
        return
    place = _skip(text, place + 1)
    if text[place : place + 1] == "]":
        place += 1
    else:
        while True:
            line = lines.at(place)
            item, place = _item(text, place, lines)
            yield line, item
            if isinstance(item, _Wrong) and place < 0:
                return
            place = _skip(text, place)
            mark = text[place : place + 1]
            if mark not in (",", "]") or not mark:
                yield lines.at(place), _Wrong("here a comma or the end of the array, a ], is missing")
                return
            place = _skip(text, place + 1)
            if mark == "]":
                break
    if _skip(text, place) != len(text):
        yield lines.at(place), _Wrong("there is more behind the end of the array")


def _read_lines(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            lines = _Lines(line)
            item, place = _item(line, _skip(line, 0), lines)
            if not isinstance(item, _Wrong) and _skip(line, place) != len(line):
                item = _Wrong("there is more behind its object: write one object a line")
            yield number, item


def _item(text: str, place: int, lines: _Lines) -> tuple[Any, int]:
    """A value and the place behind it; what is wrong with it, and -1 if that place is not known."""
    try:
        try:
            return _DECODER.raw_decode(text, place)
        except _Wrong as wrong:
            # So far it can be read; if the rest can, its end is found.
            return wrong, json.JSONDecoder().raw_decode(text, place)[1]
    except json.JSONDecodeError as error:
        where = f"line {lines.at(error.pos)}, column {lines.column(error.pos)}"
        return _Wrong(f"it is not JSON: {error.msg} ({where})"), -1
    except (ValueError, RecursionError):
        return _Wrong("it is not JSON that can be read: a number is too long, or it is nested too deep"), -1


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise _Wrong(f"{twice!r} is there twice")
    return made


def _constant(name: str) -> NoReturn:
    raise _Wrong(f"it holds {name}, which is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


class _Lines:
    """The numbers of lines, asked for from the beginning to the end of a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place, self._line = 0, 1

    def at(self, place: int) -> int:
        if place >= self._place:
            self._line += self._text.count("\n", self._place, place)
            self._place = place
        return self._line

    def column(self, place: int) -> int:
        return place - self._text.rfind("\n", 0, place)


def _read_csv(text: str) -> Iterator[tuple[int, Any]]:
    """Rows by their heads, as RFC 4180 has them, also with semicolons or tabs. Failure if the head is wrong."""
    head, _, _ = text.lstrip().partition("\n")
    delimiter = max(_DELIMITERS, key=head.count)
    csv.field_size_limit(_LONGEST_CELL)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    names: list[str] | None = None
    while True:
        line = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            ends = "unexpected end" in str(error)
            yield line, _Wrong("a quote that begins here has no end" if ends else f"it is no CSV: {error}")
            continue
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if names is None:
            names = _names(cells)
        else:
            yield line, _row(names, cells)


def _names(cells: Sequence[str]) -> list[str]:
    """The head of CSV. Failure."""
    names = [cell.lower() if cell.lower() in FIELDS else cell for cell in cells]
    for name in names:
        if name not in (*FIELDS, *SERVER_MADE) and not name.startswith(_OPTION):
            raise Failure(f"line 1: {_unknown(name)}; the first line of CSV names the columns", EX_DATAERR)
        if names.count(name) > 1:
            raise Failure(f"line 1: the column {name!r} is there twice", EX_DATAERR)
    return names


def _row(names: Sequence[str], cells: Sequence[str]) -> dict[str, Any] | _Wrong:
    """Empty cells are not given."""
    if len(cells) > len(names):
        return _Wrong(f"it has {len(cells)} cells, and the first line {len(names)}: put what has a comma into quotes")
    fields: dict[str, Any] = {}
    for name, cell in zip(names, cells, strict=False):
        # An id says that it is of a server only beside its state: people number their rows, too.
        if not cell or (name in SERVER_MADE and "state" not in names):
            continue
        if name.startswith(_OPTION):
            fields.setdefault("options", {})[name.removeprefix(_OPTION)] = cell
        elif name == "options":
            try:
                given = json.loads(cell, parse_constant=no_constant)
            except (ValueError, RecursionError):
                return _Wrong("'options' is not a JSON object; or make a column for each, like options.subject")
            if not isinstance(given, dict):
                return _Wrong("'options' must be a JSON object")
            fields["options"] = given | fields.get("options", {})
        else:
            fields[name] = int(cell) if name in _NUMBERS and _WHOLE.fullmatch(cell) else cell
    return fields


# ---- from what is there to what is to be made


def _fields(item: Any, dropped: dict[str, None]) -> dict[str, Any]:
    """The fields of a reminder. _Wrong, as far as it can be told without the daemon."""
    if not isinstance(item, dict):
        raise _Wrong('it is not an object like {"when": "tomorrow 9:00", "message": "tea", "method": "log"}')
    # What a server gave: there a field that is not known is its own, and not mistyped.
    given = isinstance(item.get("id"), int)
    fields = {}
    for name, value in item.items():
        if name in FIELDS:
            if value is not None:
                fields[name] = value
        elif name not in SERVER_MADE:
            if not given:
                raise _Wrong(_unknown(name))
            dropped[name] = None
    if given:
        if "repeat" in fields and item.get("state") in FINAL:
            raise _Wrong(f"it has ended, as {item['state']}: none of its occurrences is to come")
        # It shows its present occurrence, and what it would do if it repeated.
        for name in ("when",) if "repeat" in fields else _OF_REPEAT:
            fields.pop(name, None)
    _check(fields)
    return fields


def _check(fields: dict[str, Any]) -> None:
    for name in ("message", "method"):
        if not isinstance(fields.get(name), str) or not fields[name]:
            raise _Wrong(f"{name!r} is missing" if name not in fields else f"{name!r} must be a text")
    times = [name for name in ("when", "in", "repeat") if name in fields]
    if len(times) != 1:
        _say_when(times)


def _say_when(times: Sequence[str]) -> NoReturn:
    if times:
        raise _Wrong(f"{' and '.join(map(repr, times))} exclude each other")
    raise _Wrong("'when' is missing: write a time like tomorrow 9:00, or 'in' with a span, or 'repeat'")


def _unknown(name: str) -> str:
    near = get_close_matches(name.lower(), FIELDS, 1)
    return f"there is no field {name[:64]!r}; {f'is it {near[0]!r}?' if near else 'known: ' + ', '.join(FIELDS)}"
