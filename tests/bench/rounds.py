"""The contenders of a question, one run of each in turn: a slow minute of the machine hits them all."""

import shutil
import sys
import traceback
from dataclasses import replace

from tests.bench.question import Skipped


def ask(question, place, contenders=None):
    """What each contender's runs have found, and why some have not been made, by name.

    `place`: its folder is where all of them work. `contenders`: those of the question, unless others are given.
    """
    contenders = contenders or question.contenders
    found = {name: [] for name in contenders}
    missing = {}
    for _ in range(place.pick(question.runs, 1)):
        for name, run in contenders.items():
            if name in missing:
                continue
            folder = place.folder / "run"
            folder.mkdir()
            try:
                found[name].append(run(replace(place, folder=folder)))
            except Skipped as reason:
                missing[name] = str(reason)
            except Exception as error:  # the others' figures are worth having all the same
                traceback.print_exc(file=sys.stderr)
                missing[name] = f"it failed: {type(error).__name__}: {error}"
            shutil.rmtree(folder)
    return found, missing
