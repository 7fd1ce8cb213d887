"""Where the daemon is, and the key that it wants over TCP."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from tifftockd.ctl.errors import EX_NOINPUT, EX_NOPERM, Failure, Usage

# Of the packaged service: systemd/tifftockd.socket
SERVICE = "/run/tifftock.sock"
# sizeof(sun_path) less the NUL at its end, unix(7)
_LONGEST_PATH = 107
# Where a key is read from: longer than any, and no file of another kind is read to its end.
_LONGEST_KEY = 4096
_HOW = "write unix:/PATH, http://HOST:PORT or https://HOST"
# Without one in the URL
_PORTS = {"http": 80, "https": 443}


class Address(NamedTuple):
    """A Unix socket's path, or a host and a port."""

    text: str
    path: str | None = None
    host: str = "localhost"
    port: int = 80
    tls: bool = False


def find_address(url: str | None, environ: Mapping[str, str]) -> Address:
    """The address of --url, of TIFFTOCK_URL, or of the socket that is there. Usage, Failure."""
    if url is not None:
        return parse_address(url, "--url")
    if environ.get("TIFFTOCK_URL"):
        return parse_address(environ["TIFFTOCK_URL"], "TIFFTOCK_URL")
    path = SERVICE if os.path.exists(SERVICE) else by_hand(environ)
    return Address(f"unix:{path}", path)


def parse_address(text: str, source: str) -> Address:
    """unix:/PATH or http://HOST:PORT, as the daemon's API_URL has them, or https://HOST. Usage names `source`."""
    if text.startswith("unix:"):
        # unix:///PATH is how others write it
        path = "/" + text.removeprefix("unix:").lstrip("/")
        if not text.startswith("unix:/") or path.endswith("/"):
            raise Usage(f"{source} {text}: it names no socket: write unix:/PATH")
        if len(os.fsencode(path)) > _LONGEST_PATH:
            raise Usage(f"{source} {text}: a socket's path has at most {_LONGEST_PATH} bytes")
        return Address(f"unix:{path}", path)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Usage(f"{source} {text}: it has no host and port that can be read: {_HOW}") from None
    if parts.scheme not in _PORTS or not host or not text.isprintable() or " " in text:
        raise Usage(f"{source} {text}: it is no address: {_HOW}")
    if "@" in parts.netloc or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise Usage(f"{source} {text}: it may have a host and a port, and nothing else: {_HOW}")
    shown = f"[{host}]" if ":" in host else host
    port = _PORTS[parts.scheme] if port is None else port
    return Address(f"{parts.scheme}://{shown}:{port}", None, host, port, parts.scheme == "https")


def by_hand(environ: Mapping[str, str]) -> str:
    """The socket of a daemon that was started by hand, where it listens without an API_URL. Failure.

    In a folder for all, such as /tmp, somebody else may have made the one in which it would be, to read along.
    """
    folder = environ.get("XDG_RUNTIME_DIR", "")
    if not folder.startswith("/"):
        # Heavy, and used here only.
        import tempfile

        folder = os.path.join(tempfile.gettempdir(), f"tifftock-{os.getuid()}")
        try:
            owner = os.lstat(folder).st_uid
        except OSError:
            owner = os.geteuid()  # there is nothing that could be trusted or not
        if owner != os.geteuid():
            raise Failure(f"{folder} belongs to uid {owner}, and is not trusted: name the daemon's --url", EX_NOPERM)
    return os.path.join(folder, "tifftock.sock")


def find_key(file: str | None, environ: Mapping[str, str]) -> str | None:
    """The key in the file, else that of TIFFTOCK_KEY; None without one. Failure."""
    source, key = "TIFFTOCK_KEY", environ.get("TIFFTOCK_KEY", "")
    if file is not None:
        try:
            with open(file, "rb") as opened:
                source, key = file, os.fsdecode(opened.read(_LONGEST_KEY))
        except OSError as error:
            raise Failure(f"cannot read the key in {file}: {error.strerror}", EX_NOINPUT) from None
    key = key.strip()
    if file is not None and not key:
        raise Failure(f"{file} is empty: it has to hold one of the keys in the daemon's API_KEY", EX_NOINPUT)
    # It becomes a line of the request.
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise Failure(f"{source} holds more than one key, or what cannot be one: it has to be one word", EX_NOINPUT)
    return key or None
