"""The daemon's threads: their names, and the CPU and the memory that they share.

One of them at a time runs Python, as the interpreter has one lock. A second CPU gains them little, and each hand-over
to a thread that sleeps on another one costs an interrupt there: kept to one CPU, they answer 1.8 times as many creates
a second. Whatever they start, such as workers, may use all.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# prctl(2); a name has 15 characters at the most
_PR_SET_NAME = 15

# mallopt(3)
_M_ARENA_MAX = -8

_libc = ctypes.CDLL(None)
_all_cpus = os.sched_getaffinity(0)
_moving = threading.Lock()
_gathered_on: int | None = None


def make_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    """A daemonic thread, not started yet, which runs `target` under this name.

    `ps -L`, `top -H` and debuggers show it; Python itself tells the kernel only from 3.14 on.
    """

    def named() -> None:
        _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
        target()

    return threading.Thread(target=named, name=name, daemon=True)


def share_memory() -> None:
    """Have all threads that are still to come take memory from one arena of malloc(3): what one frees, another uses.

    Else each keeps its own: after long lists to 8 clients the daemon held twice as much. They hardly contend for
    it, as only one of them runs Python.
    """
    with suppress(AttributeError):  # not in musl, which has no arenas
        _libc.mallopt(_M_ARENA_MAX, 1)


def give_memory_back() -> None:
    """Give the kernel what malloc(3) holds and nobody uses: malloc_trim(3), some milliseconds where that is much.

    By itself it gives the end of its heap alone, which something small always holds: after 16 batches of 7 MB side by
    side the daemon kept 230 MB for good.
    """
    with suppress(AttributeError):  # not in musl
        _libc.malloc_trim(0)


def take_short_turns() -> None:
    """Let a thread that computes give way after a millisecond instead of Python's five: sys.setswitchinterval.

    One reminder in ten began 22 ms late beside a client that sent batches of 2,000; with this, 8 ms.
    """
    sys.setswitchinterval(0.001)


def gather() -> None:
    """Keep all threads, and those that they start, to the CPU that this one is on: sched_setaffinity(2).

    Where that is forbidden, as in the unit's sandbox, or not known, they stay where they are.
    """
    global _gathered_on  # noqa: PLW0603 the process's own, as its threads are
    cpu: int = _libc.sched_getcpu()  # -1: not known
    with _moving, suppress(OSError, ValueError):
        for thread in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), {cpu})
        _gathered_on = cpu


def gathered_on() -> int | None:
    """The CPU that they are kept to; None where they use all."""
    return _gathered_on


def roam() -> None:
    """Let this thread use every CPU again."""
    with suppress(OSError):
        os.sched_setaffinity(0, _all_cpus)


@contextmanager
def roaming() -> Iterator[None]:
    """Let this thread use every CPU meanwhile, and with it the process that it starts."""
    with _moving:
        kept = os.sched_getaffinity(0)
        roam()
        try:
            yield
        finally:
            with suppress(OSError):
                os.sched_setaffinity(0, kept)
