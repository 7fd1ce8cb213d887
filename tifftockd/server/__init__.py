"""The HTTP server: waitress on Unix sockets, TCP and inherited sockets at once, with one set of threads for all."""

from __future__ import annotations

import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from waitress.adjustments import Adjustments

from tifftockd import clock, journal
from tifftockd.api.errors import error_body
from tifftockd.errors import ListenError
from tifftockd.server import connection
from tifftockd.server.connection import Channel
from tifftockd.server.faults import described, report
from tifftockd.server.listeners import TcpServer, UnixServer
from tifftockd.server.loop import Loop
from tifftockd.server.parser import LARGEST_BODY, LARGEST_HEADER
from tifftockd.server.probe import OwnChannel, Probe, Probes
from tifftockd.server.sockets import open_sockets
from tifftockd.server.tries import Tries, Waiting
from tifftockd.threads import make_thread

__all__ = ["Server", "open_sockets"]

# Most time is spent waiting for the disk, which all who wait share: more threads, more that share one commit.
THREADS = 16
# Open connections, where RLIMIT_NOFILE leaves a quarter of its files to everything else: at the limit itself
# waitress would try to accept without a pause.
CONNECTIONS = 2_500
FILES = 4_096
# Of them, kept for the Unix sockets: to open a TCP connection takes no key, and such a crowd must not lock the
# machine's own users out.
RESERVED = 100
# Bytes that the kernel buffers for a TCP client. By itself it takes megabytes, and no more until a third of them has
# gone: longer than a slow client is waited for.
BUFFER = 131_072
# Seconds between two looks for clients that are too slow, while there are connections.
SWEEP = 2.0

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Server:
    """Serves an application on listening sockets, from `start` to `stop`. While nobody calls, it sleeps."""

    def __init__(
        self,
        app: WSGIApplication,
        sockets: Sequence[socket.socket],
        admits: Callable[[str, str], bool] = lambda _key, _authorization: True,
    ) -> None:
        """Nothing is accepted before `start`; `stop` closes the sockets.

        `admits`: whether who sends these headers over TCP, X-API-Key and Authorization, may send a body. All else is
        the application's to judge.
        """
        self._map = Loop()
        self._answering = [make_thread("answer", self._answer) for _ in range(THREADS)]
        self._tries, self._waiting, self._admits = Tries(), Waiting(), admits
        limit = _connection_limit()
        self._servers: list[Any] = []
        for sock in sockets:
            self._servers.append(self._server(_guarded(app), sock, limit))
        self._probes = Probes(self._connect)
        self._thread = make_thread("server", self._run)
        self._stop_by: float | None = None
        self._next_sweep = 0.0

    def start(self) -> None:
        """Serve, in threads of its own."""
        for thread in self._answering:
            thread.start()
        for server in self._servers:
            server.accept_connections()
        self._thread.start()

    def call(self, function: Callable[[], object]) -> None:
        """From any thread: have the one that accepts connections call this; without effect when it is to end."""
        if self._stop_by is None:
            self._servers[0].trigger.pull_trigger(function)

    def probe(self) -> Probe:
        """A question to /health, to be asked when the caller likes."""
        return self._probes.probe()

    def stop(self, timeout: float) -> bool:
        """Accept no more, answer the requests that have arrived, and close; True if all got done in so many seconds."""
        self._probes.close()
        stop_by = clock.monotonic() + timeout
        if self._thread.is_alive():
            self._servers[0].trigger.pull_trigger(lambda: self._begin_to_stop(stop_by))
            self._thread.join(timeout + 1)
        # Requests whose client has gone may still be running.
        last = max(clock.monotonic() + 0.1, stop_by)
        if any(thread.is_alive() for thread in self._answering):
            self._map.end_answers()
        for thread in filter(threading.Thread.is_alive, self._answering):
            thread.join(max(0.0, last - clock.monotonic()))
        if any(thread.is_alive() for thread in (self._thread, *self._answering)):
            # A thread that is stuck will write to its trigger some day. That must not be closed, or the descriptor
            # may by then be the database's.
            return False
        self._map.close()
        return True

    def _server(self, app: WSGIApplication, sock: socket.socket, limit: int) -> Any:
        tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
        if not tcp and sock.family != socket.AF_UNIX:
            raise ListenError(f"cannot listen on a socket of {sock.family!r}: it must be a Unix or a TCP socket")
        if tcp:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)  # accepted ones inherit it
        adjustments = Adjustments(
            listen="",  # it would look up the address of its default
            connection_limit=limit - RESERVED if tcp else limit,
            max_request_header_size=LARGEST_HEADER,
            max_request_body_size=LARGEST_BODY + 1,  # the first that is too large
            # Both stay in memory, a body and an answer that waits for its reader: a disk may be full, and files few.
            inbuf_overflow=sys.maxsize,
            outbuf_overflow=sys.maxsize,
            ident=None,  # whoever asks need not know what answers
            clear_untrusted_proxy_headers=True,  # 2.1.2 would let a client write its own X-Forwarded-For
            log_socket_errors=False,  # clients come and go
        )
        kind = TcpServer if tcp else UnixServer
        server = kind(
            app,
            self._map,
            _start=False,
            _sock=sock,
            dispatcher=object(),  # for None it would start threads of its own
            adj=adjustments,
            sockinfo=(sock.family, sock.type, sock.proto, sock.getsockname()),
            bind_socket=False,
        )
        server.tries, server.waiting, server.servers = self._tries, self._waiting, self._servers
        server.admits = self._admits
        return server

    def _connect(self, sock: socket.socket) -> None:
        """Serve a connection that was not accepted. Its first request comes later: then the loop takes it up."""
        server = self._servers[0]
        OwnChannel(server, sock, ("localhost", None), server.adj, map=self._map)

    def _answer(self) -> None:
        going_on = True
        while going_on:
            try:
                going_on = self._map.answer()
                journal.flush()
            except BaseException as error:  # noqa: BLE001 a thread that ends is missing for ever
                report(error)

    # ---- the loop's own thread

    def _run(self) -> None:
        seen = clock.monotonic()
        while self._stop_by is None or self._channels():
            try:
                for server in self._servers:
                    server.heed_limit()
                patience = self._patience()
                self._map.turn(patience)
                now = clock.monotonic()
                if patience is None or now - seen > patience + connection.PATIENCE / 4:
                    # Nobody was there, or the process was halted: then what has come is not read yet, and the clients,
                    # which cannot be told from slow ones, have their time once more.
                    self._next_sweep = now + connection.PATIENCE
                seen = now
                self._waiting.release(now if self._stop_by is None else float("inf"))
                self._sweep(now)
            except Exception as error:  # noqa: BLE001 without this thread there is no API
                report(error)
                time.sleep(0.1)  # whatever it is, it may be there again

    def _patience(self) -> float | None:
        """Seconds until there is something to look at by itself; None: not before somebody calls."""
        if self._stop_by is not None:
            return max(0.0, min(0.1, self._stop_by - clock.monotonic()))
        if not any(server.active_channels or not server.accepts for server in self._servers):
            return None
        due = self._waiting.next()
        # A millisecond more, which epoll_wait(2) counts in: it would wake just before.
        return SWEEP if due is None else max(0.0, min(SWEEP, due - clock.monotonic() + 0.001))

    def _channels(self) -> list[Channel]:
        # A list of each first: threads end connections meanwhile.
        return [channel for server in self._servers for channel in list(server.active_channels.values())]

    def _sweep(self, now: float) -> None:
        """Close the connections that are overdue, or, when stopping, those with nothing left to do."""
        if self._stop_by is not None:
            for channel in self._channels():
                if now > self._stop_by:
                    channel.handle_close()
                else:
                    channel.close_if(channel.is_done, now)
        elif now >= self._next_sweep:
            self._next_sweep = now + SWEEP
            for channel in self._channels():
                channel.close_if(channel.is_overdue, now)

    def _begin_to_stop(self, stop_by: float) -> None:
        self._stop_by = stop_by
        for server in self._servers:
            server.end()


def _connection_limit() -> int:
    """Raise the soft limit of open files as far as is needed and allowed, and see how many connections that gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES:
        soft = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return CONNECTIONS if soft == resource.RLIM_INFINITY else min(CONNECTIONS, soft * 3 // 4)


def _guarded(app: WSGIApplication) -> WSGIApplication:
    """The application, with an answer for whatever it raises: waitress would end the connection without one."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            return app(environ, start_response)
        except BaseException as error:  # noqa: BLE001 SystemExit and MemoryError too: one request's end is not the daemon's
            journal.event("request-failed", journal.ERR, method=environ["REQUEST_METHOD"], **described(error))
            body = error_body("something went wrong in the daemon; its log says what", "internal")
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
            start_response("500 Internal Server Error", headers, sys.exc_info())
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    return guarded
