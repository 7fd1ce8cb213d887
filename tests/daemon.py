"""The daemon as users run it: a process of its own, driven through its socket."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Before a command for which Ctrl-C is to count, also if the tests run in the background of a shell.
IN_FOREGROUND = ("env", "--default-signal=INT")


def unmeasured():
    """The environment of a process that coverage is to leave alone: for what it loads, or may write."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


# A bound for everything that is waited for: far beyond what a busy machine needs.
PATIENCE = 30


def wait_until(condition, what="the condition", patience=PATIENCE):
    """Return what `condition()` gives as soon as that is true; AssertionError after `patience` seconds."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"{what} did not come true within {patience} s")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


@dataclass
class Answer:
    status: int
    headers: Any
    text: str

    @property
    def json(self):
        return json.loads(self.text)


@dataclass
class Daemon:
    """One daemon in a folder of its own. `start`, then use; stop, kill and start again as a test needs it."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen | None = None
    # A command that executes the daemon, such as nsenter(1), and its arguments.
    prefix: tuple[str, ...] = ()
    # What starts the process, and gives what subprocess.Popen gives: tests/faults/nursery.py has another.
    spawn: Callable[..., Any] = subprocess.Popen

    @property
    def socket_path(self):
        return str(self.folder / "run" / "tifftock.sock")

    @property
    def database(self):
        return self.folder / "state" / "tifftock" / "tifftock.db"

    @property
    def handlers_dir(self):
        return self.folder / "config" / "tifftock" / "handlers.d"

    @property
    def environ(self):
        inherited = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
        places = {
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
        }
        return inherited | coverage | places | self.settings

    def prepare(self):
        for place in ("run", "state", "config/tifftock/handlers.d"):
            (self.folder / place).mkdir(mode=0o700, parents=True, exist_ok=True)
        return self

    def dropin(self, name, text, mode=0o644):
        file = self.handlers_dir / name
        file.write_text(text)
        file.chmod(mode)
        return file

    def command(self, *arguments, **options):
        """Run the command to its end, as a person would in a shell."""
        return subprocess.run(
            [sys.executable, "-m", "tifftockd", *arguments],
            env=self.environ, cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE, check=False, **options,
        )  # fmt: skip

    def start(self, *arguments, wait=True):
        before = self.log_text().count(" listening ")
        with (self.folder / "log").open("a") as log:
            self.process = self.spawn(
                [*self.prefix, sys.executable, "-m", "tifftockd", *arguments],
                env=self.environ, cwd=self.folder, stderr=log,
            )  # fmt: skip
        if wait:
            wait_until(
                lambda: self.log_text().count(" listening ") > before or self.process.poll() is not None,
                "the daemon's start",
            )
            assert self.process.poll() is None, self.log_text()
        return self

    def log_text(self):
        file = self.folder / "log"
        return file.read_text() if file.exists() else ""

    def stop(self):
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def kill(self):
        """SIGKILL to the daemon alone: its workers have to notice."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def reload(self):
        count = self.log_text().count("tifftockd: reload")
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.log_text().count("tifftockd: reload") > count, "the reload")

    # ---- the API

    def request(self, method, path, body=None, headers=None):
        connection = UnixConnection(self.socket_path)
        try:
            if body is not None and not isinstance(body, (str, bytes)):
                body = json.dumps(body)
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read().decode())
        finally:
            connection.close()

    def get(self, path):
        answer = self.request("GET", path)
        assert answer.status == 200, answer
        return answer.json

    def remind(self, **fields):
        """Create a reminder, by `log` and now unless the fields say otherwise."""
        if "when" not in fields and "in" not in fields:
            fields["in"] = 0
        answer = self.request("POST", "/remind", {"message": "test", "method": "log"} | fields)
        assert answer.status == 201, answer
        return answer.json

    def history(self, reminder):
        """Entries of a reminder, oldest first."""
        return self.get(f"/history?reminder={reminder['id']}")[::-1]

    def outcome(self, reminder, count=1):
        """Wait until there are so many entries, and return the last."""
        return wait_until(lambda: len(found := self.history(reminder)) >= count and found, "its outcome")[count - 1]

    def state(self, reminder):
        answer = self.request("GET", f"/reminder/{reminder['id']}")
        return answer.json["state"] if answer.status == 200 else None


def folder_on_disk(prefix="tifftockd-"):
    """A temporary folder, and not in /tmp, which is often a tmpfs: a commit would cost no disk there."""
    return tempfile.TemporaryDirectory(prefix=prefix, dir=os.environ.get("TMPDIR", "/var/tmp"))


@contextmanager
def running(folder, **settings):
    """A daemon that is stopped, and its processes with it, at the end."""
    daemon = Daemon(Path(folder), settings).prepare()
    try:
        daemon.start()
        yield daemon
    finally:
        end(daemon)


def end(daemon):
    if daemon.process is not None and daemon.process.poll() is None:
        daemon.stop()


# Drop-ins that tests use

NOTE = '''
import pathlib, time
from tifftockd import PermanentError, RemindProcess, TransientError

class Note(RemindProcess):
    """Writes a line for each attempt, then does what `options` say."""
    method = "note"

    def remind(self, message):
        with open(self.options["file"], "a") as file:
            print(self.id, self.attempt, self.key, time.time(), message, file=file, flush=True)
        time.sleep(self.options.get("sleep", 0))
        match self.options.get("raise"):
            case "permanent": raise PermanentError("never again")
            case "transient": raise TransientError("not now", retry_after=self.options.get("retry_after"))
            case "error": raise ValueError("broken")

class Once(Note):
    method = "once"
    repeatable = False
'''
