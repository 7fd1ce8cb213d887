"""The bare parent: a process that forks template processes, and does nothing else.

It is started with a new interpreter (the daemon has threads, and a fork of those is a trap), single-threaded, and
runs no handler code, so that what it forks is clean.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import Any, NoReturn

from tifftockd import journal
from tifftockd.worker import forking, kin
from tifftockd.worker.attempt import Limits, run_worker
from tifftockd.worker.template import load, run_template


def main(control_fd: int) -> NoReturn:
    """Fork a template for each command until the daemon's end is closed; then take everything along."""
    control = socket.socket(fileno=control_fd)
    os.set_inheritable(control_fd, False)
    # When to stop is the daemon's to say: systemd may signal the whole control group.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # One that has come meanwhile is ignored, too.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    kin.adopt_orphans()
    journal.use(os.dup(2))
    forking.serve(control, _start)
    os._exit(0)


def _start(command: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Become a template; or, where a template cannot be forked from, import as one does and become the worker."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if "method" in command:
        worker, output, permits, *code = descriptors
        classes = dict(load(command, *code))
        run_worker(classes[command["method"]], Limits(**command["limits"]), worker, output, permits)
    run_template(command, *descriptors)
