"""Holds a machine's mounts while it exists, and leaves nothing of it behind.

`keeper.py NAME FOLDER LOWER CGROUP`, in a mount namespace of its own, mounts FOLDER/root and says so; on a line of
standard input it unmounts it. When standard input ends, as it does whatever ends the process that holds the other end,
it kills what is in the cgroup and deletes cgroup and folder.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

# What systemd-nspawn writes about its machines, and does not take away again, goes where it ends with the namespace.
NSPAWN = Path("/run/systemd/nspawn")


def mount(*arguments, folder):
    subprocess.run(["mount", *arguments], cwd=folder, check=True)


def keep(name, folder, lower):
    NSPAWN.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", name, NSPAWN, folder=folder)
    mount("-t", "overlay", name, "-o", f"lowerdir={lower},upperdir=upper,workdir=work", "root", folder=folder)
    print("mounted", flush=True)
    for _ in sys.stdin:
        subprocess.run(["umount", "root"], cwd=folder, check=True)
        print("unmounted", flush=True)


def clean(folder, cgroup):
    (cgroup / "cgroup.kill").write_text("1")
    while "populated 1" in (cgroup / "cgroup.events").read_text():
        time.sleep(0.01)
    # In the other hierarchies of a host that has them, systemd-nspawn makes a group of the same name.
    for top, folders, _ in os.walk("/sys/fs/cgroup"):
        if cgroup.name in folders:
            folders.remove(cgroup.name)
            for place, _, _ in os.walk(f"{top}/{cgroup.name}", topdown=False):
                os.rmdir(place)
    if os.path.ismount(folder / "root"):
        subprocess.run(["umount", "--lazy", "root"], cwd=folder, check=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    name, folder, lower, cgroup = sys.argv[1:]
    try:
        keep(name, Path(folder), lower)
    finally:
        clean(Path(folder), Path(cgroup))
