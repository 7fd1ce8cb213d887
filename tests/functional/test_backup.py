"""`tifftockd --backup`, a restore by the README, and a database that is damaged."""

import os
import shutil
import sqlite3
import stat
import subprocess
import threading
from contextlib import closing

import pytest

from tests.daemon import NOTE, wait_until


def rows(file):
    with closing(sqlite3.connect(file)) as database:
        return dict(database.execute("SELECT id, message FROM reminder"))


def damage(file, table="reminder_list"):
    """Overwrite the root page of an index, whose header begins with its kind of page."""
    with sqlite3.connect(file) as database:
        [(page,)] = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", [table])
        [(size,)] = database.execute("PRAGMA page_size")
    database.close()
    with open(file, "r+b") as pages:
        pages.seek((page - 1) * size)
        pages.write(b"\xff" * size)


@pytest.fixture
def stopped(daemon):
    """A daemon that has been stopped, with a reminder, and its backup."""
    daemon.start()
    made = daemon.remind(message="kept", **{"in": "1h"})
    assert daemon.command("--backup", "backup.db").returncode == 0
    assert daemon.stop() == 0
    return daemon, made


# ---- backup


def test_a_backup_is_whole_while_reminders_come_and_go(daemon):
    daemon.dropin("note.py", NOTE)
    daemon.start()
    off, made = threading.Event(), []

    def create():
        while not off.is_set():
            made.append(daemon.remind(message=f"number {len(made)}", **{"in": "1h"}))

    clients = [threading.Thread(target=create) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        for count in (20, 60, 100):
            wait_until(lambda count=count: len(made) > count, "some reminders")
            before = {one["id"] for one in made.copy()}
            done = daemon.command("--backup", "backup.db")
            assert done.returncode == 0, done.stderr
            held = rows(daemon.folder / "backup.db")
            assert set(held) >= before
            assert done.stdout == f"backup.db: {len(held)} reminders, 0 lines of history\n"
    finally:
        off.set()
        for client in clients:
            client.join()
    assert stat.S_IMODE((daemon.folder / "backup.db").stat().st_mode) == 0o600
    assert not [file for file in daemon.folder.iterdir() if ".part-" in file.name]


def test_a_backup_needs_no_running_daemon(stopped):
    daemon, made = stopped
    shutil.copy(daemon.folder / "backup.db", daemon.folder / "first.db")
    assert daemon.command("--backup", "backup.db").returncode == 0
    assert rows(daemon.folder / "backup.db") == rows(daemon.folder / "first.db") == {made["id"]: "kept"}


def test_a_backup_that_fails_says_why_and_leaves_the_one_before(stopped):
    daemon, _ = stopped
    backup = daemon.folder / "backup.db"
    content = backup.read_bytes()
    nowhere = daemon.command("--backup", "no/folder/x.db")
    assert (nowhere.returncode, "No such file or directory" in nowhere.stderr) == (os.EX_IOERR, True)
    itself = daemon.command("--backup", str(daemon.database))
    assert (itself.returncode, "name another file" in itself.stderr) == (os.EX_USAGE, True)
    damage(daemon.database)
    damaged = daemon.command("--backup", "backup.db")
    assert (damaged.returncode, "is damaged" in damaged.stderr) == (os.EX_DATAERR, True)
    daemon.database.unlink()
    none = daemon.command("--backup", "backup.db")
    assert (none.returncode, "there is no database" in none.stderr) == (os.EX_NOINPUT, True)
    assert backup.read_bytes() == content
    assert sorted(daemon.folder.glob("*.part-*")) == []


# ---- damage


def test_a_damaged_database_is_kept_aside_and_not_replaced(stopped):
    daemon, made = stopped
    damage(daemon.database)
    content = daemon.database.read_bytes()
    for _ in range(2):
        refused = daemon.command()
        assert refused.returncode == os.EX_DATAERR
        [aside] = daemon.database.parent.glob("tifftock.db.damaged-*")
        assert aside.read_bytes() == content
        for words in (str(aside), "damaged", "put a backup in its place"):
            assert words in refused.stderr
        assert not daemon.database.exists()
    shutil.copy(daemon.folder / "backup.db", daemon.database)
    daemon.start()
    assert daemon.state(made) == "pending"


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="sqlite3, the command, is not installed")
def test_what_can_still_be_read_of_a_damaged_database_is_shown_by_the_advice(stopped):
    daemon, made = stopped
    damage(daemon.database)
    advice = daemon.command().stderr.partition("read in it: ")[2].strip().strip('"')
    seen = subprocess.run(advice, shell=True, check=False, capture_output=True, text=True)
    assert f"INSERT INTO reminder VALUES({made['id']}," in seen.stdout


def test_to_begin_anew_the_damaged_one_is_moved_elsewhere(stopped):
    daemon, _ = stopped
    damage(daemon.database)
    daemon.command()
    [aside] = daemon.database.parent.glob("tifftock.db.damaged-*")
    aside.rename(daemon.folder / "elsewhere")
    daemon.start()
    assert daemon.request("GET", "/reminders").json == []
