"""The wall clock of a daemon, its workers and whatever they start, which a test can set; the work is done by clock.c.

wall = WallClock(tmp_path / "clock", now=time.time() + 86_400)
daemon.settings |= wall.settings
daemon.start()
wall.step(-3600)
"""

import os
import shutil
import struct
import time
from pathlib import Path

from tests.faults.preload import compiled

SOURCE = Path(__file__).with_name("clock.c")


def obstacle():
    """Why no clock can be shifted here, with what to do about it; None if one can."""
    if shutil.which("cc") is None:
        return "there is no C compiler; on Debian: apt install gcc libc6-dev"
    return None


class WallClock:
    """Instants and spans are seconds, as time.time() counts them."""

    def __init__(self, file, now):
        """`file`: where it keeps by how much it differs from the machine's; `now`: what it shows."""
        self._file = file
        self._offsets = []  # since when, by time.monotonic(), and by how much
        file.write_bytes(bytes(8))
        self.set(now)

    @property
    def settings(self):
        """What to add to the daemon's environment."""
        return {"LD_PRELOAD": str(compiled(SOURCE)), "TIFFTOCK_CLOCK": str(self._file)}

    def now(self):
        return time.time() + self._offsets[-1][1]

    def set(self, now):
        self._shift(now - time.time())

    def step(self, seconds):
        self._shift(self._offsets[-1][1] + seconds)

    def could_show(self, instant, monotonic, tolerance=1.0):
        """Whether it had reached `instant` at that moment, or up to so many seconds before: it may have been set back
        between a look at it and what came of that."""
        real = time.time() - (time.monotonic() - monotonic)
        return any(
            real + offset >= instant
            for (since, offset), (until, _) in zip(self._offsets, [*self._offsets[1:], (monotonic, 0)], strict=True)
            if since <= monotonic and until >= monotonic - tolerance
        )

    def _shift(self, offset):
        # Known before it holds, as a reader may be quicker than this.
        self._offsets.append((time.monotonic(), offset))
        descriptor = os.open(self._file, os.O_WRONLY)
        try:
            os.pwrite(descriptor, struct.pack("=q", round(offset * 1e9)), 0)
        finally:
            os.close(descriptor)
