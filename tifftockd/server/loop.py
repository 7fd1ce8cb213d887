"""Waits for what happens on all descriptors of waitress at once, by epoll(7).

waitress' own loop lists all connections anew before each wait, and a thread that has answered has to wake it so that it
lists that one again. Here the kernel keeps the list: a connection that something has happened on is off it
(EPOLLONESHOT) until whoever deals with it, in whatever thread, says what it waits for next.
"""

from __future__ import annotations

import select
from typing import Any

from waitress import wasyncore

_READING = select.EPOLLIN | select.EPOLLPRI


class Loop(dict[int, Any]):
    """The map of wasyncore, descriptors to its dispatchers: what stands in it is waited for.

    A dispatcher with a method `watch` is waited for once, and asked after each event what it waits for next.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoll = select.epoll()

    def __setitem__(self, fd: int, one: Any) -> None:
        """Wait for something to read."""
        super().__setitem__(fd, one)
        self._epoll.register(fd, _READING | (select.EPOLLONESHOT if hasattr(one, "watch") else 0))

    def __delitem__(self, fd: int) -> None:
        """Wait no more. To be called before the descriptor is closed: its file may be open elsewhere too."""
        super().__delitem__(fd)
        self._epoll.unregister(fd)

    def watch(self, fd: int, *, reading: bool, writing: bool) -> None:
        """From any thread: wait once for the next event. Without one to wait for it stays as it is, off the list."""
        events = (_READING if reading else 0) | (select.EPOLLOUT if writing else 0)
        if events:
            self._epoll.modify(fd, events | select.EPOLLONESHOT)

    def watch_always(self, fd: int, *, reading: bool) -> None:
        """Wait for something to read each time, or not at all."""
        self._epoll.modify(fd, _READING if reading else 0)

    def turn(self, patience: float | None) -> None:
        """Wait for up to so many seconds, None: without an end, and deal with what has happened."""
        # What one event closes, the next may open under the same number.
        happened = [(fd, self.get(fd), events) for fd, events in self._epoll.poll(patience)]
        for fd, one, events in happened:
            if one is not None and self.get(fd) is one:
                self._deal_with(one, events)

    def _deal_with(self, one: Any, events: int) -> None:
        wasyncore.readwrite(one, events)
        if hasattr(one, "watch"):
            one.watch()

    def close(self) -> None:
        """Close all that is in it."""
        wasyncore.close_all(self)
        self._epoll.close()
