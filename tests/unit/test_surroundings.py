"""What is seen of what a handler changes: after each attempt, or after the last of several."""

import os
import subprocess
import sys

import pytest

from tifftockd.worker import attempt

# In a process of its own: what is changed stays changed.
LOOK = """
import fcntl, json, os, resource, signal, socket, sys, threading, time
from tifftockd.worker.surroundings import Surroundings

free = os.dup(0)
os.close(free)
surroundings = Surroundings()
changed = surroundings.have_changed
assert not changed(nearest_only=False, delivered=True)
exec(sys.argv[1])
delivered = len(sys.argv) == 2
os._exit(changed(nearest_only=True, delivered=delivered) + 2 * changed(nearest_only=False, delivered=True))
"""

NEAREST = [
    "os.umask(0o123)",
    "os.chdir('/')",
    "os.environ['PATH'] = '/nowhere'",
    "sys.path.append('/nowhere')",
    "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
    "socket.setdefaulttimeout(1)",
    "sys.__stdout__.close()",
    "sys.stdout = sys.stderr",
    "os.close(2)",
    "os.dup2(os.open(os.devnull, os.O_WRONLY), 1); os.close(free)",
    "signal.setitimer(signal.ITIMER_REAL, 9)",
    "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "signal.signal(signal.SIGALRM, print)",
    "time.time_ns = int",
    "json.dumps = str",
]
LATER = [
    "resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))",
    "os.open(os.devnull, os.O_RDONLY)",
    "free = socket.socket()",
    "os.listdir = os.open(sys.executable, os.O_RDONLY)",
    "fcntl.flock(os.open(sys.executable, os.O_RDONLY), fcntl.LOCK_SH)",
    "[os.open(sys.executable, os.O_RDONLY) for _ in range(20)]",
    "os.nice(1)",
    "signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
    "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})",
    "os.getpid = int",
]
if os.geteuid() == 0:  # who alone can be somebody else
    LATER += ["os.setgroups([5])", "os.setegid(1)", "os.seteuid(1)"]
if len(os.sched_getaffinity(0)) > 1:
    LATER += ["os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"]

# A log that stays open serves the next attempt, too.
KEPT = "os.open(sys.executable, os.O_RDONLY)"
NOTHING = ["pass", KEPT]


@pytest.mark.parametrize(
    ("code", "seen"),
    [*((code, 0) for code in NOTHING), *((code, 3) for code in NEAREST), *((code, 2) for code in LATER)],
)
def test_what_is_changed_is_seen_at_once_or_after_the_last(code, seen):
    process = subprocess.run([sys.executable, "-c", LOOK, code], capture_output=True, check=False)
    assert process.returncode == seen, process.stderr


def test_what_is_kept_open_is_seen_after_an_attempt_that_failed():
    process = subprocess.run([sys.executable, "-c", LOOK, KEPT, "failed"], capture_output=True, check=False)
    assert process.returncode == 2, process.stderr


@pytest.mark.parametrize(("allowed", "calls"), [({0, 1, 3}, [{0, 3}, {0, 1, 3}]), ({1}, []), ({0}, [{0}, {0}])])
def test_who_leaves_a_cpu_may_use_all_again(monkeypatch, allowed, calls):
    chosen = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: allowed)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _pid, cpus: chosen.append(cpus))
    attempt._leave(1)
    assert chosen == calls
