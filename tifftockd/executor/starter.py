"""The start of a method's workers, which may fail."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple, Protocol

from tifftockd import journal
from tifftockd.clock import Micros
from tifftockd.config import Config
from tifftockd.executor.forker import pair, why
from tifftockd.executor.loop import Loop
from tifftockd.executor.worker_end import PoolCallbacks, WorkerEnd
from tifftockd.handlers.spec import MethodSpec

# Seconds between attempts to start workers that die before they are ready, and how often that is tried.
PAUSE = 1.0
_STARTS = 3
# Seconds that the start of a worker may take, the import of its module included.
_START = 10.0


class Source(Protocol):
    """Where workers come from: a template, or the bare parent where its module cannot be forked."""

    fault: str | None  # why its module, which was loaded before, could not be loaded again

    def fork_worker(
        self, method: str, limits: dict[str, int], descriptors: list[int], died: Callable[[int], None]
    ) -> int:
        """Start a worker on these descriptors (its socket, its output, its permits) and return its tag."""

    def kill_worker(self, tag: int, pid: int) -> None:
        """Kill it with all that it started. `pid`: what it said, or 0."""

    def renew(self) -> None:
        """Start the next ones from a new process."""


class Limits(NamedTuple):
    """A method's limits: what its class declares, else the general setting."""

    concurrency: int
    timeout: Micros
    memory: int
    output: int
    renew: int

    @classmethod
    def of(cls, spec: MethodSpec, config: Config) -> Limits:
        """The one place where a class wins over a setting."""
        return cls(
            concurrency=spec.concurrency or config.handler_concurrency,
            timeout=spec.timeout or config.handler_timeout,
            memory=spec.memory or config.handler_memory,
            output=config.handler_output if spec.output is None else spec.output,
            renew=spec.renew or config.handler_renew,
        )


class StarterCallbacks(PoolCallbacks, Protocol):
    """What a pool is told of its workers' lives."""

    def died(self, worker: WorkerEnd, status: int) -> None:
        """A worker is dead. `status`: as of waitpid(2), or -1 when it is not known."""

    def dispatch(self) -> None:
        """Workers may be started again."""

    def cannot_start(self, reason: str) -> None:
        """None of several could be started."""


class Starter:
    """Starts workers. When one cannot be started, no other is for a while; when that was too often, it says so."""

    def __init__(self, loop: Loop, method: str, limits: Limits, source: Source, pool: StarterCallbacks) -> None:
        """All of it happens in the loop's thread."""
        self._loop = loop
        self._method = method
        self._limits = limits
        self._source = source
        self._pool = pool
        self._on_their_way: set[WorkerEnd] = set()
        self._failed = 0
        self.resting = False

    @property
    def count(self) -> int:
        """How many are on their way."""
        return len(self._on_their_way)

    def start(self) -> WorkerEnd | None:
        """One more; None, and the pool is told when to try again, if there is no descriptor, process or memory."""
        with ExitStack() as undo:
            try:
                ours, theirs = pair(socket.SOCK_STREAM)
                permits = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
                undo.callback(os.close, permits)
                output, printed = os.pipe2(os.O_CLOEXEC)
            except OSError as error:
                self._fail(f"cannot be given descriptors: {error.strerror}")
                return None
            undo.pop_all()
        worker = WorkerEnd(self._loop, ours, output, permits, self._limits.output, self._limits.timeout, self._pool)
        limits = {"memory": self._limits.memory, "renew": self._limits.renew}
        descriptors = [theirs.fileno(), printed, permits]
        try:
            worker.tag = self._source.fork_worker(
                self._method, limits, descriptors, lambda status: self._pool.died(worker, status)
            )
        except Exception as error:
            worker.close()
            self._fail(f"cannot be forked: {error}")
            return None
        finally:
            theirs.close()
            os.close(printed)
        self._on_their_way.add(worker)

        def late() -> None:
            if worker in self._on_their_way:
                self._failed = _STARTS  # a second try would hang, too
                worker.doom("")

        self._loop.after(_START, late)
        return worker

    def arrived(self, worker: WorkerEnd) -> None:
        """It is ready for an attempt; the first time that shows that workers can be started."""
        if worker in self._on_their_way:
            self._on_their_way.remove(worker)
            self._failed = 0

    def lost(self, worker: WorkerEnd, status: int) -> None:
        """It is dead; if it was on its way, that was a start that failed."""
        if worker in self._on_their_way:
            self._on_their_way.remove(worker)
            self._fail(why(status))

    def forget(self) -> None:
        """All that were on their way are of no use any more."""
        self._on_their_way.clear()

    def _fail(self, how: str) -> None:
        journal.event("worker-failed", journal.WARNING, method=self._method, message=f"a worker {how} at its start")
        if self.resting:
            return  # of those that were started together the first has been counted
        self._failed += 1
        self._source.renew()
        if self._failed > _STARTS:
            self._failed = 0
            self._pool.cannot_start(f"no worker can be started: {self._source.fault or f'it {how}'}")
            return

        def again() -> None:
            self.resting = False
            self._pool.dispatch()

        self.resting = True
        self._loop.after(PAUSE, again)
