"""One log event a line, with fields; under systemd the fields arrive in the journal as fields.

At the default level an event holds no message, recipient, option or secret of a user: that is the callers' duty.

Nothing here raises, and nothing blocks for long: an event that can go nowhere is lost. Worker processes use this
module too, so it imports little.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from tifftockd.journal.entry import IDENTIFIER, Entry, Level, make_entry

if TYPE_CHECKING:
    import logging

CRIT, ERR, WARNING, NOTICE, INFO, DEBUG = Level

# The journal's sockets (systemd-journald.service(8)): `stdout` is what a service's standard error is connected to,
# `socket` takes events with fields. With LogNamespace= a service finds its own namespace's in this place.
FOLDER = "/run/systemd/journal"

# poll(2) promises room for this much only; a longer write to a full pipe would block.
_PIECE = select.PIPE_BUF
# Seconds that one event may wait for a reader of standard error that has fallen behind.
_PATIENCE = 0.2
# Blocks that a thread writes for others too before one of them takes over.
_ROUNDS = 8

# A name, a level, and fields
Event = tuple[str, Level, Mapping[str, object]]


class Journal:
    """Where events go: to the journal, with fields, if `stream_fd` is connected to it; else lines on `stream_fd`."""

    def __init__(self, stream_fd: int = 2, *, level: Level = INFO, folder: str = FOLDER) -> None:
        self.level = level
        self._fd = stream_fd
        self._native = is_journal(stream_fd, folder)
        self._socket_path = f"{folder}/socket"
        self._stuck = False
        self._waiting: deque[Event] = deque()  # that nobody has begun to write
        # Its holder writes. Re-entrant, as a signal handler may log too.
        self._lock = threading.RLock()
        self._taking_along = False  # whether the holder writes what comes now, too
        self._keeping: int | None = None  # the thread whose events wait for who writes next

    def event(self, name: str, level: Level, fields: Mapping[str, object]) -> None:
        """Write one event, or lose it."""
        self.events([(name, level, fields)])

    def events(self, events: Iterable[Event]) -> None:
        """Write several, in their order: cheaper than one by one."""
        # Whatever a field's __str__ raises, or the kernel says: the daemon's work goes on.
        try:
            self._waiting.extend([event for event in events if event[1] <= self.level])
            if self._keeping == threading.get_ident():
                return
            while self._waiting and self._lock.acquire(timeout=0 if self._taking_along else _PATIENCE):
                try:
                    all_written = self._write_waiting()
                finally:
                    self._lock.release()
                if not all_written:
                    return  # who brought it waits for the lock
        except Exception:  # noqa: BLE001, S110
            pass

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Leave what this thread has to tell meanwhile to who writes next. For one thread at a time."""
        self._keeping = threading.get_ident()
        try:
            yield
        finally:
            self._keeping = None

    def put(self, name: str, level: Level, fields: Mapping[str, object]) -> bool:
        """Write one event, whatever its level, and say whether it could be."""
        entry = make_entry(name, level, fields)
        if not self._lock.acquire(timeout=_PATIENCE):
            return False
        try:
            return self._deliver([entry])
        finally:
            self._lock.release()

    def after_fork(self) -> None:
        """In the child: the lock may belong to a thread that is not there, and what waits is the parent's to write."""
        self._lock, self._keeping = threading.RLock(), None
        self._waiting.clear()

    def _write_waiting(self) -> bool:
        """Write what waits, and for some rounds what other threads bring meanwhile; whether that was all.

        They need not wait: with 16 clients at once the writes of their threads were a tenth of each create, for the
        time that it took each to have the interpreter's lock again.
        """
        for left in reversed(range(_ROUNDS)):
            # Before what waits is taken: who comes later, and sees this, waits for the lock.
            self._taking_along = left > 0
            events = [self._waiting.popleft() for _ in range(len(self._waiting))]
            self._deliver([make_entry(*event) for event in events])
            if not self._waiting:
                return True
        return False

    def _deliver(self, entries: list[Entry]) -> bool:
        """Write them; whether all could be."""
        if not self._native:
            return self._write([f"{IDENTIFIER}: {entry.line}\n" for entry in entries])
        unsent = self._send(entries)
        # The journal takes the priority from the front of the line: sd-daemon(3)
        return self._write([f"<{entry.level:d}>{entry.line}\n" for entry in unsent])

    def _send(self, entries: list[Entry]) -> list[Entry]:
        """Send each as a datagram; those that the journal cannot take now."""
        try:
            # A socket of its own each time, 10 us: it survives forks, closed descriptors and journald's restarts.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                return [entry for entry in entries if not self._sent(sock, entry.datagram())]
        except OSError:
            return entries

    def _sent(self, sock: socket.socket, data: bytes) -> bool:
        try:
            try:
                sock.sendto(data, self._socket_path)
            except OSError:
                # Too large for a datagram: sd_journal_sendv(3) then sends a sealed memory file instead.
                if len(data) < _PIECE:
                    raise
                with _memory_file(data) as fd:
                    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))
                    sock.sendmsg([], [rights], 0, self._socket_path)
        except OSError:
            return False
        return True

    def _write(self, lines: list[str]) -> bool:
        all_written = True
        for block in _blocks([line.encode("utf-8", "backslashreplace") for line in lines]):
            # One that is lost, as on a full disk, takes no other along, nor what other threads have left to this one.
            try:
                all_written &= self._write_block(block)
            except OSError:
                all_written = False
        return all_written

    def _write_block(self, data: bytes) -> bool:
        for start in range(0, len(data), _PIECE):
            # Who does not read for one event is not waited for at the next.
            if not _writable(self._fd, 0 if self._stuck else _PATIENCE):
                self._stuck = True
                return False
            self._stuck = False
            piece = data[start : start + _PIECE]
            if os.write(self._fd, piece) < len(piece):
                return False
        return True


def is_journal(fd: int, folder: str = FOLDER) -> bool:
    """Whether a descriptor is connected to the journal.

    Its peer's name says so, and unlike JOURNAL_STREAM (systemd.exec(5)) it needs no variable to be handed down to
    worker processes, whose standard error is another. LogNamespace= shows as a suffix of the folder.
    """
    try:
        copy = os.dup(fd)
    except OSError:
        return False
    try:
        stream = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return False
    try:
        with stream:
            peer = stream.getpeername()
    except OSError:
        return False
    return isinstance(peer, str) and peer.startswith(folder) and peer.endswith("/stdout")


def _blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """What to write at once: as many whole lines as poll(2) promises room for, or one that is longer."""
    block = b""
    for line in lines:
        if block and len(block) + len(line) > _PIECE:
            yield block
            block = b""
        block += line
    if block:
        yield block


@contextlib.contextmanager
def _memory_file(data: bytes) -> Iterator[int]:
    fd = os.memfd_create(IDENTIFIER, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        # Sealed, journald reads it in place.
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        yield fd
    finally:
        os.close(fd)


def _writable(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    # POLLERR and POLLHUP count: the write then fails at once, and does not block.
    return bool(poll.poll(int(seconds * 1000)))


# ---- the process's own

_journal = Journal()
os.register_at_fork(after_in_child=lambda: _journal.after_fork())  # noqa: PLW0108 of the journal that it is then


def use(stream_fd: int = 2, *, level: Level = INFO) -> None:
    """Send this process's events to `stream_fd`, or past it to the journal that it is connected to.

    Called once at the start: by the daemon with standard error, by a worker with the descriptor that it saved of it.
    `level` is the least grave that is let through.
    """
    global _journal  # noqa: PLW0603 a process has one journal, as it has one standard error
    _journal = Journal(stream_fd, level=level)


def event(name: str, level: Level = INFO, /, *, message: str = "", **fields: object) -> None:
    """Log an event: a name of tifftockd.journal.ids, and what is to be known about it. Fields of None are left out.

    The line is the same everywhere, `name message="..." key=value`; in the journal it is MESSAGE, beside PRIORITY,
    TIFFTOCK_EVENT and, for each field, TIFFTOCK_KEY with the value as it is.
    Nothing may hold what a user wrote, or a secret, unless `level` is DEBUG; that the `log` method shows a message is
    its purpose. Never raises.
    """
    _journal.event(name, level, {"message": message or None, **fields})


def put(name: str, level: Level = INFO, /, *, message: str = "", **fields: object) -> bool:
    """Log an event as `event` does, whatever its level, and say whether the journal or standard error has taken it."""
    return _journal.put(name, level, {"message": message or None, **fields})


def events(several: Iterable[Event]) -> None:
    """Log several events, in their order, cheaper than one by one. All that is said of `event` goes for each."""
    _journal.events(several)


def kept() -> contextlib.AbstractContextManager[None]:
    """Leave what this thread has to tell meanwhile to who writes next: any `event`, or `flush`. For one at a time."""
    return _journal.kept()


def flush() -> None:
    """Write what was kept."""
    _journal.events(())


def capture_logging() -> None:
    """Turn what libraries log or warn about, from WARNING on, into `library` events.

    Libraries put what they worked on into their texts: the caller sees to it that SQL's parameters are not among it.
    """
    import logging

    # Its own class only here: logging costs a worker process more than all of this module.
    class Bridge(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            event("library", _level(record), logger=record.name, text=self._describe(record))

        def _describe(self, record: logging.LogRecord) -> str:
            try:
                return self.format(record)
            except Exception as error:  # noqa: BLE001 a library's wrong format string is not worth an exception here
                return f"{record.msg!r} ({error})"

    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.addHandler(Bridge(logging.WARNING))
    root.setLevel(logging.WARNING)


def _level(record: logging.LogRecord) -> Level:
    """The level of logging's (10 to 50, in tens) in syslog's words."""
    if record.levelno >= 50:
        return CRIT
    return ERR if record.levelno >= 40 else WARNING
