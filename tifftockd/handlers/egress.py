"""Where a URL of a reminder's own may lead: HTTP_DENY, judged on the very address that is connected to.

A name is looked up once, each address that comes back is judged, and the connection is made to one that passed. The
text of a URL is judged nowhere: whatever spelling the resolver takes has become an address by then.
"""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

from tifftockd.config import HTTP_DENY
from tifftockd.config.networks import Network, parse_networks
from tifftockd.errors import PermanentError

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPConnectionPool

# As of getaddrinfo(3): family, type, protocol, canonical name, address.
_Found = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]

# Where an IPv4 address stands within an IPv6 address that something on the way may turn into it, in bytes.
_LAST = (12, 13, 14, 15)
_EMBEDDED = [
    (IPv6Network(network), places)
    for network, *places in (
        ("::/96", _LAST),  # IPv4-compatible: RFC 4291, 2.5.5.1
        ("::ffff:0:0/96", _LAST),  # IPv4-mapped: RFC 4291, 2.5.5.2
        ("::ffff:0:0:0/96", _LAST),  # IPv4-translated: RFC 2765, 2.1
        ("64:ff9b::/96", _LAST),  # NAT64: RFC 6052, 2.1
        # NAT64 within a network (RFC 8215): in which of the places is that network's choice (RFC 6052, 2.2).
        ("64:ff9b:1::/48", (6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), _LAST),
        ("2002::/16", (2, 3, 4, 5)),  # 6to4: RFC 3056, 2
        ("2001::/32", (4, 5, 6, 7)),  # the server of Teredo: RFC 4380, 4
    )
]
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_TEREDO = IPv6Network("2001::/32")
# The beginning of an interface's part of the address: ISATAP, RFC 5214, 6.1.
_ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")

_ANY_IPV4 = IPv4Address(0)
_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_ANY_IPV6 = IPv6Address(0)


class Denied(OSError):
    """An address that HTTP_DENY forbids. An OSError, as from connect(2): libraries then try the next address."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = list(addresses)
        several = "es" if addresses[1:] else ""
        super().__init__(f"HTTP_DENY forbids its address{several} {', '.join(addresses)}")


def denied_networks(env: Mapping[str, str]) -> tuple[Network, ...]:
    """What HTTP_DENY says."""
    text = env.get("HTTP_DENY", "")
    return _parsed(text if text.strip() else HTTP_DENY)


# The same at each attempt, of whose time it takes a tenth.
_parsed = functools.cache(parse_networks)


def is_denied(text: str, networks: Sequence[Network]) -> bool:
    """Whether an address, as getaddrinfo(3) writes it, leads into one of the networks."""
    return any(address in network for address in _reached(ip_address(text.partition("%")[0])) for network in networks)


def find(host: str, port: int, networks: Sequence[Network], family: int = 0, kind: int = 0) -> list[_Found]:
    """The addresses of a host that may be connected to. Denied if none is left; OSError if there is none."""
    # Once: a second look-up could give another answer.
    found: list[_Found] = socket.getaddrinfo(host, port, family, kind)  # type: ignore[assignment]
    allowed = [one for one in found if not is_denied(one[4][0], networks)]
    if found and not allowed:
        raise Denied(list(dict.fromkeys(one[4][0] for one in found)))
    return allowed


def connect(
    host: str, port: int, networks: Sequence[Network], timeout: float | None, options: Sequence[Any]
) -> socket.socket:
    """A TCP connection to the first of a host's allowed addresses that takes one, tried for `timeout` seconds each."""
    from urllib3.util.connection import allowed_gai_family

    failure = OSError("the name has no address")
    for family, kind, protocol, _, address in find(host, port, networks, allowed_gai_family(), socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options:
                sock.setsockopt(*option)
            sock.settimeout(timeout)
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise failure


@functools.lru_cache(maxsize=8)
def adapter(
    networks: tuple[Network, ...] | None, authorities: tuple[str, tuple[int, ...]] | None = None
) -> HTTPAdapter:
    """What sends the requests of requests. With networks, even none, each of its connections is made by `connect`.

    `authorities`: the file or folder of those to trust, and what tells one version of it from another. With them it is
    for https without a proxy (which may have to be trusted, too), and reads them once instead of at each connection.

    One for all attempts: making it takes a tenth of their time. Who has used it closes it, which ends the connections
    that it keeps; it can be used again.
    """
    # Here, as the daemon imports this module and must stay small.
    from requests.adapters import HTTPAdapter

    made = HTTPAdapter(pool_maxsize=1) if authorities is None else _trusting_adapter(authorities[0])
    if networks is not None:
        # urllib3's own way: advanced usage, "Customizing Pool Behavior". requests never makes another manager without a
        # proxy.
        made.poolmanager.pool_classes_by_scheme = _judging_pools(networks)
    return made


def _trusting_adapter(path: str) -> HTTPAdapter:
    """An adapter that has read its authorities: a hundred of them take ten times what else an attempt takes.

    requests' own way: its advanced usage, "Transport Adapters", where another version of TLS is the example.
    """
    import ssl

    from requests.adapters import HTTPAdapter
    from urllib3.util.ssl_ import create_urllib3_context

    context = create_urllib3_context()
    context.load_verify_locations(**{"capath" if os.path.isdir(path) else "cafile": path})

    class Trusting(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, **options, ssl_context=context)

        def cert_verify(self, conn: Any, *_: Any) -> None:
            # Without what the original adds, the file to read.
            conn.cert_reqs = ssl.CERT_REQUIRED

    return Trusting(pool_maxsize=1)


def _judging_pools(networks: Sequence[Network]) -> dict[str, type[HTTPConnectionPool]]:
    """For each scheme the connections of urllib3, made by `connect`."""
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    def new_connection(self: HTTPConnection) -> socket.socket:
        host = self._dns_host.strip("[]")
        try:
            return connect(host, self.port, networks, self.timeout, self.socket_options or ())
        except Denied as error:
            raise PermanentError(str(error)) from None
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "timed out") from error
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error

    class Plain(HTTPConnection):
        _new_conn = new_connection

    class Secure(HTTPSConnection):
        _new_conn = new_connection

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _reached(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    """An address, and whatever it is the same as or may be turned into on the way."""
    yield address
    if address == _ANY_IPV4:
        yield IPv4Address("127.0.0.1")
    if isinstance(address, IPv4Address):
        return
    if address == _ANY_IPV6:
        yield IPv6Address("::1")
    for embedded in _embedded(address):
        yield from _reached(embedded)


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that an IPv6 address may stand for."""
    octets = address.packed
    for network, places in _EMBEDDED:
        if address in network:
            for place in places:
                found = IPv4Address(bytes(octets[one] for one in place))
                # What comes of reading in the wrong place, mostly; and nothing translates to that network.
                if network != _LOCAL_NAT64 or found not in _THIS_NETWORK:
                    yield found
    if address in _TEREDO:
        # The client's, with every bit turned: RFC 4380, 4.
        yield IPv4Address(bytes(octet ^ 0xFF for octet in octets[12:]))
    if octets[8:12] in _ISATAP:
        yield IPv4Address(octets[12:])
