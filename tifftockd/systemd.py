"""What the service manager is told, and the sockets that it hands over."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping

import sdnotify

from tifftockd import clock, journal
from tifftockd.clock import SECOND, Micros
from tifftockd.errors import ListenError
from tifftockd.threads import make_thread

# sd_listen_fds(3): the first descriptor that is handed over.
FIRST_FD = 3
# Seconds between two STATUS texts: they are for people.
STATUS_EVERY = 1.0
# Seconds until a probe that failed is made again.
_AGAIN = 1.0
# Seconds to wait for a service manager that is busy, with what it waits for itself.
_PATIENCE = 5.0
# The service manager ignores a message above 4096 bytes; this many characters are left of a value.
_LONGEST = 1000


class Notifier:
    """Tells the service manager how the daemon does, by sd_notify(3). Without one, nothing; never raises."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        # `environ` is the process's own: it is there that sdnotify looks for the address.
        self.enabled = bool(environ.get("NOTIFY_SOCKET"))
        self._lock = threading.Lock()
        self._shown: str | None = None
        self._shown_at = float("-inf")

    def ready(self) -> None:
        """Say that the start, or a reload, is complete: the last act of both."""
        self._notify(_PATIENCE, READY="1")

    def reloading(self) -> None:
        """Say that a reload begins; by the time in it systemd knows it for the one that it asked for."""
        self._notify(_PATIENCE, RELOADING="1", MONOTONIC_USEC=str(int(clock.monotonic() * SECOND)))

    def stopping(self) -> None:
        """Say that the stop begins."""
        self._notify(_PATIENCE, STOPPING="1")

    def extend(self, span: Micros) -> None:
        """Ask for `span` from now on to complete the start, the reload or the stop."""
        self._notify(_PATIENCE, EXTEND_TIMEOUT_USEC=str(span))

    def status(self, text: str, now: float) -> bool:
        """Show `text` in `systemctl status`, but no more than once a second; `now` is clock.monotonic().

        False: a second has not passed, and the caller is to come again then with what is true by that time.
        """
        with self._lock:
            if text == self._shown:
                return True
            if now - self._shown_at < STATUS_EVERY:
                return False
            self._shown, self._shown_at = text, now
        if not self._notify(0, STATUS=text):
            self._shown = None
        return True

    def alive(self) -> None:
        """Say that the work goes on (WATCHDOG=1)."""
        self._notify(_PATIENCE, WATCHDOG="1")

    def _notify(self, patience: float, **assignments: str) -> bool:
        """Send one message, waiting at most `patience` seconds; False if it could not be sent."""
        if not self.enabled:
            return True
        text = "\n".join(f"{name}={_plain(value)}" for name, value in assignments.items())
        try:
            # Connected anew each time: a connection would not survive a receiver that is made anew.
            notifier = sdnotify.SystemdNotifier(debug=True)
            with notifier.socket:
                notifier.socket.settimeout(patience)
                notifier.notify(text)
        except OSError as error:
            # A full queue in front of a text for people is nothing to report.
            if patience:
                journal.event("notify-failed", journal.WARNING, error=error, sent=text)
            return False
        return True


class Watchdog:
    """A thread that says WATCHDOG=1 for as long as its probe finds the work going on, and keeps STATUS.

    Without a service manager it does nothing.
    """

    def __init__(
        self,
        notifier: Notifier,
        environ: Mapping[str, str],
        probe: Callable[[float], bool],
        status: Callable[[], str],
    ) -> None:
        """`probe` gets the seconds it may take; `status` gives the text of the moment."""
        self._notifier = notifier
        self._probe = probe
        self._status = status
        # Half of the time, as sd_watchdog_enabled(3) advises, and a third for the probe: one that takes as long as it
        # may is still in time.
        watched = _watchdog_seconds(environ)
        self._every, self._patience = watched / 2, watched / 3
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = make_thread("watchdog", self._run)

    def start(self) -> None:
        """Begin."""
        if self._notifier.enabled:
            self._thread.start()

    def changed(self) -> None:
        """From any thread: there is something new to show."""
        self._changed.set()

    def stop(self) -> None:
        """End. systemd watches on while the daemon stops, by the time that it gives for that."""
        self._stopping.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        probe_at = clock.monotonic()
        while not self._stopping.is_set():
            if self._every and clock.monotonic() >= probe_at:
                well = self._probe(self._patience)
                if well:
                    self._notifier.alive()
                probe_at = clock.monotonic() + (self._every if well else min(self._every, _AGAIN))
            self._changed.clear()  # before it is looked at: what comes from now on is shown by the next
            if self._stopping.is_set():
                return  # or this was the call to end, and there will be no other
            shown = self._notifier.status(self._status(), clock.monotonic())
            if self._changed.wait(self._left(probe_at, None if shown else STATUS_EVERY)):
                # What comes in a burst is shown together, and wakes nobody meanwhile.
                self._stopping.wait(self._left(probe_at, STATUS_EVERY))

    def _left(self, probe_at: float, most: float | None) -> float | None:
        """Seconds until the next probe, or `most` if that is less; None: without an end."""
        if not self._every:
            return most
        left = max(0.0, probe_at - clock.monotonic())
        return left if most is None else min(left, most)


def _watchdog_seconds(environ: Mapping[str, str]) -> float:
    """WatchdogSec= of the unit, by sd_watchdog_enabled(3); 0 without one."""
    text, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID")
    if not (text.isascii() and text.isdecimal()) or pid not in (None, str(os.getpid())):
        return 0
    return int(text) / SECOND


def _plain(value: str) -> str:
    """ASCII in one line: sdnotify loses a message with anything beyond Latin-1, and a newline would begin a field."""
    return "".join(mark if mark.isascii() and mark.isprintable() else "?" for mark in value[:_LONGEST])


def inherited_sockets(environ: Mapping[str, str]) -> list[socket.socket]:
    """The listening sockets that the service manager hands over, in its order: sd_listen_fds(3).

    None of them outlives an exec. ListenError if one cannot be listened on.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = environ.get("LISTEN_FDS", "")
    if not (count.isascii() and count.isdecimal() and len(count) <= 4):
        raise ListenError(f"LISTEN_FDS is {count!r}; the service manager sets it to a number of descriptors")
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    names += ["unknown"] * (int(count) - len(names))
    return [_listening(fd, name) for fd, name in enumerate(names[: int(count)], start=FIRST_FD)]


def _listening(fd: int, name: str) -> socket.socket:
    what = f"descriptor {fd} ({name}), handed over by the service manager,"
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise ListenError(f"{what} is not a socket: {error.strerror}; the socket unit needs ListenStream=") from None
    # Accept=yes hands over a connection, ListenDatagram= what has none.
    listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not listening or sock.type != socket.SOCK_STREAM:
        sock.detach()
        raise ListenError(f"{what} is not a listening stream socket; the socket unit needs ListenStream= and Accept=no")
    return sock
