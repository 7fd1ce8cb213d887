"""The sockets that connections are accepted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from waitress import wasyncore
from waitress.server import TcpWSGIServer, UnixWSGIServer

from tifftockd import clock
from tifftockd.server.connection import Channel
from tifftockd.server.faults import report
from tifftockd.server.loop import Loop
from tifftockd.server.tries import Tries, Waiting

# Connections to take at a time, before those that are there have their turn.
_ACCEPTED = 64
# Seconds without a try after one that failed, if the loop has more to do: else it looks when it sweeps. And seconds
# without such a failure until the next is logged.
_REST = 1.0
_QUIET = 60.0


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
    ending = False
    _rests_until = _quiet_until = 0.0

    def handle_accept(self) -> None:
        """Take what is waiting, up to the limit of connections."""
        for _ in range(_ACCEPTED):
            before = len(self._map)
            try:
                super().handle_accept()  # type: ignore[misc]  # waitress' own
            except Exception as error:  # noqa: BLE001 for any the listening socket would be closed
                self._rest(error)
            if len(self._map) == before or not self.readable():
                return

    def accept(self) -> Any:
        """A connection and its address; OSError where there is no descriptor for it, or no memory."""
        try:
            return super().accept()  # type: ignore[misc]  # waitress' own
        except OSError as error:
            self._rest(error)
            raise

    def readable(self) -> bool:
        """Whether to accept what comes."""
        return bool(super().readable()) and clock.monotonic() >= self._rests_until  # type: ignore[misc]

    def _rest(self, error: Exception) -> None:
        """Whoever comes waits with the kernel, and may be taken in later: it would be tried without a pause."""
        now = clock.monotonic()
        if now >= self._quiet_until:
            report(error)
        self._rests_until, self._quiet_until = now + _REST, now + _QUIET

    def heed_limit(self) -> None:
        """Accept, or at the limit of connections let those that come wait with the kernel."""
        # Again, should a connection have ended just before: who ended it has not seen that its place is waited for.
        while self._fileno is not None and (accepts := self.readable()) != self.accepts:
            self.accepts = accepts
            self._map.watch_always(self._fileno, reading=accepts)

    def heed_place(self) -> None:
        """A connection has ended: let the loop know if it waits for that."""
        if not all(server.accepts for server in self.servers):
            self.trigger.pull_trigger()  # type: ignore[attr-defined]  # waitress' own

    def end(self) -> None:
        """Accept no more. Not waitress' close(), which would close its trigger under the threads that still answer."""
        self.ending = True
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
