"""What could leave a reminder stuck: each of these once did."""

import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from tests.daemon import PATIENCE, wait_until
from tests.functional.test_firing import lines
from tests.functional.test_lifecycle import descendants
from tests.unit.test_settling import CLAIMED
from tifftockd.executor.claims import Claims

FAILS_ONCE = """
import os
from tifftockd import RemindProcess

class FailsOnce(RemindProcess):
    def remind(self, message):
        if self.attempt == 1:
            raise ValueError
"""


# The daemon starts it with signals blocked.
PARENT = """
import os, signal, sys
from tifftockd.worker.parent import main

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
os.kill(os.getpid(), signal.SIGTERM)
main(int(sys.argv[1]))
"""


def settled(daemon):
    counts = daemon.get("/health")["counts"]
    return counts["pending"] + counts["firing"] == 0


def test_a_retry_that_is_due_when_its_failure_is_settled_is_not_forgotten(daemon):
    daemon.settings["RETRY_DELAY"] = "1ms"
    daemon.dropin("failsonce.py", FAILS_ONCE)
    daemon.start()
    for _ in range(60):
        daemon.remind(method="failsonce")
    wait_until(lambda: settled(daemon), "all outcomes")
    assert [entry["outcome"] for entry in daemon.get("/history?limit=1000")].count("delivered") == 60


def test_a_template_that_dies_with_work_queued_is_replaced(daemon, tmp_path):
    note = tmp_path / "note"
    daemon.start()
    for _ in range(20):
        daemon.remind(method="note", options={"file": str(note), "sleep": 0.05})
    wait_until(lambda: lines(note), "the first attempts")
    worker = descendants(daemon.process.pid)[-1]
    template = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(template, signal.SIGKILL)
    daemon.remind(method="note", options={"file": str(note)})
    wait_until(lambda: lines(note) and daemon.get("/health")["counts"]["firing"] == 0, "an end of each attempt")
    assert daemon.outcome(daemon.remind(method="note", options={"file": str(note)}))["outcome"] == "delivered"


def test_a_parent_process_that_is_told_to_end_while_it_starts_goes_on():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    with theirs:
        command = [sys.executable, "-c", PARENT, str(theirs.fileno())]
        done = subprocess.run(command, pass_fds=[theirs.fileno()], timeout=PATIENCE, check=False)
    assert done.returncode == 0


def test_a_worker_that_no_descriptor_was_left_for_is_started_when_there_are_some(daemon):
    daemon.start()
    made = daemon.remind(**{"in": 3})
    limits = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (8, limits[1]))
    due = datetime.fromisoformat(made["when"]).timestamp()
    wait_until(lambda: time.time() > due + 0.3, "its time")
    assert "Too many open files" in daemon.log_text()
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, limits)
    assert daemon.outcome(made)["outcome"] == "delivered"


def test_bytes_that_are_no_text_stop_nothing_else(daemon):
    daemon.start()
    told = daemon.remind(message="old")
    daemon.outcome(told)
    bad, unknown_zone = (daemon.remind(tz="Europe/Berlin", **{"in": "1h"}) for _ in range(2))
    daemon.stop()
    database = sqlite3.connect(daemon.database)
    with database:
        database.execute("UPDATE reminder SET fire_at = fire_at - 3600000000, due = due - 3600000000")
        database.execute("UPDATE reminder SET method = CAST(x'fe' AS TEXT) WHERE id = ?", (bad["id"],))
        database.execute("UPDATE reminder SET tz = 'Mars/Olympus' WHERE id = ?", (unknown_zone["id"],))
        database.execute("UPDATE history SET message = CAST(x'ff' AS TEXT)")
    database.close()
    daemon.start()
    assert daemon.outcome(unknown_zone)["outcome"] == "delivered"
    assert daemon.outcome(daemon.remind())["outcome"] == "delivered"
    assert "cannot be read" in daemon.history(told)[0]["error"]
    assert "cannot be read" in daemon.get(f"/reminder/{bad['id']}")["last_error"]
    # Nor is it written over by what stands in for it.
    for asked in (("PATCH", "", {"in": "2h"}), ("PATCH", "", {"message": "x"}), ("POST", "/snooze", {"in": 1})):
        refused = daemon.request(asked[0], f"/reminder/{bad['id']}{asked[1]}", asked[2])
        assert (refused.status, refused.json["kind"]) == (409, "misfit")
    with closing(sqlite3.connect(daemon.database)) as database:
        kept = database.execute("SELECT message FROM reminder WHERE id = ?", (bad["id"],)).fetchall()
    assert kept == [("test",)]
    assert daemon.request("DELETE", f"/reminder/{bad['id']}").status == 204
    assert daemon.history(bad)[-1]["outcome"] == "cancelled"


@pytest.mark.parametrize("asked", ["", "&owner=me", "&method=log"])
def test_a_list_goes_on_behind_a_row_that_cannot_be_read(daemon, asked):
    daemon.start()
    made = [daemon.remind(**{"in": 3600 + n})["id"] for n in range(5)]
    with closing(sqlite3.connect(daemon.database)) as database, database:
        database.execute("UPDATE reminder SET message = CAST(x'ff' AS TEXT) WHERE id IN (?, ?)", made[1:3])
    listed, path = [], f"/reminders?limit=1{asked}"
    while path is not None and len(listed) < 20:
        answer = daemon.request("GET", path)
        listed += [one["id"] for one in answer.json]
        link = re.match("<(.+)>", answer.headers["Link"] or "")
        path = link and link[1]
    assert listed == made


def test_the_history_tells_of_what_was_attempted_whatever_has_become_of_the_row(daemon, tmp_path):
    note = tmp_path / "note"
    daemon.start()
    changed, dropped = (
        daemon.remind(method="note", message="told", options={"file": str(note), "sleep": 1}) for _ in range(2)
    )
    wait_until(lambda: len(lines(note)) == 2, "the attempts")
    database = sqlite3.connect(daemon.database)
    with database:
        database.execute("UPDATE reminder SET message = CAST(x'ff' AS TEXT) WHERE id = ?", (changed["id"],))
        database.execute("DELETE FROM reminder WHERE id = ?", (dropped["id"],))
    database.close()
    for one in (changed, dropped):
        entry = daemon.outcome(one)
        assert (entry["outcome"], entry["message"]) == ("delivered", "told")


def test_a_locked_database_is_said_at_the_start(daemon):
    daemon.start()
    daemon.stop()
    holder = sqlite3.connect(daemon.database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    refused = daemon.command()
    holder.close()
    assert refused.returncode == os.EX_IOERR
    assert "database is locked" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_claim_is_recalled_once_and_a_later_one_of_its_reminder_stays():
    queued = []
    claims = Claims(queued.extend)
    claims.hold([CLAIMED])
    claims.begin([CLAIMED])
    assert claims.recall_all() == [CLAIMED]
    again = claims.recall(CLAIMED.id)
    again.undo()
    assert len(queued) == 1, "what is being given back is not queued again"
    later = CLAIMED._replace()
    claims.hold([later])
    claims.forget([CLAIMED])
    claims.begin([later])
    assert [claim.reminder for claim in queued][-1] is later
