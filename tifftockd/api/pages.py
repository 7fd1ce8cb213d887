"""A page of a list, put together from pieces, so that no list holds the store for long."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tifftockd.api.strict import to_json
from tifftockd.store import PIECE

# A page ends before this many bytes: an answer is held in memory until its client has read it.
LARGEST = 8 * 1024 * 1024

Item = TypeVar("Item")
Place = TypeVar("Place")


def rows_for(limit: int, *, filtered: bool) -> int:
    """How many rows to read at a time for so many items: one more shows whether that was all."""
    return PIECE if filtered else min(PIECE, limit + 1)


def gather(
    read: Callable[[Place | None], tuple[list[Item], Place | None]],
    show: Callable[[Item], object],
    place_of: Callable[[Item], Place],
    start: Place | None,
    limit: int,
) -> tuple[bytes, Place | None]:
    """A JSON array of up to `limit` items from behind `start`, and the place to go on from if there are more.

    `read` gives the next items behind a place, perhaps none, and the place to read on from, or None at the end.
    """
    shown: list[bytes] = []
    size = len(b"[]\n")
    last, here = start, start
    while True:
        items, following = read(here)
        for item in items:
            text = to_json(show(item)).rstrip(b"\n")
            size += len(text) + len(b", ")
            if len(shown) == limit or (shown and size > LARGEST):
                return b"[%s]\n" % b", ".join(shown), last
            shown.append(text)
            last = place_of(item)
        if following is None:
            return b"[%s]\n" % b", ".join(shown), None
        here = following
