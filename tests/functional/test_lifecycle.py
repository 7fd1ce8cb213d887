"""Start, stop, crash, reload: nothing that was accepted is lost, and what ran twice is explained."""

import errno
import os
import re
import signal
import sqlite3
import subprocess
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.daemon import NOTE, PATIENCE, Daemon, wait_until
from tests.functional.test_firing import alive, lines
from tests.unit.test_settling import CLAIMED
from tifftockd import clock
from tifftockd.config import load_config
from tifftockd.executor import Executor, generation, starter
from tifftockd.worker.kin import children

LAMP = "from tifftockd import RemindProcess\nclass Lamp(RemindProcess):\n def remind(self, message): 0\n"


def descendants(pid):
    """All living processes below one."""
    found = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/children") as listing:
            for child in map(int, listing.read().split()):
                found += [child, *descendants(child)]
    return found


# ---- the command


def test_version_and_usage(daemon):
    assert daemon.command("--version").stdout.startswith("tifftockd ")
    bad = daemon.command("--nonsense")
    assert (bad.returncode, "--nonsense" in bad.stderr) == (os.EX_USAGE, True)


def test_check_lists_the_methods_and_names_a_broken_dropin(daemon):
    good = daemon.command("--check")
    assert good.returncode == 0, good.stderr
    assert "method note" in good.stdout
    file = daemon.dropin("broken.py", "import nothing_of_that_name\n")
    bad = daemon.command("--check")
    assert bad.returncode == os.EX_CONFIG
    assert f"{file}: line 1: ModuleNotFoundError" in bad.stderr
    assert "method note" in bad.stdout


def test_a_misspelled_setting_is_told_by_check_at_the_start_and_at_a_reload(daemon):
    file = daemon.folder / "x.env"
    file.write_text("RETRYS=3\n")
    told = f"{file}, line 1: there is no setting RETRYS; is RETRIES meant?"
    checked = daemon.command("--env-file", file, "--check")
    assert checked.returncode == 0
    assert told in checked.stderr.splitlines()
    daemon.start("--env-file", file)
    file.write_text("\nRETRYS=3\n")
    daemon.reload()
    lines = [line for line in daemon.log_text().splitlines() if "setting-unknown" in line]
    assert [told in lines[0], told.replace("line 1", "line 2") in lines[1]] == [True, True]


def test_check_says_where_handlers_are_looked_for_and_that_there_is_no_such_folder(daemon):
    assert f"handlers: {daemon.handlers_dir}\n" in daemon.command("--check").stdout
    daemon.settings["HANDLERS_DIR"] = str(daemon.folder / "none")
    assert f"handlers: {daemon.folder}/none (no such folder)\n" in daemon.command("--check").stdout


def test_check_does_not_need_the_database(daemon):
    daemon.start()
    assert daemon.command("--check").returncode == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"RETRIES": "many"}, ["RETRIES", "many"]),
        ({"API_URL": "http://127.0.0.1:0"}, ["API_URL", "API_KEY", "secrets.token_hex"]),
        ({"DATABASE_URL": "sqlite://"}, ["DATABASE_URL"]),
        ({"TZ": "Mars/Olympus"}, ["TZ", "Mars/Olympus"]),
    ],
)
def test_a_bad_setting_stops_the_start_and_is_named(daemon, settings, words):
    daemon.settings |= settings
    refused = daemon.command()
    assert refused.returncode == os.EX_CONFIG
    [line] = refused.stderr.splitlines()
    assert all(word in line for word in words), line


def test_a_bad_line_of_the_file_is_named(daemon):
    (daemon.folder / ".env").write_text("RETRIES=3\nthis is no setting\n")
    refused = daemon.command()
    assert refused.returncode == os.EX_CONFIG
    assert ".env" in refused.stderr
    assert "line 2" in refused.stderr


# ---- one daemon, one database


def test_a_second_daemon_is_told_who_has_the_database(daemon):
    daemon.start()
    refused = daemon.command()
    assert refused.returncode == os.EX_TEMPFAIL
    assert f"pid {daemon.process.pid}" in refused.stderr
    assert daemon.get("/health")["status"] == "ok"


def test_a_live_socket_is_never_taken(daemon, tmp_path_factory):
    daemon.start()
    other = Daemon(tmp_path_factory.mktemp("other"), {"API_URL": f"unix:{daemon.socket_path}"}).prepare()
    refused = other.command()
    assert refused.returncode == os.EX_UNAVAILABLE
    assert f"pid {daemon.process.pid}" in refused.stderr
    assert daemon.get("/health")["status"] == "ok"


@pytest.mark.parametrize("name", ["x%41.db", "a%41b/x.db", "100%/x.db", "a b+c&d#e;f:g@h=i[1]ä/x.db"])
def test_the_database_is_where_the_setting_says_to_the_letter(daemon, name):
    place = daemon.folder / "there"
    database = place / name
    daemon.settings["DATABASE_URL"] = f"sqlite:///{database}"
    daemon.start()
    daemon.remind(**{"in": "1h"})
    assert {file for file in place.rglob("*") if file.is_file()} == {
        database.with_name(f"{database.name}{suffix}") for suffix in ("", "-wal", "-shm", ".lock")
    }
    assert daemon.command("--backup", "backup.db").returncode == 0
    with closing(sqlite3.connect(daemon.folder / "backup.db")) as backup:
        assert backup.execute("SELECT count(*) FROM reminder").fetchone() == (1,)


def test_a_newer_database_is_refused_and_left_as_it_is(daemon):
    daemon.start()
    daemon.stop()
    with sqlite3.connect(daemon.database) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    before = daemon.database.read_bytes()
    refused = daemon.command()
    assert refused.returncode == os.EX_CONFIG
    assert "newer" in refused.stderr
    assert daemon.database.read_bytes() == before


def test_somebody_elses_database_is_refused(daemon):
    daemon.database.parent.mkdir()
    with sqlite3.connect(daemon.database) as database:
        database.execute("CREATE TABLE reminder (id INTEGER)")
    database.close()
    refused = daemon.command()
    assert refused.returncode == os.EX_CONFIG
    assert "not a database of tifftockd" in refused.stderr


def test_a_file_that_is_no_database_is_refused(daemon):
    daemon.database.parent.mkdir()
    daemon.database.write_bytes(b"garbage " * 1000)
    refused = daemon.command()
    assert refused.returncode == os.EX_DATAERR
    assert str(daemon.database) in refused.stderr
    assert daemon.database.read_bytes() == b"garbage " * 1000


def test_the_files_are_private_and_the_socket_is_for_the_group(daemon):
    daemon.start()
    modes = {file.name: file.stat().st_mode & 0o777 for file in daemon.database.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert os.stat(daemon.socket_path).st_mode & 0o777 == 0o660


# ---- stop and crash


def test_what_is_pending_survives_a_stop_and_fires_after_the_start(daemon, tmp_path):
    daemon.start()
    note = tmp_path / "note"
    made = daemon.remind(method="note", options={"file": str(note)}, **{"in": "1s"})
    later = daemon.remind(**{"in": "1h"})
    assert daemon.stop() == 0
    time.sleep(max(0, made_due(made) - time.time()))
    assert lines(note) == []
    daemon.start()
    assert daemon.outcome(made)["outcome"] == "delivered"
    assert len(lines(note)) == 1
    assert daemon.state(later) == "pending"


def made_due(made):
    from datetime import datetime

    return datetime.fromisoformat(made["when"]).timestamp()


def test_a_stop_lets_a_running_attempt_end(daemon, tmp_path):
    daemon.start()
    note = tmp_path / "note"
    made = daemon.remind(method="note", options={"file": str(note), "sleep": 1})
    wait_until(lambda: lines(note), "the attempt")
    assert daemon.stop() == 0
    daemon.start()
    [entry] = daemon.history(made)
    assert entry["outcome"] == "delivered"
    assert len(lines(note)) == 1


def test_a_stop_gives_back_what_no_worker_has_begun(daemon, tmp_path):
    daemon.settings["HANDLER_CONCURRENCY"] = "1"
    daemon.start()
    note = tmp_path / "note"
    made = [daemon.remind(method="note", options={"file": str(note), "sleep": 0.5}) for _ in range(4)]
    wait_until(lambda: lines(note), "the first attempt")
    assert daemon.stop() == 0
    done = {id_ for id_, *_ in lines(note)}
    assert len(done) < 4
    daemon.start()
    for one in made:
        entry = daemon.outcome(one)
        assert (entry["outcome"], entry["attempt"]) == ("delivered", 1)
    assert sorted(id_ for id_, *_ in lines(note)) == sorted(one["id"] for one in made)


@pytest.mark.parametrize(
    ("method", "outcomes", "attempts"), [("note", ["interrupted", "delivered"], 2), ("once", ["uncertain"], 1)]
)
def test_a_crash_during_an_attempt_is_explained(daemon, tmp_path, method, outcomes, attempts):
    daemon.start()
    note, options = tmp_path / "note", {"file": str(tmp_path / "note"), "sleep": 1}
    made = daemon.remind(method=method, options=options, retries=0)
    wait_until(lambda: lines(note), "the attempt")
    below = descendants(daemon.process.pid)
    assert below
    daemon.kill()
    for pid in below:
        wait_until(lambda pid=pid: not alive(pid), f"the end of process {pid}")
    daemon.start()
    daemon.outcome(made, len(outcomes))
    history = daemon.history(made)
    assert [entry["outcome"] for entry in history] == outcomes
    assert "died during it" in history[0]["error"]
    assert history[0]["started"] >= history[0]["due"]
    assert len(lines(note)) == attempts
    assert len({key for _, _, key, *_ in lines(note)}) == 1
    assert daemon.state(made) == (None if outcomes[-1] == "delivered" else "uncertain")


def test_the_workers_parent_may_die(daemon, tmp_path):
    daemon.start()
    note = tmp_path / "note"
    made = daemon.remind(method="note", options={"file": str(note), "sleep": 600}, retries=0)
    wait_until(lambda: lines(note), "the attempt")
    parent = min(descendants(daemon.process.pid))
    os.kill(parent, signal.SIGKILL)
    assert daemon.outcome(made)["outcome"] == "failed"
    assert daemon.outcome(daemon.remind())["outcome"] == "delivered"
    assert daemon.outcome(daemon.remind(method="note", options={"file": str(note)}))["outcome"] == "delivered"


def test_what_came_due_while_the_daemon_was_down_is_too_late_after_max_late(daemon):
    daemon.start()
    missed = daemon.remind(max_late="1s", **{"in": "500ms"})
    fires = daemon.remind(max_late="1h", **{"in": "500ms"})
    daemon.kill()
    time.sleep(max(0, made_due(missed) + 1.1 - time.time()))
    daemon.start()
    assert daemon.outcome(missed)["outcome"] == "missed"
    assert daemon.state(missed) == "missed"
    assert daemon.outcome(fires)["outcome"] == "delivered"
    summary = re.compile(r"outage seconds=\d+ latest_seconds=\d delivered=1 missed=1$", re.MULTILINE)
    wait_until(lambda: summary.search(daemon.log_text()), "the summary of the outage")
    again = daemon.request("PATCH", f"/reminder/{missed['id']}", {}).json
    assert (again["state"], again["attempts"]) == ("pending", 0)
    assert again["key"] != missed["key"]
    assert daemon.outcome(missed, 2)["outcome"] == "delivered"


# ---- drop-ins and reload


def test_a_reload_takes_up_a_new_dropin_and_new_settings(daemon):
    daemon.start()
    daemon.dropin(
        "lamp.py", "from tifftockd import RemindProcess\nclass Lamp(RemindProcess):\n def remind(self, m): 0\n"
    )
    refused = daemon.request("POST", "/remind", {"in": 0, "message": "x", "method": "lamp"})
    assert (refused.status, refused.json["kind"]) == (400, "unknown_method")
    (daemon.folder / ".env").write_text("RETRIES=7\n")
    daemon.reload()
    made = daemon.remind(method="lamp")
    assert made["retries"] == 7
    assert daemon.outcome(made)["outcome"] == "delivered"


def test_a_reload_with_a_bad_setting_keeps_the_old_ones(daemon):
    daemon.start()
    (daemon.folder / ".env").write_text("RETRIES=7\nMAX_LATE=soon\n")
    daemon.reload()
    assert "MAX_LATE" in daemon.log_text()
    made = daemon.remind()
    assert made["retries"] == 5
    assert daemon.outcome(made)["outcome"] == "delivered"


def test_the_log_tells_what_becomes_of_a_reminder(daemon):
    daemon.start()
    made = daemon.remind(when="2090-01-01T00:00:00Z", message="a private matter")
    who = f"reminder={made['id']} method=log"
    wait_until(lambda: f"created {who} due=2090-01-01T" in daemon.log_text(), "the first line")
    daemon.request("PATCH", f"/reminder/{made['id']}", {"when": "2091-01-01T00:00:00Z"})
    wait_until(lambda: f"changed {who} due=2091-01-01T" in daemon.log_text(), "the second line")
    daemon.request("DELETE", f"/reminder/{made['id']}")
    wait_until(lambda: f"cancelled {who}" in daemon.log_text(), "the last line")
    assert "private" not in daemon.log_text()


def test_a_reload_lets_running_attempts_end_in_the_old_workers(daemon, tmp_path):
    daemon.start()
    note = tmp_path / "note"
    slow = daemon.remind(method="note", options={"file": str(note), "sleep": 2}, retries=0)
    wait_until(lambda: lines(note), "the attempt")
    old = set(descendants(daemon.process.pid))
    daemon.reload()
    due = daemon.remind()
    assert daemon.outcome(due)["outcome"] == "delivered"
    assert daemon.outcome(slow)["outcome"] == "delivered"
    for pid in old:
        wait_until(lambda pid=pid: not alive(pid), f"the end of the old process {pid}")


def test_reminders_fire_in_time_while_a_reload_goes_on(daemon, tmp_path):
    daemon.start()
    note = tmp_path / "note"
    start = time.time() + 0.5
    made = [daemon.remind(method="note", when=f"@{start + n / 20:.3f}", options={"file": str(note)}) for n in range(40)]
    for _ in range(3):
        daemon.reload()
    for one in made:
        assert daemon.outcome(one)["outcome"] == "delivered"
    assert sorted(id_ for id_, *_ in lines(note)) == [one["id"] for one in made]


def test_a_dropin_that_breaks_stays_as_it_was_until_it_is_mended(daemon, tmp_path):
    daemon.start()
    file = daemon.dropin("note.py", NOTE + "boom(\n")
    daemon.dropin("lamp.py", LAMP)
    daemon.reload()
    [failure] = daemon.get("/handlers")["failures"]
    assert failure["file"] == str(file)
    assert "the version before it stays in use" in failure["error"]
    assert daemon.outcome(daemon.remind(method="note", options={"file": "/dev/null"}))["outcome"] == "delivered"
    assert daemon.outcome(daemon.remind(method="lamp"))["outcome"] == "delivered"
    daemon.reload()
    assert daemon.outcome(daemon.remind(method="note", options={"file": "/dev/null"}))["outcome"] == "delivered"
    file.unlink()
    daemon.reload()
    assert daemon.request("POST", "/remind", {"in": 0, "message": "x", "method": "note"}).status == 400


def test_broken_dropins_are_reported_and_stop_nothing_else(daemon):
    daemon.dropin("a_syntax.py", "def\n")
    daemon.dropin("b_exit.py", "import sys; sys.exit(3)\n")
    daemon.dropin("c_empty.py", "")
    daemon.dropin("d_crash.py", "import os; os.kill(os.getpid(), 11)\n")
    daemon.dropin("e_latin.py", "# \xe9\n".encode("latin-1").decode("latin-1")).write_bytes(b"x = '\xe9'\n")
    daemon.dropin("f_writable.py", NOTE, mode=0o666)
    daemon.dropin("n_twin.py", NOTE.replace('"once"', '"twice"'))
    daemon.start()
    wait_until(lambda: not daemon.get("/handlers")["loading"], "the drop-ins")
    failures = {failure["file"].rpartition("/")[2]: failure["error"] for failure in daemon.get("/handlers")["failures"]}
    assert "line 1" in failures["a_syntax.py"]
    assert "SystemExit" in failures["b_exit.py"]
    assert "no subclass" in failures["c_empty.py"]
    assert "SIGSEGV" in failures["d_crash.py"]
    assert "chmod go-w" in failures["f_writable.py"]
    assert "already defined" in failures["note.py"] or "already defined" in failures["n_twin.py"]
    assert set(failures) >= {"e_latin.py"}
    methods = {method["method"] for method in daemon.get("/handlers")["methods"]}
    assert methods >= {"note", "once", "twice", "log", "email", "sms", "api"}
    assert daemon.outcome(daemon.remind())["outcome"] == "delivered"


def test_a_slow_import_is_waited_for_by_those_that_name_its_method_and_by_nobody_else(daemon):
    daemon.dropin(
        "slow.py",
        "import time; time.sleep(3)\nfrom tifftockd import RemindProcess\n"
        "class Slow(RemindProcess):\n def remind(self, message): pass\n",
    )
    daemon.start()
    assert daemon.get("/handlers")["loading"]
    assert daemon.outcome(daemon.remind())["outcome"] == "delivered"
    assert daemon.outcome(daemon.remind(method="note", options={"file": "/dev/null"}))["outcome"] == "delivered"
    assert daemon.get("/handlers")["loading"]
    made = daemon.remind(method="slow")
    assert daemon.outcome(made)["outcome"] == "delivered"


def test_an_import_that_took_too_long_is_tried_again_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "_LOAD", 1.0)
    monkeypatch.setattr(generation, "_AGAIN", 0.1)
    quick = tmp_path / "quick"
    waits = f"import os, time\nif not os.path.exists({str(quick)!r}): time.sleep(600)\n"
    (tmp_path / "lamp.py").write_text(waits + LAMP)
    executor = Executor(load_config({"HANDLERS_DIR": str(tmp_path)}), lambda: None)
    executor.start()
    try:
        [(file, error)] = wait_until(executor.registry.failures, "the failure")
        assert (file, error) == (str(tmp_path / "lamp.py"), "its import took longer than 1 s")
        assert not executor.has("lamp")
        quick.touch()
        wait_until(lambda: executor.has("lamp"), "the next try")
        assert not executor.registry.failures()
        held = [file.readlink().name for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
        assert sum("tifftockd-dropin" in name for name in held) == 1, "each try's text is given back"
    finally:
        executor.stop(0)


def test_a_new_version_that_took_too_long_is_tried_again_while_the_old_one_is_in_use(tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "_LOAD", 3.0)
    monkeypatch.setattr(generation, "_AGAIN", 0.1)
    file, quick = tmp_path / "lamp.py", tmp_path / "quick"
    file.write_text(LAMP)
    config = load_config({"HANDLERS_DIR": str(tmp_path)})
    executor = Executor(config, lambda: None)
    executor.start()
    try:
        wait_until(lambda: executor.has("lamp"), "the method")
        waits = f"import os, time\nif not os.path.exists({str(quick)!r}): time.sleep(600)\n"
        file.write_text(f"{waits}{LAMP} timeout = 7\n")
        executor.reload(config)
        assert "the version before it stays in use" in executor.registry.failures()[0][1]
        assert executor.registry.get("lamp").timeout is None
        quick.touch()
        wait_until(lambda: executor.registry.get("lamp").timeout == 7 * clock.SECOND, "the new version")
        assert not executor.registry.failures()
    finally:
        executor.stop(0)


def test_a_new_version_that_is_late_and_lacks_a_method_waits_for_a_reload(tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "_LOAD", 3.0)
    monkeypatch.setattr(generation, "_AGAIN", 0.1)
    file, quick = tmp_path / "lamp.py", tmp_path / "quick"
    file.write_text(LAMP + LAMP.replace("Lamp", "Moon"))
    config = load_config({"HANDLERS_DIR": str(tmp_path)})
    executor = Executor(config, lambda: None)
    executor.start()
    try:
        wait_until(lambda: executor.has("moon"), "both methods")
        waits = f"import os, time\nif not os.path.exists({str(quick)!r}): time.sleep(600)\n"
        file.write_text(waits + LAMP)
        executor.reload(config)
        quick.touch()
        wait_until(lambda: len(executor.registry.failures()) == 2, "the next try")
        assert "has no method moon: reload to use it" in executor.registry.failures()[1][1]
        assert executor.has("moon")
        monkeypatch.undo()
        executor.reload(config)
        assert not executor.registry.failures()
        assert not executor.has("moon")
    finally:
        executor.stop(0)


def test_a_file_that_is_as_it_was_and_cannot_be_imported_at_a_reload_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "_AGAIN", 0.1)
    needed = tmp_path / "lamp.conf"
    needed.touch()
    (tmp_path / "lamp.py").write_text(f"open({str(needed)!r})\n{LAMP}")
    config = load_config({"HANDLERS_DIR": str(tmp_path)})
    executor = Executor(config, lambda: None)
    executor.start()
    try:
        wait_until(lambda: executor.has("lamp"), "the method")
        needed.unlink()
        executor.reload(config)
        executor.reload(config)
        assert "No such file" in executor.registry.failures()[0][1]
        assert not executor.has("lamp")
        needed.touch()
        wait_until(lambda: executor.has("lamp"), "the next try")
        assert not executor.registry.failures()
    finally:
        executor.stop(0)


def test_an_import_that_a_reload_has_overtaken_is_not_told_to_have_failed(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(generation, "_LOAD", 1.0)
    begun = tmp_path / "begun"
    waits = f"import os, time\nif not os.path.exists({str(begun)!r}): open({str(begun)!r}, 'w'); time.sleep(600)\n"
    (tmp_path / "lamp.py").write_text(waits + LAMP)
    config = load_config({"HANDLERS_DIR": str(tmp_path)})
    executor = Executor(config, lambda: None)
    executor.start()
    try:
        wait_until(begun.exists, "the first import")
        monkeypatch.undo()
        executor.reload(config)
        assert executor.has("lamp")
        time.sleep(1.2)
        assert "dropin-failed" not in capfd.readouterr().err
    finally:
        executor.stop(0)


@pytest.mark.parametrize(("where", "what"), [(subprocess, "Popen"), (os, "memfd_create")])
def test_imports_that_cannot_be_begun_are_tried_again_and_hold_up_no_others(tmp_path, monkeypatch, where, what):
    monkeypatch.setattr(generation, "_AGAIN", 0.1)
    start, refused = getattr(where, what), []

    def refuse_once(*arguments, **options):
        if not refused:
            refused.append(True)
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return start(*arguments, **options)

    monkeypatch.setattr(where, what, refuse_once)
    for name in ("lamp", "moon"):
        (tmp_path / f"{name}.py").write_text(LAMP.replace("Lamp", name))
    executor = Executor(load_config({"HANDLERS_DIR": str(tmp_path)}), lambda: None)
    executor.start()
    try:
        wait_until(lambda: executor.has("lamp") and executor.has("moon"), "both methods")
        assert refused
        assert not executor.registry.loading
        assert not executor.registry.failures()
    finally:
        executor.stop(0)


def test_an_import_that_ended_with_the_process_that_forks_them_all_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "_AGAIN", 0.1)
    flag = tmp_path / "flag"
    kill = f"import os\nif not os.path.exists({str(flag)!r}):\n open({str(flag)!r}, 'w')\n os.kill(os.getppid(), 9)\n"
    (tmp_path / "lamp.py").write_text(f"import time\ntime.sleep(0.5)\n{LAMP}")
    (tmp_path / "moon.py").write_text(kill + LAMP.replace("Lamp", "Moon"))
    executor = Executor(load_config({"HANDLERS_DIR": str(tmp_path)}), lambda: None)
    executor.start()
    try:
        wait_until(lambda: executor.has("lamp") and executor.has("moon"), "both methods")
        assert not executor.registry.failures()
    finally:
        executor.stop(0)


def test_a_method_that_is_loaded_after_the_start_is_told_of_when_it_can_be_used(tmp_path):
    (tmp_path / "lamp.py").write_text(LAMP)
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(600)\n")
    told = []
    executor = Executor(load_config({"HANDLERS_DIR": str(tmp_path)}), lambda: told.append(executor.has("lamp")))
    executor.start()
    try:
        # The scheduler looks, and else sleeps on; well before all have been loaded, when it is told again.
        wait_until(lambda: any(told), "the telling", patience=5)
    finally:
        executor.stop(0)


def test_what_an_import_has_said_is_told_also_where_its_end_is_heard_of_first(tmp_path, monkeypatch):
    def load(template, hello, died):
        template._loop.call(lambda: (died(1 << 8), hello({"error": "the lamp is broken"})))

    monkeypatch.setattr(generation.Template, "load", load)
    (tmp_path / "lamp.py").write_text(LAMP)
    executor = Executor(load_config({"HANDLERS_DIR": str(tmp_path)}), lambda: None)
    executor.start()
    try:
        assert executor.registry.wait(PATIENCE)
        assert executor.registry.failures() == [(str(tmp_path / "lamp.py"), "the lamp is broken")]
    finally:
        executor.stop(0)


def test_a_module_that_cannot_be_loaded_again_is_why_no_worker_can_be_started(tmp_path, monkeypatch):
    monkeypatch.setattr(starter, "PAUSE", 0.01)
    flag = tmp_path / "flag"
    once = f"import os\nif os.path.exists({str(flag)!r}):\n raise ValueError('the lamp is broken')\n"
    (tmp_path / "lamp.py").write_text(f"{once}open({str(flag)!r}, 'w')\n{LAMP}")
    executor = Executor(load_config({"HANDLERS_DIR": str(tmp_path)}), lambda: None)
    executor.start()
    try:
        wait_until(lambda: executor.has("lamp"), "the method")
        [parent] = children(os.getpid())
        [template] = children(parent)
        os.kill(template, signal.SIGKILL)
        wait_until(lambda: not children(parent), "its end")
        now = clock.now()
        due = [CLAIMED._replace(id=1, method="lamp", due=now, fire_at=now)]
        executor.claims.hold(due)
        executor.claims.begin(due)
        [ending] = wait_until(executor.take_endings, "the end")
        assert ending.error == "no worker can be started: line 3: ValueError: the lamp is broken"
    finally:
        executor.stop(0)


def test_of_an_end_is_told_when_there_is_room_for_the_next(tmp_path):
    """Told earlier the scheduler saw none, passed the method over, and slept on beside what was due."""
    (tmp_path / "lamp.py").write_text(LAMP.replace("def remind", "repeatable = False\n def remind"))
    rooms = []
    environ = {"HANDLERS_DIR": str(tmp_path), "HANDLER_CONCURRENCY": "1"}
    executor = Executor(load_config(environ), lambda: executor.gathering and rooms.append(executor.room("lamp")))
    executor.start()
    try:
        wait_until(lambda: executor.has("lamp"), "the method")
        now = clock.now()
        due = [CLAIMED._replace(id=1, method="lamp", due=now, fire_at=now)]
        executor.claims.hold(due)
        executor.claims.begin(due)
        wait_until(lambda: rooms, "the telling")
        assert rooms[0] == 1
    finally:
        executor.stop(0)


def test_a_stop_hands_nothing_over_after_it_has_looked_what_runs(tmp_path, monkeypatch):
    (tmp_path / "lamp.py").write_text(LAMP)
    executor = Executor(load_config({"HANDLERS_DIR": str(tmp_path)}), lambda: None)
    executor.start()
    wait_until(lambda: executor.has("lamp"), "the method")
    at = clock.now() + clock.SECOND // 5
    soon = [CLAIMED._replace(id=1, method="lamp", due=at, fire_at=at)]
    executor.claims.hold(soon)
    executor.claims.begin(soon)
    monkeypatch.setattr(executor, "_await_idle", lambda _: time.sleep(0.4) or True)
    executor.stop(0)
    assert executor.claims.recall_all() == soon, "it can be taken back"


def test_what_a_drop_in_takes_over_from_a_built_in_that_is_at_work_goes_on(daemon, tmp_path):
    gate = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            gate.wait(PATIENCE)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flag = tmp_path / "loads"
        daemon.dropin(
            "mine.py",
            f"import os, time\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.01)\n"
            "from tifftockd import RemindProcess\n"
            "class Mine(RemindProcess):\n    method = 'api'\n    def remind(self, message): pass\n",
        )
        daemon.settings |= {"API_REMIND_URL": f"http://127.0.0.1:{server.server_port}/", "HANDLER_CONCURRENCY": "2"}
        gate.set()
        daemon.start()
        daemon.outcome(daemon.remind(method="api"))  # from now on it is known to be quick, and more are claimed
        gate.clear()
        made = [daemon.remind(method="api") for _ in range(12)]
        wait_until(lambda: {daemon.state(one) for one in made} == {"firing"}, "the claims")
        flag.touch()
        wait_until(lambda: not daemon.get("/handlers")["loading"], "the drop-in")
        gate.set()
        assert {daemon.outcome(one)["outcome"] for one in made} == {"delivered"}
        server.shutdown()


def test_what_was_claimed_to_be_repeated_is_not_begun_by_a_class_that_must_not_be(daemon, tmp_path):
    made, goes_on = tmp_path / "made", tmp_path / "goes-on"
    text = """
import os, time
from tifftockd import RemindProcess
class Pay(RemindProcess):
    concurrency, repeatable = 1, {repeatable}
    def remind(self, message):
        with open({made!r}, "a") as file:
            print({repeatable}, self.id, file=file)
        time.sleep(0.2)
        while not {repeatable} and not os.path.exists({goes_on!r}):
            time.sleep(0.01)
"""

    def pay(**fields):
        daemon.dropin("pay.py", text.format(made=str(made), goes_on=str(goes_on), **fields))

    def begun():
        return [int(line.split()[1]) for line in made.read_text().splitlines() if line.startswith("False")]

    pay(repeatable=True)
    daemon.start()
    daemon.outcome(daemon.remind(method="pay"))  # from now on it is known to be quick, and more are claimed
    reminders = [daemon.remind(method="pay") for _ in range(4)]
    wait_until(lambda: {daemon.state(one) for one in reminders} == {"firing"}, "the claims")
    pay(repeatable=False)
    daemon.reload()
    wait_until(begun, "an attempt of the new class")
    daemon.kill()
    cut_off = begun()
    goes_on.touch()
    daemon.start()
    outcomes = {one["id"]: daemon.outcome(one)["outcome"] for one in reminders}
    assert {outcomes[id_] for id_ in cut_off} == {"uncertain"}
    assert len(begun()) == len({*begun()})


def test_a_reminder_of_a_method_that_is_gone_waits_for_it(daemon, tmp_path):
    daemon.start()
    note = tmp_path / "note"
    made = daemon.remind(method="note", options={"file": str(note)}, **{"in": "500ms"})
    missed = daemon.remind(method="note", options={"file": str(note)}, max_late="1s", **{"in": "500ms"})
    file = daemon.handlers_dir / "note.py"
    file.rename(daemon.handlers_dir / "note.off")
    daemon.reload()
    assert daemon.outcome(missed)["outcome"] == "missed"
    waiting = daemon.get(f"/reminder/{made['id']}")
    assert waiting["state"] == "pending"
    assert "note is not loaded" in waiting["last_error"]
    (daemon.handlers_dir / "note.off").rename(file)
    daemon.reload()
    assert daemon.outcome(made)["outcome"] == "delivered"
    assert len(lines(note)) == 1


def test_a_module_that_starts_threads_is_not_forked_from(daemon):
    daemon.dropin(
        "threads.py",
        "import threading, time\nfrom tifftockd import RemindProcess\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "class Threads(RemindProcess):\n"
        "    def remind(self, message):\n"
        "        print(threading.active_count())\n",
    )
    daemon.start()
    assert daemon.outcome(daemon.remind(method="threads"))["output"] == "2\n"


# ---- cancel and change


def test_a_running_attempt_can_be_neither_cancelled_nor_changed(shared, tmp_path):
    note = tmp_path / "note"
    made = shared.remind(method="note", options={"file": str(note), "sleep": 1})
    wait_until(lambda: lines(note), "the attempt")
    for method in ("DELETE", "PATCH"):
        refused = shared.request(method, f"/reminder/{made['id']}", {"message": "new"} if method == "PATCH" else None)
        assert (refused.status, refused.json["kind"]) == (409, "firing")
    assert shared.outcome(made)["outcome"] == "delivered"


def test_a_claim_that_no_worker_has_begun_can_be_cancelled_and_changed(daemon, tmp_path):
    # Room is estimated from past attempts: quick ones first, so that more are claimed than there are workers.
    daemon.settings["HANDLER_CONCURRENCY"] = "1"
    daemon.start()
    note = tmp_path / "note"
    for _ in range(20):
        daemon.outcome(daemon.remind(method="note", options={"file": "/dev/null"}))
    first = daemon.remind(method="note", options={"file": str(note), "sleep": 2})
    wait_until(lambda: lines(note), "the first attempt")
    cancelled, changed = (daemon.remind(method="note", options={"file": str(note)}) for _ in range(2))
    wait_until(lambda: daemon.state(changed) == "firing", "the claim")
    assert daemon.request("DELETE", f"/reminder/{cancelled['id']}").status == 204
    patched = daemon.request("PATCH", f"/reminder/{changed['id']}", {"message": "changed"})
    assert patched.status == 200, patched
    assert (patched.json["attempts"], patched.json["key"]) == (0, changed["key"])
    assert daemon.outcome(changed)["outcome"] == "delivered"
    assert [entry["outcome"] for entry in daemon.history(cancelled)] == ["cancelled"]
    assert [(id_, message.strip()) for id_, *_, message in lines(note)] == [
        (first["id"], "test"),
        (changed["id"], "changed"),
    ]


def test_a_deleted_reminder_never_fires(shared, tmp_path):
    note = tmp_path / "note"
    made = [shared.remind(method="note", options={"file": str(note)}, **{"in": f"{300 + 5 * n}ms"}) for n in range(60)]
    gone = set()
    for one in made:
        answer = shared.request("DELETE", f"/reminder/{one['id']}")
        if answer.status == 204:
            gone.add(one["id"])
    last = made[-1]
    wait_until(lambda: shared.history(last), "an end")
    fired = {id_ for id_, *_ in lines(note)}
    assert not fired & gone
    for one in made:
        wait_until(lambda one=one: shared.history(one), "an end of each")
    assert {id_ for id_, *_ in lines(note)} | gone == {one["id"] for one in made}


def test_a_change_to_an_earlier_time_wakes_the_scheduler(shared):
    made = shared.remind(**{"in": "1h"})
    shared.request("PATCH", f"/reminder/{made['id']}", {"in": "300ms"})
    assert 0 <= shared.outcome(made)["late_ms"] < 2000


# ---- the store


def test_a_row_that_cannot_be_read_is_set_aside(daemon):
    daemon.start()
    bad = [daemon.remind(**{"in": "1h"}) for _ in range(2)]
    good = daemon.remind(**{"in": "1h"})
    daemon.stop()
    database = sqlite3.connect(daemon.database)
    with database:
        database.execute("UPDATE reminder SET fire_at = fire_at - 3600000000, due = due - 3600000000")
        database.execute("UPDATE reminder SET options = 'nonsense' WHERE id = ?", (bad[0]["id"],))
        database.execute("UPDATE reminder SET message = CAST(x'ff' AS TEXT) WHERE id = ?", (bad[1]["id"],))
    database.close()
    daemon.start()
    assert daemon.outcome(good)["outcome"] == "delivered"
    for one in bad:
        entry = daemon.outcome(one)
        assert entry["outcome"] == "failed"
        assert "cannot be read" in entry["error"]
        assert daemon.state(one) == "failed"
    assert {one["id"] for one in daemon.get("/reminders?state=failed")} == {one["id"] for one in bad}
    assert daemon.request("DELETE", f"/reminder/{bad[0]['id']}").status == 204


def test_cleaning_drops_what_has_been_kept_long_enough(daemon):
    daemon.settings["HISTORY_DAYS"] = "1"
    daemon.start()
    old = daemon.remind()
    failed = daemon.remind(method="note", options={"file": "/dev/null", "raise": "permanent"})
    daemon.outcome(old)
    daemon.outcome(failed)
    daemon.stop()
    database = sqlite3.connect(daemon.database)
    with database:
        day = 2 * 86_400_000_000
        database.execute("UPDATE history SET finished = finished - ?", (day,))
        database.execute("UPDATE reminder SET ended = ended - ?", (day,))
    database.close()
    daemon.start()
    wait_until(lambda: daemon.get("/health")["counts"]["history"] == 0, "the cleaning")
    assert daemon.get("/history") == []
    assert daemon.state(failed) is None


def test_no_more_history_is_kept_than_is_set(daemon):
    daemon.settings["HISTORY_MAX"] = "5"
    daemon.start()
    for _ in range(8):
        made = daemon.remind()
        daemon.outcome(made)
    wait_until(lambda: daemon.get("/health")["counts"]["history"] <= 5, "the cleaning")
    assert daemon.get("/history")[0]["reminder"] == made["id"]


def test_an_idle_daemon_is_asleep(daemon):
    daemon.start()
    for _ in range(5):
        daemon.remind(**{"in": "1h"})

    def switches():
        total = 0
        for task in os.listdir(f"/proc/{daemon.process.pid}/task"):
            with open(f"/proc/{daemon.process.pid}/task/{task}/status") as status:
                total += sum(int(line.split()[1]) for line in status if line.startswith("voluntary"))
        return total

    def sleeps_for_two_seconds():
        before = switches()
        time.sleep(2)
        return switches() == before

    # What the requests left to do may take a moment; a daemon that polls never sleeps so long.
    wait_until(sleeps_for_two_seconds, "two seconds of sleep")


def test_a_terminals_interrupt_stops_it_too(daemon):
    daemon.start()
    daemon.process.send_signal(signal.SIGINT)
    assert daemon.process.wait(30) == 0


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_it_works_without_standard_streams(daemon, closed):
    daemon.prefix = ("sh", "-c", f'exec "$@" {closed}', "sh")
    daemon.start(wait=False)
    wait_until(lambda: Path(daemon.socket_path).exists(), "the start")
    one = daemon.remind(method="note", options={"file": str(daemon.folder / "notes")})
    assert daemon.outcome(one)["outcome"] == "delivered"
    assert daemon.outcome(daemon.remind())["outcome"] == "delivered"
    assert daemon.stop() == 0


def test_it_runs_as_a_module_and_as_a_command(daemon):
    import shutil
    import sys
    from pathlib import Path

    command = shutil.which("tifftockd", path=Path(sys.executable).parent)
    assert command
    shown = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("tifftockd ")
