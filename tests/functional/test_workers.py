"""Handlers that do what no handler should: it costs them an attempt, and nobody else anything."""

import os
import re
import signal
import threading
import time
from datetime import datetime
from textwrap import dedent

import pytest

from tests.daemon import NOTE, Daemon, end, wait_until
from tests.functional.test_firing import alive

RUN = '''
import ctypes, http.client, json, locale, os, re, resource, signal, socket, stat, subprocess, sys, threading, time
from tifftockd import PermanentError, RemindProcess, TransientError

def umask():
    mask = os.umask(0)
    os.umask(mask)
    return oct(mask)

def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)

def own_socket():
    """The descriptor on which this worker answers the daemon."""
    return next(fd for fd in range(3, 256) if is_socket(fd))

def is_socket(fd):
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False

def own_job():
    """The number of this attempt, which an answer repeats: nothing in a process is out of a handler's reach."""
    frame = sys._getframe()
    while not isinstance(frame.f_locals.get("job"), dict):
        frame = frame.f_back
    return frame.f_locals["job"]["job"]

def forge(**fields):
    """Answer the daemon in the worker's name."""
    answer = {"job": own_job(), "verdict": "delivered", "started": None} | fields
    os.write(own_socket(), json.dumps(answer).encode() + b"\\n")

class Run(RemindProcess):
    """The message is what it does."""
    timeout = "20s"

    def remind(self, message):
        exec(message, globals() | {"self": self})

class Single(Run):
    concurrency = 1

class Renewed(Single):
    renew = 3

class Brief(Single):
    timeout = "300ms"

class Terse(Run):
    output = 100

class Frugal(Single):
    memory = "128M"

class Wary(Run):
    repeatable = False

class Picky(Run):
    to_pattern = _to_pattern = "(a+)+b"

class Odd(RemindProcess):
    def remind(self, message):
        return lambda: (yield self)
'''

SLOW_TWIN = """
import time
time.sleep(0.5)
from tifftockd import RemindProcess

class Twin(RemindProcess):
    def remind(self, message):
        print("the first by name")
"""

QUICK_TWIN = """
from tifftockd import RemindProcess

class Twin(RemindProcess):
    def remind(self, message):
        print("the first to be loaded")

class Early(Twin):
    pass

class LonelyRemindProcess(RemindProcess):
    def remind(self, message):
        print("no twin")

class NotAHandler:
    method = "nothing"
"""

SLOW_RIVAL = """
import time
time.sleep(0.3)
from tifftockd import RemindProcess

class Early(RemindProcess):
    def remind(self, message):
        print("the last by name")
"""

LATER = """
from tifftockd import RemindProcess

async def wait(self, message):
    print("done")

def sing(self, message):
    print("done")
    yield

class Later(RemindProcess):
    def remind(self, message):
        return wait(self, message)

class Piecemeal(RemindProcess):
    def remind(self, message):
        return sing(self, message)
"""

# What `remind` would do at no call, and the beginning of what is said of it
NEVER = {
    "deaf": ("def remind(self): pass", "Deaf.remind cannot be called with a message alone: too many"),
    "greedy": ("def remind(self, message, more): pass", "Greedy.remind cannot be called with a message alone: missing"),
    "bare": ("def remind(message): pass", "Bare.remind cannot be called with a message alone: too many"),
    "async": ("async def remind(self, message): pass", "Async.remind would not begin when it is called"),
    "yields": ("def remind(self, message): yield", "Yields.remind would not begin when it is called"),
    "fresh": (
        "def remind(self, message): pass\n    def __init__(self): pass",
        "Fresh.__init__ cannot be called with a reminder alone: too many",
    ),
}
# As odd as that, and right
UNUSUAL = """
from tifftockd import RemindProcess

def louder(function):
    def call(*arguments):
        function(*arguments, "!")
    call.__wrapped__ = function
    return call

class Louder(RemindProcess):
    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)

    @louder
    def remind(self, message, mark):
        print(message + mark)

class Static(RemindProcess):
    @staticmethod
    def remind(text, mark="?"):
        print(text + mark)
"""

DOUBLE = """
from tifftockd import RemindProcess

class Double(RemindProcess):
    def remind(self, message):
        print("one")

Other = Double  # a second name is no second method

class DoubleRemindProcess(Double):
    pass
"""

SETTINGS = {"RETRY_DELAY": "50ms", "HANDLER_OUTPUT": "2K", "HANDLER_MEMORY": "256M"}


@pytest.fixture(scope="module")
def aged(tmp_path_factory):
    """A daemon in which two imports hang from the start of the module on; the last tests look what came of it."""
    daemon = Daemon(tmp_path_factory.mktemp("aged")).prepare()
    flag = daemon.folder / "flag"
    daemon.dropin("again.py", f"import os, time\nwhile os.path.exists({str(flag)!r}): time.sleep(0.1)\n{RUN}")
    hangs = daemon.dropin("hangs.py", "import time\ntime.sleep(600)\n")
    try:
        daemon.start()
        hangs.unlink()
        daemon.reload()
        template = int(attempt(daemon, "print(os.getppid())")["output"])
        flag.touch()
        os.kill(template, signal.SIGKILL)
        wait_until(lambda: not alive(template), "the end of the template")
        daemon.made = begin(daemon, "pass")
        daemon.old_enough = time.monotonic() + 12  # an import may take 10 s
        yield daemon
    finally:
        daemon.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory, aged):
    """A daemon for all tests of this module; `probes` is what `/health` answered meanwhile."""
    daemon = Daemon(tmp_path_factory.mktemp("daemon"), SETTINGS).prepare()
    for name, text in (("run.py", RUN), ("note.py", NOTE), ("a.py", SLOW_TWIN), ("b.py", QUICK_TWIN)):
        daemon.dropin(name, text)
    daemon.dropin("c.py", SLOW_RIVAL)
    daemon.dropin("later.py", LATER)
    daemon.dropin("unusual.py", UNUSUAL)
    for name, (remind, _) in NEVER.items():
        text = f"from tifftockd import RemindProcess\nclass {name.title()}(RemindProcess):\n    {remind}\n"
        daemon.dropin(f"never_{name}.py", text)
    daemon.dropin("double.py", DOUBLE)
    daemon.dropin("named.py", DOUBLE.partition("class DoubleR")[0].replace("Double", "Named"))
    daemon.probes, stop = [], threading.Event()

    def probe():
        while not stop.wait(0.1):
            started = time.monotonic()
            try:
                status = daemon.request("GET", "/health").status
            except OSError as error:
                status = repr(error)
            daemon.probes.append((status, time.monotonic() - started))

    prober = threading.Thread(target=probe, daemon=True)
    try:
        daemon.start()
        wait_until(lambda: not daemon.get("/handlers")["loading"], "the drop-ins")
        daemon.footprint = footprint(daemon)
        prober.start()
        yield daemon
    finally:
        stop.set()
        end(daemon)


@pytest.fixture
def single(shared):
    """A method with one worker, which no other test has changed or will use."""
    attempt(shared, "os._exit(0)", "single")
    yield "single"
    attempt(shared, "os._exit(0)", "single")


# ---- what runs below the daemon


def below(pid, depth=1):
    """All processes below one, zombies too, as pairs of how deep and pid: 1 parent, 2 template, 3 worker."""
    found = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/children") as listing:
                found += [(depth, int(child)) for child in listing.read().split()]
        except OSError:
            continue
    return found + [pair for _, child in found for pair in (below(child, depth + 1) if alive(child) else [])]


def strays(daemon):
    """What no worker should have left: processes below workers, and zombies."""
    return [(depth, pid) for depth, pid in below(daemon.process.pid) if depth > 3 or (depth > 1 and not alive(pid))]


def zombies(daemon):
    """Those of the daemon itself."""
    return [pid for depth, pid in below(daemon.process.pid) if depth == 1 and not alive(pid)]


def footprint(daemon):
    """The number of processes at each depth, and of the daemon's descriptors."""
    depths = [depth for depth, pid in below(daemon.process.pid) if alive(pid)]
    return {depth: depths.count(depth) for depth in set(depths)} | {"fds": len(os.listdir(proc(daemon, "fd")))}


def proc(daemon, name):
    return f"/proc/{daemon.process.pid}/{name}"


# ---- one attempt


def begin(daemon, code, method="run", **fields):
    return daemon.remind(method=method, message=dedent(code), retries=0, **fields)


def attempt(daemon, code, method="run"):
    """The record of one attempt that does this."""
    made = begin(daemon, code, method)
    entry = daemon.outcome(made)
    assert entry["attempt"] == 1
    return entry


def pid_of(daemon, method):
    return int(attempt(daemon, "print(os.getpid())", method)["output"])


def works(daemon, method="run"):
    """Whether the method's next attempt is what it should be: nothing of the one before is left in it."""
    entry = attempt(daemon, "print('fine')", method)
    return (entry["outcome"], entry["error"], entry["output"]) == ("delivered", None, "fine\n")


def instant(text):
    return datetime.fromisoformat(text).timestamp()


def seconds(entry):
    return instant(entry["finished"]) - instant(entry["started"])


# ---- limits


def test_a_worker_is_renewed_after_as_many_attempts_as_its_class_says(shared):
    pids = [pid_of(shared, "renewed") for _ in range(7)]
    assert pids[0] == pids[1] == pids[2] != pids[3]
    assert pids[3] == pids[4] == pids[5] != pids[6]
    wait_until(lambda: not alive(pids[0]), "the end of the first worker")


def test_of_long_output_the_first_and_the_last_half_are_kept(shared):
    code = "sys.stdout.write('a' * 1000); sys.stderr.write('b' * 1000)"
    assert attempt(shared, code, "terse")["output"] == "a" * 50 + "\n[1900 bytes left out]\n" + "b" * 50
    assert attempt(shared, code)["output"] == "a" * 1000 + "b" * 1000, "the setting allows more"
    long = attempt(shared, code.replace("1000", "2000"))["output"]
    assert long == "a" * 1024 + f"\n[{4000 - 2048} bytes left out]\n" + "b" * 1024


def test_what_is_still_in_the_pipe_when_an_attempt_answers_is_its_own(shared, single):
    # More than the daemon reads at once, so that there is some left.
    full = "import fcntl; fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 2**20); os.write(1, b'x' * 2**20)"
    made = [begin(shared, full if n % 2 else "pass", single) for n in range(6)]
    kept = "x" * 1024 + f"\n[{2**20 - 2048} bytes left out]\n" + "x" * 1024
    assert [shared.outcome(one)["output"] for one in made] == [kept if n % 2 else None for n in range(6)]


def test_output_without_end_hurts_nobody(shared):
    def memory():
        with open(proc(shared, "status")) as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1])

    before = memory()
    flood = begin(shared, "for _ in range(100): os.write(1, b'x' * 2**20)")
    assert shared.outcome(shared.remind())["late_ms"] < 5000
    entry = shared.outcome(flood)
    assert entry["outcome"] == "delivered"
    assert entry["output"] == "x" * 1024 + f"\n[{100 * 2**20 - 2048} bytes left out]\n" + "x" * 1024
    assert memory() - before < 15_000


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("run", "bytearray(2**30)"),
        ("frugal", "bytearray(2**28)"),
        ("run", "hoard = []\nwhile True: hoard.append(bytearray(2**20))"),
        ("frugal", "hoard = {}\nwhile True: hoard[len(hoard)] = 'x' * 100"),
    ],
)
def test_a_memory_eater_costs_its_attempt(shared, method, code):
    entry = attempt(shared, code, method)
    assert (entry["outcome"], entry["error"]) == ("failed", "MemoryError")
    assert "MemoryError" in entry["output"]
    assert works(shared, method)


@pytest.mark.parametrize(("method", "limit"), [("run", 256), ("frugal", 128)])
def test_the_class_says_what_memory_there_is_else_the_setting(shared, method, limit):
    look = "print(*resource.getrlimit(resource.RLIMIT_AS)); subprocess.run(['sh', '-c', 'ulimit -v'])"
    assert attempt(shared, look, method)["output"] == f"{limit << 20} {limit << 20}\n{limit << 10}\n"


def test_the_settings_count_for_a_class_that_says_nothing_of_them(daemon):
    daemon.settings |= {"HANDLER_TIMEOUT": "500ms", "HANDLER_CONCURRENCY": "2", "HANDLER_RENEW": "2"}
    daemon.dropin(
        "plain.py", RUN.replace('timeout = "20s"', "").replace("class Run(", "class Plain(").replace("(Run)", "(Plain)")
    )
    daemon.start()
    pids = [pid_of(daemon, "plain") for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]
    made = [begin(daemon, "time.sleep(0.3)", "plain") for _ in range(3)]
    spans = sorted((instant(entry["started"]), instant(entry["finished"])) for entry in map(daemon.outcome, made))
    assert spans[2][0] >= spans[0][1] - 0.01, "the third waits for one of the two"
    assert attempt(daemon, "time.sleep(600)", "plain")["error"] == "it passed its deadline of 500ms"
    assert attempt(daemon, "time.sleep(600)", "brief")["error"] == "it passed its deadline of 300ms"


# ---- the end of the worker


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os._exit(0)", "the worker exited with status 0 during the attempt"),
        ("os._exit(7)", "the worker exited with status 7 during the attempt"),
        ("os.abort()", "the worker was killed by SIGABRT during the attempt"),
        ("ctypes.string_at(0)", "the worker was killed by SIGSEGV during the attempt"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "the worker was killed by SIGKILL during the attempt"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "the worker was killed by SIGTERM during the attempt"),
        ("os.kill(os.getpid(), signal.SIGRTMIN + 6)", "the worker was killed by signal 40 during the attempt"),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(9)", "the worker was killed by SIGINT during the attempt"),
        ("os.execv('/bin/true', ['true'])", "the worker exited with status 0 during the attempt"),
        ("sys.exit()", "SystemExit"),
        ("sys.exit(0)", "SystemExit: 0"),
        ("sys.exit('that is all')", "SystemExit: that is all"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit('x')", "GeneratorExit: x"),
        ("class Own(BaseException): pass\nraise Own('x')", "Own: x"),
        ("def down(): down()\ndown()", "RecursionError: maximum recursion depth exceeded"),
        ("raise StopIteration", "StopIteration"),
        ("raise ExceptionGroup('two', [ValueError(1), OSError(2)])", "ExceptionGroup: two (2 sub-exceptions)"),
        ("this is no Python", "SyntaxError: invalid syntax (<string>, line 1)"),
    ],
)
def test_an_attempt_that_does_not_return_has_failed_for_that_reason(shared, code, reason):
    entry = attempt(shared, code)
    assert (entry["outcome"], entry["error"]) == ("failed", reason)
    entry = attempt(shared, code, "wary")
    assert (entry["outcome"], entry["error"]) == ("uncertain", f"{reason}; it may have happened, and is not repeated")
    assert works(shared)


@pytest.mark.parametrize("code", ["os.closerange(0, 65_536)", "os.closerange(3, 65_536)", "os.close(own_socket())"])
def test_a_worker_that_has_closed_its_descriptors_can_deliver_nothing(shared, code):
    entry = attempt(shared, code)
    assert entry["outcome"] == "failed"
    assert re.fullmatch(r"the worker exited with status \d+ during the attempt", entry["error"])
    assert works(shared)


def test_what_remind_returns_does_not_matter(shared):
    entry = attempt(shared, "x", "odd")
    assert (entry["outcome"], entry["error"], entry["output"]) == ("delivered", None, None)


# ---- the worker's own socket


@pytest.mark.parametrize("method", ["run", "wary"])
@pytest.mark.parametrize(
    "code",
    [
        "os.write(own_socket(), b'junk\\n')",
        "os.write(own_socket(), b'junk')",
        "os.write(own_socket(), b'\\xff\\x00\\n')",
        "os.write(own_socket(), b'\\n')",
        "os.write(own_socket(), b'{}\\n')",
        "os.write(own_socket(), b'[]\\n')",
        "os.write(own_socket(), b'5\\n')",
        "os.write(own_socket(), b'\"delivered\"\\n')",
        "os.write(own_socket(), b'[' * 30_000 + b'\\n')",
        "os.write(own_socket(), b'9' * 5000 + b'\\n')",
        "socket.socket(fileno=os.dup(own_socket())).sendall(b'x' * 200_000)",
        "forge(verdict='interrupted')",
        "forge(verdict='splendid')",
        "forge(verdict=['delivered'])",
        "forge(started='now')",
        "forge(started=1.5)",
        "forge(); forge()",
    ],
)
def test_what_a_handler_writes_to_its_workers_socket_is_no_answer(shared, method, code):
    entry = attempt(shared, code, method)
    if "forge(); forge()" in code:  # the first of the two is as good as the worker's own
        assert entry["outcome"] == "delivered"
    else:
        assert entry["outcome"] == {"run": "failed", "wary": "uncertain"}[method]
        assert entry["error"].startswith("the handler wrote to its worker's own descriptor")
    assert works(shared, method)


@pytest.mark.parametrize("started", ["2**63", "-2**63 - 1", "10**30", "10**18", "-10**18"])
def test_a_forged_instant_is_neither_before_its_time_nor_to_come(shared, single, started):
    entry = attempt(shared, f"forge(started={started}, finished={started}); time.sleep(0.05)", single)
    assert entry["outcome"] == "delivered"
    assert entry["due"] <= entry["started"] <= entry["finished"]
    assert shared.request("GET", "/history").status == 200
    assert works(shared)


@pytest.mark.parametrize("death", ["os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_an_answer_counts_also_when_the_worker_dies_right_after_it(shared, single, death):
    entry = attempt(shared, f"forge(); {death}", single)
    assert (entry["outcome"], entry["error"]) == ("delivered", None)


def test_an_answer_to_another_attempt_is_taken_for_none(shared, single):
    entry = attempt(shared, "forge(job=own_job() - 1); forge(job=own_job() + 1); print('mine')", single)
    assert (entry["outcome"], entry["output"]) == ("delivered", "mine\n")
    assert works(shared, single)


def test_an_answer_that_comes_late_is_not_taken_for_the_next_attempts(shared, single):
    shared.outcome(begin(shared, "forge(); time.sleep(0.3)", single))
    # It waits for the worker, which is still busy with the first.
    entry = attempt(shared, "raise PermanentError('never')", single)
    assert (entry["outcome"], entry["error"]) == ("failed", "never")


def test_a_forged_wait_that_cannot_be_read_ends_the_attempt_at_once(shared):
    entry = attempt(shared, "forge(verdict='transient', retry_after=10**400); time.sleep(600)", "brief")
    assert "deadline" not in entry["error"]


def test_a_handler_cannot_have_itself_run_again_uncounted(shared, single, tmp_path):
    runs = tmp_path / "runs"
    code = (
        f"open({str(runs)!r}, 'a').write('x'); forge(verdict='returned') if os.path.getsize({str(runs)!r}) < 5 else 0"
    )
    attempt(shared, code, single)
    assert runs.read_text() == "x"


# ---- processes


@pytest.mark.parametrize(
    "code",
    [
        "os.fork()",
        "if os.fork(): time.sleep(0.1)",
        "if os.fork() == 0: time.sleep(600)",
        "if os.fork() == 0: raise ValueError('in the child')",
        "if os.fork() == 0: sys.exit(3)",
        "if os.fork() == 0: raise TransientError('in the child')",
        "os.fork(); os.fork(); os.fork()",
    ],
)
def test_a_fork_that_comes_back_from_remind_too_gives_one_outcome(shared, code):
    made = begin(shared, code, "single")
    assert shared.outcome(made)["outcome"] == "delivered"
    assert works(shared, "single"), "no answer of a child is left"
    assert len(shared.history(made)) == 1
    wait_until(lambda: not strays(shared), "the end of the children")


DAEMONISE = """
    ready, tell = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(0), os.close(1), os.close(2)
            os.write(tell, b"%d" % os.getpid())
            time.sleep(600)
        os._exit(0)
    os.wait()
    print(os.read(ready, 20).decode())
"""


@pytest.mark.parametrize(
    ("code", "outcome"), [("", "delivered"), ("raise ValueError", "failed"), ("os._exit(1)", "failed")]
)
def test_a_daemon_that_an_attempt_leaves_behind_is_killed(shared, code, outcome):
    entry = attempt(shared, dedent(DAEMONISE) + "sys.stdout.flush()\n" + code)
    assert entry["outcome"] == outcome
    pid = int(entry["output"].split()[0])
    wait_until(lambda: not alive(pid), "the end of the daemon")
    wait_until(lambda: not strays(shared), "the end of all others")
    assert works(shared)


def test_children_that_have_ended_cost_the_worker_nothing(shared):
    before = pid_of(shared, "single")
    entry = attempt(shared, "subprocess.run(['true']); subprocess.Popen(['true']).wait(); os.system(':')", "single")
    assert entry["outcome"] == "delivered"
    assert pid_of(shared, "single") == before
    assert not strays(shared)


# ---- deadlines


@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(600)",
        "while True: pass",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); time.sleep(600)",
        "while True:\n    try: time.sleep(600)\n    except BaseException: pass",
        "re.match('(a+)+b', 'a' * 60)",
        "ctypes.PyDLL(None).sleep(600)",
        "os.kill(os.getpid(), signal.SIGSTOP)",
        "os.execv('/bin/sleep', ['sleep', '600'])",
        "os.close(own_socket()); time.sleep(600)",
        "threading.Thread(target=time.sleep, args=(600,)).start(); time.sleep(600)",
        "subprocess.run(['sleep', '600'], start_new_session=True)",
        "while True:\n    if os.fork() == 0: os.setsid(); time.sleep(600)\n    time.sleep(0.01)",
        "while True: os.write(1, b'x' * 65536)",
        # Never the same process for longer than a moment.
        "if os.fork() == 0:\n    while True:\n        if os.fork(): os._exit(0)\ntime.sleep(600)",
    ],
)
def test_a_hang_ends_at_its_deadline_whatever_it_does_against_it(shared, code):
    entry = attempt(shared, code, "brief")
    assert (entry["outcome"], entry["error"]) == ("failed", "it passed its deadline of 300ms")
    assert 0.3 <= seconds(entry) < 2.3
    wait_until(lambda: not strays(shared), "the end of all that it started")
    assert works(shared, "brief")


@pytest.mark.parametrize("end_", ["time.sleep(600)", "os._exit(1)", "os.abort()", "sys.exit(1)"])
def test_what_was_printed_before_the_end_is_kept(shared, end_):
    assert attempt(shared, f"print('so far'); {end_}", "brief")["output"] == "so far\n"


def test_a_worker_that_somebody_stops_has_its_deadline_all_the_same(shared, tmp_path):
    pid = pid_of(shared, "brief")
    os.kill(pid, signal.SIGSTOP)
    entry = attempt(shared, "pass", "brief")
    assert (entry["outcome"], entry["error"]) == ("failed", "it passed its deadline of 300ms")
    assert not alive(pid)
    assert works(shared, "brief")


def test_a_handler_that_stops_its_template_has_its_deadline_all_the_same(daemon):
    daemon.dropin("run.py", RUN)
    daemon.start()
    entry = attempt(daemon, "os.kill(os.getppid(), signal.SIGSTOP); time.sleep(600)", "brief")
    assert (entry["outcome"], entry["error"]) == ("failed", "it passed its deadline of 300ms")
    assert seconds(entry) < 2.3
    assert works(daemon, "brief")
    parent = "open(f'/proc/{os.getppid()}/stat').read().rpartition(')')[2].split()[1]"
    entry = attempt(daemon, f"os.kill(int({parent}), signal.SIGSTOP); os.kill(os.getppid(), signal.SIGSTOP)", "brief")
    assert entry["outcome"] == "delivered"
    entry = attempt(daemon, "time.sleep(600)", "brief")
    assert (entry["outcome"], entry["error"]) == ("failed", "it passed its deadline of 300ms")
    assert seconds(entry) < 2.3
    assert works(daemon, "brief")
    assert daemon.outcome(daemon.remind())["outcome"] == "delivered"


# ---- templates


def test_a_template_that_dies_between_attempts_is_started_again(shared):
    worker, template = map(int, attempt(shared, "print(os.getpid(), os.getppid())", "single")["output"].split())
    os.kill(template, signal.SIGKILL)
    for pid in (worker, template):
        wait_until(lambda pid=pid: not alive(pid), f"the end of process {pid}")
    assert works(shared, "single")
    assert int(attempt(shared, "print(os.getppid())", "single")["output"]) != template
    assert not strays(shared)


def test_a_handler_that_kills_its_template_costs_its_attempt(shared):
    entry = attempt(shared, "os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)", "single")
    assert (entry["outcome"], entry["error"]) == ("failed", "the worker ended with its template during the attempt")
    assert works(shared, "single")


# ---- what is printed and raised


def test_whatever_is_printed_is_kept_as_text(shared):
    entry = attempt(shared, r"print('\ud800 \udcff \0 ä'); sys.stdout.buffer.write(b'\xff\xfe\x00 \xc3')")
    assert entry["outcome"] == "delivered"
    assert entry["output"] == "\\ud800 \\udcff \ufffd ä\n\ufffd\ufffd\ufffd \ufffd"


@pytest.mark.parametrize("base", ["Exception", "BaseException", "PermanentError", "TransientError"])
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (r"'a\0b'", "a\ufffdb"),
        (r"'a\ud800b'", "a?b"),
        ("'x' * 10**7", "x" * 1900),
        ("'line 1\\nline 2'", "line 1\nline 2"),
    ],
    ids=["nul", "surrogate", "10-MB", "lines"],
)
def test_whatever_an_error_says_is_kept_as_text(shared, base, text, kept):
    made = begin(shared, f"class Own({base}): pass\nraise Own({text})")
    entry = shared.outcome(made)
    assert entry["outcome"] == "failed"
    assert kept in entry["error"]
    assert len(entry["error"]) <= 2000
    assert kept in shared.get(f"/reminder/{made['id']}")["last_error"]


@pytest.mark.parametrize("base", ["Exception", "PermanentError", "TransientError"])
def test_an_error_whose_text_cannot_be_had_is_named(shared, base):
    entry = attempt(shared, f"class Own({base}):\n    def __str__(self): raise ValueError\nraise Own")
    assert entry["outcome"] == "failed"
    assert "its text cannot be had" in entry["error"]


@pytest.mark.parametrize(
    "wait", ["float('nan')", "float('inf')", "-5", "-float('inf')", "'soon'", "[1]", "None", "1e300"]
)
def test_a_wait_that_is_none_means_the_usual_delay(shared, wait):
    made = shared.remind(method="run", message=f"raise TransientError('not now', retry_after={wait})", retries=1)
    shared.outcome(made, 2)
    assert [entry["error"].partition(" (")[0] for entry in shared.history(made)] == ["not now", "not now"]


@pytest.mark.parametrize(
    "raising",
    [
        pytest.param("TransientError('not now', retry_after=10**400)", id="an int that no float can hold"),
        pytest.param("TransientError('not now', retry_after=__import__('decimal').Decimal(5))", id="Decimal"),
        pytest.param("TransientError('not now', retry_after=__import__('datetime').timedelta(0, 5))", id="timedelta"),
        pytest.param(
            "type('Busy', (TransientError,), {'__init__': lambda self: Exception.__init__(self, 'not now')})()",
            id="an own __init__ that does not call super's",
        ),
    ],
)
def test_a_handlers_word_that_nothing_was_done_is_believed_whatever_wait_it_asks_for(shared, raising):
    entry = attempt(shared, f"raise {raising}", "brief")
    assert (entry["outcome"], entry["error"]) == ("failed", "not now")


def test_a_wait_may_be_anything_that_says_a_number_of_seconds(shared):
    waits = ["0.6", "__import__('decimal').Decimal('0.6')", "__import__('datetime').timedelta(milliseconds=600)"]
    codes = [f"raise TransientError('not now', retry_after={wait})" for wait in waits]
    for made in [shared.remind(method="run", message=code, retries=1) for code in codes]:
        shared.outcome(made, 2)
        first, second = shared.history(made)
        assert instant(second["started"]) - instant(first["finished"]) >= 0.6


# ---- what an attempt changes in its process


@pytest.mark.parametrize(
    "code",
    [
        "os.chdir('/'); os.umask(0); os.environ.clear(); locale.setlocale(locale.LC_ALL, 'C')",
        "for number in signal.valid_signals() - {9, 19}: signal.signal(number, signal.SIG_IGN)",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))",
        "os.nice(19); os.setsid() if os.getpgrp() != os.getpid() else 0",
        "sys.path.clear(); sys.modules.clear()",
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
        "threading.Thread(target=time.sleep, args=(600,)).start()",
        "sys.stdin.close(); os.close(0)",
        "sys.settrace(lambda *args: None); threading.settrace(lambda *args: None)",
    ],
)
def test_what_an_attempt_changes_does_not_undo_its_delivery_nor_reach_other_methods(shared, single, code):
    entry = attempt(shared, code, single)
    assert (entry["outcome"], entry["error"]) == ("delivered", None)
    look = (
        "print(os.getcwd(), umask(), sorted(os.environ), locale.setlocale(locale.LC_ALL), signal.getsignal(15),"
        " resource.getrlimit(resource.RLIMIT_NOFILE), os.nice(0), len(sys.path) > 0, threading.active_count())"
    )
    clean = attempt(shared, look, "renewed")
    other = attempt(shared, look, "terse")
    assert clean["outcome"] == other["outcome"] == "delivered"
    words = clean["output"].split()
    assert words[:2] == [str(shared.folder), "0o77"]
    assert "'HOME'" in clean["output"]
    assert words[-2:] == ["True", "1"]
    assert shared.outcome(shared.remind())["outcome"] == "delivered"


@pytest.mark.parametrize(
    "code",
    [
        "sys.stdout = None",
        "sys.stdout = type('Tee', (), {'write': lambda self, text: None})()",
        "del sys.stdout",
        "os.environ = None",
        "sys.stdout = type('Odd', (), {'write': print, 'closed': property(lambda self: 1 / 0)})()",
        "sys.stdout = type('Odd', (), {'write': print, '__eq__': lambda self, other: 1 / 0})()",
    ],
)
def test_an_attempt_that_exchanges_its_standard_output_is_delivered(shared, code):
    assert attempt(shared, code)["outcome"] == "delivered"


def test_an_error_is_told_also_when_standard_error_is_closed(shared):
    assert attempt(shared, "sys.stderr.close(); raise ValueError('why')")["error"] == "ValueError: why"


@pytest.mark.parametrize(
    "code",
    [
        "sys.stdout.close()",
        "os.close(1)",
        "os.close(2)",
        "fd = os.open('/dev/null', os.O_WRONLY); os.dup2(fd, 1); os.close(fd)",
        "sys.__stdout__.write('a secret of the first')",
        "os.environ['PATH'] = '/nowhere'",
        "os.chdir('/')",
        "os.umask(0)",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))",
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})",
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
        "locale.setlocale(locale.LC_ALL, 'C.UTF-8')",
        "socket.setdefaulttimeout(0.001)",
        "sys.path.insert(0, '/nowhere')",
        "os.nice(1)",
        "os.geteuid() or os.setgroups([5])",
        "os.geteuid() or os.seteuid(1)",
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})",
        "self.__class__.kept = [open('/dev/null') for _ in range(200)]",
    ],
)
def test_what_an_attempt_changes_does_not_reach_the_next_one(shared, single, code):
    assert attempt(shared, code, single)["outcome"] == "delivered"
    entry = attempt(
        shared,
        """
        sys.__stdout__.flush()
        open('/dev/null').close()
        os.write(2, b'error\\n')
        print(os.getcwd(), umask(), os.environ['PATH'] != '/nowhere')
        print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL)
        print(locale.setlocale(locale.LC_ALL) != 'C.UTF-8', socket.getdefaulttimeout(), '/nowhere' in sys.path)
        print(os.nice(0), len(os.listdir('/proc/self/fd')) < 200)
        print(os.geteuid(), os.getgroups(), os.sched_getaffinity(0))
        """,
        single,
    )
    assert (entry["outcome"], entry["error"]) == ("delivered", None)
    ours = f"{os.geteuid()} {os.getgroups()} {os.sched_getaffinity(0)}"
    assert entry["output"] == f"error\n{shared.folder} 0o77 True\nset() True\nTrue None False\n0 True\n{ours}\n"


KEEP = "self.__class__.kept = getattr(self.__class__, 'kept', None) or open('kept', 'a'); print(os.getpid())"


def test_a_file_that_a_handler_keeps_open_is_there_for_its_next_attempt(shared, single):
    assert len({attempt(shared, KEEP, single)["output"] for _ in range(3)}) == 1


def test_what_a_failed_attempt_left_in_a_file_that_it_keeps_open_is_not_done_by_the_next(shared, single):
    entry = attempt(shared, f"{KEEP}; self.kept.write('half'); raise ValueError", single)
    assert entry["outcome"] == "failed"
    entry = attempt(shared, f"{KEEP}; self.kept.flush(); print(os.path.getsize('kept'))", single)
    assert entry["output"].split()[1] == "0"


@pytest.mark.parametrize(
    "code",
    ["signal.setitimer(signal.ITIMER_REAL, 0.1)", "threading.Timer(0.1, print, ['a secret of the first']).start()"],
)
def test_what_an_attempt_has_set_up_for_later_does_not_happen_in_the_next_one(shared, single, code):
    assert attempt(shared, code, single)["outcome"] == "delivered"
    entry = attempt(shared, "time.sleep(0.2); print('mine')", single)
    assert (entry["outcome"], entry["error"], entry["output"]) == ("delivered", None, "mine\n")


# ---- the daemon's own API


def test_a_handler_may_use_the_daemons_own_api(shared):
    entry = attempt(
        shared,
        f"""
        class Connection(http.client.HTTPConnection):
            def connect(self):
                self.sock = socket.socket(socket.AF_UNIX)
                self.sock.connect({shared.socket_path!r})

        def ask(method, path, body=None):
            connection = Connection("localhost", timeout=10)
            connection.request(method, path, body and json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
            connection.close()
            return answer.status, json.loads(text) if text else None

        mine = f"/reminder/{{self.id}}"
        print(ask("GET", "/health")[0], ask("GET", mine)[1]["state"], ask("DELETE", mine)[0])
        status, made = ask("POST", "/remind", {{"in": 0, "message": "pass", "method": "run"}})
        print(status)
        while ask("GET", f"/reminder/{{made['id']}}")[0] == 200:
            time.sleep(0.01)
        print(ask("GET", f"/history?reminder={{made['id']}}")[1][0]["outcome"])
        """,
    )
    assert (entry["outcome"], entry["error"]) == ("delivered", None)
    assert entry["output"].splitlines() == ["200 firing 409", "201", "delivered"]


# ---- drop-ins as files


def test_several_classes_in_one_file_are_several_methods(shared):
    methods = {one["method"]: one["source"].rpartition("/")[2] for one in shared.get("/handlers")["methods"]}
    assert {name for name, file in methods.items() if file == "run.py"} == {
        "run", "single", "renewed", "brief", "terse", "frugal", "wary", "odd", "picky",
    }  # fmt: skip
    assert methods["lonely"] == "b.py", "a class without `method` has its own name"
    assert "nothing" not in methods
    assert attempt(shared, "x", "lonely")["output"] == "no twin\n"


def test_two_classes_of_one_method_in_a_file_are_refused_and_two_names_of_a_class_are_not(shared):
    failures = {failure["file"]: failure["error"] for failure in shared.get("/handlers")["failures"]}
    assert failures[str(shared.handlers_dir / "double.py")] == "Double and DoubleRemindProcess are both method double"
    assert shared.request("POST", "/remind", {"in": 0, "message": "x", "method": "double"}).status == 400
    assert attempt(shared, "x", "named")["output"] == "one\n"


def test_a_class_of_which_each_attempt_would_fail_or_do_nothing_is_refused_with_what_would_be_right(shared):
    failures = {failure["file"]: failure["error"] for failure in shared.get("/handlers")["failures"]}
    for name, (_, told) in NEVER.items():
        error = failures[str(shared.handlers_dir / f"never_{name}.py")]
        right = "def __init__(self, reminder)" if name == "fresh" else "def remind(self, message)"
        assert error.startswith(told)
        assert f"; write {right}" in error or f": write {right}, without" in error


def test_a_remind_that_takes_a_message_in_its_own_way_is_right(shared):
    assert attempt(shared, "x", "louder")["output"] == "x!\n"
    assert attempt(shared, "x", "static")["output"] == "x?\n"


@pytest.mark.parametrize("method", ["later", "piecemeal"])
def test_a_remind_that_only_makes_a_coroutine_or_a_generator_delivers_nothing(shared, method):
    entry = attempt(shared, "x", method)
    assert entry["outcome"] == "failed"
    assert "done" not in (entry["output"] or "")
    assert "write it without async or yield" in entry["error"]


def test_a_pattern_without_end_does_not_hold_up_the_daemon(shared):
    started = time.monotonic()
    shared.request("POST", "/remind", {"in": 0, "message": "pass", "method": "picky", "to": "a" * 28})
    assert time.monotonic() - started < 2


def test_of_two_files_with_one_method_the_first_by_name_has_it_whichever_is_loaded_first(shared):
    assert attempt(shared, "x", "twin")["output"] == "the first by name\n"
    assert attempt(shared, "x", "early")["output"] == "the first to be loaded\n"
    a, b, c = (str(shared.handlers_dir / name) for name in ("a.py", "b.py", "c.py"))
    failures = {failure["file"]: failure["error"] for failure in shared.get("/handlers")["failures"]}
    assert failures[b] == f"method twin is already defined by {a}"
    assert failures[c] == f"method early is already defined by {b}"
    assert a not in failures
    order = [shared.log_text().index(f"dropin-loaded file={file}") for file in (b, c, a)]
    assert order == sorted(order), "as the test meant it"


def test_a_drop_in_that_is_changed_on_disk_is_the_old_one_until_the_reload(shared):
    def version(number):
        return shared.dropin(
            "version.py",
            f"from tifftockd import RemindProcess\nimport os\n\nclass Version(RemindProcess):\n    renew = 1\n"
            f"    def remind(self, message):\n        print({number}, os.getpid(), os.getppid())\n",
        )

    file = version(1)
    shared.reload()
    _, worker, template = first = attempt(shared, "x", "version")["output"].split()
    version(2)
    second = attempt(shared, "x", "version")["output"].split()
    assert second[0] == "1"
    assert second[1] != worker, "also in a new worker"
    os.kill(int(template), signal.SIGKILL)
    wait_until(lambda: not alive(int(template)), "the end of the template")
    third = attempt(shared, "x", "version")["output"].split()
    assert third[0] == "1"
    assert third[2] != template, "and when it is imported again"
    file.unlink()
    assert attempt(shared, "x", "version")["output"].split()[0] == first[0]
    version(2)
    shared.reload()
    assert attempt(shared, "x", "version")["output"].split()[0] == "2"


def test_a_drop_in_that_takes_a_built_in_method_has_it_from_the_first_reminder_on(daemon):
    daemon.start()
    # A machine that takes longer than the second for which the daemon waits may try again.
    for seconds in (0.3, 2, 2, 2):
        made = daemon.remind(**{"in": f"{seconds * 1000:.0f}ms"})
        assert daemon.stop() == 0
        daemon.dropin(
            "mine.py",
            "import time; time.sleep(0.3)\nfrom tifftockd import RemindProcess\nclass Log(RemindProcess):\n"
            "    def remind(self, message):\n        print('mine')\n",
        )
        time.sleep(seconds)
        daemon.start()
        output = daemon.outcome(made)["output"]
        if output is not None:
            break
    assert output == "mine\n"
    wait_until(lambda: not daemon.get("/handlers")["loading"], "the drop-in")
    [log] = [one for one in daemon.get("/handlers")["methods"] if one["method"] == "log"]
    assert log["source"] == str(daemon.handlers_dir / "mine.py")
    assert daemon.outcome(daemon.remind())["output"] == "mine\n"


def test_a_slow_drop_in_that_was_taken_away_before_it_was_loaded_does_not_come_back(daemon, tmp_path):
    go, end_ = tmp_path / "go", tmp_path / "end"
    wait = "import os, time\nwhile not os.path.exists({!r}): time.sleep(0.01)\n"
    file = daemon.dropin("slow.py", wait.format(str(go)) + NOTE.replace('"note"', '"slow"'))
    daemon.dropin("run.py", RUN)
    daemon.start()
    running = begin(daemon, wait.format(str(end_)))
    wait_until(lambda: daemon.state(running) == "firing", "an attempt that keeps the old handlers")
    file.unlink()
    daemon.reload()
    go.touch()
    # The import ends now, and what it finds is told within milliseconds.
    time.sleep(0.5)
    assert str(file) not in {one["source"] for one in daemon.get("/handlers")["methods"]}
    assert str(file) not in {one["file"] for one in daemon.get("/handlers")["failures"]}
    end_.touch()
    assert daemon.outcome(running)["outcome"] == "delivered"


# ---- imports that hang


def test_an_import_that_hangs_when_its_template_is_started_again_gives_reminders_an_outcome(aged):
    assert aged.outcome(aged.made)["outcome"] == "failed"


def test_an_import_that_hangs_while_its_drop_in_is_taken_away_leaves_no_process(aged):
    time.sleep(max(0, aged.old_enough - time.monotonic()))
    wait_until(lambda: 1 not in footprint(aged), "the end of all, the parent included, which has nothing left to fork")


# ---- when all is over


def test_health_was_answered_all_the_while(shared):
    assert len(shared.probes) > 10
    assert {status for status, _ in shared.probes} == {200}
    slowest = max(took for _, took in shared.probes)
    assert slowest < 5, f"{slowest} s"


def test_nothing_is_left_running_and_no_descriptor_open(shared):
    wait_until(lambda: not strays(shared), "the end of all that handlers started")
    (shared.handlers_dir / "version.py").unlink(missing_ok=True)
    shared.reload()
    wait_until(lambda: footprint(shared) == shared.footprint, f"{footprint(shared)} to be {shared.footprint} again")


def test_no_zombies_are_left(shared):
    shared.reload()
    wait_until(lambda: not zombies(shared), "the burial of all that have died")


HESITANT = """
import os, time
from tifftockd import RemindProcess

def hesitate():
    with open({gate!r} + ".pid", "w") as file:
        file.write(str(os.getpid()))
    while not os.path.exists({gate!r}):
        time.sleep(0.01)

os.register_at_fork(after_in_child=hesitate)

class Hesitant(RemindProcess):
    concurrency = 1

    def remind(self, message):
        pass
"""


def firing(daemon, made):
    return {one["id"] for one in daemon.get("/reminders?state=firing")} & {one["id"] for one in made}


def test_what_was_claimed_and_taken_back_makes_room_for_what_waits(daemon, tmp_path):
    """Also while nothing ends, and nothing else wakes the scheduler."""
    gate = tmp_path / "gate"
    daemon.dropin("hesitant.py", HESITANT.format(gate=str(gate)))
    daemon.start()
    made = daemon.request("POST", "/reminders", [{"in": 0, "method": "hesitant", "message": "a"}] * 2).json
    (first,) = wait_until(lambda: firing(daemon, made), "the first claim")
    pid = tmp_path / "gate.pid"
    worker = int(wait_until(lambda: pid.exists() and pid.read_text(), "its worker"))
    assert daemon.request("DELETE", f"/reminder/{first}").status == 204
    (second,) = wait_until(lambda: firing(daemon, made), "the next claim")
    assert second != first
    assert alive(worker), "which was not told by its end"
    gate.touch()
    wait_until(lambda: not daemon.get("/reminders"), "the end of both")


def test_what_was_claimed_for_quick_attempts_is_given_back_when_they_are_slow(daemon, tmp_path):
    """If the daemon died, all that is claimed would be made again, or be uncertain."""
    daemon.dropin("run.py", RUN)
    daemon.start()
    gate = tmp_path / "gate"
    quick = [{"in": 1, "method": "single", "message": "pass"}] * 40
    slow = [{"in": 1.1, "method": "single", "message": f"wait_for({str(gate)!r})"}] * 200
    made = daemon.request("POST", "/reminders", quick + slow).json
    first = made[len(quick)]["id"]
    wait_until(lambda: firing(daemon, made) == {first}, "none but the one that runs")
    gate.touch()
    wait_until(lambda: not daemon.get("/reminders"), "the end of all")
    history = daemon.get("/history?limit=1000")
    assert [one["attempt"] for one in history] == [1] * 240, "none was counted that was not made"
    assert {one["outcome"] for one in history} == {"delivered"}
