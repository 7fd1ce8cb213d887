"""Drop-ins as files: which there are, and whether they may be trusted, by the rule of sudo and cron."""

from __future__ import annotations

import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from tifftockd.errors import LoadError

# A drop-in is a few lines; what is larger is something else.
_LARGEST = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Dropin:
    """A file as it was read and checked, or the reason why it was refused."""

    path: str
    text: bytes = b""
    refused: str | None = None

    @property
    def module(self) -> str:
        """The name that its module gets: one that no installed module has."""
        return f"tifftockd_dropin_{Path(self.path).stem}"


def find_dropins(folder: Path) -> list[Dropin]:
    """The `*.py` files of a folder in sorted order, read; none when there is no folder."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".py") and not name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        return [Dropin(str(folder), refused=f"cannot be listed: {error.strerror}")]
    if not names:
        return []
    try:
        _check(os.stat(folder), str(folder))
    except LoadError as error:
        return [Dropin(str(folder / name), refused=error.message) for name in names]
    return [_read(str(folder / name)) for name in names]


def _read(path: str) -> Dropin:
    try:
        # O_NONBLOCK: a FIFO of that name must not hold the daemon.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            # What has been opened is checked, so that nobody can exchange it between check and use.
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise LoadError("it is not a file")
            _check(status, path)
            text = os.pread(descriptor, _LARGEST + 1, 0)
        finally:
            os.close(descriptor)
    except LoadError as error:
        return Dropin(path, refused=error.message)
    except OSError as error:
        return Dropin(path, refused=f"cannot be read: {error.strerror}")
    if len(text) > _LARGEST:
        return Dropin(path, refused=f"it is larger than {_LARGEST} bytes")
    return Dropin(path, text)


def _check(status: os.stat_result, path: str) -> None:
    """LoadError unless only root and the daemon's user can have written this."""
    quoted = shlex.quote(path)
    if status.st_uid not in (0, os.geteuid()):
        raise LoadError(f"{path} belongs to user {status.st_uid}, who is not trusted; mend it by: chown root {quoted}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise LoadError(f"{path} can be written by others than its owner; mend it by: chmod go-w {quoted}")
