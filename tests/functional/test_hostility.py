"""Handlers that go for what is around them: their worker, what that was forked from, and the machine."""

import re
import time

import pytest

from tests.daemon import Daemon, end, wait_until
from tests.functional.test_workers import RUN, footprint, proc, seconds, strays

MODULE = (
    RUN.partition("class Run(")[0]
    + """
class METHOD(RemindProcess):
    timeout = "TIMEOUT"

    def remind(self, message):
        exec(message, globals() | {"self": self})

def parent_of(pid):
    with open(f"/proc/{pid}/stat") as status:
        return int(status.read().rpartition(")")[2].split()[1])

def prctl(option, value):
    assert ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0

def ptrace(pid):
    # PTRACE_ATTACH: it stops, and no SIGCONT lets it go on.
    return ctypes.CDLL(None).ptrace(16, pid, 0, 0)

class Endless:
    def __float__(self): raise SystemExit

class Breaking(str):
    def __str__(self): return self
    def __getitem__(self, place): raise SystemExit

class Silent:
    def write(self, text): pass
    def flush(self): raise SystemExit
"""
)
PROGRAM = '#!/bin/sh\neval "$1"\n'

# For what hangs there is a method with this deadline, in seconds.
DEADLINE = 0.3
LATE = "it passed its deadline of 300ms"
KILLED = "the worker was killed by SIGKILL during the attempt"
GONE = "the worker ended with its template during the attempt"

# What it does, and the reason that its attempt has failed for; None where that is delivered.
CLASSES = {
    # other processes of the daemon
    "stops its group": ("os.killpg(os.getpgrp(), signal.SIGSTOP)", LATE),
    "kills its group": ("os.killpg(os.getpgrp(), signal.SIGKILL)", KILLED),
    "stops its template and dies": ("os.kill(os.getppid(), signal.SIGSTOP); os._exit(3)", LATE),
    "stops its template and is renewed": ("os.kill(os.getppid(), signal.SIGSTOP); os.umask(0)", None),
    "stops the parent and its template": (
        "for pid in (parent_of(os.getppid()), os.getppid()): os.kill(pid, signal.SIGSTOP)\ntime.sleep(600)", LATE,
    ),
    "stops all again and again": (
        "while True: os.kill(parent_of(os.getppid()), signal.SIGSTOP); os.kill(os.getppid(), signal.SIGSTOP)", LATE,
    ),
    "traces its template": ("ptrace(os.getppid()); time.sleep(600)", LATE),
    "traces its template and returns": ("ptrace(os.getppid())", None),
    "leaves its template no descriptors": (
        "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0)); os._exit(1)",
        "the worker exited with status 1 during the attempt",
    ),
    "kills the parent": ("os.kill(parent_of(os.getppid()), signal.SIGKILL); time.sleep(600)", GONE),
    "survives its template": ("prctl(1, 0); os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)", GONE),
    # what it starts
    "forks and forks": ("for _ in range(7): os.fork()\ntime.sleep(600)", LATE),
    "is no subreaper any more": (
        "prctl(36, 0); subprocess.run(['sh', '-c', 'setsid sleep 600 >/dev/null 2>&1 &'])",
        None,
    ),
    "has a name that looks like a state": (
        "open('/proc/self/comm', 'w').write(') Z 1 1'); subprocess.Popen(['sleep', '600'])", None,
    ),
    # its own process
    "gives its socket's number to something else": (
        "fd = own_socket(); os.close(fd); os.dup2(os.open('/dev/null', os.O_RDWR), fd)",
        "the worker exited with status 1 during the attempt",
    ),
    "writes to every descriptor": (
        "for fd in os.listdir('/proc/self/fd'):\n    try: os.write(int(fd), b'x\\n')\n    except OSError: pass",
        "the handler wrote to its worker's own descriptor",
    ),
    "hangs in a destructor": ("type('Hang', (), {'__del__': lambda self: time.sleep(600)})()", LATE),
    "hangs in an error's text": ("raise type('E', (Exception,), {'__str__': lambda self: time.sleep(600)})", LATE),
    "raises an error whose text exits": (
        "raise type('E', (Exception,), {'__str__': lambda self: sys.exit()})", "E: (its text cannot be had)",
    ),
    "raises an error whose text breaks": ("raise PermanentError(Breaking('why'))", "why"),
    "raises an error of 50 MB": ("raise ValueError('x' * 50_000_000)", "ValueError: xxx"),
    "asks for a pause that exits": (
        "raise type('E', (TransientError,), {'retry_after': Endless(), '__init__': lambda self: None})", "E",
    ),
    "prints to what exits": ("sys.stdout = Silent()", None),
    "removes its folder": ("os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')", None),
    "sets the clock of its process": ("time.time_ns = time.time = lambda: 0", None),
    "replaces parts of the library": ("socket.socket.send = json.loads = None", None),
}  # fmt: skip
PROGRAMS = {
    "leaves a daemon": ("setsid sh -c 'trap \"\" TERM HUP; sleep 600' >/dev/null 2>&1 &", None),
    "prints 100 MB": ("head -c 100000000 /dev/zero | tr '\\0' x", None),
    "eats memory": ("tail /dev/zero", "it exited with status 1: tail: memory exhausted"),
    "does not read 32 KiB": (": " + "x" * 32_000, None),
    "kills its group": ("echo so far; kill -9 0", "it was killed by SIGKILL"),
    "stops its worker": ("kill -STOP $PPID", LATE),
    "kills its worker": ("kill -9 $PPID; sleep 600", KILLED),
}


# What each method does when it is well, and prints.
WORK = {
    "hostile": ("print('fine')", "fine\n"), "brief": ("print('fine')", "fine\n"),
    "program": ("echo fine", "fine\n"), "swift": ("echo fine", "fine\n"), "log": ("fine", None),
}  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A daemon whose methods have one worker each, all of them warm."""
    settings = {"HANDLER_CONCURRENCY": "1", "HANDLER_OUTPUT": "2K", "HANDLER_MEMORY": "384M"}
    daemon = Daemon(tmp_path_factory.mktemp("daemon"), settings).prepare()
    for method, timeout in (("hostile", "20s"), ("brief", "300ms")):
        daemon.dropin(f"{method}.py", MODULE.replace("METHOD", method).replace("TIMEOUT", timeout))
    for method in ("program", "swift"):
        daemon.dropin(method, PROGRAM, 0o755)
    daemon.dropin("swift.json", '{"timeout": "300ms"}')
    try:
        daemon.start()
        wait_until(lambda: not daemon.get("/handlers")["loading"], "the drop-ins")
        assert work(daemon)
        daemon.footprint = wait_until(lambda: (now := footprint(daemon))[3] == len(WORK) and now, "the workers")
        yield daemon
    finally:
        end(daemon)


def work(daemon):
    """Whether each method does what it should: nothing of the attempts before is left."""
    made = [daemon.remind(method=method, message=message, retries=0) for method, (message, _) in WORK.items()]
    entries = [daemon.outcome(one) for one in made]
    expected = [("delivered", None, output) for _, output in WORK.values()]
    return [(entry["outcome"], entry["error"], entry["output"]) for entry in entries] == expected


def as_before(daemon):
    now = footprint(daemon)
    return now.pop("fds") <= daemon.footprint["fds"] and now.items() <= daemon.footprint.items()


def memory(daemon):
    with open(proc(daemon, "status")) as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1])


@pytest.mark.parametrize(
    ("method", "code", "reason"),
    [
        pytest.param(slow if reason == LATE else usual, code, reason, id=f"{kind} {what}")
        for kind, usual, slow, cases in (
            ("class", "hostile", "brief", CLASSES),
            ("program", "program", "swift", PROGRAMS),
        )
        for what, (code, reason) in cases.items()
    ],
)
def test_it_costs_one_attempt_and_nobody_else_anything(shared, method, code, reason):
    used = memory(shared)
    made, started = shared.remind(method=method, message=code, retries=0), time.monotonic()
    other = shared.remind()
    while not (entries := shared.history(made)):
        assert shared.request("GET", "/health").status == 200
        assert time.monotonic() - started < 30
    [entry] = entries
    assert entry["outcome"] == ("failed" if reason else "delivered"), entry["error"]
    assert (entry["error"] or "").startswith(reason or "")
    if reason == LATE:
        assert seconds(entry) < DEADLINE + 2
    entry = shared.outcome(other)
    assert (entry["outcome"], entry["late_ms"] < 2000) == ("delivered", True), entry["late_ms"]
    assert work(shared), "the next attempt finds nothing of this one"
    wait_until(lambda: not strays(shared), "the end of all that it started")
    # A connection of the one who asks may be open still.
    wait_until(lambda: as_before(shared), f"{footprint(shared)} to be {shared.footprint}")
    assert memory(shared) - used < 10_000
