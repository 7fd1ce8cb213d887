"""A worker process: it runs one attempt after another, and answers each in one line of JSON."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import io
import json
import math
import os
import resource
import socket
import sys
import termios
import time
import traceback
import types
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple, NoReturn

from tifftockd import clock
from tifftockd.clock import SECOND
from tifftockd.errors import HandlerError, PermanentError, TransientError
from tifftockd.handlers import RemindProcess
from tifftockd.reminder import Verdict
from tifftockd.worker import jobs, kin
from tifftockd.worker.surroundings import Surroundings

# An attempt whose time is further away than this, in microseconds, was handed over before the clock was set back.
_TOO_EARLY = 1 * SECOND
# What is kept of an error's text and of the end of its traceback, in characters: an answer has its limit.
_ERROR_CHARACTERS = 2000
_TRACE_CHARACTERS = 3000

_NOTHING = bytes(ctypes.sizeof(ctypes.c_int))  # what FIONREAD says of an empty pipe, see ioctl_pipe(2) and tty(4)

# What a call gives that has not begun to run.
_UNBEGUN = (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)


class Limits(NamedTuple):
    """What a worker may use."""

    memory: int  # bytes of address space
    renew: int  # attempts


def run_worker(cls: type[RemindProcess], limits: Limits, socket_fd: int, output_fd: int, permits_fd: int) -> NoReturn:
    """Answer attempts until the daemon's end is closed or `limits.renew` of them have been run."""
    stream = socket.socket(fileno=socket_fd)
    pid = os.getpid()
    _settle_in(limits, output_fd)
    streams, surroundings = (sys.stdout, sys.stderr), Surroundings()
    with suppress(ConnectionError), stream.makefile("rb") as incoming:  # the daemon may die at any time
        stream.sendall(json.dumps({"pid": pid}).encode() + b"\n")
        for count, job in enumerate(jobs.unpack(incoming), start=1):
            if job["behind"] and not _may_begin(permits_fd):
                break
            if job["leave"] is not None:
                _leave(job["leave"])
            answer = _attempt(cls, job)
            if os.getpid() != pid:
                # A child of os.fork() in a handler has come back from remind(): its parent's answer is the one.
                os._exit(0)
            for printed in (*streams, getattr(sys, "stdout", None), getattr(sys, "stderr", None)):
                with suppress(BaseException):  # the handler may have closed it, or put anything there
                    printed.flush()  # type: ignore[union-attr]
            # What one attempt has changed, the next must not find.
            delivered = answer["verdict"] is Verdict.DELIVERED
            spoiled = _bury_children() or surroundings.have_changed(nearest_only=job["more"], delivered=delivered)
            printed = spoiled or _has_printed()
            answer |= {
                "job": job["job"],
                "last": answer.get("last", False) or spoiled or count >= limits.renew or (printed and job["more"]),
                "printed": printed,
                "spoiled": spoiled,
                "finished": clock.now(),
            }
            stream.sendall(json.dumps(answer).encode() + b"\n")
            if answer["last"]:
                break
    os._exit(0)


def _settle_in(limits: Limits, output_fd: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    os.close(output_fd)
    # UTF-8 whatever the locale says; a handler may print anything.
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), "utf-8", "replace")
    sys.stdout, sys.stderr = (_printing_to(descriptor) for descriptor in (1, 2))
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    kin.adopt_orphans()
    # The template's objects are here to stay: not looking at them keeps their pages shared.
    gc.freeze()


def _printing_to(descriptor: int) -> io.TextIOWrapper:
    raw = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False))
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True)


def _leave(cpu: int) -> None:
    """Go on on another CPU than this one, if there is another; from then on it may be any again.

    Who is woken by a thread of a busy CPU often stays there, while others are idle: 10,000 at once took a tenth longer.
    """
    with suppress(OSError):  # where it is forbidden to choose
        allowed = os.sched_getaffinity(0)
        if others := allowed - {cpu}:
            os.sched_setaffinity(0, others)
            os.sched_setaffinity(0, allowed)


def _may_begin(permits_fd: int) -> bool:
    """Take a permit, unless the daemon has: see `jobs`."""
    try:
        os.eventfd_read(permits_fd)
    except BlockingIOError:
        return False
    return True


def _attempt(cls: type[RemindProcess], job: dict[str, Any]) -> dict[str, Any]:
    due = job["fire_at"]
    # sleep(3) counts on a clock of its own: look at the wall clock again, and never begin before the instant.
    while (ahead := due - clock.now()) > 0:
        if ahead > _TOO_EARLY:
            return {"verdict": Verdict.RETURNED, "started": None}
        time.sleep(ahead / SECOND)
    started = clock.now()
    if started > job["latest"]:
        return {"verdict": Verdict.TOO_LATE, "started": None}
    return _call(cls, job["reminder"]) | {"started": started}


def _call(cls: type[RemindProcess], reminder: dict[str, Any]) -> dict[str, Any]:
    try:
        result = cls(reminder).remind(reminder["message"])
        if isinstance(result, _UNBEGUN):
            raise PermanentError(
                f"remind() only made a {type(result).__name__}, and did nothing: write it without async or yield"
            )
    except PermanentError as error:
        return {"verdict": Verdict.PERMANENT, **_told(error)}
    except TransientError as error:
        return {"verdict": Verdict.TRANSIENT, "retry_after": _seconds(error), **_told(error)}
    except HandlerError as error:  # a sentence that says it all
        return {"verdict": Verdict.BROKEN, **_told(error)}
    except Exception as error:
        with suppress(BaseException):  # standard error may be closed
            sys.stderr.write(_traced(error))
        # Memory that is exhausted once tends to stay so.
        return {"verdict": Verdict.BROKEN, "last": isinstance(error, MemoryError), **_told(error)}
    except BaseException as error:
        # SystemExit and KeyboardInterrupt mean to end the process; the attempt's outcome is told first.
        return {"verdict": Verdict.BROKEN, "last": True, **_told(error)}
    return {"verdict": Verdict.DELIVERED}


def _told(error: BaseException) -> dict[str, str]:
    trace = ""
    with suppress(BaseException):
        trace = _traced(error)[-_TRACE_CHARACTERS:]
    return {"error": _named(error), "trace": trace}


def _traced(error: BaseException) -> str:
    """The traceback, from the handler's own code on."""
    own = error.__traceback__ and error.__traceback__.tb_next
    return "".join(traceback.format_exception(type(error), error, own or error.__traceback__))


def _named(error: BaseException) -> str:
    try:
        text = str.__str__(str(error))  # a subclass' text without its methods
    except BaseException:  # it may mean to end the process: the attempt's outcome is told first
        text = "(its text cannot be had)"
    if isinstance(error, HandlerError) and text:
        return text[:_ERROR_CHARACTERS]  # a sentence of its own already
    return f"{type(error).__name__}: {text}"[:_ERROR_CHARACTERS].rstrip(": ")


def _seconds(error: TransientError) -> float | None:
    """How long it asks to wait; None for anything that is no number of seconds."""
    try:
        wait: object = getattr(error, "retry_after", None)
        seconds = wait.total_seconds() if isinstance(wait, timedelta) else float(wait)  # type: ignore[arg-type]
    except BaseException:  # as for its text
        return None
    return seconds if math.isfinite(seconds) else None


def _has_printed() -> bool:
    """Whether there is anything in the pipe, by whomever: programs that the handler starts print there, too."""
    try:
        return fcntl.ioctl(1, termios.FIONREAD, _NOTHING) != _NOTHING
    except OSError:
        return True


def _bury_children() -> bool:
    """Reap what an attempt started and kill what it left running; True if there was any of the latter."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    kin.kill_descendants(os.getpid())
    return True
