"""Holds a machine's mount while it exists, and leaves nothing of it behind.

`keeper.py NAME FOLDER LOWER CGROUP`, in a mount namespace of its own, mounts FOLDER/root and says so; on a line of
standard input it unmounts it. When standard input ends, as it does whatever ends the process that holds the other end,
it kills what is in the cgroup and deletes cgroup and folder.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path


def keep(name, folder, lower, cgroup):
    options = f"lowerdir={lower},upperdir=upper,workdir=work"
    subprocess.run(["mount", "-t", "overlay", name, "-o", options, "root"], cwd=folder, check=True)
    print("mounted", flush=True)
    for _ in sys.stdin:
        subprocess.run(["umount", "root"], cwd=folder, check=True)
        print("unmounted", flush=True)
    (cgroup / "cgroup.kill").write_text("1")
    while "populated 1" in (cgroup / "cgroup.events").read_text():
        time.sleep(0.01)
    # In the other hierarchies of a host that has them, systemd-nspawn makes a group of the same name.
    for top, folders, _ in os.walk("/sys/fs/cgroup"):
        if cgroup.name in folders:
            folders.remove(cgroup.name)
            for place, _, _ in os.walk(f"{top}/{cgroup.name}", topdown=False):
                os.rmdir(place)
    # systemd-nspawn leaves its own folders for a machine behind; a newer one's are mounts.
    for place in [folder / "root", *Path("/run/systemd/nspawn").glob(f"*/{name}")]:
        subprocess.run(["umount", "--lazy", "--quiet", place], check=False, stderr=subprocess.DEVNULL)
        with contextlib.suppress(OSError):
            place.rmdir()
    shutil.rmtree(folder)


if __name__ == "__main__":
    name, folder, lower, cgroup = sys.argv[1:]
    keep(name, Path(folder), lower, Path(cgroup))
