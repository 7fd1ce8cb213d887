"""schemathesis with all its checks and phases against a running daemon, at its Unix socket."""

import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests import contract
from tests.daemon import NOTE, Daemon, end

# Seconds that an example may take on the average, of an operation, on a machine that does other things too.
_EACH = 20


def add_arguments(parser):
    parser.add_argument(
        "--examples", type=int, default=300, metavar="N", help="so many of each operation (default: 300)"
    )
    parser.add_argument("--seed", type=int, help="think of the same again")


def run(arguments):
    """Print what was seen, and return the exit code: 1 if the daemon does not keep to its contract."""
    began = time.monotonic()
    seed = int.from_bytes(os.urandom(4)) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="tifftockd-contract-"))
    daemon = Daemon(folder).prepare()
    daemon.dropin("note.py", NOTE)
    try:
        daemon.start()
        options = (f"--max-examples={arguments.examples}", f"--seed={seed}")
        found = contract.run(daemon.socket_path, folder, *options, patience=arguments.examples * _EACH + 600)
        faults = [line for line in daemon.log_text().splitlines() if any(name in line for name in contract.FAULTS)]
    finally:
        end(daemon)
    if found or faults:
        print("\n".join([found or "", *faults, f"the daemon's folder: {folder}"]))
    print(
        f"{datetime.now(UTC):%Y-%m-%d} contract: {'kept' if not (found or faults) else 'not kept'},"
        f" {arguments.examples} examples of each operation, seed {seed}; schemathesis {version('schemathesis')},"
        f" Python {platform.python_version()}, {time.monotonic() - began:.0f} s"
    )
    return 1 if found or faults else 0
