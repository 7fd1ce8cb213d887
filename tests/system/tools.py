"""What the system tests need of this machine. `python tests/system/tools.py` installs it, as root on Debian."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# What must be there, a command or a file, and the Debian package that brings it
NEEDED = {
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "git": "git",
    "cc": "gcc",
    "/usr/include/stdio.h": "libc6-dev",
    "nginx": "nginx",
    KEYRING: "debian-archive-keyring",
}
BUILD = Path(__file__).parents[2] / "packaging/build"


def needed():
    """NEEDED, and what it takes to build the package and its chroots, by the list in packaging/build."""
    listed = re.search(r"^NEEDS='(.*)'$", BUILD.read_text(), re.MULTILINE)
    return NEEDED | dict(one.split(":") for one in listed.group(1).split())


def packages():
    """The Debian packages that are missing."""
    return sorted({package for what, package in needed().items() if not (shutil.which(what) or Path(what).exists())})


def cgroups():
    """Where the kernel's unified hierarchy is mounted, or None: cgroups(7)."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(place)
    return None


def obstacle():
    """Why no machine can be booted here, with what to do about it; None if one can."""
    if os.geteuid():
        return "booting a machine needs root: sudo make test-system"
    if missing := packages():
        return f"missing here: {' '.join(missing)}; as root, make test-system installs it"
    if cgroups() is None:
        return "no writable cgroup2 is mounted here; a container that runs this needs --privileged"
    return None


def install():
    missing = packages()
    if not missing:
        return 0
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *missing]
    if os.geteuid() or not shutil.which("apt-get"):
        print(f"The system tests need {' '.join(missing)}. As root: {' '.join(command)}", file=sys.stderr)
        # The tests say it once more, as the reason why each of them is skipped.
        return 0
    print(f"Installing {' '.join(missing)}", file=sys.stderr)
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "--quiet=2"], check=True, env=environ, stdout=subprocess.DEVNULL)
    return subprocess.run(command, check=False, env=environ, stdout=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(install())
