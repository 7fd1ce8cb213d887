"""The daemon as systemd runs it in a machine, in the words of tests/daemon.py."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.daemon import Daemon, wait_until
from tests.system import debugger

UNIT = "tifftockd.service"
SOCKET_UNIT = "tifftockd.socket"
SOCKET = "/run/tifftock.sock"
SETTINGS = "/etc/tifftock/tifftock.env"
HANDLERS = "/etc/tifftock/handlers.d"
DATABASE = "/var/lib/tifftock/tifftock.db"

# A drop-in that does what the reminder's options say, and a method that must not be repeated.
ACT = '''
import time
from tifftockd import PermanentError, RemindProcess

class Act(RemindProcess):
    """Sleeps, runs Python, fails: as `options` say."""
    method = "act"
    options = {"sleep": float, "run": str, "fail": bool}

    def remind(self, message):
        time.sleep(self.options.get("sleep", 0))
        exec(self.options.get("run", ""), {"self": self})
        if self.options.get("fail"):
            raise PermanentError("as it was told")
'''


class Service(Daemon):
    """`request`, `remind`, `history` and the like go through /run/tifftock.sock, as root."""

    def __init__(self, machine):
        super().__init__(machine.folder)
        self.machine = machine

    @property
    def socket_path(self):
        return self.machine.outside(SOCKET)

    def systemctl(self, *arguments, **options):
        return self.machine.run("systemctl", *arguments, **options)

    def show(self, name, unit=UNIT):
        return self.systemctl("show", "--value", f"--property={name}", unit).stdout.strip()

    @property
    def pid(self):
        return int(self.show("MainPID"))

    def processes(self):
        """The pids of the service: the daemon's, its workers', and what handlers have started."""
        group = self.show("ControlGroup")
        return set(self.machine.run("cat", f"/sys/fs/cgroup{group}/cgroup.procs").stdout.split())

    @property
    def restarts(self):
        return int(self.show("NRestarts"))

    def start(self):
        self.systemctl("start", UNIT)

    def stop(self):
        """The socket stays, and a client would start the daemon again."""
        self.systemctl("stop", UNIT)

    def restart(self):
        self.systemctl("restart", UNIT)

    def kill(self):
        """SIGKILL to the daemon alone; systemd starts it again."""
        self.systemctl("kill", "--signal=KILL", "--kill-whom=main", UNIT)

    def reload(self):
        self.systemctl("reload", UNIT)

    def is_active(self, unit=UNIT):
        return self.systemctl("is-active", unit, check=False).stdout.strip() == "active"

    def wait_for_restart(self, count=1):
        wait_until(lambda: self.restarts >= count and self.is_active(), "the restart by systemd")

    def dropin(self, name, text, mode="0644", owner="root:root"):
        self.machine.write(f"{HANDLERS}/{name}", text, mode, owner)

    def set(self, **settings):
        """Write tifftock.env: these settings and no other."""
        text = "".join(f"{name}={value}\n" for name, value in settings.items())
        self.machine.write(SETTINGS, text, "0640", "root:_tifftock")

    def override(self, *lines, unit=UNIT, section="Service"):
        """What `systemctl edit` does; it counts from the next start on."""
        text = "\n".join([f"[{section}]", *lines, ""])
        self.machine.write(f"/etc/systemd/system/{unit}.d/override.conf", text)
        self.systemctl("daemon-reload")

    def log_text(self):
        return self.journal()

    def journal(self, *arguments):
        """What is in the journal since the machine was booted, of the daemon alone unless `arguments` choose."""
        self.machine.run("journalctl", "--sync")
        chosen = arguments or ("--identifier=tifftockd", "--output=cat")
        return self.machine.run("journalctl", "--quiet", "--no-pager", "--boot", *chosen).stdout

    def events(self, *arguments):
        """The daemon's events since the machine was booted, with their fields."""
        lines = self.journal("--identifier=tifftockd", "--output=json", *arguments).splitlines()
        return [json.loads(line) for line in lines]

    @contextmanager
    def held(self, thread):
        """One thread of the daemon is held, from outside, as a debugger does at a breakpoint; the others run.

        `thread`: its name, or `main`.
        """
        pid = self.machine.outside_pid(self.pid)
        names = {task.name: (task / "comm").read_text().strip() for task in Path(f"/proc/{pid}/task").iterdir()}
        names[str(pid)] = "main"
        [tid] = [tid for tid, name in names.items() if name == thread]
        with subprocess.Popen([sys.executable, debugger.__file__, tid], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "stopped\n"
            try:
                yield
            finally:
                process.terminate()

    def curl(self, path, *arguments, user=None, address=("--unix-socket", SOCKET, "http://localhost")):
        """As a person does in a shell: a subprocess.CompletedProcess with the answer as `stdout`."""
        *options, base = address
        command = ["curl", "--silent", "--show-error", "--max-time", "20", *options, *arguments, f"{base}{path}"]
        return self.machine.run(*command, user=user, check=False)

    def act(self, message="act", *, run="", sleep=0, fail=False, **fields):
        """A reminder of the drop-in ACT; due now, unless the fields say otherwise."""
        return self.remind(method="act", message=message, options={"run": run, "sleep": sleep, "fail": fail}, **fields)

    def output(self, code):
        """What Python code prints when a handler runs it."""
        made = self.act(run=code, retries=0)
        entry = self.outcome(made)
        assert entry["outcome"] == "delivered", entry
        return entry["output"].strip()
