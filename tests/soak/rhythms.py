"""Reminders that repeat every few seconds, while the daemon is killed, stopped, reloaded and held up."""

import json
from functools import partial

from tests.faults.rhythms import run_rhythms
from tests.soak import daemons

_LIVES = 12

add_arguments = partial(daemons.add_arguments, count=40)


def run(arguments):
    """Print what was seen, and return the exit code: 1 if something is not as it should be."""
    return daemons.ask("rhythms", _LIVES, _run, _save, arguments)


def _run(folder, seed):
    """Every second daemon has threads that stand still now and then."""
    return run_rhythms(folder, seed, _LIVES, slow=seed % 2 == 1)


def _save(run, folder):
    (folder / "rhythms.json").write_text(json.dumps([vars(one) for one in run.rhythms], default=vars, indent=1))
