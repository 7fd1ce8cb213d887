"""A small event loop: descriptors, timers, and calls from other threads. Asleep while there is nothing to do."""

from __future__ import annotations

import heapq
import itertools
import os
import select
import time
from collections import deque
from collections.abc import Callable

from tifftockd import clock, journal
from tifftockd.threads import make_thread

# What epoll_wait(2) takes ends at 24 days; in seconds.
_LONGEST = 86_400.0


# Seconds after a turn that failed.
_PAUSE = 0.1


class Timer:
    """A call at an instant of the monotonic clock; `cancel()` takes it back."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        """Let it not happen. Its place in the heap is freed when its time comes."""
        self.cancelled = True


class Loop:
    """Runs callbacks one after another in a thread of its own. A callback that raises is logged, not fatal."""

    def __init__(self, name: str) -> None:
        self._poll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._calls: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._wake, select.EPOLLIN)
        self._stopping = False
        self._thread = make_thread(name, self._run)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the calls that have been made, and wait for that."""

        def finish() -> None:
            self._stopping = True

        self.call(finish)
        self._thread.join()

    def call(self, function: Callable[[], None]) -> None:
        """From any thread: run `function` in the loop soon."""
        self._calls.append(function)
        os.eventfd_write(self._wake, 1)

    @property
    def alive(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    # ---- in the loop's own thread

    def watch(self, descriptor: int, callback: Callable[[int], None], events: int = select.EPOLLIN) -> None:
        """Call `callback` with the events while `descriptor` is ready."""
        if descriptor in self._callbacks:
            self._poll.modify(descriptor, events)
        else:
            self._poll.register(descriptor, events)
        self._callbacks[descriptor] = callback

    def forget(self, descriptor: int) -> None:
        """Watch it no longer; to be called before it is closed."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def after(self, seconds: float, function: Callable[[], None]) -> Timer:
        """Call `function` in so many seconds."""
        timer = Timer(function)
        heapq.heappush(self._timers, (clock.monotonic() + seconds, next(self._order), timer))
        return timer

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except Exception as error:
                # Without this thread nothing fires. Whatever it is may be there again: no spinning.
                journal.event("executor-error", journal.ERR, message=f"{type(error).__name__}: {error}")
                time.sleep(_PAUSE)

    def _turn(self) -> None:
        for descriptor, events in self._poll.poll(self._timeout()):
            if descriptor == self._wake:
                os.eventfd_read(self._wake)
            elif callback := self._callbacks.get(descriptor):
                self._guard(callback, events)
        while self._timers and self._timers[0][0] <= clock.monotonic():
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled:
                self._guard(timer.call)
        while self._calls:
            self._guard(self._calls.popleft())

    def _timeout(self) -> float | None:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        if self._calls:
            return 0
        return min(max(0.0, self._timers[0][0] - clock.monotonic()), _LONGEST) if self._timers else None

    def _guard(self, function: Callable[..., None], *arguments: int) -> None:
        try:
            function(*arguments)
        except Exception as error:
            journal.event("executor-error", journal.ERR, message=f"{type(error).__name__}: {error}")
