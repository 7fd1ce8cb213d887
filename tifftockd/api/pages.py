"""A page of a list, put together from pieces, so that no list holds the store for long."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tifftockd import clock
from tifftockd.api.strict import to_json
from tifftockd.store import PIECE

# A page ends before this many bytes: an answer is held in memory until its client has read it.
LARGEST = 8 * 1024 * 1024
# Seconds after which a page ends where little fits: who asks for that, be it many at once, leaves time for others.
PATIENCE = 2.0

Item = TypeVar("Item")
Place = TypeVar("Place")


def gather(
    read: Callable[[Place | None, int], tuple[list[Item], Place | None]],
    show: Callable[[Item], object],
    place_of: Callable[[Item], Place],
    start: Place | None,
    limit: int,
) -> tuple[bytes, Place | None]:
    """A JSON array of up to `limit` items from behind `start`, and the place to go on from if there are more.

    `read` gives up to so many items behind a place, and the place to read on from, or None at the end. Where it finds
    fewer at a time, or none, the page ends after PATIENCE with what it has.
    """
    rows = min(PIECE, limit + 1)  # one more shows whether that was all
    shown: list[bytes] = []
    size = len(b"[]\n")
    last, here, end = start, start, clock.monotonic() + PATIENCE
    while True:
        items, following = read(here, rows)
        for item in items:
            text = to_json(show(item)).rstrip(b"\n")
            size += len(text) + len(b", ")
            if len(shown) == limit or (shown and size > LARGEST):
                return b"[%s]\n" % b", ".join(shown), last
            shown.append(text)
            last = place_of(item)
        if following is None:
            return b"[%s]\n" % b", ".join(shown), None
        if len(items) < rows and clock.monotonic() > end:
            return b"[%s]\n" % b", ".join(shown), following
        here = following
