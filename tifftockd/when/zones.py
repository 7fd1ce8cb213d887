"""Time zones: IANA names, and what the TZ variable may hold."""

from __future__ import annotations

import io
import re
import struct
from datetime import UTC, tzinfo
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from tifftockd.errors import InvalidTime
from tifftockd.when.echo import shown

# The zone of a machine on which TZ is not set, see localtime(5).
LOCALTIME = Path("/etc/localtime")

_IANA = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*")
_LONGEST_NAME = 64
_LARGEST_FILE = 1024 * 1024

# They lie beside the zones and can be loaded, but are none: what they mean differs from machine to machine, and
# under right/ a day has leap seconds, which CLOCK_REALTIME has not.
_NOT_ZONES = frozenset({"localtime", "posixrules", "posix", "right"})

# What zoneinfo raises for a name that is none, a folder, a file that is not readable, cut off, damaged or no TZif.
_UNUSABLE = (OSError, ValueError, LookupError, EOFError, ImportError, AssertionError, struct.error)

# The POSIX form of TZ: std offset [dst [offset] [,start[/time],end[/time]]], see tzset(3). The times of day may be
# from -167 to 167 hours, as RFC 8536 (3.3.1) extends them. Two things that tzset(3) has are missing: offsets from
# 23 hours on, because a datetime takes less than 24 and summer time adds one; and days counted from 0 (n without M or
# J), because zoneinfo takes each for the day before.
_ABBREVIATION = r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)"
_OFFSET = r"[+-]?(?:[01]?[0-9]|2[0-2])(?::[0-5][0-9](?::[0-5][0-9])?)?"
_CHANGE = (
    r"(?:J[0-9]{1,3}|M[0-9]{1,2}\.[1-5]\.[0-6])"
    r"(?:/[+-]?[0-9]{1,3}(?::[0-5][0-9](?::[0-5][0-9])?)?)?"
)
_POSIX = re.compile(
    rf"{_ABBREVIATION}{_OFFSET}(?P<dst>{_ABBREVIATION}(?:{_OFFSET})?(?P<rule>,{_CHANGE},{_CHANGE})?)?",
)
# What glibc takes when there is a dst and no rule, so that EST5EDT is the same with and without a file of that name.
_DEFAULT_RULE = ",M3.2.0,M11.1.0"


def find_zone(name: str) -> tzinfo:
    """The zone of an IANA name, like Europe/Berlin. InvalidTime if there is none, or this machine does not know it."""
    if name == "UTC":  # always there, also without tzdata
        return UTC
    if _is_name(name):
        try:
            return ZoneInfo(name)
        except _UNUSABLE:
            pass
    raise InvalidTime(f"there is no time zone {shown(name)}: {_how()}", field="tz")


def zone_or(name: str | None, default: tzinfo) -> tzinfo:
    """The zone of this name; `default` without one, and where it is no longer known."""
    if name is None:
        return default
    try:
        return find_zone(name)
    except InvalidTime:
        return default


@cache  # 7 ms: the folders of all zones are read
def zone_names() -> tuple[str, ...]:
    """The names that find_zone knows on this machine, in order."""
    return tuple(sorted({"UTC", *filter(_is_name, available_timezones())}))


def server_zone(tz: str | None) -> tzinfo:
    """The zone that the environment variable TZ names, as in tzset(3); None, if it is not set, is /etc/localtime.

    It may be a name, a path, both with or without a colon before, or a POSIX string like CET-1CEST,M3.5.0,M10.5.0/3.
    InvalidTime if it is anything else: libc would take UTC without a word, and every reminder would be off.
    """
    if tz is None:
        # localtime(5): no such file is UTC. One that is there and cannot be read is a mistake.
        return _from_file(LOCALTIME) if LOCALTIME.exists() or LOCALTIME.is_symlink() else UTC
    name = tz.removeprefix(":")
    if name in ("", "UTC"):
        return UTC
    if name.startswith("/"):
        return _from_file(Path(name))
    if not name.startswith("right/"):
        try:
            return ZoneInfo(name)
        except _UNUSABLE:
            pass
    # In this order, as libc does it: EST5EDT is the name of a file, and would be a POSIX string too.
    zone = _from_posix(name)
    if zone is None:
        raise InvalidTime(
            f"there is no time zone {shown(tz)}: {_how()} (TZ may also be the path of a zone file, or a POSIX string"
            " like CET-1CEST,M3.5.0,M10.5.0/3)"
        )
    return zone


class _Whole(io.BytesIO):
    """EOFError at its end: zoneinfo would look forever for the end of a last line that is cut off."""

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if size is not None and len(content) < size:
            raise EOFError("it is cut off")
        return content


def _is_name(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and bool(_IANA.fullmatch(name)) and name.partition("/")[0] not in _NOT_ZONES


def _how() -> str:
    try:
        ZoneInfo("Europe/Berlin")
    except _UNUSABLE:
        return "this machine knows no zone but UTC, install tzdata"
    return "write an IANA name like Europe/Berlin"


def _from_file(path: Path) -> tzinfo:
    try:
        if not path.is_file():  # a pipe would never end
            raise FileNotFoundError("no such regular file")
        with path.open("rb") as file:
            return ZoneInfo.from_file(_Whole(file.read(_LARGEST_FILE)), key=str(path))
    except _UNUSABLE as error:
        raise InvalidTime(
            f"cannot read the time zone file {shown(str(path))} ({error}): zone files are in /usr/share/zoneinfo"
        ) from None


def _from_posix(text: str) -> tzinfo | None:
    """The zone of a POSIX TZ string, or None if it is none.

    zoneinfo has no function for it, but reads such a string at the end of every TZif file (RFC 8536, 3.3): here it
    gets a file that holds nothing else.
    """
    match = _POSIX.fullmatch(text)
    if match is None:
        return None
    rule = _DEFAULT_RULE if match["dst"] and not match["rule"] else ""
    # One type (UTC), because a file must have one, no transitions; and all of it twice, for readers of version 1.
    header = struct.pack(">4sc15x6L", b"TZif", b"3", 0, 0, 0, 0, 1, 4)
    block = header + struct.pack(">lBB4s", 0, 0, 0, b"UTC\0")
    footer = f"\n{text}{rule}\n".encode("ascii")
    try:
        return ZoneInfo.from_file(io.BytesIO(block + block + footer), key=text)
    except _UNUSABLE:
        return None
