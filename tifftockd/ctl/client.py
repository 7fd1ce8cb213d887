"""Requests to the daemon, and what can go wrong with them: always a Failure, whatever answers."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from email.message import Message
from typing import Any, NamedTuple, Self

from tifftockd import clock
from tifftockd.ctl.address import SERVICE, Address
from tifftockd.ctl.errors import EX_NOPERM, EX_PROTOCOL, Failure, NoAnswer, Refused
from tifftockd.ctl.plain import client as http_client

# Seconds for one request with its answer: the daemon waits up to 10 for drop-ins that it is loading.
PATIENCE = 30.0
# Seconds over which a request is made again, where it is safe to be and the daemon asks for it; so often it is made
# where the connection is lost, with pauses that begin with so many seconds.
_PERSISTENCE = 15.0
_TRIES, _PAUSE = 4, 0.1
# A page of a list ends before 8 MiB; what was just created comes back with a little more than was sent.
_LARGEST_ANSWER = 64 * 1024 * 1024
_PIECE = 256 * 1024
_NEXT = re.compile(r'<(/[!-~]*)>; *rel="?next"?')


class Answer(NamedTuple):
    """What the daemon said: the JSON of its body, None where that is empty."""

    status: int
    headers: Message
    value: Any


class _Socket(socket.socket):
    """One whose timeout is that of the whole exchange: a server that sends a byte now and then is slow, too."""

    until = 0.0

    def recv_into(self, *arguments: Any) -> int:
        self.settimeout(max(self.until - clock.monotonic(), 0.001))
        return super().recv_into(*arguments)


def _encrypted(sock: socket.socket, address: Address) -> socket.socket:
    """TLS with a server whose certificate is its host's, by an authority that OpenSSL knows. NoAnswer."""
    # Heavy, and used here only.
    import ssl

    class Encrypted(_Socket, ssl.SSLSocket):
        pass

    context = ssl.create_default_context()
    context.sslsocket_class = Encrypted
    try:
        return context.wrap_socket(sock, server_hostname=address.host)
    except ssl.SSLCertVerificationError as error:
        how = "SSL_CERT_FILE=FILE names an authority of your own"
        raise NoAnswer(f"{address.text}: its certificate is refused: {error.verify_message}; {how}") from None
    except ssl.SSLError as error:
        raise NoAnswer(f"{address.text} speaks no TLS, or another one: {error.reason}") from None


class _Connection(http_client.HTTPConnection):
    def __init__(self, address: Address) -> None:
        super().__init__(address.host, address.port, timeout=PATIENCE)
        self._address = address

    def connect(self) -> None:
        until = clock.monotonic() + PATIENCE
        if self._address.path is None:
            super().connect()
            plain, self.sock = self.sock, None
            self.sock = _encrypted(plain, self._address) if self._address.tls else _Socket(fileno=plain.detach())
        else:
            self.sock = _Socket(socket.AF_UNIX)
            self.sock.settimeout(PATIENCE)
            while (error := self.sock.connect_ex(self._address.path)) == errno.EAGAIN and clock.monotonic() < until:
                time.sleep(0.02)  # its queue is full: connect(2)
            if error == errno.EAGAIN:
                raise TimeoutError
            if error:
                raise OSError(error, os.strerror(error))
        self.begin()

    def begin(self) -> None:
        """A request begins."""
        if isinstance(self.sock, _Socket):
            self.sock.until = clock.monotonic() + PATIENCE
            self.sock.settimeout(PATIENCE)


class Client:
    """The daemon at an address. A connection is kept for the next request."""

    def __init__(self, address: Address, key: str | None) -> None:
        self.address = address
        self._key = key
        self._connection = _Connection(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def get(self, path: str) -> Any:
        """The JSON at a path. Refused, Failure."""
        return self.ask("GET", path).value

    def ask(self, method: str, path: str, body: Any = None, once: str | None = None) -> Answer:
        """Make a request and give its answer, if that is none of an error. Refused, Failure.

        `once`: the Idempotency-Key. With one, or if nothing is changed by it, a request whose connection is lost, or
        to which the daemon says that it should come later, is made again.
        """
        end = clock.monotonic() + _PERSISTENCE
        again = method == "GET" or once is not None
        tries, pause = 0, _PAUSE
        while True:
            try:
                return self._ask(method, path, body, once)
            except NoAnswer as error:
                tries += error.lost
                if not (again and error.lost) or tries == _TRIES:
                    if error.sent and method != "GET":
                        doubt = "whether it was done is not known: tifftockctl shows what there is"
                        raise Failure(f"{error.message}; {doubt}", error.code) from None
                    raise
            except Refused as error:
                asked = error.retry_after or ""
                wait = float(asked) if re.fullmatch("[0-9]{1,6}", asked) else None
                if not again or wait is None or clock.monotonic() + max(wait, pause) > end:
                    raise
                pause = max(wait, pause)
            time.sleep(pause)
            pause *= 2

    def items(self, path: str, limit: int | None = None) -> Iterator[Any]:
        """The items of a list, page by page where its Link leads; at most `limit` of them. Refused, Failure."""
        left = limit
        following: str | None = path
        seen: set[str] = set()
        while following is not None and left != 0:
            answer = self.ask("GET", following)
            if not isinstance(answer.value, list):
                raise self.stranger("a list was expected")
            for item in answer.value:
                if left == 0:
                    return
                yield item
                left = None if left is None else left - 1
            link = _NEXT.search(answer.headers.get("Link") or "")
            seen.add(following)
            following = link and link[1]
            if following in seen:
                raise self.stranger("a list goes on where it has been")

    def stranger(self, why: str) -> Failure:
        """What answers is not, or not quite, tifftockd."""
        return Failure(f"what answers at {self.address.text} is not tifftockd, or another version: {why}", EX_PROTOCOL)

    # ---- one request

    def _ask(self, method: str, path: str, body: Any, once: str | None) -> Answer:
        headers = {"Accept": "application/json"}
        if self._key is not None and self.address.path is None:
            headers["x-api-key"] = self._key
        if once is not None:
            headers["Idempotency-Key"] = once
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = to_json(body)
        try:
            answer, content = self._exchange(method, path, data, headers)
        except OSError as error:
            self._connection.close()
            raise self._lost(error) from None
        except http_client.HTTPException as error:
            self._connection.close()
            if isinstance(error, http_client.IncompleteRead):
                raise NoAnswer(f"{self.address.text} broke its answer off", sent=True, lost=True) from None
            raise self.stranger("that is no HTTP") from None
        return self._read(answer, content)

    def _exchange(
        self, method: str, path: str, data: bytes | None, headers: dict[str, str]
    ) -> tuple[http_client.HTTPResponse, bytes]:
        connection = self._connection
        connection.begin()
        try:
            connection.request(method, path, data, headers)
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses what is too large may answer before it has read all.
            if connection.sock is None:
                raise
        response = connection.getresponse()
        pieces, size = [], 0
        while piece := response.read1(_PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > _LARGEST_ANSWER:
                connection.close()
                raise self.stranger("its answer has no end")
        if response.length:
            raise http_client.IncompleteRead(b"")
        response.close()
        if response.will_close:
            connection.close()
        return response, b"".join(pieces)

    def _read(self, response: http_client.HTTPResponse, content: bytes) -> Answer:
        status, headers = response.status, response.headers
        value = None
        if content.strip():
            try:
                value = json.loads(content, parse_constant=no_constant)
            except (ValueError, RecursionError):
                kind = headers.get_content_type()
                raise self.stranger(f"it said {status} {response.reason}, and that in {kind}") from None
        if status in (200, 201, 204):
            return Answer(status, headers, value)
        # Of /health
        if status == 503 and isinstance(value, dict) and "status" in value:
            return Answer(status, headers, value)
        if not (400 <= status < 600 and isinstance(value, dict) and isinstance(value.get("error"), str)):
            raise self.stranger(f"it said {status} {response.reason}")
        try:
            refused = Refused(status, value, headers.get("Retry-After"))
        except ValueError:
            raise self.stranger(f"there is no status {status}") from None
        if status == 401:
            wrong = "the key is wrong" if self._key else "it needs a key"
            how = "put one of its API_KEY into the environment as TIFFTOCK_KEY, or into a file: --key-file FILE"
            raise Failure(f"{self.address.text} says: {refused.message}; {wrong}: {how}", EX_NOPERM)
        raise refused

    # ---- what to do about it

    def _lost(self, error: OSError) -> Failure:
        """Why there was no answer, and what a person can do."""
        where = self.address.text
        if isinstance(error, TimeoutError):
            return NoAnswer(f"{where} did not answer within {PATIENCE:.0f} s", sent=True)
        if self.address.path is None:
            if isinstance(error, socket.gaierror):
                return NoAnswer(f"{where}: the host cannot be found: {error.strerror}")
            if isinstance(error, ConnectionRefusedError):
                advice = "start tifftockd there, or see whether this is in its API_URL"
                if self.address.tls:
                    advice = "start there what speaks TLS for tifftockd, such as nginx"
                return NoAnswer(f"nothing listens at {where}: {advice}")
        elif isinstance(error, (FileNotFoundError, ConnectionRefusedError, NotADirectoryError)):
            return NoAnswer(_not_running(self.address.path))
        elif isinstance(error, PermissionError):
            return Failure(_not_permitted(self.address.path), EX_NOPERM)
        # http.client's RemoteDisconnected among them
        lost = isinstance(error, (ConnectionResetError, BrokenPipeError))
        what = "closed the connection without an answer" if lost else f"cannot be reached: {error.strerror or error}"
        # What fails in an encrypted connection fails after it has begun.
        return NoAnswer(f"{where} {what}", sent=lost or hasattr(error, "library"), lost=lost)


def no_constant(name: str) -> Any:
    """For json.loads: NaN and Infinity, which Python reads, are no JSON (RFC 8259, 6)."""
    raise ValueError(f"{name} is no JSON")


def to_json(value: object) -> bytes:
    """In UTF-8. A lone surrogate, which that cannot hold, becomes the escape that JSON has for it."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _not_running(path: str) -> str:
    if path == SERVICE:
        return f"tifftockd is not running: nothing listens on {path}: sudo systemctl start tifftockd"
    other = "" if os.path.exists(SERVICE) else f", and {SERVICE} is not there"
    return (
        f"nothing listens on {path}{other}: start the daemon: systemctl start tifftockd, or by hand tifftockd;"
        " if its API_URL is another place: --url"
    )


def _not_permitted(path: str) -> str:
    """As group and membership have it."""
    import grp

    said = f"permission denied on {path}"
    try:
        group = grp.getgrgid(os.stat(path).st_gid)
    except (OSError, KeyError):
        return f"{said}: use it as the user that it belongs to"
    if group.gr_name == "root" or os.stat(path).st_mode & 0o060 != 0o060:
        return f"{said}: use it as the user that it belongs to"
    if _user() in group.gr_mem and group.gr_gid not in os.getgroups():
        return f"{said}: you are in the group {group.gr_name}, from your next login on: log in again"
    return f"{said}: join the group: sudo adduser $USER {group.gr_name}, and log in again"


def _user() -> str | None:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None
