"""Executables in the folder of the handlers: methods in any language, with the limits and the isolation of classes."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

from tests.daemon import Daemon, end, wait_until
from tests.functional.test_firing import alive

# The message is what it does.
RUN = '#!/bin/sh\neval "$1"\n'
# All that it is told, as JSON.
TELL = f"""#!{sys.executable} -IS
import json, os, stat, sys
ours = {{name: value for name, value in os.environ.items() if name.startswith("TIFFTOCK_")}}
print(json.dumps({{
    "arguments": sys.argv[1:], "stdin": sys.stdin.buffer.read().decode(), "environment": ours,
    "HOME": os.environ["HOME"], "cwd": os.getcwd(), "umask": os.umask(0), "fds": sorted(os.listdir("/proc/self/fd")),
}}))
"""
SCRIPTS = "a script begins with a line like #!/bin/sh"
NO_PROGRAMS = {
    "no-shebang": ("echo hi\n", f"{{}} is no program for this machine; {SCRIPTS}"),
    "empty": ("", f"{{}} is no program for this machine; {SCRIPTS}"),
    "other-machine": ("\x7fELF\x01", f"{{}} is no program for this machine; {SCRIPTS}"),
    "no-interpreter": ("#!/nowhere/sh -e\n", "{} cannot be run: its interpreter /nowhere/sh is not there"),
    "crlf": ("#!/bin/sh\r\n", "{} cannot be run: its first line ends with CR LF; save it with the line ends of Unix"),
    "null": ("#!/dev/null\n", "{} or its interpreter may not be run: Permission denied"),
}
SETTINGS = {"RETRY_DELAY": "50ms", "HANDLER_OUTPUT": "2K", "HANDLER_MEMORY": "1G", "TIFFTOCK_TO": "of the daemon's own"}

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def declare(daemon, method, **fields):
    return daemon.dropin(f"{method}.json", json.dumps(fields))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A daemon for all tests that harm it in no way."""
    daemon = Daemon(tmp_path_factory.mktemp("daemon"), SETTINGS).prepare()
    for name in ("run.sh", "wary", "brief", "frugal"):
        daemon.dropin(name, RUN, 0o755)
    daemon.dropin("tell", TELL, 0o700)
    for name, (text, _) in NO_PROGRAMS.items():
        daemon.dropin(name, text, 0o755)
        declare(daemon, name, repeatable=False)
    declare(daemon, "run", concurrency=1)
    declare(daemon, "wary", repeatable=False)
    declare(daemon, "brief", timeout="1s")
    declare(daemon, "frugal", memory="128M", output=100)
    try:
        yield daemon.start()
    finally:
        end(daemon)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    daemon = Daemon(tmp_path_factory.mktemp("daemon"), {"RETRY_DELAY": "200ms"}).prepare()
    try:
        yield daemon.start()
    finally:
        end(daemon)


@pytest.fixture
def daemon(running):
    """A daemon for one test after the other, with nothing in its folder: a reload is cheaper than a start.

    What is to fail has a name of its own: else the version of another test would stay in use.
    """
    for file in running.handlers_dir.iterdir():
        file.unlink()
    return running


def attempt(daemon, code, method="run"):
    """The record of one attempt that does this."""
    return daemon.outcome(daemon.remind(method=method, message=code, retries=0))


def methods(daemon):
    return {one["method"]: one for one in daemon.get("/handlers")["methods"]}


def failures(daemon):
    return {one["file"].rpartition("/")[2]: one["error"] for one in daemon.get("/handlers")["failures"]}


# ---- what it is told


@pytest.mark.parametrize(
    "message",
    ["on", "-rf", "--help", "two\nlines\n", "\n", " a 'b' \"c\" $HOME `id` \\", "ä€😀\u202e\x01\x7f", "x" * 32_768],
    ids=["plain", "dash", "dashes", "lines", "newline", "quotes", "unicode", "longest"],
)
def test_the_message_arrives_as_it_is_in_three_ways(shared, message):
    made = shared.remind(method="tell", message=message, retries=0)
    entry = shared.outcome(made)
    assert entry["outcome"] == "delivered"
    if len(message) > 1000:  # more than is kept of the output
        return
    told = json.loads(entry["output"])
    assert told["arguments"] == [message]
    assert told["environment"]["TIFFTOCK_MESSAGE"] == message
    assert json.loads(told["stdin"])["message"] == message


def test_the_whole_reminder_arrives_as_json_and_in_the_environment(shared):
    options = {"ä": [1, 2.5, True, None, {"x": "y z"}]}
    made = shared.remind(method="tell", message="on", to="hall & kitchen", options=options, tz="Asia/Tokyo")
    told = json.loads(shared.outcome(made)["output"])
    assert told["stdin"].endswith("}\n")
    assert json.loads(told["stdin"]) == {
        "id": made["id"], "when": made["when"], "message": "on", "method": "tell", "to": "hall & kitchen",
        "options": options, "attempt": 1, "key": made["key"],
    }  # fmt: skip
    environment = told["environment"]
    assert json.loads(environment.pop("TIFFTOCK_OPTIONS")) == options
    assert environment == {
        "TIFFTOCK_ID": str(made["id"]), "TIFFTOCK_WHEN": made["when"], "TIFFTOCK_MESSAGE": "on",
        "TIFFTOCK_METHOD": "tell", "TIFFTOCK_TO": "hall & kitchen", "TIFFTOCK_ATTEMPT": "1",
        "TIFFTOCK_KEY": made["key"],
    }  # fmt: skip


def test_what_a_reminder_does_not_have_is_empty(shared):
    told = json.loads(attempt(shared, "on", "tell")["output"])
    assert (told["environment"]["TIFFTOCK_TO"], told["environment"]["TIFFTOCK_OPTIONS"]) == ("", "{}")
    assert (json.loads(told["stdin"])["to"], json.loads(told["stdin"])["options"]) == (None, {})


def test_it_runs_where_and_as_classes_do(shared):
    told = json.loads(attempt(shared, "on", "tell")["output"])
    assert (told["HOME"], told["cwd"], told["umask"]) == (str(shared.folder), str(shared.folder), 0o077)
    # Standard input, output and error, and that of the list itself
    assert len(told["fds"]) == 4
    assert attempt(shared, "yes | head -1")["output"] == "y\n", "a broken pipe ends who writes to it"


def test_what_does_not_fit_into_an_environment_fails_for_good_and_says_so(shared):
    # 1e15 is written with 16 digits.
    body = f'{{"in": 0, "method": "tell", "message": "on", "options": {{"x": [{"1e15," * 12_000}0]}}}}'
    made = shared.request("POST", "/remind", body)
    assert made.status == 201
    entry = shared.outcome(made.json)
    assert entry["error"] == "message, options and settings are longer than what a program can be given"
    assert shared.state(made.json) == "failed"


# ---- how it ends


@pytest.mark.parametrize(
    ("code", "wary", "reason"),
    [
        ("exit 1", "uncertain", "it exited with status 1"),
        ("exit 63", "uncertain", "it exited with status 63"),
        ("exit 64", "failed", "it exited with status 64 (EX_USAGE)"),
        ("exit 74", "failed", "it exited with status 74 (EX_IOERR)"),
        ("exit 76", "failed", "it exited with status 76 (EX_PROTOCOL)"),
        ("exit 78", "failed", "it exited with status 78 (EX_CONFIG)"),
        ("exit 79", "uncertain", "it exited with status 79"),
        ("exit 255", "uncertain", "it exited with status 255"),
        ("kill -TERM $$", "uncertain", "it was killed by SIGTERM"),
        ("kill -40 $$", "uncertain", "it was killed by signal 40"),
        ("nonsense_of_that_name", "uncertain", "it exited with status 127: "),
    ],
)
def test_its_exit_status_says_whether_another_attempt_can_help(shared, code, wary, reason):
    made = shared.remind(method="run", message=code, retries=1)
    # What is not known is tried again, unless a repeat costs more than a loss.
    permanent = wary == "failed"
    last = shared.outcome(made, 1 if permanent else 2)
    assert last["outcome"] == "failed"
    assert last["error"].startswith(reason)
    assert wait_until(lambda: shared.state(made) != "pending" and shared.state(made), "its end") == "failed"
    entry = attempt(shared, code, "wary")
    assert entry["outcome"] == wary
    assert "Traceback" not in str(entry["output"]), "it has nothing to do with Python"
    assert entry["error"].startswith(reason)


def test_status_75_says_that_it_was_surely_not_done(shared):
    made = shared.remind(method="wary", message="echo busy >&2; exit 75", retries=1)
    assert shared.outcome(made, 2)["error"] == "it exited with status 75 (EX_TEMPFAIL): busy (attempt 2, the last)"
    assert [entry["outcome"] for entry in shared.history(made)] == ["failed", "failed"]


def test_the_last_line_of_standard_error_is_in_the_reason_and_not_in_the_log(shared):
    code = "echo first >&2; echo 'the secret of ann' >&2; echo output; exit 69"
    entry = attempt(shared, code)
    assert entry["error"] == "it exited with status 69 (EX_UNAVAILABLE): the secret of ann"
    assert sorted(entry["output"].splitlines()) == ["first", "output", "the secret of ann"]
    assert "secret" not in shared.log_text()


def test_output_and_errors_of_what_is_delivered_are_kept(shared):
    entry = attempt(shared, "echo out; echo err >&2")
    assert (entry["outcome"], entry["error"]) == ("delivered", None)
    assert sorted(entry["output"].splitlines()) == ["err", "out"]


def test_output_and_errors_without_end_hurt_nobody(shared):
    code = "for _ in 1 2 3 4 5 6 7 8; do head -c 1000000 /dev/zero | tr '\\0' x >&2; done"
    entry = attempt(shared, code)
    assert entry["outcome"] == "delivered"
    assert entry["output"] == "x" * 1024 + f"\n[{8_000_000 - 2048} bytes left out]\n" + "x" * 1024


@pytest.mark.parametrize("code", ["trap '' TERM INT; sleep 600", "setsid sleep 600 & wait", "yes >&2", "exec yes"])
def test_a_hang_ends_at_its_deadline_with_all_that_it_started(shared, code):
    entry = attempt(shared, f"echo $$ >{shared.folder}/pid; {code}", "brief")
    assert (entry["outcome"], entry["error"]) == ("failed", "it passed its deadline of 1s")
    pid = int((shared.folder / "pid").read_text())
    wait_until(lambda: not alive(pid), "the end of the program")
    assert attempt(shared, "echo fine")["output"] == "fine\n"


@pytest.mark.parametrize("redirect", ["", ">/dev/null 2>&1"], ids=["with its output open", "without"])
def test_what_it_leaves_running_is_not_waited_for_but_killed(shared, redirect):
    started = time.monotonic()
    entry = attempt(shared, f"setsid sleep 600 {redirect} & echo $!")
    assert entry["outcome"] == "delivered"
    assert time.monotonic() - started < 10
    wait_until(lambda: not alive(int(entry["output"])), "the end of what was left")


def test_its_memory_is_limited(shared):
    assert attempt(shared, "ulimit -v", "frugal")["output"] == f"{128 * 1024}\n"
    assert attempt(shared, "ulimit -v")["output"] == f"{1024 * 1024}\n"


def test_its_output_is_limited_as_declared(shared):
    assert (
        attempt(shared, "printf %1000s x", "frugal")["output"] == " " * 50 + "\n[900 bytes left out]\n" + " " * 49 + "x"
    )


def test_a_worker_is_used_again(shared):
    first = attempt(shared, "echo $PPID; echo err >&2; exit 1")["output"].split()[0]
    assert attempt(shared, "echo $PPID")["output"].split()[0] == first


# ---- what cannot be run


@pytest.mark.parametrize("method", NO_PROGRAMS)
def test_what_is_no_program_fails_for_good_and_says_why(shared, method):
    _, reason = NO_PROGRAMS[method]
    made = shared.remind(method=method)
    entry = shared.outcome(made)
    assert (entry["outcome"], entry["output"]) == ("failed", None)
    assert entry["error"] == reason.format(shared.handlers_dir / method)
    assert shared.state(made) == "failed", "surely not done, so nothing is uncertain"


# ---- what it declares


def test_what_is_declared_is_shown_and_checked_before_a_reminder_is_accepted(daemon):
    daemon.dropin("lamp.sh", RUN, 0o755)
    options = {"level": "int", "colour": ["red", "green"]}
    declare(daemon, "lamp", options=options, needs_to=True, timeout="5min", concurrency=2, repeatable=False)
    daemon.dropin("key", RUN, 0o755)
    declare(daemon, "key", settings=["LAMP_KEY"])
    daemon.reload()
    assert methods(daemon)["lamp"] == {
        "method": "lamp", "source": str(daemon.handlers_dir / "lamp.sh"), "available": True, "reason": None,
        "options": options, "needs_to": True, "repeatable": False, "timeout": "5min", "concurrency": 2,
    }  # fmt: skip
    for fields, error in (
        ({}, "method lamp needs a recipient: set 'to'"),
        ({"to": "x", "options": {"level": "5"}}, "option 'level' of method lamp must be of type int"),
        ({"to": "x", "options": {"colour": "blue"}}, "option 'colour' of method lamp must be one of red, green"),
        ({"to": "x", "options": {"size": 5}}, "method lamp has no option 'size'; it accepts: colour, level"),
        ({"method": "key"}, "method key cannot be used: LAMP_KEY not set"),
    ):
        answer = daemon.request("POST", "/remind", {"in": 0, "message": ":", "method": "lamp"} | fields)
        assert (answer.status, answer.json["error"]) == (400, error)


def test_it_is_never_run_to_ask_what_it_accepts(daemon):
    daemon.dropin("lamp", f"#!/bin/sh\ntouch {daemon.folder}/done\n", 0o755)
    daemon.reload()
    assert daemon.command("--check").returncode == 0
    assert not (daemon.folder / "done").exists()
    assert daemon.outcome(daemon.remind(method="lamp"))["outcome"] == "delivered"
    assert (daemon.folder / "done").exists()


def test_a_mistake_in_a_declaration_is_a_failure_to_load_and_harms_nothing_else(daemon):
    daemon.dropin("flawed", RUN, 0o755)
    daemon.dropin("moon", RUN, 0o755)
    declare(daemon, "flawed", timeuot="5s")
    daemon.reload()
    assert "flawed" not in methods(daemon)
    reason = failures(daemon)["flawed"]
    assert reason.startswith("flawed.json: there is no field 'timeuot'; known: options, needs_to, timeout, ")
    assert attempt(daemon, "echo fine", "moon")["output"] == "fine\n"


# ---- reload


def version(daemon, number):
    return daemon.dropin("lamp", f"#!/bin/sh\necho {number} $0\n", 0o755)


def replace(daemon, number):
    """As a package manager does, or an editor."""
    file = daemon.handlers_dir / "lamp"
    new = daemon.handlers_dir / "lamp.dpkg-new"
    new.write_text(f"#!/bin/sh\necho {number} $0\n")
    new.chmod(0o755)
    new.rename(file)


def test_one_that_is_replaced_or_removed_is_the_old_one_until_the_reload(daemon):
    file = version(daemon, 1)
    declare(daemon, "lamp", renew=1)
    daemon.reload()
    assert attempt(daemon, "x", "lamp")["output"] == f"1 {file}\n"
    replace(daemon, 2)
    assert attempt(daemon, "x", "lamp")["output"].split()[0] == "1"
    file.unlink()
    assert attempt(daemon, "x", "lamp")["output"].split()[0] == "1"
    version(daemon, 3)
    assert attempt(daemon, "x", "lamp")["output"].split()[0] == "1"
    daemon.reload()
    assert attempt(daemon, "x", "lamp")["output"] == f"3 {file}\n"
    file.unlink()
    daemon.reload()
    assert "lamp" not in methods(daemon)


def test_one_that_is_exchanged_or_removed_as_it_starts_is_the_old_one(daemon):
    """A compiled one: a script is opened once more, by its interpreter."""
    file, old = daemon.handlers_dir / "lamp", daemon.folder / "old"
    shutil.copy("/bin/true", file)
    file.chmod(0o755)
    daemon.reload()
    another = daemon.folder / "another"
    another.write_bytes(file.read_bytes())
    another.chmod(0o644)
    ended = threading.Event()

    def exchange():
        while not ended.is_set():
            file.rename(old)
            another.rename(file)
            file.rename(another)
            old.rename(file)

    exchanging = threading.Thread(target=exchange)
    exchanging.start()
    try:
        entries = [attempt(daemon, "on", "lamp") for _ in range(40)]
    finally:
        ended.set()
        exchanging.join()
    assert {(entry["outcome"], entry["error"]) for entry in entries} == {("delivered", None)}


def test_one_that_was_written_to_is_not_run_until_the_reload_and_loses_no_reminder(daemon):
    file = version(daemon, 1)
    declare(daemon, "lamp", repeatable=False)
    daemon.reload()
    version(daemon, 2222)
    made = daemon.remind(method="lamp", retries=20)
    entry = daemon.outcome(made)
    assert entry["error"] == f"{file} has been written to since it was loaded: a reload takes it up"
    daemon.reload()
    outcome = wait_until(lambda: (last := daemon.history(made)[-1])["outcome"] == "delivered" and last, "its delivery")
    assert outcome["output"] == f"2222 {file}\n"


def test_one_that_can_be_loaded_no_more_stays_as_it_was(daemon):
    version(daemon, 1)
    daemon.reload()
    replace(daemon, 2)
    declare(daemon, "lamp", concurrency=0)
    daemon.reload()
    wrong = "lamp.json: concurrency is 0; it must be a whole number from 1 to 1024"
    for _ in range(2):
        assert failures(daemon)["lamp"] == f"{wrong}; the version before it stays in use"
        assert attempt(daemon, "x", "lamp")["output"].split()[0] == "1"
        daemon.reload()
    declare(daemon, "lamp", concurrency=1)
    daemon.reload()
    assert attempt(daemon, "x", "lamp")["output"].split()[0] == "2"
    assert failures(daemon) == {}


def test_reloads_leave_no_descriptor_open(daemon):
    version(daemon, 1)
    declare(daemon, "lamp", renew=1)
    daemon.dropin("moon", RUN, 0o777)
    daemon.reload()

    def descriptors():
        attempt(daemon, "x", "lamp")
        return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))

    before = descriptors()
    for number in range(4):
        replace(daemon, number)
        declare(daemon, "lamp", renew=number)  # 0 cannot be
        daemon.reload()
    wait_until(lambda: descriptors() <= before, f"{descriptors()} descriptors to be {before} again")


# ---- names


def test_of_two_files_with_one_method_the_first_by_name_has_it(daemon):
    daemon.dropin("lamp", "#!/bin/sh\necho the first\n", 0o755)
    daemon.dropin("lamp.pl", RUN, 0o755)
    module = "from tifftockd import RemindProcess\nclass Moon(RemindProcess):\n def remind(self, message): print('{}')"
    daemon.dropin("moon.py", module.format("a class"))
    daemon.dropin("moon.sh", RUN, 0o755)
    daemon.dropin("a.py", module.replace("Moon", "Sun").format("a class"))
    daemon.dropin("sun", RUN, 0o755)
    daemon.reload()
    assert attempt(daemon, "exit 1", "lamp")["output"] == "the first\n"
    assert attempt(daemon, "exit 1", "moon")["output"] == attempt(daemon, "exit 1", "sun")["output"] == "a class\n"
    folder = daemon.handlers_dir
    assert failures(daemon) == {
        "lamp.pl": f"method lamp is already defined by {folder / 'lamp'}",
        "moon.sh": f"method moon is already defined by {folder / 'moon.py'}",
        "sun": f"method sun is already defined by {folder / 'a.py'}",
    }


def test_an_executable_takes_the_place_of_a_built_in_method(daemon):
    daemon.dropin("log.sh", "#!/bin/sh\necho mine\n", 0o755)
    daemon.reload()
    assert daemon.outcome(daemon.remind())["output"] == "mine\n"
    assert methods(daemon)["log"]["source"] == str(daemon.handlers_dir / "log.sh")


def test_one_that_others_can_write_is_refused_with_the_command_that_mends_it(daemon):
    file = daemon.dropin("open", RUN, 0o775)
    daemon.reload()
    assert failures(daemon) == {
        "open": f"{file} can be written by others than its owner; mend it by: chmod go-w {file}"
    }


# ---- kinds of programs


@needs_cc
def test_a_compiled_program_is_a_method(daemon):
    source = '#include <stdio.h>\nint main(int count, char **words) { printf("%s %s", words[0], words[1]); return 0; }'
    file = daemon.handlers_dir / "lamp"
    subprocess.run(["cc", "-x", "c", "-o", file, "-"], input=source, text=True, check=True)
    file.chmod(0o711)
    (daemon.handlers_dir / "link").symlink_to(file)
    daemon.reload()
    assert attempt(daemon, "on", "lamp")["output"] == f"{file} on"
    # Programs that are many in one know by this name which of them is meant.
    assert attempt(daemon, "on", "link")["output"] == f"{daemon.handlers_dir / 'link'} on"


def test_a_script_may_be_a_link_and_is_found_by_its_own_name_otherwise(daemon):
    elsewhere = daemon.folder / "elsewhere.sh"
    elsewhere.write_text('#!/bin/sh\nreadlink -f "$0"\n')
    elsewhere.chmod(0o755)
    (daemon.handlers_dir / "link").symlink_to(elsewhere)
    daemon.reload()
    assert attempt(daemon, "x", "link")["output"] == f"{elsewhere}\n"


def test_one_that_is_being_written_is_tried_again(daemon):
    """ETXTBSY, which open(2) for writing gives while a program runs, and execve(2) while it is written."""
    file = shutil.copy("/bin/true", daemon.handlers_dir / "lamp")
    file.chmod(0o755)
    daemon.reload()
    with file.open("r+b"):
        made = daemon.remind(method="lamp", retries=20)
        assert daemon.outcome(made)["error"] == f"{file} cannot be started: {os.strerror(errno.ETXTBSY)}"
    wait_until(lambda: daemon.history(made)[-1]["outcome"] == "delivered", "its delivery")
