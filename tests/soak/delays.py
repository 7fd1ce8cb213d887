"""Threads that stand still for a moment wherever they are, while clients create, change, cancel and arm anew."""

from functools import partial

from tests.faults.delays import run_delays
from tests.soak import daemons

# Lives of one daemon, with a history of its own: the checker reads it as a whole.
_LIVES = 4

add_arguments = partial(daemons.add_arguments, count=60)


def run(arguments):
    """Print what was seen, and return the exit code: 1 if something is not as it should be."""
    return daemons.ask("delays", _LIVES, partial(run_delays, lives=_LIVES), _save, arguments)


def _save(run, folder):
    run.history.save(folder / "history.jsonl")
