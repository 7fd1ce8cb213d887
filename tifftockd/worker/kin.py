"""Process trees: who descends from whom (proc(5)), and how to end them all."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from contextlib import suppress

from tifftockd import clock

# prctl(2)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37

# How long a tree that goes on forking is chased, in seconds.
_CHASE = 2.0

_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parent dies (subreaper): a double fork does not escape."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def adopts_orphans() -> bool:
    """Whether it is so (still)."""
    answer = ctypes.c_int()
    return _libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0) == 0 and bool(answer.value)


def die_with(parent: int) -> None:
    """Be killed when the process that forked this one dies; end at once if it is `parent` no more."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def children(pid: int) -> list[int]:
    """The living children of a process, zombies left out; empty when the process is gone."""
    return [child for child in _listed(pid) if _lives(child)]


def _listed(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as listing:
                found += [int(child) for child in listing.read().split()]
    return found


def is_stopped(pid: int) -> bool:
    """Whether a signal or a tracer has stopped a process."""
    return _state(pid) in {"T", "t"}


def _lives(pid: int) -> bool:
    return _state(pid) not in {"Z", "X"}


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            # The state stands behind the name, which may hold anything, ")" included.
            return stat.read().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def kill_descendants(pid: int, spare: frozenset[int] = frozenset()) -> None:
    """Kill all that descends from a process, but for the trees of the children in `spare`.

    Each is stopped before its own children are looked up, so that it cannot fork meanwhile; then once more, until
    nothing new is found: one that dies as it is looked at may leave a child to this process. The process itself should
    be stopped, or the caller: then the dead are buried, too.
    """
    end = clock.monotonic() + _CHASE
    dead: set[int] = set()
    while clock.monotonic() < end:
        found = set(_listed(pid)) - spare
        for child in found:
            # In one call all of a fork bomb, which would take the time that the walk needs.
            kill_group(child)
        doomed = {child for child in found if _lives(child)}
        if pid == os.getpid():
            _bury(found - doomed)
        if not doomed and found <= dead:
            return
        dead = found - doomed
        walk = list(doomed)
        for one in walk:
            _signal(one, signal.SIGSTOP)
            new = [child for child in children(one) if child not in doomed]
            doomed.update(new)
            walk += new
        for one in doomed:
            kill_group(one)
            _signal(one, signal.SIGKILL)
        if doomed:
            # SIGKILL is on its way when kill(2) returns; give the processes a moment to become zombies.
            time.sleep(0.0005)


def _bury(dead: set[int]) -> None:
    for child in dead:
        with suppress(ChildProcessError):
            os.waitpid(child, os.WNOHANG)


def kill_tree(pid: int) -> None:
    """Kill a process and all that descends from it."""
    _signal_group(pid, signal.SIGSTOP)
    _signal(pid, signal.SIGSTOP)
    kill_descendants(pid)
    kill_group(pid)
    _signal(pid, signal.SIGKILL)


def kill_group(leader: int) -> None:
    """Kill a process group. Its leader should not have been reaped: then the number is nobody else's."""
    _signal_group(leader, signal.SIGKILL)


def is_below(pid: int, ancestor: int) -> bool:
    """Whether a process descends from another, both alive."""
    found = [ancestor]
    for one in found:
        found += children(one)
    return pid in found[1:]


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
