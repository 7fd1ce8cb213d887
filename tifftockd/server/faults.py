"""What the log is told of errors that neither the application nor its client is to blame for."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from tifftockd import journal


def report(error: BaseException) -> None:
    """Log one of the server's own."""
    journal.event("server-fault", journal.ERR, **described(error))


def described(error: BaseException) -> dict[str, str]:
    """What the log may hold of an error: where it came from, and not its text, which may be a user's."""
    return {"error": type(error).__name__, "where": " > ".join(_frames(error))}


def _frames(error: BaseException) -> Iterator[str]:
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
