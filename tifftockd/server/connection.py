"""A connection: who calls, what it waits for, and clients that are slow on purpose."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from typing import Any

from waitress.buffers import OverflowableBuffer
from waitress.channel import HTTPChannel

from tifftockd import clock
from tifftockd.api.access import Peer
from tifftockd.server.loop import Loop
from tifftockd.server.parser import LARGE, Parser
from tifftockd.server.sockets import peer_of
from tifftockd.server.tasks import ApplicationTask, Refusal
from tifftockd.threads import give_memory_back

# Seconds that a client has for a request, or for reading an answer, and one more for each SLOWEST bytes of it.
PATIENCE = 10.0
SLOWEST = 16_384
# Seconds that a new connection has to begin a request when the daemon stops, as its client has not been told; and one
# that is refused to read why.
_MOMENT = 0.5
# Seconds that a connection may be idle after an answer.
KEEP_ALIVE = 60.0


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that knows its peer, and when its client has taken too long.

    waitress starts its timeout anew with every byte, so that a drip holds a connection for ever.
    """

    task_class = ApplicationTask
    error_task_class = Refusal
    parser_class: Callable[[Any], Parser] = Parser

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
        self._gathered = b""  # of an answer
        self._large = False  # whether the last answer was
        self._lingering = self._answered = self._waiting = False
        self._watching = threading.Lock()
        # What is waited for before a thread can go on, of epoll(7), and whether one has begun to.
        self._awaited = 0
        self._taken = False
        if self.peer.tcp:
            self.parser_class = self._parser_with_key
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
        # Each taken once, as a thread may be done with them meanwhile.
        began, request = self._request_began, self.request
        if began is not None:
            received: int = request.body_bytes_received if request is not None else 0
            # What was sent since: the answer to a request before, or that the body may come.
            return now - max(began, self._sent_at) > PATIENCE + received / SLOWEST
        return now - self._idle_since > self._patience

    def is_done(self, now: float) -> bool:
        """Whether there is nothing to read, to answer or to send. A new connection has a moment to say something."""
        if self._lingering:
            return now - self._output_began > _MOMENT
        if self.requests or self.total_outbufs_len or self._request_began is not None:
            return False
        return self._answered or now - self._idle_since > _MOMENT

    def _parser_with_key(self, adj: Any) -> Parser:
        parser = Parser(adj)
        parser.admits = self.server.admits
        return parser

    # ---- called by the thread that answers

    def arrived(self) -> None:
        """Take in what has come, and answer one request; of those that came along each waits for its turn."""
        if not self._take():
            return
        try:
            if not self.requests:
                self.handle_read()  # an error shows there too, and an end only after the last request
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
        received = self.requests[0].body_bytes_received
        super().service()
        if self.close_when_flushed and not self.total_outbufs_len:
            self.handle_write()
        if self._large or received > LARGE:
            give_memory_back()

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
            if judge(now):  # again, as a thread may have answered meanwhile
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
            if not self.connected or self._waiting:
                return False
            sent = bool(super()._flush_some(do_close))
            if not self.total_outbufs_len:
                # One that is empty keeps the memory of all that it has held.
                self.outbufs = [OverflowableBuffer(self.adj.outbuf_overflow)]
                if self._large:
                    give_memory_back()
            return sent

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

    def write_soon(self, data: bytes) -> int:
        """Gather a part of an answer. That its client has gone is noticed by `flush`."""
        self._gathered += data
        return len(data)

    def flush(self) -> None:
        """Send the answer, all at once; what the kernel does not take is queued, for the loop to send."""
        data, self._gathered = self._gathered, b""
        self._large = len(data) > LARGE
        now = clock.monotonic()
        self._idle_since, self._patience, self._answered = now, KEEP_ALIVE, True
        with self.outbuf_lock:
            sent = 0
            if not self.total_outbufs_len:
                self._begin_output(now)
                if self.connected and not self._waiting:
                    # Past waitress' queue, which takes 3 % of a create's instructions
                    result, _ = self._flush_exception(lambda do_close: self.send(data, do_close), do_close=False)
                    sent = int(result)  # False: an error, of which the loop makes the connection's end
            if sent < len(data):
                super().write_soon(data[sent:])

    def _flush_outbufs_below_high_watermark(self) -> None:
        """Do nothing: the next request waits, without a thread, until this answer is sent."""

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
