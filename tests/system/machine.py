"""A Debian booted by systemd as PID 1, in a container of its own: to be used, cut off, and booted again.

    with Machine("trixie", rootfs("trixie")) as machine:
        machine.boot()
        machine.run("systemctl", "is-system-running")
        machine.power_cut()
        machine.boot()

What is written goes to an overlay and stays there from one boot to the next. The network is a loopback of the
machine's own. Whatever ends this process, SIGKILL included, takes the machine along and all that it left.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

from tests.daemon import wait_until
from tests.system.rootfs import cache
from tests.system.tools import cgroups

# Seconds that a boot, a shutdown or a command may take on a busy machine
PATIENCE = 90

_numbers = count(1)

_ENVIRON = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root", "LANG=C.UTF-8", "TERM=dumb", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=", "DEBIAN_FRONTEND=noninteractive",
]  # fmt: skip


class Failed(AssertionError):
    """A command in the machine ended with another exit code than was expected."""


class Machine:
    def __init__(self, name, *lower):
        """`lower`: the folders of a root file system, the uppermost first; they are not changed."""
        self.name = f"{name}-{os.getpid()}-{next(_numbers)}"
        # On one file system with what it lies upon: what temporary files are on may not bear an overlay.
        self.folder = cache() / "run" / self.name
        self.console = self.folder / "console"
        self._lower = lower
        self._cgroup = None
        self._keeper = None
        self._nspawn = None
        self._leader = None

    def __enter__(self):
        for place in ("upper", "work", "root"):
            (self.folder / place).mkdir(parents=True)
        self._cgroup = cgroups() / f"tifftockd-{self.name}"
        self._cgroup.mkdir()
        # In a session of its own, so that Ctrl+C in a terminal leaves it time to clean up.
        self._keeper = subprocess.Popen(
            [
                "unshare", "--mount", "--propagation=private", sys.executable, Path(__file__).with_name("keeper.py"),
                self.name, self.folder, ":".join(str(place) for place in self._lower), self._cgroup,
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self._keeper.stdout.readline() == "mounted\n", "the overlay cannot be mounted"
        return self

    def __exit__(self, *_):
        with self._keeper.stdout:
            self._keeper.stdin.close()
            self._keeper.wait(PATIENCE)
        if self._nspawn is not None:
            self._ended()

    def freeze(self):
        """What was written, as a folder that can be the uppermost of other machines, while this one is off for good."""
        assert self._nspawn is None, "it is on"
        self._keeper.stdin.write("unmount\n")
        self._keeper.stdin.flush()
        assert self._keeper.stdout.readline() == "unmounted\n", "the overlay cannot be unmounted"
        return self.folder / "upper"

    # ---- power

    def boot(self):
        """Switch on, and wait until systemd has started all that it starts at boot; its state, `running` or other."""
        assert self._nspawn is None, "it is on"
        # A cgroup for each machine: with --keep-unit all of them would share ours.
        enter = f'echo $$ >"{self._cgroup}/cgroup.procs" && exec "$@"'
        command = [
            "sh", "-c", enter, "sh",
            "nsenter", f"--target={self._keeper.pid}", "--mount", f"--wd={self.folder}",
            "systemd-nspawn", "--quiet", f"--directory={self.folder}/root", f"--machine={self.name[:60]}",
            "--boot", "--private-network", "--console=read-only", "--link-journal=no",
            # This machine's own PID 1 need not be systemd.
            "--register=no", "--keep-unit",
        ]  # fmt: skip
        with self.console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
                # systemd 256 and later do not run on the older hierarchies.
                env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )  # fmt: skip
        wait_until(self._find_leader, f"PID 1 of {self.name}", PATIENCE)
        return wait_until(self._state, f"the boot of {self.name}", PATIENCE)

    def power_cut(self):
        """End everything inside at once, by SIGKILL; what was written stays."""
        if self._leader is not None:
            # The kernel kills a whole PID namespace with its init: pid_namespaces(7).
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._leader[1], signal.SIGKILL)
        else:
            self._nspawn.kill()
        self._ended()

    def poweroff(self):
        """Shut down in order."""
        self.run("systemctl", "--no-block", "poweroff")
        self._ended()

    def _ended(self):
        self._nspawn.wait(PATIENCE)
        if self._leader is not None:
            assert select.select([self._leader[1]], [], [], PATIENCE)[0], "PID 1 is still there"
            os.close(self._leader[1])
        self._leader = self._nspawn = None

    def _find_leader(self):
        """systemd-nspawn's child that is PID 1 of a namespace of its own."""
        assert self._nspawn.poll() is None, f"systemd-nspawn ended:\n{self.console.read_text()[-2000:]}"
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split():
                if _pids(int(child))[1:] == [1]:
                    self._leader = int(child), os.pidfd_open(int(child))
        return self._leader

    def _state(self):
        assert self._nspawn.poll() is None, f"systemd-nspawn ended:\n{self.console.read_text()[-2000:]}"
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state if state in ("running", "degraded") else None

    # ---- use

    def start(self, *command, user=None, **options):
        """A command inside, as a subprocess.Popen; by root unless `user` says otherwise."""
        become = ["runuser", f"--user={user}", "--"] if user else []
        return subprocess.Popen(
            [
                "nsenter", f"--target={self._leader[0]}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
                "--root", "--wd", "--", "env", "-i", *_ENVIRON, *become, *command,
            ],
            text=True, start_new_session=True, **options,
        )  # fmt: skip

    def run(self, *command, user=None, stdin="", check=True, patience=PATIENCE):
        """Run a command inside to its end: a subprocess.CompletedProcess. Failed if `check` and it does not exit 0."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = self.start(*command, user=user, **pipes)
        try:
            stdout, stderr = process.communicate(stdin, patience)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        if check and process.returncode:
            raise Failed(f"{' '.join(command)}: exit code {process.returncode}\n{stdout[-3000:]}\n{stderr[-3000:]}")
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)

    def shell(self, script, *arguments, **options):
        return self.run("sh", "-euc", script, "sh", *arguments, **options)

    def write(self, path, text, mode="0644", owner="root:root"):
        """Write a file inside, and the folders above it."""
        script = 'mkdir -p "$(dirname "$1")"; cat >"$1"; chown "$3" "$1"; chmod "$2" "$1"'
        self.shell(script, path, mode, owner, stdin=text)

    def push(self, source, folder):
        """Copy a file into a folder inside; the path that it has there."""
        target = f"{folder}/{Path(source).name}"
        shutil.copyfile(source, self.outside(target))
        return target

    def outside(self, path):
        """The path by which this machine sees a file of that one, while it is on."""
        return f"/proc/{self._leader[0]}/root{path}"

    def outside_pid(self, pid):
        """The process id by which this machine knows a process, or a thread, of that one."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    if _pids(int(entry.name))[1:] == [pid] and _same_namespace(int(entry.name), self._leader[0]):
                        return int(entry.name)
        raise AssertionError(f"{self.name} has no process {pid}")


def _pids(pid):
    """The ids of a process in its PID namespaces, from this one on inwards: proc(5), NSpid."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return [int(one) for one in line.split()[1:]]
    return []


def _same_namespace(one, other):
    return os.stat(f"/proc/{one}/ns/pid").st_ino == os.stat(f"/proc/{other}/ns/pid").st_ino
