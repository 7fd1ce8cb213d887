"""HTTP_DENY for a library that makes its own connections: Python's sockets are watched, in a worker process."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tifftockd.config.networks import Network
from tifftockd.handlers.egress import Denied, find, is_denied


@dataclass(slots=True)
class Traffic:
    """What was seen."""

    reached: bool = False  # whether a connection was made, or something sent without one
    failed: bool = False  # whether one that is allowed could not be made
    denied: list[str] = field(default_factory=list)


@contextlib.contextmanager
def watched(networks: Sequence[Network]) -> Iterator[Traffic]:
    """Judge each connection that is made meanwhile, wherever in this process."""
    watch = _Watch(networks)
    threads = threading.active_count()
    # They are _socket's: what is put into the class stands before them, and is taken out again.
    for name in _CALLS:
        setattr(socket.socket, name, watch.call(name))
    try:
        yield watch.seen
    finally:
        # A thread that the library has left behind stays judged; the worker ends after such an attempt.
        if threading.active_count() <= threads:
            for name in _CALLS:
                delattr(socket.socket, name)


class _Watch:
    """The calls by which a socket gets a peer, or sends to one without."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self.seen = Traffic()
        self._networks = networks

    def call(self, name: str) -> Any:
        """What stands in the place of a method of sockets."""
        plain, place = getattr(socket.socket, name), _CALLS[name]

        def judged(sock: socket.socket, *given: Any) -> Any:
            if sock.family not in (socket.AF_INET, socket.AF_INET6):
                return plain(sock, *given)
            arguments = list(given)
            if len(arguments) > abs(place):
                arguments[place] = self._judge(sock, arguments[place])
            try:
                result = plain(sock, *arguments)
            except BlockingIOError:
                self.seen.reached = True  # it goes on without us
                raise
            except OSError:
                self.seen.failed = True
                raise
            self._note(name, result)
            return result

        return judged

    def _note(self, name: str, result: Any) -> None:
        if name == "connect_ex" and result not in (0, errno.EINPROGRESS):
            self.seen.failed = True
        else:
            self.seen.reached = True

    def _judge(self, sock: socket.socket, address: Any) -> Any:
        """The address to connect to; of a name, one that it was looked up as. Denied, or OSError."""
        if not self._networks or address is None:
            return address
        host = str(address[0])
        try:
            with contextlib.suppress(ValueError):
                if is_denied(host, self._networks):
                    raise Denied([host])
                return address
            # It is a name, which connect(2) knows nothing of: it would be looked up in C, past this judgement.
            return find(host, address[1], self._networks, sock.family, sock.type)[0][4]
        except Denied as error:
            self.seen.denied += error.addresses
            raise


# Where each has the address: sendto() takes flags before it, or not.
_CALLS = {"connect": 0, "connect_ex": 0, "sendto": -1, "sendmsg": 3}
