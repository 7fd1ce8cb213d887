"""What waitress leaves open: who calls, errors in JSON, clients that are slow on purpose, what is no HTTP.

Works with waitress 2.1.2 to 3.0.2. Classes are derived, never patched; what is relied on is covered by tests.
"""

from __future__ import annotations

import re
import select
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer, UnixWSGIServer
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge

from tifftockd import clock
from tifftockd.api.access import PEER, Peer
from tifftockd.api.errors import error_body
from tifftockd.server.loop import Loop
from tifftockd.server.sockets import peer_of
from tifftockd.server.tries import Tries, Waiting

# waitress ships no types, so each class derived from one of its own is derived from Any.

LARGEST_HEADER = 16_384
# An array of reminders; one reminder's limit is its route's.
LARGEST_BODY = 8 * 1024 * 1024
# Of a chunk's size with its extensions, which waitress gathers without an end.
LONGEST_CHUNK_LINE = 1024
# Of a body with all that is around its chunks: one may be of a byte, and waitress lets empty lines stand between them.
LARGEST_CHUNKED = 8 * LARGEST_BODY

# Seconds that a client has for a request, or for reading an answer, and one more for each SLOWEST bytes of it.
PATIENCE = 10.0
SLOWEST = 16_384
# Seconds that a new connection has to begin a request when the daemon stops: its client has not been told.
_MOMENT = 0.5
# Seconds that a connection may be idle after an answer.
KEEP_ALIVE = 60.0

# Connections to take at a time, before those that are there have their turn.
_ACCEPTED = 64

_KINDS = {400: "malformed", 413: "too_large", 431: "too_large", 501: "not_implemented", 505: "http_version"}
# RFC 9110, 2.5: a higher minor version is treated as the highest that is known.
_LATER_MINOR = re.compile(rb"\A([^\r\n]* HTTP/1\.)[2-9](?=\r\n)")
# RFC 9112, 5.2 and 6.1: may be refused, and others read these in other ways.
_FOLDED = re.compile(rb"\r\n[ \t]")
_ENCODING = re.compile(rb"\r\ntransfer-encoding:([^\r\n]*)", re.IGNORECASE)


class VersionNotSupported(Error):  # type: ignore[misc]
    """A request line of another major version: RFC 9110, 15.6.6."""

    code = 505
    reason = "HTTP Version Not Supported"


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """Refuses what waitress lets pass or stumbles over."""

    body_rcv: Any
    body_bytes_received: int
    completed: bool

    def received(self, data: bytes) -> int:
        """Take in what has arrived; how much of it was this request's."""
        try:
            consumed: int = super().received(data)
        except ValueError:
            # An URL with half of an IPv6 address, a Content-Length that int() refuses
            self._fail(BadRequest("a number or the URL in it cannot be read"))
            return len(data)
        self._refuse_excess()
        if self.error is not None or self.completed:
            # Else waitress would ask for the body of a request that it has refused, or that has none.
            self.expect_continue = False
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        """Take in the request line and the headers. ParsingError."""
        if _FOLDED.search(header_plus):
            raise ParsingError("a header goes on in the next line")
        if b",".join(_ENCODING.findall(header_plus)).lower().count(b"chunked") > 1:
            raise ParsingError("chunked may be said once")
        super().parse_header(_LATER_MINOR.sub(rb"\g<1>1", header_plus))
        headers: dict[str, str] = self.headers
        if not re.fullmatch(r"[0-9]\.[0-9]", self.version):
            raise ParsingError("the request line must end in HTTP/1.1")
        if not self.version.startswith("1."):
            self._fail(VersionNotSupported(f"HTTP/{self.version} is not spoken here: use HTTP/1.1"))
            return
        # RFC 9112, 9.6: it may stand among others, where waitress does not look for it.
        if "close" in re.split(r"[ \t,]+", headers.get("CONNECTION", "").lower()):
            headers["CONNECTION"], self.connection_close = "close", True
        # RFC 9112, 3.2
        if self.version == "1.1" and ("HOST" not in headers or "," in headers["HOST"]):
            raise ParsingError("HTTP/1.1 needs one Host header")
        # RFC 9112, 6.1: two lengths that may contradict each other hide a second request in the first.
        if self.chunked and "CONTENT_LENGTH" in headers:
            raise ParsingError("Transfer-Encoding and Content-Length exclude each other")
        if self.version == "1.0" and "TRANSFER_ENCODING" in headers:
            raise ParsingError("HTTP/1.0 has no Transfer-Encoding")

    def _refuse_excess(self) -> None:
        """What waitress gathers without an end, and a chunk that announces too much."""
        receiver = self.body_rcv
        if len(getattr(receiver, "control_line", b"")) > LONGEST_CHUNK_LINE:
            self._fail(BadRequest("a chunk's size line is too long"))
        elif len(getattr(receiver, "trailer", b"")) > LARGEST_HEADER:
            self._fail(BadRequest("what follows the last chunk is too long"))
        elif getattr(receiver, "chunk_remainder", 0) > LARGEST_BODY or self.body_bytes_received > LARGEST_CHUNKED:
            self._fail(RequestEntityTooLarge("too large"))

    def _fail(self, error: Error) -> None:
        self.error = error
        self.completed = True
        self.expect_continue = False
        self.body_rcv = None
        self.content_length = 0


class _Task:
    channel: Channel

    def finish(self) -> None:
        """Send what has gathered: the header and the body as one."""
        super().finish()  # type: ignore[misc]  # waitress' own
        self.channel.flush()


class Refusal(_Task, ErrorTask):  # type: ignore[misc]
    """Answers what never reaches the application, in the JSON of all errors."""

    def execute(self) -> None:
        """Write the answer, after which the connection ends."""
        error = self.request.error
        body = error_body(_message(error), _KINDS.get(error.code, "internal"))
        self.status = f"{error.code} {error.reason}"
        self.content_length = len(body)
        self.response_headers.append(("Content-Type", "application/json"))
        # By hand, as waitress 2.1.2 has no set_close_on_finish
        self.response_headers.append(("Connection", "close"))
        self.close_on_finish = True
        self.channel.refused = True
        self.write(body)


def _message(error: Any) -> str:
    if error.code == 413:
        return f"the body is larger than {LARGEST_BODY} bytes: send less at once"
    if error.code == 431:
        return f"the request line and headers are larger than {LARGEST_HEADER} bytes"
    if error.code == 400:
        return f"the request is not valid HTTP: {error.body[:200]}"
    if error.code >= 500 and error.code not in _KINDS:
        return "something went wrong in the daemon; its log says what"
    return str(error.body)


class ApplicationTask(_Task, WSGITask):  # type: ignore[misc]
    """Tells the application who is calling."""

    def execute(self) -> None:
        """Call the application, and send what it answers."""
        super().execute()
        if self.request.command == "HEAD" and not self.wrote_header:
            # waitress 2.1.2 misses the body that Content-Length speaks of, and would close without a word.
            self.close_on_finish = False

    def build_response_header(self) -> bytes:
        """What precedes the body; an answer to a wrong key may have to wait, and is then its connection's last."""
        if self.status.startswith("401 ") and self.channel.refuse_key():
            # As if its client had asked for that
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()
        return header

    def get_environment(self) -> dict[str, Any]:
        """The WSGI environment."""
        environ: dict[str, Any] = super().get_environment()
        environ[PEER] = self.channel.peer
        return environ


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that knows its peer, and when its client has taken too long.

    waitress starts its timeout anew with every byte, so that a drip holds a connection for ever.
    """

    task_class = ApplicationTask
    error_task_class = Refusal
    parser_class = Parser

    will_close: bool
    close_when_flushed: bool
    # Whether the last answer was a Refusal, so that the client may still be sending.
    refused = False

    def __init__(self, server: Any, sock: socket.socket, addr: Any, adj: Any, map: Any = None) -> None:  # noqa: A002
        """The arguments are waitress' own."""
        self.peer = _peer(sock, addr)
        self._output_began = self._sent_at = self._idle_since = clock.monotonic()
        # When something came that is not a whole request yet; the empty lines that may precede one count too.
        self._request_began: float | None = None
        self._sent = 0  # bytes since _output_began
        self._patience = PATIENCE  # for the next request to begin
        self._lingering = self._answered = self._waiting = False
        self._watching = threading.Lock()
        # What is waited for before a thread can go on, of epoll(7), and whether one has begun to.
        self._awaited = 0
        self._taken = False
        super().__init__(server, sock, addr, adj, map)
        self.watch()

    def is_overdue(self, now: float) -> bool:
        """Whether the client has had all the time it gets. `now` is clock.monotonic()'s."""
        if self._waiting:
            return False
        if self._lingering or self.total_outbufs_len:
            # Both, as what the kernel has taken into its buffers, megabytes maybe, counts as sent.
            stuck = now - self._sent_at > PATIENCE
            return stuck or now - self._output_began > PATIENCE + self._sent / SLOWEST
        if self.requests:
            # Unless a thread is at it, the client does not take the answers before.
            return now - self._sent_at > PATIENCE
        if self._request_began is not None:
            received: int = self.request.body_bytes_received if self.request is not None else 0
            # What was sent since: the answer to a request before, or that the body may come.
            return now - max(self._request_began, self._sent_at) > PATIENCE + received / SLOWEST
        return now - self._idle_since > self._patience

    def is_done(self, now: float) -> bool:
        """Whether there is nothing to read, to answer or to send. A new connection has a moment to say something."""
        if self.requests or self.total_outbufs_len or self._lingering or self._request_began is not None:
            return False
        return self._answered or now - self._idle_since > _MOMENT

    # ---- called by the thread that answers

    def arrived(self) -> None:
        """Take in what has come, and answer one request; of those that came along each waits for its turn."""
        if not self._take():
            return
        try:
            if not self.requests:
                wasyncore.read(self)  # an error shows there too, and an end only after the last request
            if self.requests:
                self.service()
        except BaseException:
            self.handle_close()  # it would keep its request, and its place, for ever
            raise
        finally:
            self.watch(done=True)

    def handle_read(self) -> None:
        """Take in what has come."""
        try:
            data = self.recv(65_536 if self._lingering else self.adj.recv_bytes)
        except BlockingIOError:
            return  # it had come for a connection that had this one's number before
        except OSError:
            self.handle_close()
            return
        if not data or self._lingering:
            return
        now = clock.monotonic()
        if self._request_began is None:
            self._request_began = now
        self.received(data)
        if self.requests:
            self._request_began = None if self.request is None else now

    def service(self) -> None:
        """Answer one request; the connection's end, if that was its last, is this thread's too."""
        super().service()
        if self.close_when_flushed and not self.total_outbufs_len:
            self.handle_write()

    def _take(self) -> int:
        """Be the one who goes on, with what was waited for: the first to come since `watch`. Else 0."""
        with self._watching:
            awaited, self._awaited = self._awaited, 0
            self._taken = self._taken or bool(awaited)
            return awaited

    # ---- called by the loop

    def close_if(self, judge: Callable[[float], bool], now: float) -> None:
        """Close it if `judge`, is_overdue or is_done, says so, and what it waits for has not come: then we are late."""
        if not judge(now):
            return
        with self._watching:  # which who changes one into the other has
            watched = self._awaited or self._taken
        if self.total_outbufs_len or not watched:
            self.handle_close()
        elif awaited := self._take():
            # No thread can go on with it any more; one may just have done so.
            if judge(now):
                if self._lingering or not _has_come(self.socket, awaited):
                    self.handle_close()
                else:
                    self._request_began = None  # anew, when that is read
            self.watch(done=True)

    def readable(self) -> bool:
        """Whether to read on."""
        return self._lingering or super().readable()

    def writable(self) -> bool:
        """Whether there is something to send, or to end."""
        return not (self._waiting or self._lingering) and bool(super().writable())

    def handle_write(self) -> None:
        """Send what the kernel would not take from the thread that answered, which may be at the next request."""
        with self.outbuf_lock:
            self._flush_exception(self._flush_some)
            if self.total_outbufs_len < self.adj.outbuf_high_watermark:
                self.outbuf_lock.notify()
            if self.close_when_flushed and not self.total_outbufs_len:
                self.close_when_flushed, self.will_close = False, True
            if self.will_close and self.connected:
                self.handle_close()

    def handle_close(self) -> None:
        """Close; after a refusal not while the client is still sending, or it may never read why (RFC 9112, 9.6)."""
        if self.refused and self.will_close and not self._lingering:
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            else:
                self._lingering, self.will_close = True, False
                self._begin_output(clock.monotonic())
                self.watch()
                return
        super().handle_close()

    def del_channel(self, map: Any = None) -> None:  # noqa: A002 waitress' own
        """Forget it; no thread may speak of a descriptor that is already another's."""
        with self._watching:
            super().del_channel(map)
        self.server.heed_place()

    def release(self) -> None:
        """The answer has waited long enough."""
        self._waiting = False
        self._begin_output(clock.monotonic())
        self.watch()

    # ---- called by the loop and by the threads

    def watch(self, *, done: bool = False) -> None:
        """Wait for what there is to wait for now. `done`: by the thread that has begun with it."""
        with self._watching:
            self._taken = self._taken and not done
            if self._fileno is not None:
                loop: Loop = self._map
                self._awaited = 0 if self._taken else self._next()
                loop.watch(self._fileno, self._awaited, sending=self.writable())

    def _next(self) -> int:
        if self.requests:
            # By which it goes to the end of the kernel's queue; but only once the answer before is sent.
            return 0 if self.total_outbufs_len else select.EPOLLOUT
        return select.EPOLLIN if self.readable() else 0

    def refuse_key(self) -> bool:
        """A wrong key was given: whether the answer has to wait, in the loop."""
        now = clock.monotonic()
        seconds = self.server.tries.failed(self.peer.address, now)
        if not seconds:
            return False
        self._waiting = True
        self.server.trigger.pull_trigger(lambda: self.server.waiting.add(self, now + seconds))
        return True

    def _flush_some(self, do_close: bool = True) -> bool:
        # By the loop too: an event may be of a connection that had this one's number before.
        with self.outbuf_lock:
            return self.connected and not self._waiting and bool(super()._flush_some(do_close))

    def send_continue(self) -> None:
        """Tell the client to send the body."""
        if not self.total_outbufs_len:
            self._begin_output(clock.monotonic())
        super().send_continue()

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send a part of an answer; how much of it went."""
        sent: int = super().send(data, do_close)
        if sent:
            self._sent += sent
            self._sent_at = clock.monotonic()
        return sent

    def write_soon(self, data: Any) -> int:
        """Queue a part of an answer."""
        now = clock.monotonic()
        if not self.total_outbufs_len:
            self._begin_output(now)
        self._idle_since, self._patience = now, KEEP_ALIVE
        self._answered = True
        return int(super().write_soon(data))

    def flush(self) -> None:
        """Send what is queued, as far as the kernel takes it."""
        with self.outbuf_lock:
            self._flush_exception(self._flush_some, do_close=False)

    def _flush_outbufs_below_high_watermark(self) -> None:
        if self.total_outbufs_len > self.adj.outbuf_high_watermark:
            self.watch()  # may wait for the loop to send
        super()._flush_outbufs_below_high_watermark()

    def _begin_output(self, now: float) -> None:
        self._output_began = self._sent_at = now
        self._sent = 0


def _has_come(sock: socket.socket, events: int) -> bool:
    poll = select.poll()
    poll.register(sock, events)
    return bool(poll.poll(0))


def _peer(sock: socket.socket, addr: Any) -> Peer:
    if sock.family != socket.AF_UNIX:
        return Peer(tcp=True, uid=None, address=addr[0])
    credentials = peer_of(sock)
    return Peer(tcp=False, uid=credentials[1] if credentials else None, address="unix")


class _Accepting:
    channel_class = Channel
    _map: Loop
    _fileno: int | None  # None: closed
    # Of all listening sockets together
    tries: Tries
    waiting: Waiting
    servers: Sequence[_Accepting]
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
