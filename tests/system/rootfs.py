"""Root file systems of Debian releases, made once and kept outside the repository."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from tests.system.tools import KEYRING

RELEASES = ("bookworm", "trixie")

# On top of the essential packages. systemd-sysv is what makes systemd PID 1.
BASE = {"systemd", "systemd-sysv", "adduser", "dbus", "curl", "procps"}

# Part of each key: a change of how they are made makes them anew.
_RECIPE = 1

# Seconds that one is kept after its last use: package sets change, and nobody cleans up after that.
_KEPT = 14 * 86_400


def cache():
    """The folder for what takes long to make."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tifftockd-tests"


def rootfs(release, packages=()):
    """The folder of a root file system with these packages and all that they depend on; it must not be changed.

    `packages` are names, or dependencies as a .deb has them: "python3:any (>= 3.11)", "a | b".
    """
    wanted = sorted(BASE | set(packages))
    key = hashlib.sha256(repr((_RECIPE, wanted)).encode()).hexdigest()[:12]
    place = cache() / f"{release}-{key}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            _make(release, [_name(one) for one in wanted], place)
        # The day of the last use
        os.utime(place)
    for other in cache().glob(f"{release}-*[0-9a-f]"):
        if other.is_dir() and time.time() - other.stat().st_mtime > _KEPT:
            shutil.rmtree(other)
    return place


def _name(dependency):
    """The package of a dependency, and of alternatives the first: what apt would take."""
    return dependency.partition("|")[0].partition("(")[0].strip().removesuffix(":any")


def _make(release, names, place):
    part = place.with_suffix(".part")
    if part.exists():
        shutil.rmtree(part)
    # Signatures are checked, as always.
    # With mounts of its own: whatever happens, none of them is left where `part` may be deleted.
    command = [
        "unshare", "--mount", "--propagation=private", "setpriv", "--pdeathsig=KILL",
        "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--keyring={KEYRING}",
        f"--include={','.join(names)}", "--aptopt=APT::Install-Recommends false",
        release, str(part), "-",
    ]  # fmt: skip
    made = subprocess.run(command, check=False, input=_sources(release), text=True, capture_output=True)
    assert made.returncode == 0, f"mmdebstrap cannot make {release}:\n{made.stderr[-2000:]}"
    # apt has nothing to fetch in there: no network.
    (part / "etc/apt/sources.list").unlink(missing_ok=True)
    # Not missing, which would mean a first boot with presets for all units (machine-id(5)), but made at each boot.
    (part / "etc/machine-id").write_text("")
    (part / "etc/hostname").unlink(missing_ok=True)
    (part / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    # The journal is to outlive a power cut.
    (part / "var/log/journal").mkdir(exist_ok=True)
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        (part / "etc/systemd/system" / timer).symlink_to("/dev/null")
    part.rename(place)


def _sources(release):
    """Lines for sources.list(5), of the mirrors that this machine's own apt uses. DEBIAN_MIRROR names another."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(REPO_URI)", "Created-By: Packages"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    mirrors = {"main": os.environ.get("DEBIAN_MIRROR", ""), "security": ""}
    for origin, codename, uri in (line.split() for line in listed.splitlines() if line.count(" ") == 2):
        if origin == "Debian":
            kind = "security" if codename.endswith("-security") else "main"
            mirrors[kind] = mirrors[kind] or uri
    assert mirrors["main"], "apt here knows no Debian mirror (apt-get update?); DEBIAN_MIRROR=http://... names one"
    lines = [f"deb {mirrors['main']} {release} main", f"deb {mirrors['main']} {release}-updates main"]
    if mirrors["security"]:
        lines.append(f"deb {mirrors['security']} {release}-security main")
    return "\n".join(lines) + "\n"
