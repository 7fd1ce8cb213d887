"""The sockets that connections are accepted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from waitress import wasyncore
from waitress.server import TcpWSGIServer, UnixWSGIServer

from tifftockd.server.connection import Channel
from tifftockd.server.loop import Loop
from tifftockd.server.tries import Tries, Waiting

# Connections to take at a time, before those that are there have their turn.
_ACCEPTED = 64


class _Accepting:
    channel_class = Channel
    _map: Loop
    _fileno: int | None  # None: closed
    # Of all listening sockets together
    tries: Tries
    waiting: Waiting
    servers: Sequence[_Accepting]
    admits: Callable[[str, str], bool]
    accepts = True

    def handle_accept(self) -> None:
        """Take what is waiting, up to the limit of connections."""
        for _ in range(_ACCEPTED):
            before = len(self._map)
            super().handle_accept()  # type: ignore[misc]  # waitress' own
            if len(self._map) == before or not self.readable():  # type: ignore[attr-defined]
                return

    def heed_limit(self) -> None:
        """Accept, or at the limit of connections let those that come wait with the kernel."""
        # Again, should a connection have ended just before: who ended it has not seen that its place is waited for.
        while self._fileno is not None and (accepts := self.readable()) != self.accepts:  # type: ignore[attr-defined]
            self.accepts = accepts
            self._map.watch_always(self._fileno, reading=accepts)

    def heed_place(self) -> None:
        """A connection has ended: let the loop know if it waits for that."""
        if not all(server.accepts for server in self.servers):
            self.trigger.pull_trigger()  # type: ignore[attr-defined]  # waitress' own

    def end(self) -> None:
        """Accept no more. Not waitress' close(), which would close its trigger under the threads that still answer."""
        wasyncore.dispatcher.close(self)
        self.accepts = True  # nobody waits for a place any more

    def add_task(self, task: object) -> None:
        """Do nothing: the thread that has read a request answers it."""

    def pull_trigger(self) -> None:
        """Do nothing: a connection says by itself what it waits for, and need not wake the loop for that."""

    def maintenance(self, now: float) -> None:
        """Leave it to Channel.is_overdue: this one goes by the wall clock."""


class TcpServer(_Accepting, TcpWSGIServer):  # type: ignore[misc]
    """A listening TCP socket."""


class UnixServer(_Accepting, UnixWSGIServer):  # type: ignore[misc]
    """A listening Unix socket."""
