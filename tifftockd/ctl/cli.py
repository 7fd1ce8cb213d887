"""From the command line to the exit code: every failure ends as one line on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tifftockd.ctl.errors import EX_INTERRUPTED, EX_IOERR, EX_PIPE, Failure


def main(arguments: Sequence[str] | None = None) -> int:
    """Run tifftockctl and return its exit code. SystemExit for wrong arguments, and after a help."""
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        _drop_output()
        return EX_INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return EX_PIPE
    except OSError as error:
        # What is asked of the daemon and of files ends as a Failure: this is the output's.
        _drop_output()
        sys.stderr.write(f"tifftockctl: cannot write the output: {error.strerror}\n")
        return EX_IOERR


def _run(arguments: Sequence[str]) -> int:
    # Here, so that Ctrl-C finds main() at work while they are loaded.
    from tifftockd.ctl.parser import read_arguments
    from tifftockd.ctl.screen import Screen

    options = read_arguments(arguments)
    screen = Screen(os.environ, colour=not options.no_color, as_json=options.json)
    from tifftockd.ctl.commands import run

    try:
        return run(options, screen, os.environ)
    except Failure as failure:
        screen.out.flush()
        screen.note(failure.message)
        return failure.code


def _drop_output() -> None:
    """Nobody can read it any more: the end of the process is to write none of it either."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
