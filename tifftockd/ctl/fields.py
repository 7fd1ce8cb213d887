"""From the command line to the fields of a reminder, as the API has them."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from tifftockd.ctl.client import no_constant
from tifftockd.ctl.errors import Usage

# Parts with units, as 1h 30min; the daemon says which units there are.
_SPAN = re.compile(r"(?:[0-9]+(?:\.[0-9]+)? *[a-z\u00b5\u03bc]+ *)+")
_BARE = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def read_input() -> bytes:
    """All of the standard input; nothing where that is closed."""
    return b"" if sys.stdin is None else sys.stdin.buffer.read()


def read_when(text: str) -> dict[str, str]:
    """A time as `when`, a span (10min, "in 1h 30min", now) as `in`. Usage."""
    said = text.strip()
    span = said[3:].strip() if said.lower().startswith("in ") else said
    if said.lower() == "now":
        return {"in": "0s"}
    if _BARE.fullmatch(span):
        raise Usage(f"{text} of what? write {span}s, {span}min or {span}h, or a time like 9:00")
    return {"in": span} if span != said or _SPAN.fullmatch(span) else {"when": said}


def read_message(text: str) -> str:
    """The message; - is the standard input, without the line break at its end. Usage."""
    if text != "-":
        return text
    try:
        return read_input().decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise Usage(f"the input is not UTF-8 (its byte {error.start})") from None


def read_options(texts: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE each, where a VALUE that is JSON means that. Usage."""
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals) or name in options:
            raise Usage(f"--option {text}: {'it is there twice' if name in options else 'write it as NAME=VALUE'}")
        try:
            options[name] = json.loads(value, parse_constant=no_constant)
        except (ValueError, RecursionError):
            options[name] = value
    return options


def as_text(texts: Sequence[str], field: str) -> str | None:
    """The NAME=VALUE that was sent as this field, for a shell and so that VALUE is a text; None if none was."""
    for text in texts:
        name, _, value = text.partition("=")
        if field == f"options.{name}":
            return shlex.quote(f"{name}={json.dumps(value, ensure_ascii=False)}")
    return None


def new_reminder(options: argparse.Namespace) -> dict[str, Any]:
    """What `remind` is to send. Usage; there may be no method."""
    fields = _when(options) | _method(options)
    fields["message"] = read_message(options.words[-1])
    for name in ("tz", "max_late", "retries"):
        if getattr(options, name) is not None:
            fields[name] = getattr(options, name)
    given = read_options(options.option)
    return fields | ({"options": given} if given else {})


def _when(options: argparse.Namespace) -> dict[str, Any]:
    instead = [name for name, value in (("--in", options.in_), ("--repeat", options.repeat)) if value is not None]
    if len(instead) > 1:
        raise Usage("--in and --repeat exclude each other: one says when, the other how often")
    wanted = 1 if instead else 2
    if len(options.words) > wanted:
        hint = f"{instead[0]} stands for WHEN, so" if instead else "put WHEN and MESSAGE into quotes each:"
        raise Usage(f"{hint} there is one argument too many: {options.words[wanted]}")
    if len(options.words) < wanted:
        example = 'like: tifftockctl remind 10min "tea is ready"'
        raise Usage(f"write both when and what, {example}; there is only: {options.words[0]}")
    repeating = {
        name: value
        for name in ("until", "count", "catch_up", "overlap")
        if (value := getattr(options, name)) is not None
    }
    if options.repeat is not None:
        return {"repeat": options.repeat, **repeating}
    if repeating:
        raise Usage(f"--{next(iter(repeating)).replace('_', '-')} belongs to --repeat")
    return {"in": options.in_} if options.in_ is not None else read_when(options.words[0])


def _method(options: argparse.Namespace) -> dict[str, Any]:
    ways = {"email": options.email, "sms": options.sms}
    chosen = {name: to for name, to in ways.items() if to is not None}
    if options.method is not None:
        chosen[options.method] = options.to
    elif options.to is not None and not chosen:
        return {"to": options.to}
    if len(chosen) > 1 or (options.method in ways and ways[options.method] is not None):
        raise Usage("a reminder has one method: write one of --email, --sms and --method; for two, make two reminders")
    if options.method is None and options.to is not None:
        raise Usage("--to belongs to --method: --email and --sms name for whom it is themselves")
    for name, to in chosen.items():
        return {"method": name} | ({} if to is None else {"to": to})
    return {}
