"""Where to listen: `unix:PATH` or `http://HOST:PORT`."""

from __future__ import annotations

import os
import re
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

from tifftockd.config.values import Unusable

# sizeof(sun_path) less the NUL at its end, unix(7)
LONGEST_PATH = 107

_HTTP = re.compile(r"http://(?:\[(?P<ipv6>[^]]*)\]|(?P<host>[^][:/?#]*))(?::(?P<port>[0-9]{1,5}))?/?", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})")
_BOTH = "write unix:/PATH or http://HOST:PORT"


class Address(NamedTuple):
    """A Unix socket's path, or a host (an IPv6 address without brackets) and a port (0: any that is free)."""

    text: str
    path: str | None = None
    host: str | None = None
    port: int | None = None


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Addresses, separated by spaces, each once. Unusable names the one that is meant."""
    return tuple(dict.fromkeys(_parse(item) for item in text.split()))


def _parse(text: str) -> Address:
    try:
        return _unix(text) if text.startswith("unix:") else _http(text)
    except Unusable as error:
        raise Unusable(str(error), text) from None


def _unix(text: str) -> Address:
    path = text.removeprefix("unix:")
    if not path.startswith("/"):
        raise Unusable("its path is not absolute; write unix:/PATH")
    # unix:///PATH is how others write it
    path = "/" + path.lstrip("/")
    if path.endswith("/"):
        raise Unusable("it names a folder; write unix:/PATH with the socket's own name at the end")
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise Unusable(
            f"its path is longer than {LONGEST_PATH} bytes, more than a Unix socket can have; choose a shorter"
        )
    return Address(f"unix:{path}", path=path)


def _http(text: str) -> Address:
    scheme = text.lower()
    if scheme.startswith("https://"):
        raise Unusable("TLS is the business of a server in front; write http://HOST:PORT")
    if not scheme.startswith("http://"):
        raise Unusable(f"not an address; {_BOTH}")
    rest = text[len("http://") :]
    if "@" in rest:
        raise Unusable("a user or password does not belong here; write http://HOST:PORT and set API_KEY")
    if "/" in rest.removesuffix("/") or "?" in rest or "#" in rest:
        raise Unusable("the API has no other path than /; write http://HOST:PORT")
    match = _HTTP.fullmatch(text)
    if match is None:
        raise Unusable("not a host and a port; write http://HOST:PORT, an IPv6 address in brackets: http://[::1]:5000")
    port = int(match["port"] or 80)  # http's own: RFC 9110, 4.2.1
    if port > 65_535:
        raise Unusable("there is no such port; it must be from 0 to 65535")
    if match["ipv6"] is not None:
        return Address(f"http://[{_ipv6(match['ipv6'])}]:{port}", host=match["ipv6"], port=port)
    if not _HOST.fullmatch(match["host"]):
        raise Unusable(
            "not a host's name or address; to listen on all of them write http://0.0.0.0:PORT or http://[::]:PORT"
        )
    return Address(f"http://{match['host']}:{port}", host=match["host"], port=port)


def _ipv6(text: str) -> str:
    try:
        IPv6Address(text)
    except AddressValueError:
        raise Unusable("not an IPv6 address in its brackets; write it like http://[::1]:5000") from None
    return text
