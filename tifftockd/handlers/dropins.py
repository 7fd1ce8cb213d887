"""Drop-ins as files: which there are, and whether they may be trusted, by the rule of sudo and cron."""

from __future__ import annotations

import os
import re
import shlex
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from tifftockd.errors import LoadError

# A drop-in is a few lines; what is larger is something else.
_LARGEST = 4 * 1024 * 1024
_LARGEST_DECLARATION = 65_536

# The name of an executable. Its suffix has no "-" and no "~": what dpkg(1) and ucf(1) leave (.dpkg-old, .ucf-dist)
# and an editor's copy (lamp~, lamp.sh~) are none.
_EXECUTABLE = re.compile(r"([a-z][a-z0-9_-]*)(?:\.([A-Za-z0-9_]+))?")
# A name that is none, and may have been meant as one.
_MEANT = re.compile(r"[^.~#]+(?:\.([A-Za-z0-9_]+))?")
# Other things that lie beside: modules, declarations, and what editors, patch(1), rpm(8) or a person left or put aside.
_NO_EXECUTABLES = frozenset(
    {"py", "pyc", "json", "bak", "old", "orig", "rej", "new", "tmp", "swp", "swo", "save", "disabled"}
    | {"rpmnew", "rpmsave", "rpmorig"}
)

# Any run bit will do: whether it is one that the daemon may use is looked at apart.
_RUN = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH

# Which version of a file it is: device, inode, size, last change.
Stamp = tuple[int, int, int, int]


def stamp_of(status: os.stat_result) -> Stamp:
    """Two of a file are equal unless it has been written to, or another has taken its place."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@dataclass(frozen=True, slots=True)
class Program:
    """An executable file as it was checked. The descriptor holds it, whatever its name leads to later."""

    descriptor: int = field(compare=False)
    stamp: Stamp


class Dropin(NamedTuple):
    """A file as it was read and checked, or the reason why it was refused."""

    path: str
    text: bytes = b""  # a module's source, or the declaration beside an executable
    refused: str | None = None
    program: Program | None = None

    @property
    def module(self) -> str:
        """The name that its module gets: one that no installed module has."""
        return f"tifftockd_dropin_{Path(self.path).stem}"

    def again(self) -> Dropin:
        """The same, to be loaded once more: with a descriptor of its own."""
        if self.program is None:
            return self
        return self._replace(program=replace(self.program, descriptor=os.dup(self.program.descriptor)))


def find_dropins(folder: Path, only: str | None = None) -> list[Dropin]:
    """The `*.py` files and the executables of a folder in sorted order, read; none when there is no folder.

    `only`: the name of one file, the others being left alone.
    The descriptors of the executables are the caller's to close.
    """
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        return [Dropin(str(folder), refused=f"cannot be listed: {error.strerror}")]
    modules = {name for name in names if name.endswith(".py") and not name.startswith(".")}
    programs = {name for name in names if method_of(name) and _mode(folder / name) & _RUN}
    found = [name for name in names if name in modules | programs and only in (None, name)]
    if not found:
        return []
    try:
        _check(os.stat(folder), str(folder))
    except LoadError as error:
        return [Dropin(str(folder / name), refused=error.message) for name in found]
    except OSError as error:
        return [Dropin(str(folder), refused=f"cannot be read: {error.strerror}")]
    return [_open_program(folder / name, names) if name in programs else _read_module(folder / name) for name in found]


def method_of(name: str) -> str | None:
    """The method that an executable of this name is; None if it can be none."""
    match = _EXECUTABLE.fullmatch(name)
    return None if match is None or _is_other(match[2]) else match[1]


def _is_other(suffix: str | None) -> bool:
    return (suffix or "").lower() in _NO_EXECUTABLES


def without_run_bit(folder: Path, method: str) -> list[str]:
    """A sentence for each file that would be this method if it had a run bit."""
    return [_mend_mode(file) for file in _files(folder) if method_of(file.name) == method and not _may_run(file)]


def find_overlooked(folder: Path) -> list[str]:
    """A sentence for each file that looks as if it were to be a method, and is none."""
    told = []
    for file in _files(folder):
        if method_of(file.name):
            if not _may_run(file) and _is_script(file):
                told.append(_mend_mode(file))
        elif _may_run(file) and (match := _MEANT.fullmatch(file.name)) and not _is_other(match[1]):
            told.append(f"{file} is no method: its name must begin with one of a-z, and go on with a-z, 0-9, _ and -")
    return told


def _mend_mode(file: Path) -> str:
    return f"{file} has no run bit; mend it by: chmod a+x {shlex.quote(str(file))}"


def _files(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [file for name in names if _mode(file := folder / name)]


def _may_run(file: Path) -> bool:
    return bool(_mode(file) & _RUN)


def _is_script(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(2) == b"#!"
    except OSError:
        return False


def _mode(file: Path) -> int:
    """The mode of a regular file, 0 of anything else."""
    try:
        status = os.stat(file)
    except OSError:
        return 0
    return stat.S_IMODE(status.st_mode) if stat.S_ISREG(status.st_mode) else 0


def _read_module(file: Path) -> Dropin:
    try:
        return Dropin(str(file), _read(str(file), _LARGEST))
    except LoadError as error:
        return Dropin(str(file), refused=error.message)


def _open_program(file: Path, names: list[str]) -> Dropin:
    path = str(file)
    try:
        text = _declaration(file, names)
        # O_PATH: to run a program, one need not be allowed to read it.
        descriptor = _open(path, os.O_PATH)
    except LoadError as error:
        return Dropin(path, refused=error.message)
    try:
        _check_may_run(descriptor, path)
        return Dropin(path, text, program=Program(descriptor, stamp_of(os.fstat(descriptor))))
    except LoadError as error:
        os.close(descriptor)
        return Dropin(path, refused=error.message)


def _declaration(file: Path, names: list[str]) -> bytes:
    """The text of NAME.json beside NAME or NAME.sh; empty if there is none."""
    name = f"{method_of(file.name)}.json"
    if name not in names:
        return b""
    try:
        return _read(str(file.with_name(name)), _LARGEST_DECLARATION)
    except LoadError as error:
        raise LoadError(f"{name}: {error.message}") from None


def _read(path: str, largest: int) -> bytes:
    # O_NONBLOCK: a FIFO of that name must not hold the daemon.
    descriptor = _open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        text = os.pread(descriptor, largest + 1, 0)
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(text) > largest:
        raise LoadError(f"it is larger than {largest} bytes")
    return text


def _open(path: str, flags: int) -> int:
    """The descriptor of a file that may be trusted; else LoadError."""
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}") from None
    try:
        # What has been opened is checked, so that nobody can exchange it between check and use.
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise LoadError("it is not a file")
        _check(status, path)
    except LoadError:
        os.close(descriptor)
        raise
    return descriptor


def _check(status: os.stat_result, path: str) -> None:
    """LoadError unless only root and the daemon's user can have written this."""
    quoted = shlex.quote(path)
    if status.st_uid not in (0, os.geteuid()):
        raise LoadError(f"{path} belongs to user {status.st_uid}, who is not trusted; mend it by: chown root {quoted}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise LoadError(f"{path} can be written by others than its owner; mend it by: chmod go-w {quoted}")


def _check_may_run(descriptor: int, path: str) -> None:
    """LoadError if an attempt could only fail: better now than when it is due."""
    if os.access(f"/proc/self/fd/{descriptor}", os.X_OK):
        return
    if os.fstatvfs(descriptor).f_flag & os.ST_NOEXEC:
        folder = shlex.quote(str(Path(path).resolve().parent))
        raise LoadError(
            f"{path} is where nothing may be run: its file system is mounted noexec (in a service with NoExecPaths=:"
            f" ExecPaths={folder} allows it)"
        )
    raise LoadError(f"{path} may not be run by user {os.geteuid()}; mend it by: chmod a+x {shlex.quote(path)}")
