"""The daemon's arguments and exit codes (sysexits.h)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, TextIO

from tifftockd import __version__, journal
from tifftockd.config import Config, load_config
from tifftockd.errors import ConfigError, ListenError, StoreError, TifftockError

EX_OK = os.EX_OK
EX_USAGE = os.EX_USAGE  # 64: the command line
EX_DATAERR = os.EX_DATAERR  # 65: the database is damaged
EX_NOINPUT = os.EX_NOINPUT  # 66: --backup finds no database
EX_UNAVAILABLE = os.EX_UNAVAILABLE  # 69: an address that somebody else has
EX_SOFTWARE = os.EX_SOFTWARE  # 70: our fault
EX_IOERR = os.EX_IOERR  # 74: the database cannot be opened
EX_CONFIG = os.EX_CONFIG  # 78: a setting; systemd does not restart after this one

# Seconds that --check waits for drop-ins: each has 10.
_PATIENCE = 15.0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EX_USAGE, f"{self.prog}: {message}\n")


def _parser() -> _Parser:
    parser = _Parser(
        prog="tifftockd",
        description="Makes something happen at an exact time, by one API call, and never loses it.",
        epilog="Settings come from the environment, credentials and the file; README.md lists them.",
    )
    parser.add_argument("--env-file", type=Path, metavar="FILE", help="the file of NAME=value settings")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="load settings and handlers, say what is wrong, and exit")
    action.add_argument("--backup", type=Path, metavar="FILE", help="copy the database, which may be in use, and exit")
    action.add_argument("--version", action="version", version=f"tifftockd {__version__}")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
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


def _refuse(error: TifftockError, code: int) -> int:
    journal.event("start-failed", journal.ERR, message=error.message)
    return code


def _serve(options: argparse.Namespace) -> int:
    from tifftockd.daemon import Daemon
    from tifftockd.systemd import inherited_sockets

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

    executor = Executor(config, lambda: None)
    executor.start()
    executor.registry.wait(_PATIENCE)
    _say(f"settings: {config.env_file or 'no file'}")
    for spec in executor.registry.specs():
        state = f"unavailable: {spec.missing}" if spec.missing else "ready"
        _say(f"method {spec.method} ({spec.source}): {state}")
    failures = executor.registry.failures()
    for file, reason in failures:
        _say(f"{file}: {reason}", sys.stderr)
    executor.stop(0)
    return len(failures)


def _say(text: str, stream: TextIO = sys.stdout) -> None:
    stream.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
