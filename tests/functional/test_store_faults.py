"""A disk that refuses: said clearly, survived, and over when the disk has room again."""

import os
import resource
import sqlite3
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.daemon import wait_until
from tifftockd.errors import StoreError
from tifftockd.store import Store

FAR = "2030-01-01T00:00:00Z"


def limit_files(daemon, size):
    """From now on the daemon cannot make a file larger than this: its writes fail as on a full disk."""
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


# Likewise from its start on. The index of SQLite's log is as large as that, a transaction of some pages is larger.
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (32_768, resource.RLIM_INFINITY))
os.execv(sys.argv[1], sys.argv[1:])
"""


def fill(daemon):
    """Create reminders until the disk refuses; the accepted ones, and the refusal."""
    made = []
    for _ in range(5000):
        body = {"when": FAR, "message": "x" * 8000, "method": "log"}
        answer = daemon.request("POST", "/remind", body)
        if answer.status != 201:
            return made, answer
        made.append(answer.json["id"])
    raise AssertionError("the disk never refused")


def test_a_full_disk_is_said_and_survived(daemon):
    daemon.start()
    soon = daemon.remind(**{"in": "3s"})
    size = sum(file.stat().st_size for file in daemon.database.parent.iterdir())
    limit_files(daemon, size + 500_000)
    made, refusal = fill(daemon)
    assert (refusal.status, refusal.json["kind"]) == (503, "store_unavailable")
    assert refusal.headers["Retry-After"]
    limit_files(daemon, 1)
    health = daemon.request("GET", "/health")
    assert health.status == 503
    assert health.json["scheduler"] == "alive"
    assert health.json["store"] != "ok"
    assert daemon.get(f"/reminder/{made[0]}")["state"] == "pending", "what can be read is read"
    for method, body in (("DELETE", None), ("PATCH", {"message": "y"})):
        answer = daemon.request(method, f"/reminder/{made[0]}", body)
        assert answer.status == 503, answer
    # Due while nothing can be claimed: it fires when the fault is over, and not before.
    time.sleep(3)
    assert daemon.state(soon) in ("pending", "firing")
    limit_files(daemon, resource.RLIM_INFINITY)
    wait_until(lambda: daemon.request("GET", "/health").status == 200, "the recovery", patience=10)
    assert daemon.outcome(soon)["outcome"] == "delivered"
    daemon.stop()
    with sqlite3.connect(daemon.database) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = {id_ for (id_,) in database.execute("SELECT id FROM reminder")}
    database.close()
    assert set(made) <= kept


def test_a_long_list_is_read_while_the_disk_is_full(daemon):
    daemon.start()
    body = [{"when": FAR, "message": "x" * 8000, "method": "log"}] * 400
    assert daemon.request("POST", "/reminders", body).status == 201
    limit_files(daemon, 1)
    # More than a socket takes at once
    assert len(daemon.get("/reminders")) == len(body)


def test_an_outcome_that_cannot_be_written_is_written_later_and_nothing_runs_twice(daemon, tmp_path):
    daemon.start()
    note = tmp_path / "note"
    made = daemon.remind(method="note", options={"file": str(note), "sleep": 1})
    wait_until(note.exists, "the attempt")
    limit_files(daemon, 1)
    wait_until(lambda: daemon.request("GET", "/health").status == 503, "the fault")
    time.sleep(1)
    limit_files(daemon, resource.RLIM_INFINITY)
    assert daemon.outcome(made)["outcome"] == "delivered"
    assert len(note.read_text().splitlines()) == 1


def test_a_lock_that_somebody_holds_for_long_is_survived_and_no_queue_grows_behind_it(daemon):
    daemon.start()
    body = {"when": FAR, "message": "x", "method": "log"}
    holder = sqlite3.connect(daemon.database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor() as pool:
        # One has the store's thread, and the other is the first in the queue.
        waiting = [pool.submit(daemon.request, "POST", "/remind", body) for _ in range(2)]
        # It is taken for behind after a second; they are told that the store is locked after five.
        time.sleep(3)
        refused = daemon.request("POST", "/remind", body)
        assert (refused.status, refused.json["kind"], refused.headers["Retry-After"]) == (503, "overloaded", "1")
        assert not any(one.done() for one in waiting), "it waited behind them"
        answers = [one.result() for one in waiting]
    assert {(answer.status, answer.json["kind"]) for answer in answers} == {(503, "store_unavailable")}
    assert all("locked" in answer.json["error"] for answer in answers)
    assert daemon.get("/reminders") == [], "what can be read is read"
    holder.execute("ROLLBACK")
    holder.close()
    wait_until(lambda: daemon.request("GET", "/health").status == 200, "the recovery", patience=10)
    assert daemon.outcome(daemon.remind())["outcome"] == "delivered"


@pytest.mark.parametrize("put_there", [None, b"", b"something else"])
def test_a_log_that_is_deleted_under_the_daemon_is_noticed_and_nothing_accepted_is_lost(daemon, put_there):
    daemon.start()
    made = [daemon.remind(when=FAR)["id"]]
    # Beside whom the daemon's is not the last connection, which SQLite copies the log for by itself.
    shell = sqlite3.connect(daemon.database)
    assert shell.execute("SELECT count(*) FROM reminder").fetchone() == (1,)
    log = daemon.database.with_name("tifftock.db-wal")
    log.unlink()
    if put_there is not None:
        log.write_bytes(put_there)
    refusal = daemon.request("POST", "/remind", {"when": FAR, "message": "x", "method": "log"})
    assert refusal.status == 503
    assert refusal.json["kind"] == "store_unavailable"
    assert "tifftock.db-wal was deleted or replaced" in refusal.json["error"]
    wait_until(lambda: "store-recovered" in daemon.log_text(), "the recovery")
    assert daemon.log_text().count("store-fault") == 1
    assert daemon.get("/health")["store"] == "ok"
    made.append(daemon.remind(when=FAR)["id"])
    shell.close()
    daemon.kill()
    daemon.start()
    assert [one["id"] for one in daemon.get("/reminders")] == made


def test_a_lost_log_is_kept_open_until_all_of_it_can_be_saved(daemon):
    daemon.start()
    made = [daemon.remind(when=FAR)["id"]]
    reader = sqlite3.connect(daemon.database, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM reminder").fetchone()
    made.append(daemon.remind(when=FAR)["id"])
    daemon.database.with_name("tifftock.db-wal").unlink()
    body = {"when": FAR, "message": "x", "method": "log"}
    assert daemon.request("POST", "/remind", body).status == 503
    assert "store-recovered" not in daemon.log_text()
    reader.execute("COMMIT")
    wait_until(lambda: daemon.request("GET", "/health").status == 200, "the recovery", patience=10)
    # Not before: it would copy the log itself, were it the last that has it open.
    reader.close()
    daemon.kill()
    daemon.start()
    assert [one["id"] for one in daemon.get("/reminders")] == made


def test_a_database_that_is_deleted_under_the_daemon_is_not_taken_for_an_empty_one(daemon):
    daemon.start()
    made = daemon.remind(when=FAR)
    for suffix in ("", "-wal", "-shm"):
        daemon.database.with_name(f"tifftock.db{suffix}").unlink()
    refusal = daemon.request("POST", "/remind", {"when": FAR, "message": "x", "method": "log"})
    assert refusal.status == 503
    assert "tifftock.db was deleted or replaced" in refusal.json["error"]
    health = daemon.request("GET", "/health")
    assert (health.status, health.json["store"]) == (503, refusal.json["error"].partition(": ")[2])
    assert daemon.get(f"/reminder/{made['id']}")["state"] == "pending", "what can be read is read"
    assert not daemon.database.exists()


def test_a_start_is_not_held_up_by_a_disk_that_refuses_to_clean(daemon):
    daemon.start()
    for _ in range(20):
        daemon.remind(message="x" * 3000)
    wait_until(lambda: daemon.get("/health")["counts"]["history"] == 20, "the deliveries")
    daemon.stop()
    (daemon.folder / "log").unlink()
    # The first write is the cleaning.
    daemon.settings["HISTORY_MAX"] = "1"
    daemon.prefix = (sys.executable, "-c", LIMITED)
    daemon.start(wait=False)
    wait_until(lambda: "store-fault" in daemon.log_text(), "the fault")
    wait_until(lambda: " listening " in daemon.log_text(), "the start", patience=10)
    limit_files(daemon, resource.RLIM_INFINITY)
    wait_until(lambda: daemon.request("GET", "/health").status == 200, "its health", patience=10)
    assert daemon.outcome(daemon.remind())["outcome"] == "delivered"


def test_an_sqlite_that_is_too_old_is_named_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    path = tmp_path / "state" / "t.db"
    with pytest.raises(StoreError, match=r"is 3\.34\.1: it must be 3\.37 or newer$") as refused:
        Store(f"sqlite:///{path}", path).open()
    assert (refused.value.exit_code, list(tmp_path.iterdir())) == (os.EX_CONFIG, [])
