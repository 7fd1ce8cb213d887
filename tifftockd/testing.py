"""For the tests of those who write handlers: one attempt, made as the daemon makes it.

    from tifftockd.testing import attempt

    def test_the_lamp_is_lit():
        result = attempt("lamp.py", "on", to="hall", environ={"LAMP_URL": "http://127.0.0.1:8080"})
        assert result.outcome == "delivered", result

It needs no daemon, and no test framework.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tifftockd import errors, journal
from tifftockd.config import load_config
from tifftockd.errors import ConfigError, InvalidInput, LoadError, TifftockError
from tifftockd.trial import Result, Trial

__all__ = ["ConfigError", "InvalidInput", "LoadError", "Result", "attempt"]

_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from tifftockd.testing import _main; _main()"


def attempt(
    file: str | os.PathLike[str],
    message: str,
    *,
    method: str | None = None,
    to: str | None = None,
    options: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Result:
    """Run a drop-in's handler once, now, to its end or its deadline, and return how it ended.

    `file`: the drop-in, a class's *.py or an executable; the daemon's rules for owner and mode hold. `method` need be
    given only where the file has more than one. `environ`: settings, the general ones (HANDLER_TIMEOUT, ...) and the
    handler's own, which win over the environment of the tests; an empty one is not set. No file of settings is read.
    The working directory is the one of the tests, and the umask 077.

    LoadError: the file cannot be loaded. InvalidInput: a reminder like this is what the API would refuse. ConfigError:
    a setting cannot be used. What the handler raises is no error here, but in the result.
    """
    asked = {
        "file": os.fspath(Path(file).absolute()),
        "message": message,
        "method": method,
        "to": to,
        "options": dict(options or {}),
    }
    # In a process of its own: it takes in and kills what handlers leave behind, and those may be no others' children.
    done = subprocess.run(
        [sys.executable, "-c", _BOOT, json.dumps(sys.path)],
        input=json.dumps(asked),
        env={**os.environ, **(environ or {}), "HANDLERS_DIR": os.fspath(Path(file).absolute().parent)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    kind, told = json.loads(done.stdout)
    if kind != Result.__name__:
        raise getattr(errors, kind)(told)
    return Result(**told)


def _main() -> None:
    """What `attempt` has a process for: what to do comes by standard input, how it went goes to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    journal.use(level=journal.CRIT)  # what is wrong with a file is said by an exception
    answer: tuple[str, object]
    try:
        answer = Result.__name__, asdict(_attempt(**json.load(sys.stdin)))
    except TifftockError as error:
        answer = type(error).__name__, error.message
    json.dump(answer, sys.stdout)


def _attempt(file: str, method: str | None, message: str, to: str | None, options: dict[str, Any]) -> Result:
    config = load_config(os.environ, Path(os.devnull), inherited=True)
    with Trial(config, Path(file).name) as trial:
        if failure := dict(trial.registry.failures()).get(file):
            raise LoadError(f"{file}: {failure}")
        mine = [spec.method for spec in trial.registry.specs() if spec.source == file]
        if not mine:
            raise LoadError(f"{file}: {_no_dropin(Path(file))}")
        if method not in mine and (method is not None or len(mine) > 1):
            raise InvalidInput(f"method={method!r} is none of those in {file}: {', '.join(mine)}", field="method")
        return trial.attempt(trial.find(method or mine[0]), message, to, options)


def _no_dropin(file: Path) -> str:
    if not file.is_file():
        return "there is no such file"
    return "it is no drop-in: the name of a class's file ends with .py, an executable needs a run bit (chmod a+x)"
