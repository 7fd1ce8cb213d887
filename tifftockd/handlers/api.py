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
from tifftockd.handlers.content import KINDS, escaped, fill, fill_strings

# Headers of a caller that hold no secret, so that an error text which repeats them stays whole.
_OPEN = frozenset({"accept", "content-type"})
_BODYLESS = frozenset({"GET", "HEAD", "DELETE"})
_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"


class Api(RemindProcess):
    """POST `{"message": ...}` as JSON, unless `options` say otherwise."""

    method = "api"
    options: Any = {  # noqa: RUF012  an instance's are the reminder's
        "method": ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"),
        "headers": "headers",
        # a string is sent as it is, anything else as JSON
        "body": "body",
        "query": "query",
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
        for option, value in self.options.items():
            # The daemon has looked at it; the reminder may be older than what it looks for.
            fault = KINDS[option].fault(value, message) if option in KINDS else None
            if fault:
                raise PermanentError(f"options.{option}: {fault}")
        method = self.options.get("method", "POST")
        words = {"message": message, "id": str(self.id), "when": self.when}
        given = {name: fill(value, words).strip() for name, value in self.options.get("headers", {}).items()}
        headers: CaseInsensitiveDict[str | bytes] = CaseInsensitiveDict()
        if self.key:
            # The same at each attempt, so that the receiver can tell a repeat from a second reminder.
            headers["Idempotency-Key"] = self.key
        # http.client would refuse what is not Latin-1; UTF-8 is what today's servers read.
        headers.update({name: value if value.isascii() else value.encode() for name, value in given.items()})
        body, content_type = self._body(method, words, CaseInsensitiveDict(given).get("Content-Type", ""))
        if content_type:
            headers.setdefault("Content-Type", content_type)
        query = _query(self.options.get("query", {}), words)
        secrets = [*(value for _, value in query), *_secrets(given)]
        outbound.deliver(method, url, trusted=not self.to, secrets=secrets, headers=headers, params=query, data=body)

    def _body(self, method: str, words: Mapping[str, str], given_type: str) -> tuple[bytes | None, str | None]:
        """The bytes to send, and the Content-Type that they have unless the caller gave one."""
        if "body" not in self.options:
            if method in _BODYLESS:
                return None, None
            return json.dumps({"message": words["message"]}).encode(), _JSON
        body = self.options["body"]
        try:
            if isinstance(body, str):
                # Of JSON that somebody wrote out, a message with a quote in it must not make something else.
                return fill(body, escaped(words) if "json" in given_type.lower() else words).encode(), _TEXT
            return json.dumps(fill_strings(body, words), allow_nan=False).encode(), _JSON
        except ValueError as error:
            raise PermanentError(f"options.body cannot be sent: {error.__class__.__name__}") from None


def _query(given: Mapping[str, Any], words: Mapping[str, str]) -> list[tuple[str, str]]:
    """`{"a": 1, "b": ["x", true]}` as a=1&b=x&b=true."""
    pairs = []
    for name, value in given.items():
        items = value if isinstance(value, list) else [value]
        pairs += [(name, fill(item, words) if isinstance(item, str) else json.dumps(item)) for item in items]
    return pairs


def _secrets(given: Mapping[str, Any]) -> list[str]:
    """The values of the caller's headers, whole and in parts: "Bearer TOKEN" may come back as TOKEN."""
    values = [str(value) for name, value in given.items() if name.lower() not in _OPEN]
    parts = [part for value in values for part in re.split('[ ;,="]+', value) if len(part) >= outbound.SHORTEST_PART]
    return [*values, *(value.split()[-1] for value in values if value.split()), *parts]
