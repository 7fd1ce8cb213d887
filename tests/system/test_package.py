"""Upgrade, downgrade, removal, purge; and what lintian and systemd-analyze say."""

import gzip
import io
import json
import re
import subprocess
import tarfile

import pytest

from tests import page
from tests.daemon import wait_until
from tests.system import package
from tests.system.service import DATABASE, SETTINGS, SOCKET, SOCKET_UNIT, UNIT, Service
from tests.system.test_restarts import HOUR, Client, lost

# What changes in a machine all by itself, or is apt's and dpkg's own memory
NOISE = re.compile(
    r"/(proc|sys|dev|run|tmp|root)(/|$)"
    r"|/var/(log|tmp|cache/(apt|debconf|ldconfig|man)|lib/(apt|dpkg))(/|$)"
    r"|/var/lib/systemd/(catalog|random-seed|timers)(/|$)"
    r"|/etc/(ld\.so\.cache|\.pwd\.lock|machine-id|resolv\.conf)$"
    # Users and groups stay, as Debian has it: files that they owned may be anywhere.
    r"|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$"
)

# For each file what it is and, in /etc, what is in it
LIST = r"""
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run \) -prune -o -printf '%p\t%y %m %u:%g %l\n'
find /etc -type f -exec sha256sum {} + | sed 's/^\([0-9a-f]*\)  \(.*\)/\2 (content)\t\1/'
"""


SLOW = """
import time
from tifftockd import RemindProcess

class Slow(RemindProcess):
    def remind(self, message):
        time.sleep(5)
"""


def files(machine):
    listed = dict(line.split("\t") for line in machine.shell(LIST).stdout.splitlines())
    return {path: what for path, what in listed.items() if not NOISE.match(path.removesuffix(" (content)"))}


def apt(machine, *arguments, **options):
    return machine.run("apt-get", "--yes", *arguments, **options)


@pytest.fixture(scope="session")
def older(release, tmp_path_factory):
    return package.build_first(release, tmp_path_factory.mktemp("older"))


@pytest.fixture
def upgradable(bare, older):
    """A machine with the older package, and the newer one in /root/new."""
    apt(bare, "install", bare.push(older, "/root"))
    return Service(bare)


def test_an_upgrade_keeps_data_settings_and_what_is_running(upgradable, deb):
    service = upgradable
    service.dropin("slow.py", SLOW)
    service.set(RETRIES=7)
    service.restart()
    kept = [service.remind(**HOUR) for _ in range(10)]
    running = service.remind(method="slow")
    wait_until(lambda: service.state(running) == "firing", "the attempt")
    pid = service.pid
    client = Client(service)
    client.start()
    # Both sides have changed tifftock.env: dpkg asks, and this answers as most people do.
    keep = "--option=Dpkg::Options::=--force-confold"
    apt(service.machine, "install", keep, service.machine.push(deb, "/root"))
    wait_until(lambda: service.pid not in (0, pid), "the new daemon")
    before = len(client.made)
    wait_until(lambda: len(client.made) > before or client.errors, "an answer by the new daemon")
    client.stop()
    assert client.errors == []
    assert lost(service, kept + client.made) == set()
    entry = service.outcome(running)
    assert entry["outcome"] == "delivered", entry
    assert service.remind()["retries"] == 7
    assert service.systemctl("is-enabled", UNIT, SOCKET_UNIT).stdout.split() == ["enabled", "enabled"]
    assert service.machine.run("dpkg-query", "--show", "--showformat=${Version}", "tifftockd").stdout != "0.0.1-1"


def test_a_newer_database_is_refused_and_not_touched(service, older):
    made = service.remind(**HOUR)
    service.systemctl("stop", UNIT, SOCKET_UNIT)
    bump = "import sqlite3; db = sqlite3.connect('{}'); db.execute('PRAGMA user_version = 1000'); db.close()"
    service.machine.run("python3", "-c", bump.format(DATABASE))
    content = service.machine.run("sha256sum", DATABASE).stdout
    apt(service.machine, "install", "--allow-downgrades", service.machine.push(older, "/root"), check=False)
    assert service.systemctl("start", UNIT, check=False).returncode != 0
    assert service.show("ExecMainStatus") == "78"
    line = service.events("TIFFTOCK_EVENT=start-failed")[-1]["MESSAGE"]
    assert "newer" in line
    assert DATABASE in line
    assert service.machine.run("sha256sum", DATABASE).stdout == content
    bump = bump.replace("1000", "1")
    service.machine.run("python3", "-c", bump.format(DATABASE))
    service.start()
    assert service.state(made) == "pending"


def test_a_removal_keeps_data_and_settings(service, deb):
    made = service.remind(**HOUR)
    service.set(RETRIES=7)
    apt(service.machine, "remove", "tifftockd")
    assert service.systemctl("is-active", UNIT, SOCKET_UNIT, check=False).stdout.split() == ["inactive", "inactive"]
    for gone in ("/usr/bin/tifftockd", "/usr/bin/tifftockctl", SOCKET):
        assert service.machine.run("test", "-e", gone, check=False).returncode == 1, gone
    service.machine.run("ls", DATABASE, SETTINGS)
    apt(service.machine, "install", service.machine.push(deb, "/root"))
    assert service.state(made) == "pending"
    assert service.remind()["retries"] == 7


def test_a_purge_leaves_nothing(bare, deb):
    before = files(bare)
    service = Service(bare)
    apt(bare, "install", bare.push(deb, "/root"))
    assert set(files(bare)) > set(before)
    service.set(RETRIES=7)
    service.dropin("lamp.py", SLOW)
    service.restart()
    service.remind(**HOUR)
    apt(bare, "purge", "tifftockd")
    after = files(bare)
    assert {path: what for path, what in after.items() if before.get(path) != what} == {}
    assert {path for path in before if path not in after} == set()
    for folder in ("/run", "/tmp", "/var/tmp"):
        assert bare.run("find", folder, "-xdev", "-name", "*tifftock*").stdout == ""
    assert service.systemctl("list-unit-files", "tifftockd*", "--no-legend", check=False).stdout == ""
    assert service.systemctl("list-units", "--all", "tifftockd*", "--no-legend", check=False).stdout == ""
    assert service.systemctl("is-system-running").stdout.strip() == "running"


def test_systemd_finds_nothing_to_verify(service):
    said = service.machine.run("systemd-analyze", "verify", "--man=no", UNIT, SOCKET_UNIT)
    assert said.stderr == ""


def test_the_exposure_is_as_low_as_that_of_the_best_kept_daemons(service):
    said = service.machine.run("systemd-analyze", "security", "--no-pager", UNIT).stdout
    figure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", said).group(1))
    assert figure <= 1.2, said


def test_a_second_build_gives_the_same_bytes_and_lintian_has_nothing_to_say(release, tmp_path):
    first, second = (package.build(release, tmp_path / str(n), *options) for n, options in enumerate(([], ["--lint"])))
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def in_package(deb, path):
    """What a file of the package holds."""
    archive = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        return files.extractfile(f".{path}").read()


# Runs what bash does when Tab is pressed behind the words; the last one is what is to be completed.
COMPLETE = """
source /usr/share/bash-completion/completions/tifftockctl
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
"$(complete -p tifftockctl | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
echo "${COMPREPLY[@]}"
"""


def test_tifftockctl_is_there_for_who_may_use_it(service):
    """As a command, with its page, and with what completes its words in bash and zsh."""
    machine = service.machine
    said = machine.run("tifftockctl", "try", "log", "hello").stdout
    assert re.search(r"^outcome +delivered$", said, re.MULTILINE), said
    made = machine.run("tifftockctl", "remind", "2h", "tea", "--method", "log", "--json").stdout
    assert service.state(json.loads(made)) == "pending"
    refused = machine.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "tifftockctl", check=False)
    advice = "join the group: sudo adduser $USER tifftock, and log in again"
    assert (refused.returncode, refused.stdout) == (77, "")
    assert refused.stderr == f"tifftockctl: permission denied on /run/tifftock.sock: {advice}\n"
    service.systemctl("stop", UNIT, SOCKET_UNIT)
    stopped = machine.run("tifftockctl", check=False)
    assert stopped.returncode == 69
    assert "systemctl start tifftockd" in stopped.stderr

    def completed(*words):
        return machine.run("bash", "-c", COMPLETE, "bash", *words).stdout.split()

    assert completed("tifftockctl", "ex") == ["explain"]
    assert completed("tifftockctl", "list", "--state", "m") == ["missed"]
    assert "--skip-bad" in completed("tifftockctl", "import", "--")


def test_the_page_and_the_completion_of_tifftockctl_are_in_the_package(deb):
    made = gzip.decompress(in_package(deb, "/usr/share/man/man1/tifftockctl.1.gz")).decode()
    assert ".Dt TIFFTOCKCTL 1\n" in made
    assert in_package(deb, "/usr/share/zsh/vendor-completions/_tifftockctl").startswith(b"#compdef tifftockctl\n")


def test_the_page_for_authors_of_handlers_is_a_man_page(deb):
    """All that is in it, in its order. What man(1) warns of, lintian tells."""
    made = gzip.decompress(in_package(deb, "/usr/share/man/man7/tifftock-handlers.7.gz")).decode()
    assert "\ntifftock-handlers - methods of your own for tifftockd\n" in made
    titles = re.findall(r"^## (.*)$", page.PROSE, re.MULTILINE)
    assert re.findall(r"^\.SH[ \n](.*)$", made, re.MULTILINE) == ["NAME", "DESCRIPTION", *titles]
    shown = re.findall(r"^\.EX\n(.*?)^\.EE$", made, re.MULTILINE | re.DOTALL)
    assert len(shown) == len(page.BLOCKS)
