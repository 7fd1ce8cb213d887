"""`delayed.py SEED ARGUMENT...`: the daemon with these arguments, whose threads stand still now and then.

Between any two lines of the rooms below, for up to some milliseconds: as on a machine that is busy, where a thread may
be off its CPU for that long wherever it is. What goes wrong only when one thread is just there while another is just
here would else show once in thousands of runs.
"""

import os
import random
import runpy
import sys
import threading
import time
from functools import cache
from pathlib import Path

ROOMS = ("executor", "scheduler", "server", "store", "worker")
# How often before a line, and for how many seconds at the most.
CHANCE = 0.005
LONGEST = 0.02


def delay(seed):
    """From now on, in this thread, those that it starts, and the processes that it forks."""
    chance = random.Random(seed)
    os.register_at_fork(after_in_child=lambda: chance.seed(chance.random()))

    @cache
    def delayed(file):
        return any(f"/tifftockd/{room}/" in file for room in ROOMS)

    def enter(frame, _event, _arg):
        return step if delayed(frame.f_code.co_filename) else None

    def step(_frame, _event, _arg):
        if chance.random() < CHANCE:
            time.sleep(LONGEST * chance.random() ** 3)
        return step

    threading.settrace(enter)
    sys.settrace(enter)


if __name__ == "__main__":
    from tifftockd.executor import processes

    number = int(sys.argv.pop(1))
    processes._BOOT = (
        f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import delayed; delayed.delay({number});"
        f" sys.path.pop(); {processes._BOOT}"
    )
    delay(number)
    runpy.run_module("tifftockd", run_name="__main__", alter_sys=True)
