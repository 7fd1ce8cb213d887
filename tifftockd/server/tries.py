"""Wrong keys: each address has a few tries, and then waits longer and longer for the answer to each of them.

Who has the right key never waits, and so cannot be locked out by a neighbour behind the same address; who guesses
needs a connection for each guess, and learns nothing from it for a while. What waits is an answer in the loop, which
takes no thread.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from typing import Any

from tifftockd import journal

# Tries that are answered at once: a person's, or a script's that has the old key.
_FREE = 5
# Seconds that the answer to each further one waits longer than that before it, and waits at the most.
_STEP = 1.0
_LONGEST = 5.0
# Seconds without a try after which an address begins anew.
_QUIET = 60.0
# Addresses that are remembered; beyond that the one whose last try is the longest ago is forgotten.
_ADDRESSES = 1000
# Answers that wait at once: a connection more that waits is one less for others.
_WAITING = 100


class Tries:
    """How often each address has failed. Every thread may tell."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()  # how often in a row, and when it was last

    def failed(self, address: str, now: float) -> float:
        """One more; how many seconds its answer is to wait. `now` is clock.monotonic()'s.

        The first of a burst is logged.
        """
        network = _network(address)
        with self._lock:
            count, last = self._failed.pop(network, (0, 0.0))
            if now - last > _QUIET:
                count = 0
            self._failed[network] = (count + 1, now)
            if len(self._failed) > _ADDRESSES:
                self._failed.popitem(last=False)
        if count == 0:
            journal.event("key-refused", journal.WARNING, address=address)
        return max(0.0, min(_LONGEST, _STEP * (count + 1 - _FREE)))


class Waiting:
    """The connections whose answers wait. Only the loop's thread touches it."""

    def __init__(self) -> None:
        self._until: dict[Any, float] = {}

    def add(self, channel: Any, until: float) -> None:
        """Its answer goes at that time, or at once if too many wait."""
        if len(self._until) < _WAITING:
            self._until[channel] = until
        else:
            channel.release()

    def release(self, now: float) -> None:
        """Let go what has waited long enough."""
        for channel in [channel for channel, until in self._until.items() if until <= now]:
            del self._until[channel]
            channel.release()

    def next(self) -> float | None:
        """When the next one goes."""
        return min(self._until.values(), default=None)


def _network(address: str) -> str:
    """Whom an address stands for: of IPv6 everybody has as many as there are in a /64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    mapped = parsed.ipv4_mapped
    return str(mapped or ipaddress.ip_network((parsed, 64), strict=False).network_address)
