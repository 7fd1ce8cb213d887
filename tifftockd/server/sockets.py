"""The listening sockets: made so that no other daemon's is taken away, and no moment has a wider mode than meant."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import socket
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tifftockd import clock
from tifftockd.config import Address
from tifftockd.config.address import LONGEST_PATH
from tifftockd.errors import ListenError

# Owner and group may connect: to connect to a socket is to write to it, unix(7).
MODE = 0o660
BACKLOG = 1024

# Seconds to wait for another daemon that is starting on a socket in the same folder.
_PATIENCE = 5.0
# What a machine without one of the two families says.
_NO_FAMILY = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
# struct ucred of unix(7): pid, uid, gid
_UCRED = struct.Struct("=iII")
# TCP_LISTEN of the kernel's tables
_LISTENING = "0A"


class UnixListener(socket.socket):
    """A listening Unix socket whose file goes when it is closed, if the file is still this socket's."""

    def __init__(self, path: str) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path = os.path.abspath(path)
        self._made: tuple[int, int] | None = None

    def listen_at_path(self) -> None:
        """Bind with MODE, and listen. OSError."""
        # bind(2) makes the file with what the umask leaves, and a chmod after it would come too late.
        umask = os.umask(0o777 & ~MODE)
        try:
            self.bind(self._path)
        finally:
            os.umask(umask)
        self._made = _identity(self._path)
        self.listen(BACKLOG)

    def close(self) -> None:
        """Close the socket, and remove its file."""
        if self._made is not None and _identity(self._path) == self._made:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        self._made = None
        super().close()


def open_sockets(addresses: Sequence[Address], inherited: Sequence[socket.socket] = ()) -> list[socket.socket]:
    """Listen at every address that is not one of the inherited sockets' already.

    ListenError says what is in the way; nothing is left open then.
    """
    opened: list[socket.socket] = []
    try:
        for address in addresses:
            opened += _open(address, inherited)
    except BaseException:
        _close(opened)
        raise
    return opened


def peer_of(sock: socket.socket) -> tuple[int, int] | None:
    """Pid and uid of the other end of a connected Unix socket (SO_PEERCRED, unix(7)), if the kernel tells."""
    try:
        pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    except OSError:
        return None
    return pid, uid


def _open(address: Address, inherited: Sequence[socket.socket]) -> list[socket.socket]:
    try:
        if address.path is None:
            return _open_tcp(address.host, address.port, inherited)
        if any(_is_at_path(sock, address.path) for sock in inherited):
            return []
        return [_open_unix(address.path)]
    except (OSError, UnicodeError, ListenError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ListenError(f"cannot listen on {address.text}: {reason}") from error


def _close(opened: Sequence[socket.socket]) -> None:
    for sock in opened:
        sock.close()


# ---- Unix; each raises OSError, or ListenError with the reason alone


def _open_unix(path: str) -> socket.socket:
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise ListenError(f"the path is longer than {LONGEST_PATH} bytes: choose a shorter one")
    sock = UnixListener(path)
    try:
        with _folder_lock(os.path.dirname(path) or "."):
            _make_room(path)
            sock.listen_at_path()
    except BaseException:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def _folder_lock(folder: str) -> Iterator[None]:
    """Hold flock(2) on the folder: of two daemons that start at once, the later finds the earlier one listening."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ListenError(f"there is no folder {folder}: create it first") from None
    except OSError as error:
        raise ListenError(f"cannot open the folder {folder}: {error.strerror}") from error
    try:
        end = clock.monotonic() + _PATIENCE
        while not _try_lock(fd):
            if clock.monotonic() > end:
                raise ListenError(f"another process keeps the folder {folder} locked")
            time.sleep(0.02)
        yield
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make_room(path: str) -> None:
    """Remove a socket that nobody listens on any more, and nothing else."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise ListenError("there is something that is no socket: move it away, or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Where a daemon's backlog is full, connect(2) would wait: EAGAIN instead.
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            raise ListenError("it is in use by another daemon") from None
        except PermissionError:
            raise ListenError(
                f"there is a socket of {_user(status.st_uid)} to which this user may not connect:"
                " stop what listens there, or choose another path"
            ) from None
        peer = peer_of(probe)
    raise ListenError("it is in use by another daemon" + (f" (pid {peer[0]}, uid {peer[1]})" if peer else ""))


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"uid {uid}"


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_at_path(sock: socket.socket, path: str) -> bool:
    name = sock.getsockname()
    return sock.family == socket.AF_UNIX and isinstance(name, str) and os.path.realpath(name) == os.path.realpath(path)


# ---- TCP


def _open_tcp(host: str | None, port: int | None, inherited: Sequence[socket.socket]) -> list[socket.socket]:
    """A socket for every address that the host's name stands for: localhost is 127.0.0.1 and ::1."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    names = dict.fromkeys((family, name) for family, _, _, _, name in found)
    free = [(family, name) for family, name in names if not any(_covers(sock, family, name) for sock in inherited)]
    opened: list[socket.socket] = []
    failed: list[OSError] = []
    try:
        for family, name in free:
            try:
                opened.append(_bind_tcp(family, name))
            except OSError as error:
                if error.errno not in _NO_FAMILY:
                    raise
                failed.append(error)
        if failed and len(failed) == len(names):
            raise failed[0]
    except OSError as error:
        _close(opened)
        if error.errno == errno.EADDRINUSE:
            raise ListenError(f"port {port} is in use by {_holder(port)}: stop that, or choose another port") from error
        raise
    return opened


def _holder(port: int | None) -> str:
    """Whose program listens on a port, as far as proc_pid_net(5) tells. Its process is for root to see: ss(8)."""
    for table in ("tcp", "tcp6"):
        # Not /proc/net, which is not there where a unit has ProcSubset=pid.
        with contextlib.suppress(OSError), open(f"/proc/self/net/{table}", encoding="ascii") as lines:
            for _, local, _, state, _, _, _, uid, *_ in map(str.split, lines):
                if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                    return f"a program of {_user(int(uid))} (sudo ss -ltnp 'sport = :{port}' names it)"
    return "another program"


def _bind_tcp(family: int, name: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Else the connections of a daemon that has just stopped would keep the port for a minute (TIME_WAIT).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Else [::] would take IPv4 too, whose address is bound by itself.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _covers(sock: socket.socket, family: int, name: tuple[Any, ...]) -> bool:
    """Whether connections to an address arrive at an inherited socket: it has that address, or the port on all."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    host, port = sock.getsockname()[:2]
    if port != name[1]:
        return False
    if sock.family == family:
        return host in (name[0], "0.0.0.0", "::")  # noqa: S104 compared, not bound
    return bool(host == "::" and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
