"""How a question starts its thousands of daemons: by fork, or as users do."""

import subprocess
from contextlib import contextmanager

from tests.faults.nursery import Nursery


def add_argument(parser):
    parser.add_argument(
        "--execute",
        action="store_true",
        help="execute each daemon; otherwise they are forked from a process that has imported what a daemon imports",
    )


@contextmanager
def spawning(arguments):
    """What Daemon.spawn is to be."""
    if arguments.execute:
        yield subprocess.Popen
        return
    with Nursery() as nursery:
        yield nursery.spawn
