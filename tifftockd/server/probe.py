"""Asks the API whether it answers, over connections of the daemon's own: no crowd of clients can take their place."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from waitress import wasyncore

from tifftockd.server.connection import Channel

# HEAD, as its answer ends where its header does.
_QUESTION = b"HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
_END = b"\r\n\r\n"


class OwnChannel(Channel):
    """The server's end of such a connection. It is no client's: it takes no place of theirs, and may stay idle."""

    def add_channel(self, map: Any = None) -> None:  # noqa: A002 waitress' own
        """Be waited for, without being counted and looked after."""
        wasyncore.dispatcher.add_channel(self, map)


class Probes:
    """The connections that wait for their next question: to close one each time would wake the server once more."""

    def __init__(self, connected: Callable[[socket.socket], object]) -> None:
        """`connected` is given the server's end of each new connection."""
        self._connected = connected
        self._free: deque[socket.socket] = deque()

    def probe(self) -> Probe:
        """A question to be asked; from any thread."""
        try:
            ours = self._free.pop()
        except IndexError:
            ours, theirs = socket.socketpair()
            self._connected(theirs)
        return Probe(ours, self._free.append)

    def close(self) -> None:
        """Close those that are not in use."""
        while self._free:
            self._free.pop().close()


class Probe:
    """One question; any answer to it shows that the API works."""

    def __init__(self, connection: socket.socket, done: Callable[[socket.socket], None]) -> None:
        """`done` takes the connection back once it has been answered on."""
        self._connection = connection
        self._done = done

    def ask(self) -> None:
        """From any thread, which does not wait for the answer; without effect when nobody does any more."""
        with suppress(OSError):
            self._connection.sendall(_QUESTION)

    def answered(self, patience: float) -> bool:
        """Whether an answer comes, of whatever status, within so many seconds."""
        answer = b""
        try:
            self._connection.settimeout(patience)
            while not answer.endswith(_END):
                data = self._connection.recv(4096)
                if not data:
                    raise ConnectionError
                answer += data
        except OSError:
            self._connection.close()
            return False
        self._done(self._connection)
        return True
