"""What is read of a request: waitress' parser, and what it lets pass or stumbles over.

This and the other classes here that are derived from waitress' own work with 2.1.2 to 3.0.2. They are derived, never
patched; what is relied on is covered by tests. waitress ships no types, so that for mypy each is derived from Any.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge

from tifftockd.api.body import LARGEST_ARRAY

LARGEST_HEADER = 16_384
# One reminder's limit is its route's.
LARGEST_BODY = LARGEST_ARRAY
# One that is larger than this is large, and of those so many are taken in at a time, by all connections together: what
# has come of a body is kept in memory.
LARGE = 512 * 1024
_MOST_LARGE = 16
# Of a chunk's size with its extensions, which waitress gathers without an end.
LONGEST_CHUNK_LINE = 1024
# Of a body with all that is around its chunks: one may be of a byte, and waitress lets empty lines stand between them.
LARGEST_CHUNKED = 8 * LARGEST_BODY

_VERSION = re.compile(r"[0-9]\.[0-9]")
# RFC 9110, 2.5: a higher minor version is treated as the highest that is known.
_LATER_MINOR = re.compile(rb"([^\r\n]* HTTP/1\.)[2-9](?=\r\n)")
# RFC 9112, 5.2 and 6.1: may be refused, and others read these in other ways.
_FOLDED = re.compile(rb"\r\n[ \t]")
_ENCODING = re.compile(rb"\r\ntransfer-encoding:([^\r\n]*)", re.IGNORECASE)


class VersionNotSupported(Error):  # type: ignore[misc]
    """A request line of another major version: RFC 9110, 15.6.6."""

    code = 505
    reason = "HTTP Version Not Supported"


class Crowded(Error):  # type: ignore[misc]
    """One more large body than is taken in at a time: RFC 9110, 15.6.4."""

    code = 503
    reason = "Service Unavailable"


class KeyRefused(Error):  # type: ignore[misc]
    """Who may not send a body: RFC 9110, 15.5.2."""

    code = 401
    reason = "Unauthorized"


# Whoever is done with a request, or gives it up, lets it go, and with it its place.
_large: WeakSet[Parser] = WeakSet()


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """Refuses what waitress lets pass or stumbles over."""

    body_rcv: Any
    body_bytes_received: int
    completed: bool
    # Whether who sends these headers, X-API-Key and Authorization, may send a body.
    admits: Callable[[str, str], bool] = staticmethod(lambda _key, _authorization: True)

    def received(self, data: bytes) -> int:
        """Take in what has arrived; how much of it was this request's."""
        try:
            consumed: int = super().received(data)
        except ValueError:
            # An URL with half of an IPv6 address, a Content-Length that int() refuses
            self._fail(BadRequest("a number or the URL in it cannot be read"))
            return len(data)
        if self.chunked:
            self._refuse_excess()
        if self.error is None and self.body_bytes_received > LARGE and self not in _large:
            self._refuse_crowd()
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
        if later := _LATER_MINOR.match(header_plus):
            header_plus = later[1] + b"1" + header_plus[later.end() :]
        super().parse_header(header_plus)
        headers: dict[str, str] = self.headers
        if not _VERSION.fullmatch(self.version):
            raise ParsingError("the request line must end in HTTP/1.1")
        if not self.version.startswith("1."):
            self._fail(VersionNotSupported(f"HTTP/{self.version} is not spoken here: use HTTP/1.1"))
            return
        # RFC 9112, 9.6: it may stand among others, where waitress does not look for it.
        if "CONNECTION" in headers and "close" in re.split(r"[ \t,]+", headers["CONNECTION"].lower()):
            headers["CONNECTION"], self.connection_close = "close", True
        # RFC 9112, 3.2
        if self.version == "1.1" and ("HOST" not in headers or "," in headers["HOST"]):
            raise ParsingError("HTTP/1.1 needs one Host header")
        # RFC 9112, 6.1: two lengths that may contradict each other hide a second request in the first.
        if self.chunked and "CONTENT_LENGTH" in headers:
            raise ParsingError("Transfer-Encoding and Content-Length exclude each other")
        if self.version == "1.0" and "TRANSFER_ENCODING" in headers:
            raise ParsingError("HTTP/1.0 has no Transfer-Encoding")
        self._refuse_stranger(headers)

    def _refuse_stranger(self, headers: dict[str, str]) -> None:
        """Without a key nobody may have the daemon keep megabytes, and wait for more."""
        has_body = self.chunked or self.content_length
        if has_body and not self.admits(headers.get("X_API_KEY", ""), headers.get("AUTHORIZATION", "")):
            self._fail(KeyRefused("invalid api key"))

    def _refuse_crowd(self) -> None:
        if len(_large) < _MOST_LARGE:
            _large.add(self)
        else:
            message = f"{_MOST_LARGE} requests of more than {LARGE} bytes are being served: try again in a second"
            self._fail(Crowded(message))

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
