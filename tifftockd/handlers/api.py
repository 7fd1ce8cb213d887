"""`api`: an HTTP request at the due time, to the reminder's `to` or to API_REMIND_URL."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from tifftockd.config.values import HTTP_URL
from tifftockd.errors import PermanentError
from tifftockd.handlers import RemindProcess, outbound

# RFC 9110, 5.6.2
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# They follow from the body; a wrong one makes the receiver wait, or take a part of it for a second request.
_FRAMING = frozenset({"content-length", "transfer-encoding"})
# Headers of a caller that hold no secret, so that an error text which repeats them stays whole.
_OPEN = frozenset({"accept", "content-type"})
_BODYLESS = frozenset({"GET", "HEAD", "DELETE"})


class Api(RemindProcess):
    """POST `{"message": ...}` as JSON, unless `options` say otherwise."""

    method = "api"
    options: Any = {  # noqa: RUF012  an instance's are the reminder's
        "method": ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"),
        "headers": dict,
        # a string is sent as it is, anything else as JSON
        "body": object,
        "query": dict,
    }
    _to_pattern: ClassVar[str | None] = HTTP_URL
    _to_hint: ClassVar[str | None] = "it must be an http:// or https:// URL"

    @classmethod
    def prepare(cls) -> None:
        """Import requests."""
        import requests  # noqa: F401

    @classmethod
    def missing(cls, env: Mapping[str, str]) -> str | None:
        """Nothing has to be set; what is set has to be a URL (which may hold a token, and so is not repeated)."""
        url = env.get("API_REMIND_URL")
        if url and not re.fullmatch(HTTP_URL, url):
            return "API_REMIND_URL is not an http:// or https:// URL"
        return None

    @classmethod
    def requires_to(cls, env: Mapping[str, str]) -> bool:
        """Without API_REMIND_URL each reminder has to say where to."""
        return not env.get("API_REMIND_URL")

    def remind(self, message: str) -> None:
        """Make the request and judge the answer, as `outbound.deliver` says."""
        from requests.structures import CaseInsensitiveDict

        url = self.to or os.environ.get("API_REMIND_URL")
        if not url:
            raise PermanentError("no target: the reminder has no 'to', and API_REMIND_URL is not set")
        method = self.options.get("method", "POST")
        body, content_type = self._body(method, message)
        given = self.options.get("headers", {})
        headers: CaseInsensitiveDict[str | bytes] = CaseInsensitiveDict()
        if content_type:
            headers["Content-Type"] = content_type
        if self.key:
            # The same at each attempt, so that the receiver can tell a repeat from a second reminder.
            headers["Idempotency-Key"] = self.key
        headers.update(_headers(given))
        query = _query(self.options.get("query", {}))
        secrets = [*outbound.secrets_of(url), *(value for _, value in query), *_secrets(given)]
        name = outbound.origin(url)
        with outbound.new_session(trust_env=False) as session:
            outbound.deliver(session, method, url, name=name, secrets=secrets, headers=headers, params=query, data=body)

    def _body(self, method: str, message: str) -> tuple[bytes | None, str | None]:
        """The bytes to send and their Content-Type."""
        if "body" in self.options:
            body = self.options["body"]
        elif method in _BODYLESS:
            return None, None
        else:
            body = {"message": message}
        try:
            if isinstance(body, str):
                return body.encode(), "text/plain; charset=utf-8"
            return json.dumps(body, allow_nan=False).encode(), "application/json"
        except ValueError as error:
            raise PermanentError(f"options.body cannot be sent: {error.__class__.__name__}") from None


def _headers(given: Mapping[str, Any]) -> dict[str, str | bytes]:
    """The caller's headers. PermanentError, which names the header and not its value, if one cannot be sent."""
    headers: dict[str, str | bytes] = {}
    for name, value in given.items():
        shown = outbound.printable(name)
        if not _TOKEN.fullmatch(name):
            raise PermanentError(f"options.headers: '{shown}' is not a header's name")
        if name.lower() in _FRAMING:
            raise PermanentError(f"options.headers: {shown} follows from the body and cannot be set")
        if not isinstance(value, str):
            raise PermanentError(f"options.headers: the value of {shown} must be a string")
        if re.search(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]", value):
            raise PermanentError(f"options.headers: the value of {shown} has a control character")
        bare = value.strip()
        # http.client would refuse what is not Latin-1; UTF-8 is what today's servers read.
        headers[name] = bare if bare.isascii() else bare.encode()
    return headers


def _query(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """`{"a": 1, "b": ["x", true]}` as a=1&b=x&b=true."""
    pairs = []
    for name, value in given.items():
        for item in value if isinstance(value, list) else [value]:
            if item is None or isinstance(item, (dict, list)):
                shown = outbound.printable(name)
                raise PermanentError(
                    f"options.query: '{shown}' must be a string, a number, a boolean, or a list of those"
                )
            pairs.append((name, item if isinstance(item, str) else json.dumps(item)))
    return pairs


def _secrets(given: Mapping[str, Any]) -> list[str]:
    """The values of the caller's headers, whole and by word: "Bearer TOKEN" may come back as TOKEN."""
    values = [str(value) for name, value in given.items() if name.lower() not in _OPEN]
    return [*values, *(value.split()[-1] for value in values if value.split())]
