"""Where settings come from: the environment, before systemd's credentials, before one file of NAME=value."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tifftockd.config import places
from tifftockd.errors import ConfigError

# What can be the name of a setting; a credential of another name, such as tls.pem, is meant for something else.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What dotenv takes for the end of a line.
_NEWLINE = re.compile(r"\r\n|\n|\r")


class Found(NamedTuple):
    """Everything that is set, and where; what is not in `places` came with the environment."""

    file: Path | None  # the one that was read
    values: Mapping[str, str]
    places: Mapping[str, str]  # for people: "/etc/tifftock/tifftock.env, line 7"


def read(environ: Mapping[str, str], env_file: Path | None) -> Found:
    """Read all sources. ConfigError; only the default file may be missing."""
    # A proxy reads what is sent: it is the operator's to name, and not whatever shell or manager started the daemon.
    environ = {name: value for name, value in environ.items() if not name.lower().endswith("_proxy")}
    path = env_file.absolute() if env_file else places.env_file(environ)
    data = _read_file(path, environ, required=env_file is not None)
    lines = {} if data is None else _parse_file(path, data)
    credentials = _credentials(environ)
    return Found(
        file=None if data is None else path,
        values={name: value for name, (value, _) in lines.items()} | credentials | dict(environ),
        places={
            name: place
            for name, place in (
                {name: f"{path}, line {line}" for name, (_, line) in lines.items()}
                | {name: f"credential {name}" for name in credentials}
            ).items()
            if name not in environ
        },
    )


def _read_file(path: Path, environ: Mapping[str, str], *, required: bool) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if not required:
            return None
        raise ConfigError(f"cannot open {path}: no such file; create it, or leave --env-file out") from None
    except PermissionError:
        packaged = "CONFIGURATION_DIRECTORY" in environ
        expected = "mode 0640, group _tifftock" if packaged else f"readable by uid {os.geteuid()}"
        raise ConfigError(f"cannot open {path}: permission denied (expected {expected})") from None
    except OSError as error:
        raise ConfigError(f"cannot open {path}: {error.strerror}; it must be a file of NAME=value lines") from None


def _parse_file(path: Path, data: bytes) -> dict[str, tuple[str, int]]:
    """Each name's value and line."""
    # Here, as worker processes import this package too.
    from dotenv.parser import parse_stream

    settings: dict[str, tuple[str, int]] = {}
    for binding in parse_stream(io.StringIO(_decode(str(path), data), newline="")):
        # A binding begins with the empty lines before it.
        text = binding.original.string
        empty = text[: len(text) - len(text.lstrip())]
        line = binding.original.line + len(_NEWLINE.findall(empty))
        if binding.error or (binding.key is not None and binding.value is None):
            # The line itself may hold a secret.
            raise ConfigError(
                f"{path}, line {line}: not NAME=value; end what begins with a quote, or put a # before it"
            )
        if binding.key is not None and binding.value is not None:
            settings[binding.key] = binding.value, line
    return settings


def _credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """The files of systemd's $CREDENTIALS_DIRECTORY (systemd.exec(5)), by their names."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return {}
    try:
        files = [file for file in sorted(Path(folder).iterdir()) if _NAME.fullmatch(file.name) and file.is_file()]
        # An editor ends a file with a newline that is not part of the value.
        return {file.name: _decode(f"credential {file.name}", file.read_bytes()).removesuffix("\n") for file in files}
    except OSError as error:
        raise ConfigError(f"cannot read the credentials in {folder}: {error.strerror}; check LoadCredential=") from None


def _decode(what: str, data: bytes) -> str:
    try:
        # A byte order mark, which some editors write, is not part of the first name.
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what}, line {_line(data, error.start)}: not UTF-8; save it as UTF-8") from None
    if "\0" in text:
        raise ConfigError(f"{what}, line {_line(data, data.index(0))}: a NUL byte; no setting can hold one, remove it")
    return text


def _line(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1
