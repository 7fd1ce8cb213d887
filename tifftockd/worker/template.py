"""A template process: it imports a method's code once, and forks the workers that run it."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import socket
import sys
import traceback
import types
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

from tifftockd.errors import LoadError
from tifftockd.handlers import RemindProcess
from tifftockd.handlers.spec import MethodSpec, describe, method_name
from tifftockd.worker import forking, kin
from tifftockd.worker.attempt import Limits, run_worker

# What of a long reason is sent: SEQPACKET takes no message without end.
_REASON_CHARACTERS = 4000
# What is none of a handler's: a function of which a call gives something that has not begun to run.
_UNBEGUN = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


def run_template(command: Mapping[str, Any], control_fd: int, code_fd: int = -1) -> NoReturn:
    """Load, say what is there, then fork a worker for each command until the daemon's end is closed."""
    control = socket.socket(fileno=control_fd)
    kin.adopt_orphans()
    source = command["source"]
    try:
        classes = load(command, code_fd)
        specs = [_spec(cls, source) for _, cls in classes]
    except BaseException as error:
        _tell(control, {"error": _reason(error, source)[:_REASON_CHARACTERS]})
        os._exit(1)
    # fork(2) copies only the forking thread: a lock that another one holds would never be given back.
    threads = len(os.listdir("/proc/self/task")) > 1
    _tell(control, {"specs": [spec._asdict() for spec in specs], "threads": threads})
    by_method = dict(classes)

    def start(command: dict[str, Any], descriptors: list[int]) -> NoReturn:
        run_worker(by_method[command["method"]], Limits(**command["limits"]), *descriptors)

    forking.serve(control, start)
    os._exit(0)


def _tell(control: socket.socket, said: dict[str, Any]) -> None:
    # The daemon may have stopped meanwhile, or have no more use for what this is.
    with suppress(ConnectionError):
        control.send(json.dumps(said).encode())


def load(command: Mapping[str, Any], code_fd: int = -1) -> list[tuple[str, type[RemindProcess]]]:
    """Import a built-in's module, or run a drop-in's text, and return its methods with their classes.

    `command`: {"source": "built-in" or a drop-in's path, "module": what to import, or the name that a drop-in's module
    gets}; with {"source", "stamp": which version of the file it is} it is an executable. `code_fd` holds the drop-in as
    the daemon read and checked it: what runs is what was checked, also when the file has changed since. What a module
    prints while it is imported belongs to no attempt and goes to standard error.
    """
    os.dup2(2, 1)
    source = command["source"]
    if "stamp" in command:
        from tifftockd.handlers.executable import run_class

        program = run_class(source, code_fd, tuple(command["stamp"]))
        return [(program.method, program)]
    module = command["module"]
    if code_fd < 0:
        loaded = importlib.import_module(module)
    else:
        # pread(2): the file's offset is shared with every process that has this descriptor.
        text = os.pread(code_fd, os.fstat(code_fd).st_size, 0)
        os.close(code_fd)
        code = compile(text, source, "exec", dont_inherit=True)
        loaded = types.ModuleType(module)
        loaded.__file__ = source
        sys.modules[module] = loaded
        exec(code, loaded.__dict__)  # noqa: S102 it is what a drop-in is for; its file was checked
    found = [
        value
        for value in vars(loaded).values()
        if isinstance(value, type) and issubclass(value, RemindProcess) and value.__module__ == module
    ]
    classes = list(dict.fromkeys(found))  # one may have two names
    complete = [cls for cls in classes if not inspect.isabstract(cls)]
    if classes and not complete:
        raise LoadError(f"{classes[0].__name__} has no method remind(self, message)")
    if not classes:
        raise LoadError("it defines no subclass of tifftockd.RemindProcess")
    for cls in complete:
        _check_calls(cls)
        cls.prepare()
    by_method: dict[str, type[RemindProcess]] = {}
    for cls in complete:
        method = method_name(cls)
        if method in by_method:
            raise LoadError(f"{by_method[method].__name__} and {cls.__name__} are both method {method}")
        by_method[method] = cls
    return list(by_method.items())


def _check_calls(cls: type[RemindProcess]) -> None:
    """LoadError if each attempt would fail at its call, or do nothing: better now than when one is due."""
    for name, argument in (("__init__", "reminder"), ("remind", "message")):
        function = inspect.getattr_static(cls, name)
        if not isinstance(function, types.FunctionType):
            continue  # made by something that knows better
        called, right = f"{cls.__name__}.{name}", f"write def {name}(self, {argument})"
        if function.__code__.co_flags & _UNBEGUN:
            raise LoadError(f"{called} would not begin when it is called: {right}, without async or yield")
        try:
            inspect.signature(function, follow_wrapped=False).bind(cls, argument)
        except NameError:
            continue  # by Python 3.14, of an annotation
        except TypeError as error:
            raise LoadError(f"{called} cannot be called with a {argument} alone: {error}; {right}") from None


def _spec(cls: type[RemindProcess], source: str) -> MethodSpec:
    return describe(cls, source, os.environ)


def _reason(error: BaseException, path: str) -> str:
    """Why an import failed, in one line, with the drop-in's own line where there is one."""
    if isinstance(error, LoadError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    where = f"line {lines[-1]}: " if lines else ""
    return f"{where}{type(error).__name__}: {error}".splitlines()[0]
