"""Where things are unless a setting says otherwise: systemd's folders (systemd.exec(5)), by hand those of XDG.

https://specifications.freedesktop.org/basedir-spec/latest/
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path

from tifftockd.config.values import SQLITE
from tifftockd.errors import ConfigError, ListenError


def env_file(environ: Mapping[str, str]) -> Path:
    """The file of settings: the packaged one under systemd, else the working directory's, as in TiffTock."""
    folder = _given_by_systemd(environ, "CONFIGURATION_DIRECTORY")
    return folder / "tifftock.env" if folder else Path(".env").absolute()


def socket_address(environ: Mapping[str, str]) -> str:
    """API_URL by hand: a socket in a folder that is this user's alone."""
    folder = _given_by_xdg(environ, "XDG_RUNTIME_DIR") or fallback_folder()
    return f"unix:{folder / 'tifftock.sock'}"


def database_url(environ: Mapping[str, str]) -> str:
    """DATABASE_URL."""
    folder = _given_by_systemd(environ, "STATE_DIRECTORY")
    if folder is None:
        folder = (_given_by_xdg(environ, "XDG_STATE_HOME") or _home(environ) / ".local/state") / "tifftock"
    return f"{SQLITE}{folder / 'tifftock.db'}"


def handlers_dir(environ: Mapping[str, str]) -> str:
    """HANDLERS_DIR."""
    folder = _given_by_systemd(environ, "CONFIGURATION_DIRECTORY")
    if folder is None:
        folder = (_given_by_xdg(environ, "XDG_CONFIG_HOME") or _home(environ) / ".config") / "tifftock"
    return str(folder / "handlers.d")


def fallback_folder() -> Path:
    """The folder of the socket where there is no XDG_RUNTIME_DIR; `private_folder` makes it, or distrusts it."""
    # Heavy, and used here only.
    import tempfile

    return Path(tempfile.gettempdir()) / f"tifftock-{os.getuid()}"


def private_folder(path: Path) -> None:
    """Make a folder that only this user can enter, or see that the one that is there is so.

    ListenError if it is not: in a folder for all, such as /tmp, anybody may have made it, to read along.
    """
    advice = "remove it, or set XDG_RUNTIME_DIR or API_URL"
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        status = path.lstat()
    except OSError as error:
        raise ListenError(f"cannot make the folder {path}: {error.strerror}; set XDG_RUNTIME_DIR or API_URL") from None
    if not stat.S_ISDIR(status.st_mode):
        raise ListenError(f"cannot listen in {path}: it is not a folder; {advice}")
    if status.st_uid != os.geteuid():
        raise ListenError(f"cannot listen in {path}: it belongs to uid {status.st_uid}; {advice}")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise ListenError(f"cannot listen in {path}: others can enter it (mode {mode:04o}, expected 0700); {advice}")


def _given_by_systemd(environ: Mapping[str, str], name: str) -> Path | None:
    """The first of the unit's folders."""
    first = environ.get(name, "").split(":")[0]
    return Path(first) if first else None


def _given_by_xdg(environ: Mapping[str, str], name: str) -> Path | None:
    """The specification says to take no notice of relative paths."""
    folder = environ.get(name, "")
    return Path(folder) if folder.startswith("/") else None


def _home(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME")
    if home:
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        raise ConfigError(f"uid {os.getuid()} has no home; set HOME, or DATABASE_URL and HANDLERS_DIR") from None
