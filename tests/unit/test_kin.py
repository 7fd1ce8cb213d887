"""All that descends from a process is found and killed, whatever happens between two looks."""

import subprocess
import sys

import pytest

# Below this process is one that forks another; a moment comes between what is listed and a look who of that lives.
HEIR = """
import os, signal, sys, time
from tifftockd.worker import kin

kin.adopt_orphans()

def fork(code):
    pid = os.fork()
    if pid == 0:
        code()
        os._exit(0)
    return pid

def sleep():
    time.sleep(5)

def die_after_a_fork():
    signal.sigwait({signal.SIGTERM})
    fork(sleep)

def fork_and_sleep():
    fork(sleep)
    sleep()

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
dies_itself = sys.argv[1] == "dies"
first = fork(die_after_a_fork if dies_itself else fork_and_sleep)
spared = fork(sleep) if sys.argv[2:] else None
while not dies_itself and not kin.children(first):
    time.sleep(0.001)
listed, looks = kin._listed, []

def list_before_a_death(pid):
    found = listed(pid)
    if pid != os.getpid():
        return found
    looks.append(found)
    if dies_itself and len(looks) == 1:
        os.kill(first, signal.SIGTERM)
        while kin._lives(first):
            time.sleep(0.001)
    return looks[0] if len(looks) == 2 and not dies_itself else found

kin._listed = list_before_a_death
kin.kill_descendants(os.getpid(), spare=frozenset({spared} if spared else ()))
left = listed(os.getpid())
assert left == ([spared] if spared else []), (left, looks)
if spared:
    os.kill(spared, signal.SIGKILL)
"""


@pytest.mark.parametrize("beside", [[], ["one that is spared"]])
@pytest.mark.parametrize("how", ["dies", "is killed"])
def test_what_one_leaves_behind_that_dies_as_it_is_looked_at_is_killed_and_buried_too(how, beside):
    done = subprocess.run(
        [sys.executable, "-c", HEIR, how, *beside], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
