"""What io.c recorded: every call on the database's files in its order, with the marks that clients put in between."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Call:
    kind: str  # create, write, truncate, sync, unlink, rename; failed; mark
    number: int  # 1, 2, ... as io.c counts them; 0 for a mark
    thread: int
    offset: int  # of a truncate: the new size
    path: str
    data: bytes  # what was written; a rename's new path; the kind of what failed; a mark's text


def mark(record, text):
    """Say that something has happened by now. It stands before every call that comes later."""
    data = text.encode()
    line = b"mark 0 0 0 %d -\n%s\n" % (len(data), data)
    # One write(2) with O_APPEND: neither the daemon's records nor another client's can come in between.
    descriptor = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        assert os.write(descriptor, line) == len(line)
    finally:
        os.close(descriptor)


def read(record):
    """All calls and marks, in order."""
    data = Path(record).read_bytes()
    calls = []
    at = 0
    while at < len(data):
        end = data.index(b"\n", at)
        kind, number, thread, offset, length, path = data[at:end].decode().split(" ", 5)
        at = end + 1 + int(length)
        assert data[at : at + 1] == b"\n", f"the record is damaged at byte {at}"
        calls.append(Call(kind, int(number), int(thread), int(offset), path, data[end + 1 : at]))
        at += 1
    return calls
