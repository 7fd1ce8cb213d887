"""The daemon's arguments and exit codes (sysexits.h)."""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from tifftockd import __version__, journal
from tifftockd.config import Config, load_config
from tifftockd.errors import ConfigError, InvalidInput, ListenError, StoreError, TifftockError
from tifftockd.handlers.content import KINDS
from tifftockd.handlers.spec import MethodSpec

if TYPE_CHECKING:
    from tifftockd.trial import Result

EX_OK = os.EX_OK
EX_USAGE = os.EX_USAGE  # 64: the command line
EX_DATAERR = os.EX_DATAERR  # 65: the database is damaged
EX_NOINPUT = os.EX_NOINPUT  # 66: --backup finds no database
EX_UNAVAILABLE = os.EX_UNAVAILABLE  # 69: an address that somebody else has
EX_SOFTWARE = os.EX_SOFTWARE  # 70: our fault; or --try's attempt has failed for good
EX_IOERR = os.EX_IOERR  # 74: the database cannot be opened
EX_TEMPFAIL = os.EX_TEMPFAIL  # 75: another daemon has the database; or --try's attempt would be made again
EX_CONFIG = os.EX_CONFIG  # 78: a setting; systemd does not restart after this one

_USAGE = """%(prog)s [--env-file FILE] [--check | --backup FILE | --version]
       %(prog)s [--env-file FILE] --try METHOD MESSAGE [--to TO] [--option NAME=VALUE]..."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EX_USAGE, f"{self.prog}: {message}\n")


def _parser() -> _Parser:
    parser = _Parser(
        prog="tifftockd",
        usage=_USAGE,
        description="Makes something happen at an exact time, by one API call, and never loses it.",
        epilog="Settings come from the environment, credentials and the file; README.md lists them.",
    )
    parser.add_argument("--env-file", type=Path, metavar="FILE", help="the file of NAME=value settings")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="load settings and handlers, say what is wrong, and exit")
    action.add_argument("--backup", type=Path, metavar="FILE", help="copy the database, which may be in use, and exit")
    action.add_argument("--try", dest="method", metavar="METHOD", help="run a method once, show how it went, and exit")
    action.add_argument("--version", action="version", version=f"tifftockd {__version__}")
    parser.add_argument("message", nargs="?", metavar="MESSAGE", help="of --try; after -- it may begin with a -")
    parser.add_argument("--to", metavar="TO", help="of --try: for whom")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="of --try: one of the method's options"
    )
    return parser


def _read(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.method is None and (options.message is not None or options.to is not None or options.option):
        parser.error("a message, --to and --option belong to --try METHOD")
    if options.method is not None and options.message is None:
        parser.error("--try METHOD needs a MESSAGE")
    texts: dict[str, str] = {}
    for option in options.option:
        name, equals, text = option.partition("=")
        if not (name and equals) or name in texts:
            parser.error(f"--option {option}: {'it is there twice' if name in texts else 'write it as NAME=VALUE'}")
        texts[name] = text
    options.option = texts
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon and return its exit code."""
    _open_what_is_closed()
    options = _read(arguments)
    try:
        if options.method is not None:
            return _try(options)
        if options.check:
            return _check(options)
        return _serve(options) if options.backup is None else _backup(options)
    except ConfigError as error:
        return _refuse(error, EX_CONFIG)
    except ListenError as error:
        return _refuse(error, EX_UNAVAILABLE)
    except StoreError as error:
        return _refuse(error, error.exit_code)
    except TifftockError as error:
        return _refuse(error, EX_SOFTWARE)


def _open_what_is_closed() -> None:
    """Lead standard input, output and error nowhere where they are closed, or what is opened next is taken for them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _refuse(error: TifftockError, code: int) -> int:
    journal.event("start-failed", journal.ERR, message=error.message)
    return code


def _serve(options: argparse.Namespace) -> int:
    # What is imported stays: to look for garbage in it takes a tenth of the start.
    gc.disable()
    from tifftockd.daemon import Daemon
    from tifftockd.systemd import inherited_sockets

    gc.freeze()
    gc.enable()
    inherited = inherited_sockets(os.environ)
    config = load_config(os.environ, options.env_file, inherited=bool(inherited))
    journal.capture_logging()
    Daemon(config, os.environ, options.env_file, inherited).run()
    return EX_OK


def _check(options: argparse.Namespace) -> int:
    config = load_config(os.environ, options.env_file, inherited=True)
    failures = _try_handlers(config)
    return EX_CONFIG if failures else EX_OK


def _backup(options: argparse.Namespace) -> int:
    from tifftockd.store import backup

    config = load_config(os.environ, options.env_file, inherited=True)
    held = backup(config.database_path, options.backup.absolute())
    _say(f"{options.backup}: {held['reminder']} reminders, {held['history']} lines of history")
    return EX_OK


def _try_handlers(config: Config) -> int:
    """Load all handlers as the daemon would, and print what there is."""
    from tifftockd.executor import Executor
    from tifftockd.handlers.dropins import find_overlooked
    from tifftockd.trial import PATIENCE

    executor = Executor(config, lambda: None)
    executor.start()
    executor.registry.wait(PATIENCE)
    _say(f"settings: {config.env_file or 'no file'}")
    for doubt in (*config.slips, *find_overlooked(config.handlers_dir)):
        _say(doubt, sys.stderr)
    _say(f"handlers: {config.handlers_dir}{'' if os.path.isdir(config.handlers_dir) else ' (no such folder)'}")
    for spec in executor.registry.specs():
        state = f"unavailable: {spec.missing}" if spec.missing else "ready"
        _say(f"method {spec.method} ({spec.source}): {state}")
    failures = executor.registry.failures()
    for file, reason in failures:
        _say(f"{file}: {reason}", sys.stderr)
    executor.stop(0)
    return len(failures)


# ---- --try


def _try(options: argparse.Namespace) -> int:
    """Run a method once as the daemon would."""
    from tifftockd.trial import Trial

    config = load_config(os.environ, options.env_file, inherited=True)
    journal.use(level=journal.WARNING)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a handler may print anything
    try:
        with Trial(config) as trial:
            spec = trial.find(options.method)
            given = {name: _value(text, (spec.options or {}).get(name)) for name, text in options.option.items()}
            result = trial.attempt(spec, options.message, options.to, given)
    except InvalidInput as error:
        _say(f"tifftockd: {error.message}", sys.stderr)
        # Not the arguments, but what they ask for has to be mended.
        return EX_CONFIG if error.kind == "method_unavailable" else EX_USAGE
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    return _show(result, spec)


def _value(text: str, wanted: Any) -> Any:
    """What an option's text means where the method wants this type or kind of value, or one of these texts."""
    if isinstance(wanted, str) and wanted in KINDS:
        wanted = KINDS[wanted].type
    # What may be anything is a text as well as JSON: 5 is both.
    if wanted not in ("int", "float", "bool", "list", "dict") and not (wanted == "any" and text[:1] in ("{", "[")):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text  # which is not what is wanted, and is told so


def _show(result: Result, spec: MethodSpec) -> int:
    code = EX_TEMPFAIL if result.transient else EX_OK if result.outcome == "delivered" else EX_SOFTWARE
    again = {EX_OK: "", EX_TEMPFAIL: ", to be tried again", EX_SOFTWARE: ", not to be tried again"}[code]
    _say(f"method:    {spec.method} ({spec.source})")
    _say(f"outcome:   {result.outcome}{again}")
    if result.seconds is not None:
        _say(f"time:      {result.seconds:.3f} s")
    if result.error:
        _say(f"error:     {result.error}")
    for name, text in (("output", result.output), ("traceback", result.traceback)):
        if text:
            _say(f"{name}:\n{indent(text.rstrip(), '    ')}")
    return code


def _say(text: str, stream: TextIO = sys.stdout) -> None:
    stream.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
