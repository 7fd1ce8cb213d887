"""Where the output goes: a terminal with its width and colours, or a file that gets all of it plain."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TextIO

from tifftockd.ctl.text import harmless

# SGR of ECMA-48, by what is to be said: a state, an outcome, or a part of the picture.
STYLES = {
    "pending": "36",
    "firing": "1;36",
    "ready": "32",
    "ok": "32",
    "delivered": "32",
    "failed": "31",
    "failing": "1;31",
    "unavailable": "33",
    "missed": "33",
    "interrupted": "33",
    "uncertain": "35",
    "cancelled": "2",
    "head": "1",
    "dim": "2",
}
# In JSON only within strings, where they may be escaped: control characters that JSON lets through (RFC 8259, 7).
_LEFT_BY_JSON = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Screen:
    """Standard output and standard error."""

    def __init__(self, environ: Mapping[str, str], *, colour: bool, as_json: bool) -> None:
        """`colour`: whether it may be used at all. `as_json`: for programs."""
        self.as_json = as_json
        # One that was closed is None.
        self.out: TextIO = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 until the end
        self.err: TextIO = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 until the end
        for stream in (self.out, self.err):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        is_terminal = self.out.isatty()
        # Cells of a line; None: as long as it is.
        self.width = columns(environ, self.out) if is_terminal else None
        # https://no-color.org: any value but the empty one
        plain = not colour or bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
        self._colour = is_terminal and not plain
        # Whether a picture that changes can be shown.
        self.lively = self.err.isatty() and environ.get("TERM") != "dumb"
        self.mark = "…" if _can_write("…", self.out) else "..."

    def paint(self, text: str, style: str) -> str:
        """The text in the colour of its style, if there are colours."""
        code = STYLES.get(style) if self._colour else None
        return text if code is None or not text else f"\x1b[{code}m{text}\x1b[0m"

    def line(self, text: str) -> None:
        """One line of output, whose parts are harmless."""
        self.out.write(f"{text}\n")

    def note(self, text: str) -> None:
        """A word to the person, beside the output."""
        with suppress(OSError):  # what is done is done, whoever hears of it
            self.err.write(f"tifftockctl: {harmless(text)}\n")

    def json(self, value: Any) -> None:
        """One value as the API gave it, on one line."""
        import json

        text = json.dumps(value, ensure_ascii=False)
        self.line(_LEFT_BY_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def columns(environ: Mapping[str, str], terminal: TextIO | None) -> int:
    """How wide a terminal is: what COLUMNS says, else it itself. shutil has this too, and is slow to import."""
    text = environ.get("COLUMNS", "")
    if text.isdecimal() and 0 < int(text) < 100_000:
        return int(text)
    try:
        return (os.get_terminal_size(terminal.fileno()).columns if terminal else 0) or 80
    except (OSError, ValueError):
        return 80


def _can_write(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
