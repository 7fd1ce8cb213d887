"""What a request is answered with: by the application, or, where it never reaches that, in the JSON of all errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waitress.task import ErrorTask, WSGITask

from tifftockd.api.access import PEER
from tifftockd.api.errors import error_body
from tifftockd.server.parser import LARGEST_BODY, LARGEST_HEADER

if TYPE_CHECKING:
    from tifftockd.server.connection import Channel

_KINDS = {
    400: "malformed",
    401: "unauthorized",
    413: "too_large",
    431: "too_large",
    501: "not_implemented",
    503: "overloaded",
    505: "http_version",
}


class _Task:
    channel: Channel
    request: Any
    status: str

    def build_response_header(self) -> bytes:
        """What precedes the body. The last of its connection: to a wrong key, which may have to wait, and at a stop."""
        refused = self.status.startswith("401 ") and self.channel.refuse_key()
        if refused or self.channel.server.ending:
            # As if its client had asked for that
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()  # type: ignore[misc]  # waitress' own
        return header

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
        if error.code == 401:
            self.response_headers.append(("WWW-Authenticate", "Bearer"))
        if error.code == 503:
            self.response_headers.append(("Retry-After", "1"))
        # By hand, as waitress 2.1.2 has no set_close_on_finish
        self.request.headers["CONNECTION"] = "close"
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
        try:
            super().execute()
        finally:
            # bottle keeps the last environment of each thread, and with it the body, and the connection with all that
            # comes of its next one.
            if self.environ is not None:
                self.environ.clear()
        if self.request.command == "HEAD" and not self.wrote_header:
            # waitress 2.1.2 misses the body that Content-Length speaks of, and would close without a word.
            self.close_on_finish = False

    def get_environment(self) -> dict[str, Any]:
        """The WSGI environment."""
        environ: dict[str, Any] = super().get_environment()
        environ[PEER] = self.channel.peer
        return environ
