"""`tifftockd --try`: what a person who writes a handler sees, without a daemon."""

import os
import re
import signal
import subprocess
import sys

import pytest

from tests.daemon import IN_FOREGROUND, Daemon, end, wait_until
from tests.functional.test_firing import alive
from tests.servers import HttpServer

LAMP = '''"""A lamp."""
import os, subprocess, sys, time
from tifftockd import PermanentError, RemindProcess, TransientError

class Lamp(RemindProcess):
    options = {"level": int, "share": float, "colour": ("red", "green"), "on": bool, "rooms": list, "more": dict,
               "note": str, "any": object}
    timeout = "20s"

    def remind(self, message):
        print("told", message, self.to, self.options, self.attempt, os.getcwd(), oct(os.umask(0)))
        exec(message)

class Wary(Lamp):
    repeatable = False

class Needy(Lamp):
    needs_to = True
    settings = ("LAMP_KEY",)

class Patient(Lamp):
    timeout = "1h"

class Quick(Lamp):
    timeout = "300ms"
'''


@pytest.fixture(scope="module")
def developer(tmp_path_factory):
    """Somebody with a handler in the folder where they are. There is no daemon, and no database."""
    made = Daemon(tmp_path_factory.mktemp("developer"), {"HANDLERS_DIR": "."}).prepare()
    (made.folder / "lamp.py").write_text(LAMP)
    (made.folder / "bell.sh").write_text('#!/bin/sh\necho "$1 $TIFFTOCK_OPTIONS"; exit "$1"\n')
    (made.folder / "bell.sh").chmod(0o755)
    (made.folder / "drum").write_text("#!/bin/sh\n")
    (made.folder / "flawed.py").write_text("import\n")
    yield made
    assert not made.database.exists()


def shown(done):
    """The lines of what was shown, up to the first block; then each block by its name."""
    lines, blocks = {}, {}
    block = None
    for line in done.stdout.splitlines():
        if line.startswith("    "):
            blocks[block].append(line[4:])
        elif line.endswith(":"):
            block = line[:-1]
            blocks[block] = []
        else:
            name, _, value = line.partition(":")
            lines[name] = value.strip()
    return lines, {name: "\n".join(block) for name, block in blocks.items()}


def options(**given):
    return [word for name, value in given.items() for word in ("--option", f"{name}={value}")]


def test_a_method_in_the_folder_where_one_is_can_be_tried(developer):
    done = developer.command("--try", "lamp", "pass", "--to", "hall")
    lines, blocks = shown(done)
    assert done.returncode == 0
    assert lines.pop("time").endswith(" s")
    assert lines == {"method": f"lamp ({developer.folder}/lamp.py)", "outcome": "delivered"}
    assert blocks == {"output": f"told pass hall {{}} 1 {developer.folder} 0o77"}
    assert "flawed.py" in done.stderr, "what could not be loaded is named"


def test_options_are_read_as_the_method_declares_them(developer):
    given = {"level": "-5", "share": "1.5", "colour": "red", "on": "true", "rooms": '["a", 1]', "more": '{"a": null}'}
    done = developer.command("--try", "lamp", "pass", *options(**given, note="5", any="5"))
    assert done.returncode == 0, done.stderr
    told = "{'level': -5, 'share': 1.5, 'colour': 'red', 'on': True, 'rooms': ['a', 1], 'more': {'a': None}"
    assert f"None {told}, 'note': '5', 'any': '5'}}" in done.stdout


@pytest.mark.parametrize(
    ("text", "value"), [('{"a": 1}', {"a": 1}), ("[1]", [1]), ("{message}", "{message}"), ("[1", "[1"), ("1", "1")]
)
def test_what_may_be_anything_is_json_where_it_looks_like_an_object_or_a_list(developer, text, value):
    done = developer.command("--try", "lamp", "pass", *options(any=text))
    assert done.returncode == 0, done.stderr
    assert f"{{'any': {value!r}}}" in done.stdout


def test_the_options_of_the_api_method_can_be_given(developer):
    given = options(headers='{"X-A": "b"}', query='{"q": [1, "two"]}', body='{"text": "{message}"}', method="PUT")
    with HttpServer() as server:
        done = developer.command("--try", "api", "tea", "--to", server.url, *given)
    assert done.returncode == 0, done.stderr
    (request,) = server.requests
    assert (request.method, request.query, request.headers["x-a"]) == ("PUT", "q=1&q=two", "b")
    assert request.json() == {"text": "tea"}


@pytest.mark.parametrize(
    ("method", "code", "status", "outcome", "error"),
    [
        ("lamp", "raise ValueError('broken')", 75, "failed, to be tried again", "ValueError: broken"),
        ("lamp", "raise PermanentError('never')", 70, "failed, not to be tried again", "never"),
        (
            *("wary", "sys.exit('that is all')", 70, "uncertain, not to be tried again"),
            "SystemExit: that is all; it may have happened, and is not repeated",
        ),
    ],
)
def test_what_was_raised_is_shown_with_its_place_in_the_handler(developer, method, code, status, outcome, error):
    done = developer.command("--try", method, code)
    lines, blocks = shown(done)
    assert (done.returncode, lines["outcome"], lines["error"]) == (status, outcome, error)
    assert blocks["output"].startswith("told ")
    assert "Traceback" not in blocks["output"]
    line = LAMP.splitlines().index("        exec(message)") + 1
    place = f'  File "{developer.folder}/lamp.py", line {line}, in remind\n    exec(message)\n'
    assert blocks["traceback"].startswith(f"Traceback (most recent call last):\n{place}")
    assert blocks["traceback"].splitlines()[-1].endswith(error.partition(";")[0])


def test_an_attempt_that_hangs_is_shown_with_what_it_had_printed(developer):
    done = developer.command("--try", "quick", "print('so far', flush=True); time.sleep(600)")
    lines, blocks = shown(done)
    assert (done.returncode, lines["error"]) == (75, "it passed its deadline of 300ms")
    assert blocks["output"].endswith("\nso far")
    assert "traceback" not in blocks


def test_executables_and_built_in_methods_can_be_tried(developer):
    done = developer.command("--try", "bell", "75", "--option", "a=1", "--option", "b=")
    lines, blocks = shown(done)
    assert (done.returncode, lines["error"]) == (75, "it exited with status 75 (EX_TEMPFAIL)")
    assert blocks == {"output": '75 {"a": "1", "b": ""}'}
    done = developer.command("--try", "log", "--", "-x")
    assert (done.returncode, "message=-x" in done.stderr) == (0, True)


def test_nothing_that_a_handler_prints_can_keep_it_from_being_shown(developer):
    developer.settings["PYTHONIOENCODING"] = "ascii"
    try:
        done = developer.command("--try", "lamp", r"print('ä\x1b[0m'); os.write(1, b'\xff\0')")
    finally:
        del developer.settings["PYTHONIOENCODING"]
    assert done.returncode == 0, done.stderr
    assert r"\xe4" in done.stdout


# ---- what cannot be tried


@pytest.fixture(scope="module")
def served(developer):
    """A daemon with the same handlers: --try needs none, and is not in the way of one."""
    daemon = Daemon(developer.folder, developer.settings | {"DATABASE_URL": f"sqlite:///{developer.folder}/other.db"})
    try:
        daemon.start()
        wait_until(lambda: not daemon.get("/handlers")["loading"], "the drop-ins")
        yield daemon
    finally:
        end(daemon)


@pytest.mark.parametrize(
    ("arguments", "fields", "status"),
    [
        (["nonsense", "x"], {"method": "nonsense", "message": "x"}, 78),
        (["needy", "x"], {"method": "needy", "message": "x"}, 78),
        (["lamp", ""], {"method": "lamp", "message": ""}, 64),
        (["lamp", "x", "--option", "level=5m"], {"method": "lamp", "message": "x", "options": {"level": "5m"}}, 64),
    ],
    ids=["method", "settings", "message", "option"],
)
def test_what_the_api_would_refuse_is_refused_with_the_same_words(developer, served, arguments, fields, status):
    answer = served.request("POST", "/remind", {"in": 0} | fields)
    assert answer.status == 400
    done = developer.command("--try", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert f"tifftockd: {answer.json['error']}" in done.stderr


def test_what_could_be_no_request_is_refused(developer):
    done = developer.command("--try", "lamp", os.fsdecode(b"\xff"))
    assert (done.returncode, "surrogate" in done.stderr) == (64, True)


def test_a_file_that_lacks_its_run_bit_or_may_not_be_trusted_is_named_with_what_mends_it(developer):
    told = developer.command("--try", "drum", "x").stderr
    assert f"{developer.folder}/drum has no run bit; mend it by: chmod a+x {developer.folder}/drum" in told
    developer.folder.chmod(0o770)
    try:
        done = developer.command("--try", "lamp", "x")
    finally:
        developer.folder.chmod(0o700)
    assert done.returncode == 78
    assert f"{developer.folder} can be written by others than its owner" in done.stderr
    assert f"chmod go-w {developer.folder}" in done.stderr
    assert "there is no method 'lamp'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--try", "lamp"], "--try METHOD needs a MESSAGE"),
        (["x"], "belong to --try METHOD"),
        (["--to", "x"], "belong to --try METHOD"),
        (["--option", "a=b"], "belong to --try METHOD"),
        (["--try", "lamp", "x", "--option", "level"], "--option level: write it as NAME=VALUE"),
        (["--try", "lamp", "x", "--option", "=5"], "--option =5: write it as NAME=VALUE"),
        (["--try", "lamp", "x", "--option", "a=1", "--option", "a=2"], "--option a=2: it is there twice"),
        (["--try", "lamp", "x", "y"], "unrecognized arguments: y"),
        (["--try", "lamp", "x", "--check"], "not allowed with argument"),
    ],
)
def test_wrong_arguments_are_told(arguments, reason, capsys):
    from tifftockd import cli

    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == os.EX_USAGE
    assert reason in capsys.readouterr().err


# ---- its end


def test_ctrl_c_ends_it_with_all_that_the_handler_started(developer):
    file = developer.folder / "pids"
    code = f"open({str(file)!r}, 'w').write(str(subprocess.Popen(['sleep', '600']).pid)); time.sleep(600)"
    trial = subprocess.Popen(
        [*IN_FOREGROUND, sys.executable, "-m", "tifftockd", "--try", "patient", code],
        env=developer.environ, cwd=developer.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,

    )  # fmt: skip
    started = wait_until(lambda: file.exists() and re.fullmatch(r"\d+", file.read_text()), "the handler's start")
    trial.send_signal(signal.SIGINT)
    told, complaints = trial.communicate(timeout=30)
    assert (trial.returncode, told) == (-signal.SIGINT, ""), complaints
    assert "Traceback" not in complaints
    wait_until(lambda: not alive(int(started[0])), "the end of what it started")
