"""The command line. Completion for bash and zsh is made from it when the package is built (packaging/completion)."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tifftockd import __version__
from tifftockd.ctl.screen import columns

STATES = ("pending", "firing", "failed", "uncertain", "missed", "all")
OUTCOMES = ("delivered", "failed", "interrupted", "uncertain", "missed", "cancelled")
FORMATS = ("json", "jsonl", "csv")

_PROG = "tifftockctl"
# Options that may stand before a command, followed by their value
_WITH_VALUE = ("--url", "--key-file")
_DESCRIPTION = "Reminders, by the daemon tifftockd: make them, see what is coming and what has been."
_EPILOG = (
    "Without a command it lists what is coming. tifftockctl COMMAND --help says more;"
    " tifftockctl(1) has the exit codes."
)
# SQLite's and the API's largest id
_LAST_ID = 2**63 - 1


class _Formatter(argparse.HelpFormatter):
    """One is made for each argument; argparse would import shutil for it."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=columns(os.environ, sys.stdout) - 2)


class Command(NamedTuple):
    """What it does, in a line; what adds its arguments to a parser; and what else there is to say of it."""

    says: str
    describe: Callable[[argparse.ArgumentParser], None]
    more: str = ""


def commands() -> dict[str, Command]:
    """All commands by their names."""
    return {
        "list": Command("what is coming, soonest first", _list),
        "remind": Command("make a reminder", _remind, " WHEN is a time like tomorrow 9:00, or a span like 10min."),
        "show": Command("all about one reminder", _one),
        "explain": Command("why it has not fired, or why it fired when it did", _one),
        "history": Command("every attempt, newest first", _history),
        "next": Command("the next times of a repeating reminder", _next),
        "snooze": Command("let it come again after a while from now", _snooze),
        "cancel": Command("cancel reminders", _cancel),
        "rearm": Command("let one that has failed or was missed fire again", _rearm),
        "try": Command("fire a method through the daemon, now, and see how it goes", _try),
        "import": Command("make many reminders from a file", _import),
        "handlers": Command("the methods, and what each needs", _nothing),
        "status": Command("whether the daemon is well, and what waits", _nothing),
    }


def make_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog=_PROG,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        parents=[_common()],
        allow_abbrev=False,
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"{_PROG} {__version__}")
    added = parser.add_subparsers(prog=_PROG, dest="command", metavar="COMMAND", required=True)
    for name, command in commands().items():
        command.describe(added.add_parser(name, help=command.says, **_kind(command)))
    return parser


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The options that are meant, and `command`. SystemExit with 2 if they are wrong, with 0 after a help.

    Only the parser of the command that is meant is made: all of them take longer than most commands do.
    """
    words, known = list(arguments), commands()
    place = _place(words)
    name = "list" if place is None else words[place]
    if place is not None and name in known:
        del words[place]
    elif words and words[0].startswith("-"):
        name = "list"  # whose own option it is, and the word its value
    if name not in known or (words == [*arguments] and {*words} & {"-h", "--help", "--version"}):
        make_parser().parse_args(arguments)
    parser = argparse.ArgumentParser(prog=f"{_PROG} {name}", **_kind(known[name]))
    known[name].describe(parser)
    options, rest = parser.parse_known_args(words)
    # argparse takes the words of `remind WHEN --email ADDRESS MESSAGE` in one go, and leaves the last, and its --.
    marked = rest[:1] == ["--"]
    if name == "remind" and (marked or not any(word.startswith("-") and word != "-" for word in rest)):
        options.words += rest[1:] if marked else rest
        rest = []
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.command = name
    return options


def _place(words: Sequence[str]) -> int | None:
    """Where the command's name is: the first word that is no option, and no option's value."""
    value = False
    for place, word in enumerate(words):
        if not (word.startswith("-") or value):
            return place
        value = word in _WITH_VALUE and not value
    return None


def _kind(command: Command) -> dict[str, Any]:
    """What its parser is made with."""
    description = f"{command.says[0].upper()}{command.says[1:]}.{command.more}"
    return {"description": description, "parents": [_common()], "allow_abbrev": False, "formatter_class": _Formatter}


def _common() -> argparse.ArgumentParser:
    """What each command has; it may stand before its name, too."""
    parser = argparse.ArgumentParser(add_help=False, formatter_class=_Formatter)
    group = parser.add_argument_group("everywhere")
    where = "the daemon: unix:/PATH, http://HOST:PORT or https://HOST; else TIFFTOCK_URL"
    group.add_argument("--url", metavar="URL", help=where)
    group.add_argument("--key-file", metavar="FILE", help="holds the key for http; else TIFFTOCK_KEY has it")
    group.add_argument("--json", action="store_true", help="for programs: one object a line")
    group.add_argument("--no-color", action="store_true", help="no colours, as with NO_COLOR")
    return parser


def _number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,19}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is no whole number from {least} to {most}")
        return int(text)

    return read


def _id(parser: argparse.ArgumentParser, **more: Any) -> None:
    parser.add_argument(
        "ids" if more.get("nargs") == "+" else "id",
        type=_number(1, _LAST_ID),
        metavar="ID",
        help="of a reminder",
        **more,
    )


def _limit(parser: argparse.ArgumentParser, says: str) -> None:
    parser.add_argument("-n", "--limit", type=_number(1, 10**9), metavar="LIMIT", help=says)


def _nothing(_: argparse.ArgumentParser) -> None:
    """It takes nothing of its own."""


def _one(parser: argparse.ArgumentParser) -> None:
    _id(parser)


def _list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=STATES, help="in this state; else pending and firing")
    parser.add_argument("--method", metavar="NAME", help="of this method")
    parser.add_argument("--owner", metavar="UID", help="made by this uid, or by me")
    parser.add_argument("--before", metavar="WHEN", help="due before this time")
    _limit(parser, "so many at the most; else all")


def _history(parser: argparse.ArgumentParser) -> None:
    _id(parser, nargs="?")
    parser.add_argument("--outcome", choices=OUTCOMES, help="that ended so")
    _limit(parser, "so many at the most; else 100, and of one reminder all")


def _next(parser: argparse.ArgumentParser) -> None:
    _id(parser)
    parser.add_argument("-n", "--limit", type=_number(1, 1000), metavar="LIMIT", help="so many; else 10")


def _snooze(parser: argparse.ArgumentParser) -> None:
    _id(parser)
    parser.add_argument("span", metavar="SPAN", help="from now, like 10min or 1h 30min")


def _cancel(parser: argparse.ArgumentParser) -> None:
    _id(parser, nargs="+")


def _rearm(parser: argparse.ArgumentParser) -> None:
    _id(parser)
    parser.add_argument("when", metavar="WHEN", nargs="?", help="a time or a span, as of remind; else now")


def _option(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="one of the method's options; the value is JSON where it can be read so, else a text",
    )


def _remind(parser: argparse.ArgumentParser) -> None:
    ways = ("WHEN MESSAGE", "--in SPAN MESSAGE", "--repeat TIMES MESSAGE")
    parser.usage = "\n       ".join(f"{_PROG} remind [OPTION]... {way}" for way in ways)
    parser.add_argument(
        "words", metavar="WHEN MESSAGE", nargs="+", help="with --in or --repeat only MESSAGE; - reads it from the input"
    )
    method = parser.add_argument_group("by which method")
    method.add_argument("--method", metavar="NAME", help="one of tifftockctl handlers")
    method.add_argument("--email", metavar="ADDRESS", help="by email, to this address")
    method.add_argument("--sms", metavar="NUMBER", help="by sms, to this number")
    method.add_argument("--to", metavar="TO", help="for whom, of the method")
    _option(method)
    when = parser.add_argument_group("when")
    when.add_argument("--in", dest="in_", metavar="SPAN", help="instead of WHEN, like 10min")
    when.add_argument("--repeat", metavar="TIMES", help='instead of WHEN, like "Mon..Fri 08:55", daily or a cron line')
    when.add_argument("--until", metavar="WHEN", help="of --repeat: the last time it may come")
    when.add_argument("--count", type=_number(1, _LAST_ID), metavar="N", help="of --repeat: so many times")
    when.add_argument(
        "--catch-up", choices=("one", "all", "none"), help="of --repeat: which of those that were missed still come"
    )
    when.add_argument(
        "--overlap", choices=("wait", "skip"), help="of --repeat: what to do while the last one is still under way"
    )
    when.add_argument("--tz", metavar="ZONE", help="in which it is meant, like Europe/Berlin; else the daemon's")
    when.add_argument("--max-late", metavar="SPAN", help="how late it may still come")
    when.add_argument("--retries", type=_number(0, 1000), metavar="N", help="further attempts after a failure")


def _try(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", metavar="METHOD", help="one of tifftockctl handlers")
    parser.add_argument("message", metavar="MESSAGE", help="what to say; - reads it from the input")
    parser.add_argument("--to", metavar="TO", help="for whom")
    _option(parser)
    parser.add_argument(
        "--timeout", type=_number(1, 86_400), default=90, metavar="SECONDS", help="wait so long for its end; else 90"
    )


def _import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="JSON, JSON lines or CSV; - is the input")
    parser.add_argument("--format", choices=FORMATS, help="instead of what its content looks like")
    parser.add_argument("--skip-bad", action="store_true", help="import the rest where lines are wrong")
    parser.add_argument("--again", action="store_true", help="make them although the same file was imported before")
    parser.add_argument("--dry-run", action="store_true", help="let the daemon look at it all, and make nothing")
