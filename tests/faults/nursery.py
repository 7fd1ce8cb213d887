"""Daemons that are forked from a process which has imported all that a daemon imports, instead of executed one by one.

An executed daemon spends most of its start on imports. That counts where thousands of them are started: in the soak.

with Nursery() as nursery:
    daemon.spawn = nursery.spawn      # instead of subprocess.Popen
    daemon.start()

The nursery has one thread, opens no file, and has the library of io.c loaded, which watches nothing until a child
tells it to. A child takes on the arguments, environment, working directory and standard error that it is asked to have;
signals are as Python has them at its start, as nothing here changes any. All children have the same seed of hashes.
"""

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from tests.faults import preload
from tests.faults.processes import waited

ROOT = Path(__file__).resolve().parents[2]
_COMMAND = [sys.executable, "-m", "tifftockd"]
# The daemon; and what it imports when it looks at its methods and at what kind of database it has.
_IMPORTED = (
    *("tifftockd.cli", "tifftockd.daemon", "sqlalchemy.dialects.sqlite.pysqlite"),
    *(f"tifftockd.handlers.{name}" for name in ("api", "email", "log", "notify", "sms", "watch")),
)
# The largest request, in bytes: an environment and a few paths.
_REQUEST = 100_000
# Bytes that there are for a path of a child's HOME, see `_place_of_home`.
_HOME = 4096


class Nursery:
    """The process that forks, from `with` to its end; all daemons that it has forked die with it."""

    def __enter__(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environ = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        self._library = str(preload.compiled())
        environ |= {"LD_PRELOAD": self._library, "HOME": "-" * _HOME}
        began = time.monotonic()
        with theirs:
            # A session of its own: a terminal's Ctrl-C is for who asks alone.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.nursery", str(theirs.fileno())],
                env=environ, cwd=ROOT, pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        assert ours.recv(1), "the nursery cannot import what a daemon imports"
        # Seconds that an executed daemon takes until it is where a forked one begins.
        self.head_start = time.monotonic() - began - waited(self._process.pid)
        self._control = ours
        return self

    def __exit__(self, *error):
        self._control.close()
        self._process.wait()

    @property
    def pid(self):
        return self._process.pid

    def spawn(self, command, *, env, cwd, stderr):
        """What subprocess.Popen does, for the command `python -m tifftockd` with any arguments."""
        assert command[: len(_COMMAND)] == _COMMAND, f"{command} is not forked"
        assert not Path(cwd, "tifftockd").exists(), f"the sources in {cwd} would not be those that run"
        assert env.get("LD_PRELOAD", self._library) == self._library, "another library would have to be loaded at once"
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {"arguments": command[len(_COMMAND) :], "environ": env, "cwd": str(cwd)}
        with theirs:
            # One message, in one piece: several threads may ask.
            socket.send_fds(self._control, [json.dumps(request).encode()], [theirs.fileno(), stderr.fileno()])
        pid, descriptors, _, _ = socket.recv_fds(ours, 100, 1, socket.MSG_CMSG_CLOEXEC)
        assert pid, "the nursery is gone"
        return Forked(int(pid), descriptors[0], ours, self.head_start)


class Forked:
    """A daemon that a nursery has forked, with what Daemon uses of subprocess.Popen."""

    def __init__(self, pid, pidfd, channel, head_start):
        """`channel`: where the nursery tells its status in the end. `head_start`: as Nursery has it."""
        self.pid = pid
        self.head_start = head_start
        self.returncode = None
        # The nursery buries its dead: the pid could be somebody else's by the time that a signal is sent.
        self._pidfd = pidfd
        self._channel = channel
        self._lock = threading.Lock()

    def __del__(self):
        # Not before: several threads may wait for the same death.
        os.close(self._pidfd)

    def poll(self):
        with self._lock:
            if self.returncode is None and select.select([self._pidfd], [], [], 0)[0]:
                status = self._channel.recv(100)
                # Without one it has died with the nursery: by SIGKILL, and nobody has waited for it.
                self.returncode = os.waitstatus_to_exitcode(int(status)) if status else -signal.SIGKILL
                self._channel.close()
            return self.returncode

    def wait(self, timeout=None):
        select.select([self._pidfd], [], [], timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired("tifftockd", timeout)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


# ---- the process that forks


def _serve(control):
    """Fork for each request and report each death, until who asks has gone. In a child: the daemon's exit code."""
    run = _import_all()
    home = _place_of_home()
    control.send(b"+")
    pid = os.getpid()
    living = {}  # by pidfd: the pid, and where its status is told
    while True:
        for ready in select.select([control, *living], [], [])[0]:
            if ready is not control:
                _bury(ready, *living.pop(ready))
                continue
            data, descriptors, _, _ = socket.recv_fds(control, _REQUEST, 2, socket.MSG_CMSG_CLOEXEC)
            if not data:
                return os.EX_OK
            child = os.fork()
            if child == 0:
                control.close()
                for pidfd, (_, channel) in living.items():
                    os.close(pidfd)
                    channel.close()
                return run(pid, home, json.loads(data), *descriptors)
            pidfd = os.pidfd_open(child)
            living[pidfd] = child, socket.socket(fileno=descriptors[0])
            os.close(descriptors[1])
            socket.send_fds(living[pidfd][1], [b"%d" % child], [pidfd])


def _bury(pidfd, pid, channel):
    status = os.waitpid(pid, 0)[1]
    # Whoever asked may have lost interest.
    with channel, suppress(BrokenPipeError):
        channel.send(b"%d" % status)
    os.close(pidfd)


def _import_all():
    """Import what a daemon imports until it listens, and return what a child does: it needs what only now is there."""
    # Nothing of it is garbage; and of memory that the collector does not touch, the children make no copies.
    gc.disable()
    for name in _IMPORTED:
        importlib.import_module(name)
    from tifftockd import cli, journal
    from tifftockd.worker import kin

    gc.freeze()

    def run(nursery, home, request, channel, log):
        """Become the daemon that is asked for, and be it to its end: the exit code."""
        kin.die_with(nursery)
        os.close(channel)
        os.dup2(log, 2)
        os.close(log)
        os.chdir(request["cwd"])
        _settle_in(request["environ"], home)
        # It has looked at what standard error is when it was imported.
        journal.use()
        return cli.main(request["arguments"])

    return run


def _settle_in(environ, home):
    """Take on an environment: its names for Python and the C library, its faults for io.c, its HOME for proc(5)."""
    # Which Python itself sets where there is no better one (PEP 538).
    coerced = {name: os.environ[name] for name in ("LC_CTYPE",) if name in os.environ}
    os.environ.clear()
    os.environ.update(coerced | environ)
    ctypes.CDLL(None).tifftock_io_begin()
    # The library has taken them, as it does before Python starts.
    for name in environ:
        if name.startswith(preload.PREFIX):
            del os.environ[name]
    text = os.fsencode(environ["HOME"])
    assert len(text) < _HOME
    ctypes.memset(home, 0, _HOME)
    ctypes.memmove(home, text, len(text))


def _place_of_home():
    """Where in memory the value of HOME is that this process was started with.

    /proc/PID/environ shows what is there, also when a child has got another environment; and by its HOME the tests
    find all processes of a daemon (processes.py).
    """
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    return getenv(b"HOME")


if __name__ == "__main__":
    sys.exit(_serve(socket.socket(fileno=int(sys.argv[1]))))
