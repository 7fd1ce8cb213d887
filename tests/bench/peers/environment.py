"""The environment of the peers, apart from the daemon's: made when it is first needed."""

import functools
import subprocess
import sys
from pathlib import Path

from tests.bench.place import ROOT
from tests.bench.question import Skipped

_FOLDER = ROOT / ".venv" / "bench"
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
# Seconds that the installation may take
_PATIENCE = 300


def program(name="python"):
    """The path of a program in it. Skipped where it cannot be installed."""
    if fault := _installed():
        raise Skipped(f"the peers could not be installed: {fault}")
    return str(_FOLDER / "bin" / name)


@functools.cache
def _installed():
    """Install what is wanted, tried once; what went wrong, or None."""
    stamp = _FOLDER / "requirements.txt"
    wanted = _REQUIREMENTS.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return None
    print(f"Installing the peers into {_FOLDER.relative_to(ROOT)}", file=sys.stderr)
    pip = [_FOLDER / "bin" / "python", "-m", "pip", "install", "--quiet", "--quiet", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", "--clear", _FOLDER], [*pip, "--requirement", _REQUIREMENTS]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            return f"it took longer than {_PATIENCE} s"
        if done.returncode:
            return next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), "no reason was given")
    stamp.write_text(wanted)
    return None
