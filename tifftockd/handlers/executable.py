"""Executables: methods in any language. A class runs such a file in a worker; NAME.json declares what it accepts."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from tifftockd.errors import HandlerError, LoadError, PermanentError, TransientError
from tifftockd.handlers import RemindProcess
from tifftockd.handlers.dropins import Stamp, method_of, stamp_of
from tifftockd.handlers.spec import NAME, TYPES, MethodSpec, describe

# What is kept of the end of standard error to find its last line in, in bytes; and how much of that line is told, in
# characters. All of it is in the attempt's output.
_TAIL = 4096
_TOLD = 300
_READ_BYTES = 65_536
# Once the program has ended, what others still write to its standard error is read up to here, in bytes: what a pipe
# holds at the most (pipe(7)).
_REST = 1024 * 1024

# What no later attempt can find different: execve(2)
_FOR_GOOD = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.ELIBBAD, errno.EINVAL}
_SYSEXITS = {getattr(os, name): name for name in dir(os) if name.startswith("EX_")}


class Executable(RemindProcess):
    """One run of the file: exit status 0 is delivered, 75 is transient, the others of sysexits.h are permanent."""

    _path: ClassVar[str]
    _descriptor: ClassVar[int]
    _stamp: ClassVar[Stamp]

    def __init__(self, reminder: Mapping[str, Any]) -> None:
        super().__init__(reminder)
        self._told = dict(reminder)

    def remind(self, message: str) -> None:
        """Run it to its end."""
        if stamp_of(os.fstat(self._descriptor)) != self._stamp:
            raise TransientError(f"{self._path} has been written to since it was loaded: a reload takes it up")
        process = self._start(message)
        last_line = _pass_on_errors(process)
        _judge(process.wait(), last_line)

    def _start(self, message: str) -> subprocess.Popen[bytes]:
        """Start the file as it was checked: what has been put in its place waits for the reload.

        By its own name as long as that leads there, for `$0` and what people see in ps(1). Only root and the daemon's
        user could exchange it now, until the kernel has opened it, and a script's interpreter once more: what they put
        there in this moment is run. A link is not followed again: it may lead to where somebody else could.
        """
        stdin = _memory_file(_json(self._told) + b"\n")
        try:
            if self._is_in_its_place():
                # It may have been taken away since. What is wrong with the file itself is so by its descriptor, too.
                with suppress(OSError):
                    return self._run(self._path, message, stdin)
            return self._run(f"/proc/self/fd/{self._descriptor}", message, stdin)
        except OSError as error:
            raise self._why_not(error) from None
        finally:
            os.close(stdin)

    def _is_in_its_place(self) -> bool:
        try:
            return os.path.samestat(os.lstat(self._path), os.fstat(self._descriptor))
        except OSError:  # it has been removed
            return False

    def _run(self, program: str, message: str, stdin: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._path, message.encode()],
            executable=program,
            stdin=stdin,
            stderr=subprocess.PIPE,
            env=dict(os.environb) | variables(self._told),
            # A script is read by its interpreter, by that name.
            pass_fds=[self._descriptor] if program != self._path else [],
            # `kill 0` in a script is for what the script has started.
            start_new_session=True,
        )

    def _why_not(self, error: OSError) -> HandlerError:
        """Why it could not be started: surely nothing was done."""
        if error.errno == errno.E2BIG:
            return PermanentError("message, options and settings are longer than what a program can be given")
        if error.errno == errno.ENOEXEC:
            return PermanentError(
                f"{self._path} is no program for this machine; a script begins with a line like #!/bin/sh"
            )
        if error.errno in (errno.EACCES, errno.EPERM):
            return PermanentError(f"{self._path} or its interpreter may not be run: {error.strerror}")
        if error.errno in _FOR_GOOD:
            return PermanentError(f"{self._path} cannot be run: {self._missing() or error.strerror}")
        return TransientError(f"{self._path} cannot be started: {error.strerror}")

    def _missing(self) -> str | None:
        """That it lacks its interpreter, by name: the file itself is there."""
        try:
            with open(f"/proc/self/fd/{self._descriptor}", "rb") as file:
                first = file.readline(256)
        except OSError:
            return None
        if not first.startswith(b"#!"):
            return "the loader or a library that it was built with is not here"
        if first.endswith(b"\r\n"):
            return "its first line ends with CR LF; save it with the line ends of Unix"
        interpreter = (first[2:].split() or [b""])[0].decode("utf-8", "replace")
        return f"its interpreter {interpreter} is not there"


def run_class(path: str, descriptor: int, stamp: Stamp) -> type[Executable]:
    """The class that runs a file, for its workers."""
    return type("Bound", (Executable,), {"_path": path, "_descriptor": descriptor, "_stamp": stamp, **_named(path)})


def variables(reminder: Mapping[str, Any]) -> dict[bytes, bytes]:
    """What a reminder says, as environment variables: a text as it is, nothing as an empty one, the rest as JSON."""
    return {
        f"TIFFTOCK_{name.upper()}".encode(): b"" if value is None else _text(value) for name, value in reminder.items()
    }


def _text(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else _json(value)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _memory_file(data: bytes) -> int:
    """A file, not a pipe: the program may read it or not, and nobody waits for that."""
    descriptor = os.memfd_create("reminder", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _pass_on_errors(process: subprocess.Popen[bytes]) -> str:
    """Copy its standard error to this worker's until it ends; the last line."""
    assert process.stderr is not None
    tail = bytearray()
    ended = os.pidfd_open(process.pid)
    try:
        with process.stderr as stream:
            source = stream.fileno()
            poll = select.poll()
            poll.register(source, select.POLLIN)
            poll.register(ended, select.POLLIN)
            # Until its own end, not that of the pipe: what it leaves running may have that open for long.
            while all(descriptor != ended for descriptor, _ in poll.poll()):
                if not _pass_on(source, tail):
                    poll.unregister(source)
            poll.unregister(ended)
            rest = _REST
            while rest > 0 and poll.poll(0) and (count := _pass_on(source, tail)):
                rest -= count
    finally:
        os.close(ended)
    return _last_line(tail)


def _pass_on(source: int, tail: bytearray) -> int:
    """Copy what is there, and keep the end of it; how much that was."""
    data = os.read(source, _READ_BYTES)
    tail += data
    del tail[:-_TAIL]
    view = memoryview(data)
    while view:
        view = view[os.write(2, view) :]
    return len(data)


def _last_line(tail: bytearray) -> str:
    lines = [line.strip() for line in tail.decode("utf-8", "replace").splitlines() if line.strip()]
    shown = "".join(mark if mark.isprintable() else " " for mark in lines[-1]) if lines else ""
    return shown[:_TOLD]


def _judge(status: int, last_line: str) -> None:
    """Say by an exception how it went, unless it went well. `status`: as subprocess has it."""
    if status == os.EX_OK:
        return
    how = f"it was killed by {signal_name(-status)}" if status < 0 else f"it exited with status {status}"
    if status in _SYSEXITS:
        how += f" ({_SYSEXITS[status]})"
    reason = f"{how}: {last_line}" if last_line else how
    if status == os.EX_TEMPFAIL:
        raise TransientError(reason)
    if os.EX_USAGE <= status <= os.EX_CONFIG:
        raise PermanentError(reason)
    raise HandlerError(reason)


def signal_name(number: int) -> str:
    """SIGTERM and the like; most real-time signals have a number only."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# ---- what NAME.json declares


def describe_program(path: str, text: bytes, env: Mapping[str, str]) -> MethodSpec:
    """What an executable accepts and needs, by the text of its NAME.json; LoadError names the field that is wrong."""
    named = _named(path)
    if not NAME.fullmatch(named["method"]):
        raise LoadError(f"its name is too long for a method; it must match {NAME.pattern}")
    try:
        declared = {name: _FIELDS[name](name, value) for name, value in _read(text).items()} if text else {}
        return describe(type("Declared", (Executable,), declared | named), path, env)
    except LoadError as error:
        raise LoadError(f"{named['method']}.json: {error.message.removeprefix('Declared.')}") from None


def _named(path: str) -> dict[str, str]:
    return {"method": method_of(Path(path).name) or ""}


def _read(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text.decode("utf-8-sig"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise LoadError(f"it is not UTF-8 (its byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise LoadError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise LoadError("it holds what no declaration can mean") from None
    if not isinstance(value, dict):
        raise LoadError('it must be an object like {"timeout": "90s"}')
    for name in value:
        if name not in _FIELDS:
            raise LoadError(f"there is no field {name!r:.66}; known: {', '.join(_FIELDS)}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise LoadError(f"{twice} is there twice")
    return value


# ---- one function for each field: its name and its value in, what a class would have out


def _options(name: str, value: object) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise LoadError(f'{name} must be an object like {{"subject": "str"}}')
    return {option: _option(f"{name}[{option!r}]", wanted) for option, wanted in value.items()}


def _option(name: str, wanted: object) -> object:
    if isinstance(wanted, str) and wanted in TYPES:
        return float if wanted == "float" else TYPES[wanted]
    if wanted == "line":
        return wanted
    if isinstance(wanted, list) and wanted and all(isinstance(value, str) for value in wanted):
        return wanted
    known = ", ".join([*TYPES, "line"])
    raise LoadError(f"{name} must be one of {known}, or a list of allowed strings")


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, value, "true or false")
    return value


def _settings(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise _wrong(name, value, 'a list of names like ["LAMP_KEY"]')
    return tuple(value)


def _as_of_a_class(name: str, value: object) -> object:  # noqa: ARG001  the others say it in errors
    return value


def _wrong(name: str, value: object, right: str) -> LoadError:
    return LoadError(f"{name} is {json.dumps(value):.100}; it must be {right}")


_FIELDS: dict[str, Callable[[str, Any], object]] = {
    "options": _options,
    "needs_to": _flag,
    "timeout": _as_of_a_class,
    "concurrency": _as_of_a_class,
    "repeatable": _flag,
    "memory": _as_of_a_class,
    "output": _as_of_a_class,
    "renew": _as_of_a_class,
    "settings": _settings,
}
