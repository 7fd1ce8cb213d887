"""A small disk that really is full: a tmpfs that only the daemon sees, in a mount namespace of its own."""

import os
import shutil
import subprocess
from pathlib import Path

_STEP = 65_536


def obstacle():
    """Why there can be none here, with what to do about it; None if there can."""
    if os.geteuid():
        return "mounting a file system needs root: sudo make test-system"
    for command in ("unshare", "nsenter"):
        if shutil.which(command) is None:
            return f"there is no {command}; on Debian: apt install util-linux"
    tried = subprocess.run([*_unshare("/mnt", 1), "true"], capture_output=True, text=True, check=False)
    return f"no file system can be mounted here: {tried.stderr.strip()}" if tried.returncode else None


def _unshare(point, megabytes):
    mount = 'mount -t tmpfs -o size="$1m",mode=700 tmpfs "$2" && shift 2 && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh", str(megabytes), str(point)]


class SmallDisk:
    """Mounted at `point` for whoever is started with `prefix`, while it is entered."""

    def __init__(self, point, megabytes):
        self._point = point
        self._megabytes = megabytes

    def __enter__(self):
        # It says that the mount is there, then keeps the namespace until its input is closed.
        command = [*_unshare(self._point, self._megabytes), "sh", "-c", "echo mounted; exec cat"]
        self._keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._keeper.stdout.readline() == "mounted\n"
        return self

    def __exit__(self, *_):
        self._keeper.communicate()

    @property
    def prefix(self):
        """What executes a command in the namespace, in the same process."""
        return ("nsenter", f"--mount=/proc/{self._keeper.pid}/ns/mnt", "--")

    @property
    def seen(self):
        """The mount's folder, as this process sees it: proc_pid_root(5)."""
        return Path(f"/proc/{self._keeper.pid}/root{self._point}")

    def fill(self, leaving=0):
        """Take all the room there is, but for so many bytes."""
        with (self.seen / "ballast").open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(b"\0" * _STEP)
            except OSError:
                ballast.truncate(max(0, ballast.tell() - leaving))

    def free(self):
        """Give it back."""
        (self.seen / "ballast").unlink()
