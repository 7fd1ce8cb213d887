"""A daemon that a nursery has forked is, to the tests, what an executed one is."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.daemon import wait_until
from tests.faults import life, preload, recording
from tests.faults.nursery import ROOT, Nursery
from tests.faults.processes import kill_all, processes

# Starts a daemon, says so, and waits for its own end.
ASKER = """
import sys, time
from pathlib import Path
from tests.faults import life
from tests.faults.nursery import Nursery
with Nursery() as nursery:
    life.start(life.make_daemon(Path(sys.argv[1]), spawn=nursery.spawn))
    print(nursery.pid, flush=True)
    time.sleep(1000)
"""

pytestmark = pytest.mark.usefixtures("compiler")


@pytest.fixture(scope="module")
def nursery(compiler):
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def daemon(tmp_path, nursery):
    daemon = life.make_daemon(tmp_path, spawn=nursery.spawn)
    yield daemon
    if daemon.process is not None:
        kill_all(daemon)


def test_it_serves_stops_and_starts_again(daemon):
    for _ in range(2):
        life.start(daemon)
        client = life.Client(daemon)
        client.saw(client.create(life.DELIVERED))
        assert os.readlink(f"/proc/{daemon.process.pid}/cwd") == str(daemon.folder)
        assert daemon.process.poll() is None
        assert daemon.stop() == 0
    assert "Traceback" not in daemon.log_text()


def test_how_it_ended_is_known(daemon):
    daemon.settings["API_URL"] = "nonsense"
    daemon.start(wait=False)
    assert daemon.process.wait(30) == os.EX_CONFIG
    assert "API_URL is 'nonsense'" in daemon.log_text()
    del daemon.settings["API_URL"]
    life.start(daemon)
    with pytest.raises(subprocess.TimeoutExpired):
        daemon.process.wait(0.01)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(daemon.process.wait, 30) for _ in range(4)]
        daemon.process.kill()
        assert {one.result() for one in waiting} == {-signal.SIGKILL}
    daemon.process.kill()


def test_all_its_processes_are_found_and_killed(daemon):
    life.start(daemon)
    found = processes(daemon)
    assert daemon.process.pid in found
    assert len(found) > 2
    kill_all(daemon)
    assert not processes(daemon)


def test_it_is_killed_at_the_call_that_it_was_to_be_killed_at(daemon, tmp_path):
    record = tmp_path / "record"
    daemon.settings |= preload.Faults(daemon.database).kill("after", 7) | {f"{preload.PREFIX}RECORD": str(record)}
    with pytest.raises(life.Died):
        life.start(daemon)
    assert [call.number for call in recording.read(record)] == list(range(1, 8))


def test_what_it_starts_makes_no_faults(daemon, tmp_path):
    """They have the library too, but not the variables."""
    daemon.settings |= preload.Faults(daemon.database).record(tmp_path / "record")
    life.start(daemon)
    others = set(processes(daemon)) - {daemon.process.pid}
    environs = [Path(f"/proc/{pid}/environ").read_text() for pid in others]
    assert any("LD_PRELOAD=" in environ for environ in environs)
    assert not any(preload.PREFIX in environ for environ in environs)


def test_other_sources_are_not_forked(daemon):
    """Those of a daemon that breaks its promises, say: they would not be the ones that run."""
    (daemon.folder / "tifftockd").mkdir()
    with pytest.raises(AssertionError, match="sources"):
        daemon.start()


def test_nothing_outlives_who_asked(tmp_path):
    command = [sys.executable, "-c", ASKER, str(tmp_path)]
    daemon = life.make_daemon(tmp_path)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as asker:
        nursery = int(asker.stdout.readline())
        assert len(processes(daemon)) > 2
        asker.kill()
    # Of a process that has ended no program is shown, buried or not.
    wait_until(lambda: not processes(daemon) and not os.path.exists(f"/proc/{nursery}/exe"), "their end")
