"""HTTP_DENY: the networks that a URL of a reminder's own may not lead to, by words or as they are."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

from tifftockd.config.values import Unusable

Network = IPv4Network | IPv6Network

# Instead of networks: everything may be reached. Empty would mean the default.
NOTHING = "none"

# Not ipaddress's own is_private and the like: what they mean differs from one release of Python to the next.
WORDS = {
    "loopback": (
        "127.0.0.0/8",  # RFC 1122, 3.2.1.3
        "0.0.0.0/8",  # the same; Linux connects 0.0.0.0 to 127.0.0.1
        "::1/128",  # RFC 4291, 2.5.3
        "::/128",  # RFC 4291, 2.5.2; Linux connects it to ::1
    ),
    "private": (
        "10.0.0.0/8",  # RFC 1918
        "172.16.0.0/12",  # RFC 1918
        "192.168.0.0/16",  # RFC 1918
        "100.64.0.0/10",  # shared by the customers of a provider: RFC 6598
        "192.0.0.0/24",  # RFC 6890, 2.2.2
        "198.18.0.0/15",  # for measurements: RFC 2544
        "224.0.0.0/4",  # to several within a network: RFC 5771
        "240.0.0.0/4",  # reserved, and used within networks: RFC 1112, 4
        "fc00::/7",  # RFC 4193
        "fec0::/10",  # site-local: RFC 3879
        "ff00::/8",  # to several: RFC 4291, 2.7
    ),
    "link-local": (
        "169.254.0.0/16",  # RFC 3927; clouds tell each machine its secrets at 169.254.169.254
        "224.0.0.0/24",  # to several on a link: RFC 5771, 4
        "fe80::/10",  # RFC 4291, 2.5.6
        "ff02::/16",  # to several on a link: RFC 4291, 2.7
        # Not link-local, but what 169.254.169.254 is, by IPv6: at Amazon and at Google.
        "fd00:ec2::254/128",
        "fd20:ce::254/128",
    ),
}


def parse_networks(text: str) -> tuple[Network, ...]:
    """Words and networks, separated by spaces or commas, as networks. Unusable names the one that is meant."""
    items = [item for item in re.split(r"[\s,]+", text) if item]
    if items == [NOTHING]:
        return ()
    if not items:
        raise Unusable(f"it names nothing; write {NOTHING} to deny nothing")
    return tuple(dict.fromkeys(network for item in items for network in _networks(item)))


def _networks(item: str) -> list[Network]:
    if item == NOTHING:
        raise Unusable(f"beside others it says nothing; write {NOTHING} alone to deny nothing", item)
    try:
        if "%" in item:
            raise ValueError("a zone, which belongs to this machine and not to a network")
        return [_as_ipv4(ip_network(one)) for one in WORDS.get(item, (item,))]
    except ValueError as error:
        if "host bits set" in str(error):
            right = ip_network(item, strict=False)
            raise Unusable(f"not the first address of that network; write {right}", item) from None
        raise Unusable(
            f"neither one of {', '.join(WORDS)} nor a network; write one like 10.0.0.0/8 or 2001:db8::/32", item
        ) from None


def _as_ipv4(network: Network) -> Network:
    """A network of IPv4-mapped addresses (RFC 4291, 2.5.5.2) is one of IPv4."""
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        first = network.network_address.ipv4_mapped
        if first is not None:
            return IPv4Network((first, network.prefixlen - 96))
    return network
