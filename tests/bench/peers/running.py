"""A peer's processes, from start to end."""

import os
import signal
import subprocess
from contextlib import contextmanager, suppress

from tests.bench.clients import PATIENCE


@contextmanager
def started(*command, folder, **options):
    """A process in a group of its own; the group is ended at the end, by its number."""
    log = (folder / "log").open("a")
    process = subprocess.Popen(command, cwd=folder, stderr=log, start_new_session=True, **options)
    try:
        yield process
    finally:
        log.close()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        # Workers that have not ended with it, and are nobody's any more.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
