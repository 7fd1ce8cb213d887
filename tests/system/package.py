"""The .deb, built as everybody builds it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

# The first package that refuses nobody who connects just as it is stopped, which in an upgrade is the older one's
# doing: from it on, every release can be upgraded to this one, and no client sees it.
FIRST = "3d08b81ecaf310aa8ceee384461672f171df5ca5"


def build(release, folder, *options, source=REPOSITORY):
    """Build the package for a release into a folder; the .deb."""
    made = subprocess.run(
        [source / "packaging/build", release, "--output", folder, *options],
        check=False, capture_output=True, text=True,
        # The pip of this Python fetches the wheels.
        env=os.environ | {"PYTHON": sys.executable},
    )  # fmt: skip
    assert made.returncode == 0, f"packaging/build {release}:\n{made.stderr[-5000:]}"
    return Path(made.stdout.strip())


def build_first(release, folder):
    """The package as FIRST builds it, with a lower version."""
    source = folder / "source"
    source.mkdir()
    # The repository may be somebody's, while this is root.
    git = ["git", "-c", f"safe.directory={REPOSITORY}", "-C", REPOSITORY]
    archive = subprocess.run([*git, "archive", FIRST], check=False, capture_output=True)
    if archive.returncode:
        pytest.skip(f"git here does not have commit {FIRST}: git fetch --unshallow")
    subprocess.run(["tar", "-x", "-C", source], check=True, input=archive.stdout)
    return build(release, folder, "--version", "0.0.1-1", source=source)


def field(deb, name):
    """A field of a .deb, such as its Depends."""
    return subprocess.run(["dpkg-deb", "--field", deb, name], check=True, capture_output=True, text=True).stdout.strip()


def depends(deb):
    return [one.strip() for one in field(deb, "Depends").split(",")]
