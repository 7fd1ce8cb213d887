"""How attempts come from the daemon to a worker: each as marshal's bytes behind their length.

Several may come at once, to be made one after the other. Each but the first needs a permit, one count of an eventfd(2)
that the two share: who takes it has the attempt, the worker to begin it, or the daemon to give it to another worker.
A worker that finds none ends, and so does one that has printed something: that is to be read before others print.

marshal takes a quarter of JSON's time. It is not for what comes from a worker, where a handler could have a hand in it.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterator
from typing import Any, BinaryIO

# Bytes of the length.
_HEAD = 4


def pack(job: dict[str, Any]) -> bytes:
    """What to send for a job: numbers, texts, None, and lists and dicts of them."""
    data = marshal.dumps(job)
    return len(data).to_bytes(_HEAD, "big") + data


def unpack(stream: BinaryIO) -> Iterator[dict[str, Any]]:
    """The jobs as they come, until the daemon's end is closed or the daemon has died, be it in the middle of one."""
    while len(head := stream.read(_HEAD)) == _HEAD:
        data = stream.read(int.from_bytes(head, "big"))
        try:
            job = marshal.loads(data)  # noqa: S302  the daemon's own
        except EOFError:
            return
        yield job
