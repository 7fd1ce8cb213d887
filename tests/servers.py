"""Real servers on the loopback, for handlers to talk to.

Each is a context manager that listens on a free port of 127.0.0.1 while it is entered, answers as it was told to, and
keeps what it received:

    with HttpServer(Answer(503, headers={"Retry-After": "1"}), Answer(200)) as server:
        ...                             # the first request gets 503, all others 200
        server.wait(2)                  # until two requests are there
        server.requests[1].json()

    with MailServer("starttls", login=("ann", "secret"), replies={"DATA": "451 later"}) as server:
        ...
        server.mails[0].message["Subject"]

    with RawServer(b"554 go away\r\n") as server:   # for what is no proper server

Leaving the block ends hanging and dripping answers too.
"""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import http.server
import json
import os
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from typing import Any, Self

import trustme
from aiosmtpd.smtp import SMTP, AuthResult

from tifftockd.errors import HandlerError

HOST = "127.0.0.1"

# Seconds between two bytes of a drip: longer than nothing, shorter than any read timeout.
DRIP = 0.05


# ---- certificates


@cache
def authority() -> trustme.CA:
    """The one certificate authority of this test run."""
    return trustme.CA()


@cache
def server_context() -> ssl.SSLContext:
    """TLS for a server on 127.0.0.1, by a certificate that only `trusted` clients accept."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(HOST, "localhost").configure_cert(context)
    return context


def trust(folder: Path) -> dict[str, str]:
    """Environment variables that make OpenSSL and requests accept `server_context`; the file goes to `folder`."""
    path = folder / "authority.pem"
    authority().cert_pem.write_to_path(str(path))
    return {"SSL_CERT_FILE": str(path), "REQUESTS_CA_BUNDLE": str(path)}


# ---- what all servers share


class _Listening:
    """Counts what arrives, and lets others wait for it."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._stopping = threading.Event()

    def wait(self, count: int = 1, timeout: float = 10.0) -> None:
        """Return as soon as `count` things have been received in all; AssertionError after `timeout` seconds."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self._received()) >= count, timeout):
                raise AssertionError(f"{len(self._received())} of {count} received within {timeout} s")

    def _received(self) -> list[Any]:
        raise NotImplementedError

    def _keep(self, thing: object) -> int:
        """Add what was received; returns how many came before it."""
        with self._arrived:
            self._received().append(thing)
            self._arrived.notify_all()
            return len(self._received()) - 1

    def _drip(self, data: bytes, write: Any) -> None:
        for byte in data:
            if self._stopping.wait(DRIP):
                return
            write(bytes([byte]))


# ---- HTTP


@dataclass(frozen=True)
class Answer:
    """What an HTTP server answers, and in which manner.

    "at once"; "hang" (nothing is sent), "close" (the connection is closed without an answer), "drip" (the whole
    answer byte by byte), "drip body", "hang body" (headers, then nothing).
    """

    status: int = 200
    body: bytes | str = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    manner: str = "at once"


@dataclass(frozen=True)
class Request:
    """One request, as it was received."""

    method: str
    target: str  # path and query
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    at: float  # seconds since the epoch
    port: int  # the client's, another for each connection

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def json(self) -> Any:
        return json.loads(self.body)


class HttpServer(_Listening):
    """Gives the answers one after another, the last one for ever; a bare number stands for its status."""

    def __init__(self, *answers: Answer | int, tls: bool = False, port: int = 0, host: str = HOST) -> None:
        super().__init__()
        self._address = (host, port)
        self.requests: list[Request] = []
        self.answers = [Answer(answer) if isinstance(answer, int) else answer for answer in answers or (200,)]
        self._tls = tls

    def _received(self) -> list[Any]:
        return self.requests

    def __enter__(self) -> Self:
        owner = self

        class Handler(_HttpHandler):
            server_of_tests = owner

        host = self._address[0]
        self._server = _TcpServer(self._address, Handler, self._tls)
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if self._tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.cut()
        self._server.server_close()  # waits for the answers under way


class _TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128
    daemon_threads = False

    def __init__(self, address: tuple[str, int], handler: Any, tls: bool) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)
        self._tls = tls
        self._connections: set[socket.socket] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        # A client that goes away, or does not trust us, is what some tests are about.
        with contextlib.suppress(OSError):
            if self._tls:
                request.settimeout(5)
                request = server_context().wrap_socket(request, server_side=True)
                request.settimeout(None)
            self._connections.add(request)
            super().finish_request(request, client_address)
        self._connections.discard(request)
        request.close()

    def cut(self) -> None:
        """End all connections, also those that a client keeps open."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                # not SSLSocket's, which would take the TLS state from under the thread that reads
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _HttpHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_tests: HttpServer

    def _serve(self) -> None:
        owner = self.server_of_tests
        length = int(self.headers.get("Content-Length", 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        body, port = self.rfile.read(length), self.client_address[1]
        request = Request(self.command, self.path, headers, body, time.time(), port)
        position = owner._keep(request)
        self._answer(owner, owner.answers[min(position, len(owner.answers) - 1)])

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve

    def _answer(self, owner: HttpServer, answer: Answer) -> None:
        if answer.manner in ("hang", "close"):
            self.close_connection = True
            if answer.manner == "hang":
                owner._stopping.wait()
            return
        body = answer.body.encode() if isinstance(answer.body, str) else answer.body
        lines = {"Content-Length": str(len(body)), **answer.headers}
        reason = http.HTTPStatus(answer.status).phrase if answer.status in set(http.HTTPStatus) else ""
        head = f"HTTP/1.1 {answer.status} {reason}\r\n".encode()
        head += "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode() + b"\r\n"
        if self.command == "HEAD":
            body = b""
        if answer.manner == "drip":
            owner._drip(head + body, self.wfile.write)
        elif answer.manner == "drip body":
            self.wfile.write(head)
            owner._drip(body, self.wfile.write)
        elif answer.manner == "hang body":
            self.wfile.write(head)
            owner._stopping.wait()
            self.close_connection = True
        else:
            self.wfile.write(head + body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server names it so
        pass


# ---- SMTP


@dataclass(frozen=True)
class Mail:
    """One mail, as it was accepted."""

    sender: str
    recipients: list[str]
    content: bytes
    user: str | None
    encrypted: bool
    at: float  # seconds since the epoch

    @property
    def message(self) -> EmailMessage:
        message = email.message_from_bytes(self.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        return message

    @property
    def text(self) -> str:
        """The decoded text, with its lines ended by a bare newline."""
        return self.part("plain")

    def part(self, kind: str) -> str:
        """The text of this kind, "plain" or "html", likewise."""
        body = self.message.get_body((kind,))
        assert body is not None
        return str(body.get_content()).replace("\r\n", "\n")


class MailServer(_Listening):
    """An SMTP server that keeps mails, by `security` "none", "starttls" or "tls".

    `login` is the user and password that it then insists on. `replies` maps "EHLO", "MAIL", "RCPT", "DATA" (the
    answer after the text), "QUIT", or one recipient's address, to the answer that is given instead of 250; "" closes
    the connection without one, "hang" says nothing at all.
    """

    def __init__(
        self,
        security: str = "none",
        *,
        login: tuple[str, str] | None = None,
        replies: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.mails: list[Mail] = []
        self.logins: list[tuple[str, bool]] = []  # user, and whether the connection was encrypted
        self.replies = dict(replies or {})
        self._security = security
        self._login = login

    def _received(self) -> list[Any]:
        return self.mails

    def __enter__(self) -> Self:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._sessions: set[SMTP] = set()
        # Implicit TLS wraps the whole connection; STARTTLS is SMTP's own affair.
        context = server_context() if self._security == "tls" else None
        server = await self._loop.create_server(self._session, HOST, 0, ssl=context)
        self.port: int = server.sockets[0].getsockname()[1]
        async with server:
            self._ready.set()
            await self._stop.wait()
        for session in self._sessions:
            if session.transport is not None:
                session.transport.abort()
        # once more round the loop, so that the transports notice
        await asyncio.sleep(0)

    def _session(self) -> SMTP:
        session = SMTP(
            _MailHandler(self),
            hostname="localhost",
            loop=self._loop,
            enable_SMTPUTF8=True,
            tls_context=server_context() if self._security == "starttls" else None,
            authenticator=self._authenticate if self._login else None,
            auth_required=self._login is not None and self._security == "starttls",
            auth_require_tls=self._security == "starttls",
        )
        self._sessions.add(session)
        return session

    def _authenticate(self, server: SMTP, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login.decode(), _is_encrypted(server)))
        known = (data.login.decode(), data.password.decode()) == self._login
        return AuthResult(success=known, handled=False, auth_data=data.login.decode())

    async def _reply(self, server: SMTP, *steps: str) -> str | None:
        """The scripted answer for the first of the steps that has one; None: go on as usual."""
        reply = next((self.replies[step] for step in steps if step in self.replies), None)
        if reply == "hang":
            await self._stop.wait()
        if reply in ("", "hang"):
            assert server.transport is not None
            server.transport.abort()
            # not reached by the client any more
            return "421 closing"
        return reply


class _MailHandler:
    """aiosmtpd's hooks: one for each step."""

    def __init__(self, owner: MailServer) -> None:
        self._owner = owner

    async def handle_EHLO(self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]) -> Any:
        session.host_name = hostname
        reply = await self._owner._reply(server, "EHLO")
        return [reply] if reply else responses

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        reply = await self._owner._reply(server, "MAIL")
        if reply is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return reply or "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        reply = await self._owner._reply(server, address, "RCPT")
        if reply is None:
            envelope.rcpt_tos.append(address)
        return reply or "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        reply = await self._owner._reply(server, "DATA")
        if reply is None:
            user = session.auth_data if isinstance(session.auth_data, str) else None
            mail = Mail(
                envelope.mail_from,
                list(envelope.rcpt_tos),
                envelope.content,
                user,
                _is_encrypted(server),
                time.time(),
            )
            self._owner._keep(mail)
        return reply or "250 OK"

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:
        return await self._owner._reply(server, "QUIT") or "221 bye"


def _is_encrypted(server: Any) -> bool:
    return server.transport.get_extra_info("ssl_object") is not None


# ---- what is no proper server


class RawServer(_Listening):
    """Sends the same bytes to whoever connects, at once or dripping, then says nothing more; keeps what it hears."""

    def __init__(self, greeting: bytes = b"", *, drip: bool = False, close: bool = False) -> None:
        super().__init__()
        self.heard: list[bytes] = []
        self._greeting, self._slowly, self._close = greeting, drip, close

    def _received(self) -> list[Any]:
        return self.heard

    def __enter__(self) -> Self:
        self._socket = socket.create_server((HOST, 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        # wakes accept(2)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._talk, args=[connection])
            self._threads.append(thread)
            thread.start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if self._slowly:
                self._drip(self._greeting, connection.sendall)
            else:
                connection.sendall(self._greeting)
            if self._close:
                return
            connection.settimeout(0.05)
            while not self._stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    data = connection.recv(65536)
                    if not data:
                        return
                    self._keep(data)


@contextlib.contextmanager
def refused() -> Iterator[int]:
    """A port at which connections are refused: it is taken, and nobody listens."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        yield sock.getsockname()[1]


@contextlib.contextmanager
def unreachable() -> Iterator[int]:
    """A port at which connections are neither taken nor refused: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((HOST, 0))
        listener.listen(0)
        # One more than the queue holds stays in SYN-SENT (listen(2)).
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


# ---- the environment of a handler

_PREFIXES = ("SMTP_", "EMAIL_", "MAILGUN_", "TWILIO_", "API_", "NOTIFY_")
_OTHERS = (
    "http_deny",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "netrc",
    "requests_ca_bundle",
    "curl_ca_bundle",
)


def clean_environ(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An environment without what would make a handler talk to anything but the servers of a test."""
    return {
        name: value for name, value in environ.items() if not name.startswith(_PREFIXES) and name.lower() not in _OTHERS
    }


@contextlib.contextmanager
def handler_environ() -> Iterator[os._Environ[str]]:
    """This process's environment, clean, for a test that runs a handler in it; restored afterwards."""
    saved = dict(os.environ)
    try:
        for name in saved.keys() - clean_environ().keys():
            del os.environ[name]
        yield os.environ
    finally:
        os.environ.clear()
        os.environ.update(saved)


def failure_of(fire: Callable[..., object], *args: Any, **options: Any) -> HandlerError:
    """What a handler raises when it is fired so, without the library's own error, whose text could be shown."""
    try:
        fire(*args, **options)
    except HandlerError as error:
        assert error.__suppress_context__ or error.__context__ is None, "the library's own text would be shown"
        return error
    raise AssertionError("it did not fail")


@contextlib.contextmanager
def plain_sockets() -> Iterator[None]:
    """For what watches sockets (tifftockd.handlers.watch) in this process: they are as they were afterwards.

    It leaves them watched while threads go on that were not there before, and servers of tests have threads.
    """
    try:
        yield
    finally:
        for name in ("connect", "connect_ex", "sendto", "sendmsg"):
            if name in vars(socket.socket):
                delattr(socket.socket, name)
