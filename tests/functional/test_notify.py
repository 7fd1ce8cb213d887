"""What the service manager is told, and the sockets that it hands over: the real daemon, a stand-in for systemd."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests import age
from tests.age import TO_SCHEMA_1
from tests.daemon import PATIENCE, wait_until

MESSAGE = {"in": "1h", "message": "tea", "method": "log"}


class Manager:
    """The receiving end of sd_notify(3)."""

    def __init__(self, folder):
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(PATIENCE)
        self.heard = []

    def hear(self, wanted):
        """Wait for a message that begins so, and return it."""
        while True:
            message = self.socket.recv(4096).decode()
            self.heard.append((time.monotonic(), message))
            if message.startswith(wanted):
                return message


@pytest.fixture
def manager(tmp_path):
    made = Manager(tmp_path)
    yield made
    made.socket.close()


def test_the_manager_is_told_of_start_work_reload_and_stop(daemon, manager):
    daemon.settings |= {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "600000"}
    daemon.start()
    manager.hear("READY=1")
    assert daemon.get("/health")["status"] == "ok"
    manager.hear("WATCHDOG=1")
    daemon.remind(**{"in": "3h"})
    failed = daemon.remind(method="note", options={"file": "/dev/null", "raise": "permanent"})
    daemon.outcome(failed)
    wait_until(lambda: "1 failed" in manager.hear("STATUS="), "the failure in STATUS")
    status = next(text for _, text in reversed(manager.heard) if text.startswith("STATUS="))
    assert status == "STATUS=1 pending, next in 2h 59min (log), 1 failed"
    daemon.process.send_signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in manager.hear("RELOADING=1")
    manager.hear("READY=1")
    manager.hear("WATCHDOG=1")
    assert daemon.stop() == 0
    manager.hear("STOPPING=1")
    assert manager.hear("EXTEND_TIMEOUT_USEC=")
    at = [when for when, text in manager.heard if text.startswith("STATUS=")]
    assert all(later - earlier > 0.9 for earlier, later in pairwise(at)), "at most once a second"


def test_a_database_of_an_earlier_release_is_brought_along_and_time_is_asked_for(daemon, manager):
    daemon.start()
    made = daemon.remind(**{"in": "1h"})
    assert daemon.stop() == 0
    with sqlite3.connect(daemon.database) as database:
        database.executescript(TO_SCHEMA_1)
    database.close()
    daemon.settings["NOTIFY_SOCKET"] = manager.path
    daemon.start()
    assert manager.hear("EXTEND_TIMEOUT_USEC=") == f"EXTEND_TIMEOUT_USEC={1800 * 1_000_000}"
    manager.hear("READY=1")
    assert daemon.state(made) == "pending"
    again = [daemon.request("POST", "/remind", MESSAGE, {"Idempotency-Key": "k"}).json for _ in range(2)]
    assert again[0] == again[1]


def test_a_broken_dropin_and_a_failed_reload_are_in_the_status(daemon, manager):
    daemon.settings |= {"NOTIFY_SOCKET": manager.path}
    # Longer than the start waits
    daemon.dropin("broken.py", "import time\ntime.sleep(1.5)\nbroken\n")
    daemon.start()
    wait_until(lambda: "cannot load broken.py" in manager.hear("STATUS="), "the file that cannot be loaded")
    (daemon.folder / ".env").write_text("RETRIES=many\n")
    daemon.process.send_signal(signal.SIGHUP)
    complaint = f"reload failed: {daemon.folder}/.env, line 1: RETRIES is 'many'"
    wait_until(lambda: complaint in manager.hear("STATUS="), "the complaint")
    (daemon.folder / ".env").unlink()
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reload failed" not in manager.hear("STATUS="), "the complaint's end")


def test_the_threads_share_a_cpu_and_workers_may_use_all(daemon, manager):
    daemon.settings |= {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "600000"}
    daemon.start()
    daemon.outcome(daemon.remind())
    tasks = Path(f"/proc/{daemon.process.pid}/task")

    def threads():
        # The watchdog's looks for a CPU that is free.
        return [int(task.name) for task in tasks.iterdir() if (task / "comm").read_text() != "watchdog\n"]

    def cpus():
        return {frozenset(os.sched_getaffinity(thread)) for thread in threads()}

    every = os.sched_getaffinity(0)
    assert [len(one) for one in cpus()] == [1]
    children = [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]
    assert [os.sched_getaffinity(child) for child in children] == [every]
    # Whatever has scattered them, they come together again.
    for thread in threads():
        os.sched_setaffinity(thread, every)
    wait_until(lambda: [len(one) for one in cpus()] == [1], "one CPU")


def test_a_cleaning_shows_in_the_status_also_without_a_watchdog(daemon, manager):
    age.make(daemon.database, pending=0, final=300, history=0)
    daemon.settings |= {"NOTIFY_SOCKET": manager.path, "HISTORY_MAX": "10"}
    daemon.start()
    wait_until(lambda: " 10 failed" in manager.hear("STATUS="), "the count that the cleaning has left")


def test_no_watchdog_is_fed_that_is_somebody_elses(daemon, manager):
    daemon.settings |= {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "300000", "WATCHDOG_PID": "1"}
    daemon.start()
    daemon.remind(**{"in": "1h"})
    wait_until(lambda: "1 pending" in manager.hear("STATUS="), "the status")
    assert "WATCHDOG=1" not in [text for _, text in manager.heard]


@pytest.mark.parametrize("also_by_setting", [False, True])
def test_sockets_are_inherited_and_outlive_the_daemon(daemon, also_by_setting):
    path = str(daemon.folder / "inherited.sock")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    if also_by_setting:
        daemon.settings["API_URL"] = f"unix:{path} unix:{daemon.socket_path}"
    shell = f"exec 3<&{listening.fileno()}; export LISTEN_FDS=1 LISTEN_PID=$$; exec {sys.executable} -m tifftockd"
    with (daemon.folder / "log").open("a") as log:
        process = subprocess.Popen(
            ["bash", "-c", shell], env=daemon.environ, cwd=daemon.folder, stderr=log, pass_fds=[listening.fileno()]
        )
    daemon.process = process
    wait_until(lambda: "listening" in daemon.log_text(), "the start")
    assert os.path.exists(daemon.socket_path) == also_by_setting
    from tests.daemon import UnixConnection

    connection = UnixConnection(path)
    connection.request("GET", "/health")
    assert connection.getresponse().read()
    connection.close()
    assert daemon.stop() == 0
    assert os.path.exists(path), "what systemd made is systemd's to remove"
    listening.close()


def test_an_inherited_tcp_socket_needs_a_key(daemon):
    listening = socket.create_server(("127.0.0.1", 0))
    shell = f"exec 3<&{listening.fileno()}; export LISTEN_FDS=1 LISTEN_PID=$$; exec {sys.executable} -m tifftockd"
    refused = subprocess.run(
        ["bash", "-c", shell], env=daemon.environ, cwd=daemon.folder, pass_fds=[listening.fileno()],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    listening.close()
    assert refused.returncode == os.EX_CONFIG
    assert "API_KEY" in refused.stderr
