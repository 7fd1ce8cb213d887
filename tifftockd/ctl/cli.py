"""From the command line to the exit code: every failure ends as one line on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tifftockd.ctl.errors import EX_INTERRUPTED, EX_IOERR, EX_PIPE, Failure

if TYPE_CHECKING:
    from tifftockd.ctl.screen import Screen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run tifftockctl and return its exit code."""
    screen = None
    try:
        try:
            from tifftockd.ctl.parser import read_arguments
            from tifftockd.ctl.screen import Screen

            options = read_arguments(sys.argv[1:] if arguments is None else arguments)
            screen = Screen(os.environ, colour=not options.no_color, as_json=options.json)
            from tifftockd.ctl.commands import run

            code = run(options, screen, os.environ)
        except Failure as failure:
            if screen is None:
                raise
            code = failure.code
            screen.flush()
            screen.note(failure.message)
        screen.flush()
        return code
    except KeyboardInterrupt:
        _drop(screen)
        return EX_INTERRUPTED
    except BrokenPipeError:
        _drop(screen)
        return EX_PIPE
    except OSError as error:
        # What is asked of the daemon and of files ends as a Failure: this is the output's.
        _drop(screen)
        sys.stderr.write(f"tifftockctl: cannot write the output: {error.strerror}\n")
        return EX_IOERR


def _drop(screen: Screen | None) -> None:
    if screen is not None:
        screen.drop()
