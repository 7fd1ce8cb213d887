"""Who may call a route: the rules that stand beside the routes, as data."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from tifftockd.errors import Unauthorized

# The key of the WSGI environment under which the server says who is calling. No header can set it.
PEER = "tifftockd.peer"


class Peer(NamedTuple):
    """The other end of a connection."""

    tcp: bool
    uid: int | None  # of the process that connected, on a Unix socket
    address: str  # for the log


# Without the server's word a caller is taken for one that must show a key.
STRANGER = Peer(tcp=True, uid=None, address="unknown")

# A rule lets a caller in, or raises.
Access = Callable[[Peer, Mapping[str, Any], Iterable[str]], None]


def member(peer: Peer, environ: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Whom the Unix socket's owner, group and mode let in; over TCP, who holds a key. Also the rule for no route."""
    if peer.tcp and not holds_key(environ.get("HTTP_X_API_KEY", ""), environ.get("HTTP_AUTHORIZATION", ""), keys):
        raise Unauthorized("invalid api key")


def holds_key(x_api_key: str, authorization: str, keys: Iterable[str]) -> bool:
    """Whether one of the keys is in one of these headers."""
    # Every key is compared with all that was given, so that the time taken tells nothing of them.
    given = [x_api_key, _bearer(authorization)]
    matches = [
        # WSGI gives the bytes of a header as latin-1 (PEP 3333)
        hmac.compare_digest(text.encode("latin-1", "replace"), key.encode("utf-8"))
        for key in keys
        for text in given
    ]
    return any(matches)


def _bearer(header: str) -> str:
    """The token of `Authorization: Bearer TOKEN` (RFC 6750, 2.1)."""
    scheme, _, token = header.partition(" ")
    return token.strip(" ") if scheme.lower() == "bearer" else ""
