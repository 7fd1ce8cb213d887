"""The processes that workers are forked from, as the daemon sees them: the bare parent, and a template a module."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import tifftockd
from tifftockd import clock, journal, threads
from tifftockd.executor.forker import Forker, pair
from tifftockd.executor.loop import Loop, Timer
from tifftockd.handlers.dropins import Dropin
from tifftockd.handlers.spec import BUILT_IN
from tifftockd.worker import kin

# Seconds until a worker is killed, and without a death until the template that is to kill it is taken to hang. Together
# well below two: so long after its deadline an attempt has its outcome.
_KILL = 0.3
_HUNG = 1.0
# Seconds after its last worker until a template is let go, and after the last template until the parent is.
_IDLE = 60.0
_CHILDLESS = 5.0

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from tifftockd.worker.parent import main; main(int(sys.argv[2]))"
_ROOT = str(Path(tifftockd.__file__).resolve().parent.parent)


class Parent:
    """The bare parent process, started when it is needed, and let go when nothing is left that it has forked."""

    # Of all generations: what else descends from the daemon is an orphan of a parent that died.
    _pids: ClassVar[set[int]] = set()

    def __init__(self, loop: Loop, environ: dict[str, str]) -> None:
        """`environ`: what handlers will see."""
        self._loop = loop
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None
        self._forker: Forker | None = None
        self._retire: Timer | None = None
        self._retired: list[tuple[subprocess.Popen[bytes], Forker]] = []  # they are about to end
        self._closed = False

    def forker(self) -> Forker:
        """Where commands go."""
        if self._closed:
            raise RuntimeError("these handlers have been replaced")
        if self._forker is None:
            with _pair() as (ours, theirs), threads.roaming():
                # -I: neither the working directory nor PYTHON* variables can slip a module in. A session of its
                # own: a terminal's Ctrl-C is for the daemon alone.
                self._process = process = subprocess.Popen(
                    [sys.executable, "-I", "-c", _BOOT, _ROOT, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=2,
                    env=self._environ,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            self._pids.add(process.pid)
            self._forker = Forker(self._loop, ours, lambda: self._gone(process), self._retire_later)
        return self._forker

    def kill_child(self, tag: int) -> None:
        """Kill a template, or a worker without one, with all that it started."""
        if self._forker is not None:
            self._forker.kill(tag)

    def kill_stopped(self) -> bool:
        """If somebody keeps it stopped, kill it and all that it started, whatever method that is of."""
        if self._process is None or not kin.is_stopped(self._process.pid):
            return False
        kin.kill_tree(self._process.pid)
        return True

    def kill_below(self, pid: int) -> None:
        """Kill a process, if it descends from this one."""
        if self._process is not None and kin.is_below(pid, self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def resume(self) -> None:
        """Let it go on, in case that somebody has stopped it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def resume_child(self, tag: int) -> None:
        """Let a template go on, likewise."""
        if self._forker is not None:
            self._forker.resume(tag)

    def close(self) -> None:
        """Let it end, and wait for that."""
        self._closed = True
        if self._forker is not None:
            self._forker.close()
            self._forker = None
        self.resume()
        if self._process is not None:
            self._bury(self._process)
            self._process = None
        for process, forker in self._retired:
            process.send_signal(signal.SIGCONT)  # in case that somebody has stopped it, too
            forker.close()
            self._bury(process)
        self._retired = []

    def _retire_later(self) -> None:
        if self._retire is not None:
            self._retire.cancel()
        self._retire = self._loop.after(_CHILDLESS, self._let_go)

    def _let_go(self) -> None:
        """The next fork starts another one, also while this one still ends."""
        if self._process is None or self._forker is None or self._forker.has_children:
            return
        self.resume()
        self._forker.finish()
        self._retired.append((self._process, self._forker))
        self._process = self._forker = None

    def _gone(self, process: subprocess.Popen[bytes]) -> None:
        """It has ended: as it was to, or not."""
        if process is self._process:
            self._process = self._forker = None
            journal.event("parent-died", journal.ERR)
        self._retired = [one for one in self._retired if one[0] is not process]
        self._bury(process)
        if process.returncode != 0:  # else it has taken along all that descends from it
            kin.kill_descendants(os.getpid(), spare=frozenset(self._pids))

    def _bury(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            kin.kill_tree(process.pid)
            process.wait()
        self._pids.discard(process.pid)


class Template:
    """A method's code and the process that has loaded it; the process comes and goes with the work."""

    def __init__(self, loop: Loop, parent: Parent, command: Mapping[str, Any], code: int = -1) -> None:
        """`command` and `code` (a descriptor, or -1): what `tifftockd.worker.template.load` takes."""
        self._loop = loop
        self._parent = parent
        self._command = dict(command)
        self._code = code
        self._forker: Forker | None = None
        self._tag = 0
        self._workers: dict[int, tuple[Forker, int]] = {}  # who forked each, and that process' own tag
        self._last_death = 0.0
        self._retire: Timer | None = None
        self._old: list[tuple[Forker, int]] = []  # those before, while workers of theirs are there
        self.threads = False  # its import starts threads: it cannot be forked
        self.fault: str | None = None

    @classmethod
    def of_builtin(cls, loop: Loop, parent: Parent, module: str) -> Template:
        """For a module that is imported."""
        return cls(loop, parent, {"source": BUILT_IN, "module": module})

    @classmethod
    def of_dropin(cls, loop: Loop, parent: Parent, dropin: Dropin) -> Template:
        """For a file as it was read and checked. An executable's descriptor belongs to the template from now on."""
        if dropin.program is not None:
            program = dropin.program
            return cls(loop, parent, {"source": dropin.path, "stamp": program.stamp}, program.descriptor)
        return cls(loop, parent, {"source": dropin.path, "module": dropin.module}, _memory_file(dropin.text))

    def load(self, hello: Callable[[dict[str, Any]], None], died: Callable[[int], None]) -> None:
        """Start the process; `hello` is told what it found, `died` its status, as of Forker.fork. OSError."""
        self.fault = None
        parent = self._parent.forker()
        self._parent.resume()
        with _pair() as (ours, theirs):
            self._tag = parent.fork(self._command, [theirs.fileno(), *self._code_fd()], died)
        self._forker = forker = Forker(self._loop, ours, lambda: self._gone(forker))

        def heard(message: dict[str, Any]) -> None:
            hello(message)
            self._retire_later()  # should it get no worker

        forker.hello = heard

    def close(self) -> None:
        """Let the process end, and its workers with it."""
        if self._forker is not None:
            self._old.append((self._forker, self._tag))
        for old in self._old:
            self._end(*old)
        self._forker, self._old = None, []

    def discard(self) -> None:
        """Close it, and give the drop-in's descriptor back."""
        self.close()
        if self._code >= 0:
            os.close(self._code)
            self._code = -1

    # ---- starter.Source

    def fork_worker(
        self, method: str, limits: dict[str, int], descriptors: list[int], died: Callable[[int], None]
    ) -> int:
        """A worker for one of the module's methods; the template is started first where it has gone."""
        command: dict[str, Any] = {"method": method, "limits": limits}
        if self.threads:
            forker = self._parent.forker()
            command |= self._command
            descriptors = [*descriptors, *self._code_fd()]
        else:
            if self._forker is None:
                self.load(self._noted, lambda _status: None)
            assert self._forker is not None
            forker = self._forker
        # A handler may have stopped what it was forked from.
        self._resume(self._tag)

        def ended(status: int) -> None:
            self._workers.pop(tag, None)
            self._last_death = clock.monotonic()
            self._close_old()
            self._retire_later()
            died(status)

        tag = forker.fork(command, descriptors, ended)
        self._workers[tag] = forker, self._tag
        return tag

    def renew(self) -> None:
        """The next worker comes of a new process: what a handler did to this one may be why none can be started."""
        if self._forker is not None:
            self._old.append((self._forker, self._tag))
            self._forker = None
            self._close_old()

    def kill_worker(self, tag: int, pid: int) -> None:
        """By the process that forked it. Has a handler stopped that, it is resumed; does it hang, it is killed.

        In the end, where a handler goes on stopping all that could kill it, the daemon kills the whole tree itself.
        """

        def intervene() -> None:
            if pid > 0:
                self._parent.kill_below(pid)
            self._resume(self._workers[tag][1])

        def force() -> None:
            # One that is only slow has others' attempts below it, too.
            if not self._parent.kill_stopped():
                steps.append((_HUNG, force))

        steps: list[tuple[float, Callable[[], None]]] = [
            (_KILL, lambda: self._workers[tag][0].kill(tag)),
            (_HUNG, intervene),
            (_KILL, lambda: self._parent.kill_child(self._workers[tag][1])),
            (_KILL, force),
        ]

        def kill() -> None:
            if tag not in self._workers or not steps:
                return
            if len(steps) <= 2 and clock.monotonic() < self._last_death + _HUNG:
                self._loop.after(_HUNG, kill)  # it is busy killing others
                return
            seconds, step = steps.pop(0)
            step()
            self._loop.after(seconds, kill)

        kill()

    def _resume(self, tag: int) -> None:
        self._parent.resume()
        self._parent.resume_child(tag)

    def _gone(self, forker: Forker) -> None:
        if self._forker is forker:
            self._forker = None

    def _close_old(self) -> None:
        busy = [forker for forker, _ in self._workers.values()]
        for old in [old for old in self._old if old[0] not in busy]:
            self._old.remove(old)
            self._end(*old)

    def _end(self, forker: Forker, tag: int) -> None:
        forker.close()
        # One that a handler has stopped does not notice that.
        self._parent.resume()
        self._parent.kill_child(tag)

    def _noted(self, message: dict[str, Any]) -> None:
        self.fault = message.get("error")

    def _code_fd(self) -> list[int]:
        return [self._code] if self._code >= 0 else []

    def _retire_later(self) -> None:
        if self._workers or self._forker is None:
            return
        if self._retire is not None:
            self._retire.cancel()

        def retire() -> None:
            if not self._workers:
                self.close()

        self._retire = self._loop.after(_IDLE, retire)


@contextmanager
def _pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Sockets, of which the child's is closed in the end, and the daemon's if the child cannot be started."""
    ours, theirs = pair(socket.SOCK_SEQPACKET)
    with theirs:
        try:
            yield ours, theirs
        except BaseException:
            ours.close()
            raise


def _memory_file(text: bytes) -> int:
    descriptor = os.memfd_create("tifftockd-dropin", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(text)
    return descriptor
