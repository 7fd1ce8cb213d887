"""Threads whose names `ps -L`, `top -H` and debuggers show; Python itself tells the kernel only from 3.14 on."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

# prctl(2); a name has 15 characters at the most
_PR_SET_NAME = 15

_libc = ctypes.CDLL(None)


def make_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    """A daemonic thread, not started yet, which runs `target` under this name."""

    def named() -> None:
        _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
        target()

    return threading.Thread(target=named, name=name, daemon=True)
