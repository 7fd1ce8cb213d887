"""The queue before the writer, and what waits in it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tifftockd import clock
from tifftockd.errors import Overloaded, StoreUnavailable, TifftockError
from tifftockd.store.transaction import Transaction

T = TypeVar("T")

# Seconds that the next in the queue may have been waiting before no more is taken into it.
_BEHIND = 1.0


class Request(Generic[T]):
    """What somebody waits for.

    With two bare locks: 16 threads that waited for Futures took a tenth more time, all told.
    """

    def __init__(self, work: Callable[[Transaction], T], writes: bool, single: bool = False) -> None:
        self.queued = clock.monotonic()
        self.work = work
        self.writes = writes
        self.single = single
        self.transaction: Transaction | None = None
        self.result: T | None = None
        self.error: TifftockError | None = None
        self._taken = threading.Lock()
        self._answered = threading.Lock()
        self._answered.acquire()

    def take(self) -> bool:
        """For whoever comes first: the writer, to do it, or the caller, to do without."""
        return self._taken.acquire(blocking=False)

    def wait(self, patience: float) -> T:
        """What it came to; -1: without a bound. TimeoutError, or what it was answered."""
        if not self._answered.acquire(timeout=patience):
            raise TimeoutError
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]  # set whenever there is no error

    def committed(self) -> None:
        """Have done what was to follow the commit, if it went well."""
        if self.error is None and self.transaction is not None:
            self.transaction.committed()

    def answer(self) -> None:
        """Let its caller go on."""
        self._answered.release()

    def fail(self, error: TifftockError) -> None:
        """Undo what it did outside the transaction, and give its caller the error."""
        if self.transaction is not None:
            self.transaction.undone()
        self.error = error
        self._answered.release()


class Queue:
    """Requests from any thread, which the writer's takes: some ahead of the others, each kind in its order."""

    def __init__(self) -> None:
        self._first: deque[Request[Any]] = deque()
        self._others: deque[Request[Any]] = deque()
        self._lock = threading.Lock()
        self._bell = threading.Lock()  # locked until there is something to do
        self._bell.acquire()
        self._closed = False
        self.visited = float("-inf")  # when a write last queued behind the others, by clock.monotonic

    def __len__(self) -> int:
        """How many wait."""
        return len(self._first) + len(self._others)

    def put(self, request: Request[Any], *, first: bool) -> None:
        """Have it wait, `first`: ahead of the others. StoreUnavailable after `close`; Overloaded for what writes."""
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the daemon is stopping")
            if request.writes and not first and self._is_behind(request.queued):
                raise Overloaded(f"{len(self._others)} requests wait for the disk already: try again in a second")
            if first:
                self._first.append(request)
            else:
                self._others.append(request)
                if request.writes:
                    self.visited = request.queued
        self._ring()

    def _is_behind(self, now: float) -> bool:
        return bool(self._others) and now - self._others[0].queued > _BEHIND

    def close(self) -> None:
        """Take in no more."""
        with self._lock:
            self._closed = True
        self._ring()

    def _ring(self) -> None:
        try:
            self._bell.release()
        except RuntimeError:
            pass  # it has rung already

    # ---- for the one thread that takes

    def wait(self, patience: float) -> bool:
        """Sleep until something waits, or for so many seconds; -1: without a bound. False: nothing does, or will."""
        while not len(self):
            with self._lock:
                if self._closed and not len(self):
                    return False
            self._bell.acquire(timeout=patience)
            if patience >= 0:
                break
        return True

    def put_ahead(self, request: Request[Any]) -> None:
        """Have it be next, also after `close`."""
        self._first.append(request)

    def take(self) -> Request[Any] | None:
        """The next one whose caller still waits for it; None when there is none."""
        # deque's popleft is atomic, and this thread is the only taker
        while queue := self._first or self._others:
            request = queue.popleft()
            if request.take():
                return request
        return None
