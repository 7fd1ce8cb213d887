"""The Debian package is compared with what the project says of itself."""

import configparser
import re
import subprocess
from pathlib import Path

import tifftockd

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"

# Requirements that the package brings along where a release lacks them: packaging/vendor.
VENDORED = {"dataset", "sqlalchemy", "oncalendar", "cronsim"}


def bounds(section="options", name="install_requires"):
    """The lower bound of each requirement in setup.cfg."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = [line for line in setup[section][name].splitlines() if line and not line.startswith("#")]
    return {name.lower(): bound for name, bound in (re.match(r"([\w-]+)>=([\d.]+)", line).groups() for line in lines)}


def as_numbers(version):
    return [int(part) for part in version.split(".")]


def test_the_changelog_of_the_package_has_the_version_of_the_code():
    first = (PACKAGING / "debian/changelog").read_text().splitlines()[0]
    assert re.match(r"tifftockd \((.*)-\d+\) ", first)[1] == tifftockd.__version__


def test_the_package_depends_on_what_setup_cfg_requires():
    control = (PACKAGING / "debian/control").read_text()
    depends = dict(re.findall(r"^ python3-([\w-]+) \(>= ([\d.]+)\),?$", control, re.MULTILINE))
    required = {name.removeprefix("python-"): bound for name, bound in bounds().items() if name not in VENDORED}
    assert depends == required
    # What dataset imports, whoever brings it
    assert "\n python3-alembic,\n" in control


def test_the_package_suggests_what_is_optional():
    control = (PACKAGING / "debian/control").read_text()
    for name, bound in bounds("options.extras_require", "notify").items():
        assert f"\n {name} (>= {bound}),\n" in control.partition("\nSuggests:")[2]
        # The functional tests use it.
        assert f"\n {name},\n" in (PACKAGING / "debian/tests/control").read_text()


def test_what_is_vendored_is_pinned_and_recent_enough():
    for release in ("bookworm", "trixie", "build"):
        lines = [
            line for line in (PACKAGING / f"vendor/{release}.txt").read_text().splitlines() if line[:1] not in ("", "#")
        ]
        pins = {}
        for line in lines:
            name, version = re.fullmatch(r"([\w-]+)==([\d.]+) --hash=sha256:[0-9a-f]{64}", line).groups()
            pins[name.lower()] = version
            assert (PACKAGING / f"vendor/{name.lower()}.copyright").is_file()
        if release == "build":
            assert set(pins) == {"shtab"}
            continue
        assert "dataset" in pins
        for name, bound in bounds().items():
            assert as_numbers(pins.get(name, bound)) >= as_numbers(bound)


def test_the_scripts_are_valid_shell():
    for script in ("build", "manpage", "debian/tests/service", "debian/tests/functional", "debian/postrm"):
        subprocess.run(["bash", "-n", PACKAGING / script], check=True)


def test_no_mirror_is_named():
    for file in PACKAGING.rglob("*"):
        if file.is_file():
            hosts = re.findall(r"https?://([\w.-]+)", file.read_text())
            assert not [host for host in hosts if "deb.debian" in host or "pypi" in host or "pythonhosted" in host]
