"""A bar on standard error, while somebody looks."""

from __future__ import annotations

from tifftockd.ctl.screen import Screen

_BAR = 24


class Progress:
    """How far something is that has so many parts. Nothing is shown where it is no terminal."""

    def __init__(self, screen: Screen, what: str, total: int) -> None:
        self._screen = screen
        self._what = what
        self._total = total
        self._shown = False

    def show(self, done: int) -> None:
        """So many parts are done."""
        if self._screen.lively and self._total:
            filled = _BAR * done // self._total
            bar = "#" * filled + "-" * (_BAR - filled)
            # To the first column, and what stood there before is taken away: EL of ECMA-48.
            self._screen.err.write(f"\r\x1b[K{self._what} [{bar}] {done}/{self._total}")
            self._screen.err.flush()
            self._shown = True

    def clear(self) -> None:
        """Leave no trace."""
        if self._shown:
            self._screen.err.write("\r\x1b[K")
            self._screen.err.flush()
