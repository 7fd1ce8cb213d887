"""What README.md says about the service, word for word."""

import re
from pathlib import Path

from tests.daemon import wait_until
from tests.system.service import SETTINGS, Service

SECTION = "On Debian, as a service"


def commands():
    text = (Path(__file__).parents[2] / "README.md").read_text()
    section = text.partition(f"## {SECTION}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_the_commands_for_debian(release, bare, deb):
    install, use, backup, restore = commands()
    build, _, install = install.partition("\n")
    assert bare.shell(f"echo {build}").stdout == f"packaging/build {release}\n", "what the fixture has run"
    bare.run("useradd", "--create-home", "ann")
    bare.run("mkdir", "-p", "/clone/dist")
    bare.push(deb, "/clone/dist")
    said = bare.shell(f"cd /clone\n{install}").stdout
    assert '"status": "ok"' in said
    service = Service(bare)
    assert service.is_active()
    made = service.remind(**{"in": "2h"})
    assert made["id"] == 1
    assert "tifftock" in bare.run("id", "-nG", "ann").stdout.split()
    assert '"status": "ok"' in service.curl("/health", user="ann").stdout
    wait_until(lambda: "1 pending" in service.show("StatusText"), "the status")
    bare.run("journalctl", "--sync")
    status, *_, journal = use.splitlines()
    said = bare.shell(use).stdout
    assert re.search(r"1 pending, next in (2h|1h 59min) \(log\)", said), status
    assert "created" in said, journal
    assert bare.shell(backup).stdout == "/root/tifftock.db: 1 reminders, 0 lines of history\n"
    service.request("DELETE", f"/reminder/{made['id']}")
    bare.shell(restore)
    assert service.state(made) == "pending"
    assert bare.run("test", "-e", SETTINGS).returncode == 0
