"""What docs/handlers.md says about the service: each block that tests/functional/test_handlers_page.py cannot run."""

import json
import re

import pytest

from tests.page import BLOCKS, PROSE
from tests.system.service import Service

COMMANDS, *RIGHTS = [block for block in BLOCKS if block.for_service]
FILES = {block.name: block.text for block in BLOCKS if block.name}
FIRST = next(block for block in BLOCKS if block.kind == "python")


def test_a_method_is_tried_reloaded_and_fired(service):
    service.machine.write(f"/root/note/{FIRST.name}", FIRST.text)
    tried = service.machine.shell('cd /root/note\nHANDLERS_DIR=. tifftockd --try note "buy milk"').stdout
    assert "outcome:   delivered" in tried
    handlers, made = map(json.loads, service.machine.shell(f"cd /root/note\n{COMMANDS.text}").stdout.splitlines())
    assert "note" in [method["method"] for method in handlers["methods"]]
    assert service.outcome(made)["outcome"] == "delivered"
    written = service.machine.run("cat", "/var/lib/tifftock/notes.txt").stdout
    assert written == f"{made['when']} buy milk\n"


def test_tests_of_a_handler_run_with_what_the_package_has_installed(service):
    [path] = re.findall(r"`(PYTHONPATH=\S+)`", PROSE)
    for name in ("lamp.py", "tests/test_lamp.py"):
        service.machine.write(f"/root/note/{name}", FILES[name])
    said = service.machine.shell(f"cd /root/note\n{path} python3 -m unittest tests/test_lamp.py 2>&1").stdout
    assert re.search(r"^Ran 3 tests in .*\n\nOK$", said, re.MULTILINE)


@pytest.fixture(scope="module")
def relaxed(shared):
    """A machine that is there for what the page gives handlers the right to."""
    shared.machine.run("mkdir", "-p", "/home/ann/notes", "/srv/log", "/opt/lamp")
    return shared


@pytest.mark.parametrize("block", RIGHTS, ids=lambda block: block.text.splitlines()[1])
def test_with_more_rights_it_starts_and_fires(relaxed: Service, block):
    relaxed.override(*block.text.splitlines()[1:])
    relaxed.restart()
    assert relaxed.outcome(relaxed.remind())["outcome"] == "delivered"
    relaxed.machine.run("rm", "/etc/systemd/system/tifftockd.service.d/override.conf")
