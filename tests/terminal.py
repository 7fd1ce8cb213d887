"""tifftockctl as people and scripts run it: in this process, as a command of its own, and at a terminal."""

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass, field

from tests.daemon import PATIENCE
from tifftockd.ctl import cli

COMMAND = [sys.executable, "-m", "tifftockd.ctl"]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Done:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def error(self):
        """Its one line of complaint."""
        [line] = self.err.splitlines()
        assert line.startswith("tifftockctl: ")
        return line.removeprefix("tifftockctl: ")


@dataclass
class Terminal:
    """A place to run tifftockctl in, beside a daemon or not."""

    environ: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments, stdin=b""):
        """Run it in this process."""
        streams = [io.TextIOWrapper(io.BytesIO(given), encoding="utf-8", newline="") for given in (stdin, b"", b"")]
        before, names = dict(os.environ), ("stdin", "stdout", "stderr")
        kept = [getattr(sys, name) for name in names]
        os.environ.clear()
        os.environ.update(self.environ)
        time.tzset()
        try:
            for name, stream in zip(names, streams, strict=True):
                setattr(sys, name, stream)
            try:
                code = cli.main([str(argument) for argument in arguments])
            except SystemExit as ended:
                code = ended.code
        finally:
            for name, stream in zip(names, kept, strict=True):
                setattr(sys, name, stream)
            os.environ.clear()
            os.environ.update(before)
            time.tzset()
        texts = []
        for stream in streams[1:]:
            stream.flush()
            texts.append(stream.buffer.getvalue().decode())
        return Done(code, *texts)

    def command(self, *arguments, **options):
        """Run it as a command."""
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            env=self.whole_environ, capture_output=True, text=True, timeout=PATIENCE, check=False, **options,
        )  # fmt: skip

    @property
    def whole_environ(self):
        coverage = {name: value for name, value in os.environ.items() if name.startswith(("COVERAGE", "PATH", "LANG"))}
        return coverage | self.environ

    def at_terminal(self, *arguments, columns=80, **environ):
        """Run it at a terminal so wide; its exit code and all that it wrote there."""
        here, there = pty.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env=self.whole_environ | {"TERM": "xterm"} | environ, stdin=there, stdout=there, stderr=there,
        )  # fmt: skip
        os.close(there)
        pieces = []
        with contextlib.suppress(OSError):  # EIO: the other side is closed
            while piece := os.read(here, 65_536):
                pieces.append(piece)
        os.close(here)
        return Done(process.wait(PATIENCE), b"".join(pieces).decode().replace("\r\n", "\n"), "")
