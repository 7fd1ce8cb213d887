"""What a handler can change in its process for the attempts after it, but for its own module.

To look at all of it takes longer than all else that is done for an attempt. So while others wait behind it in the same
worker, as in a burst, only the nearest is looked at: what handlers may well change, and what would have those behind it
write where they should not or be judged wrongly. The rest is looked at after the last of them. With 10,000 at once an
attempt then costs its worker 0.12 ms instead of 0.21, and all of them take an eighth less time.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal without the enums around each value
import builtins
import ctypes
import json
import locale
import os
import resource
import signal
import socket
import stat
import sys
import threading
import time
from typing import Any

from tifftockd.worker import kin

_SIGNALS = tuple(signal.valid_signals())
# What the worker itself and most handlers use of the standard library.
_SHARED = (builtins, json, os, socket, time)
_NAMES = (*map(vars, _SHARED), vars(socket.socket))
# What the worker tells the time and answers by.
_OWN = (time, "time_ns"), (time, "sleep"), (json, "dumps"), (socket.socket, "sendall")
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
_DESCRIPTORS = "/proc/self/fd"
# A log or a database that a handler keeps open for its next attempts is no reason for a new worker, which takes 2 ms:
# with 10,000 at once that was 22 s instead of 0.6. What leaks is: so many files may stay open.
_KEPT_OPEN = 16

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t


class Surroundings:
    """As they are when it is made."""

    def __init__(self) -> None:
        self._nearest = _nearest()
        self._others = _others()
        self._opened = _opened()
        self._all_delivered = True  # since the last look at all
        self._keeps_files = False  # as it was then

    def have_changed(self, *, nearest_only: bool, delivered: bool) -> bool:
        """Whether they are not what they were; objects are the same or others, whatever they say of it.

        `delivered`: whether the attempt was. What a failed one keeps open may be in the midst of something.
        """
        self._all_delivered = self._all_delivered and delivered
        nearest = _nearest()
        if nearest is None or nearest != self._nearest:
            return True
        if nearest_only:
            return self._keeps_files and not delivered
        others = _others()
        if others is None or self._others is None:
            return True
        (count, values, objects), (count_before, values_before, objects_before) = others, self._others
        self._keeps_files = count != count_before
        if self._keeps_files and not (self._all_delivered and self._are_free()):
            return True
        self._all_delivered = True
        return values != values_before or not _are_same(objects, objects_before)

    def _are_free(self) -> bool:
        """Whether what is open, beside what was and is, are some files that nobody waits for."""
        try:
            opened = _opened()
        except BaseException:  # there may be no descriptor left to list them by, and what was done must be told
            return False
        more = opened - self._opened
        return opened > self._opened and len(more) <= _KEPT_OPEN and all(map(_is_free, more))


def _nearest() -> tuple[Any, ...] | None:
    """What is looked at after each attempt; None: cannot be had. A fifth of the time that all takes."""
    try:
        umask = os.umask(0o077)
        os.umask(umask)
        return (
            umask,
            os.getcwd(),
            os.environ._data.copy(),  # type: ignore[attr-defined]  # noqa: SLF001 os.environ decodes all of it
            sys.path.copy(),
            threading.active_count(),
            socket.getdefaulttimeout(),
            [stream.closed for stream in (sys.__stdout__, sys.__stderr__) if stream is not None],
            [(status.st_dev, status.st_ino) for status in map(os.fstat, (0, 1, 2))],
            [signal.getitimer(timer) for timer in _TIMERS],
            # By their places: objects of a handler's may say that they are equal to anything.
            *map(id, (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)),
            *[id(getattr(owner, name)) for owner, name in _OWN],
            *[id(_signal.getsignal(number)) for number in (signal.SIGCHLD, signal.SIGALRM)],
        )
    except BaseException:  # a handler may have put anything there
        return None


def _opened() -> set[int]:
    """The descriptors that are open; not that by which they are listed."""
    return {int(name) for name in os.listdir(_DESCRIPTORS) if os.path.exists(f"{_DESCRIPTORS}/{name}")}


def _is_free(descriptor: int) -> bool:
    """Whether it is of a regular file, and holds no lock: proc_pid_fdinfo(5)."""
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", "rb") as info:
            return stat.S_ISREG(os.fstat(descriptor).st_mode) and b"\nlock:" not in info.read()
    except OSError:
        return False


def _others() -> tuple[int, list[Any], tuple[Any, ...]] | None:
    """The rest: how many descriptors there are, values, and objects. None: cannot be had.

    What Python wraps is asked for without its wrapping: a third of the time.
    """
    try:
        # The folder's size since Linux 6.2, and 0 before
        count = os.stat(_DESCRIPTORS).st_size or len(os.listdir(_DESCRIPTORS))
        values = [
            os.getpriority(os.PRIO_PROCESS, 0),
            (os.getresuid(), os.getresgid(), os.getgroups()),
            os.sched_getaffinity(0),
            kin.adopts_orphans(),
            locale.setlocale(locale.LC_ALL),
            _signal.pthread_sigmask(signal.SIG_BLOCK, ()),
            [resource.getrlimit(limit) for limit in _LIMITS],
        ]
        objects = [*map(_signal.getsignal, _SIGNALS), *[sys.modules[module.__name__] for module in _SHARED]]
        for names in _NAMES:
            objects += names.values()
    except BaseException:  # a handler may have put anything there
        return None
    return count, values, tuple(objects)


def _are_same(some: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    """Whether all of them are the very same objects: CPython has where they are at the end of a tuple.

    For a thousand it takes a twentieth of what `is` for each would take, and that is half of an attempt's work again.
    """
    places = [id(objects) + tuple.__basicsize__ for objects in (some, others)]
    return len(some) == len(others) and not _memcmp(*places, len(some) * tuple.__itemsize__)
