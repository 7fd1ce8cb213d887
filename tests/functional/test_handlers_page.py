"""docs/handlers.md from top to bottom, as a newcomer follows it, and `tifftockd.testing`, which it shows."""

import os
import re
import shutil
import signal
import socket
import sys

import pytest

from tests import page
from tests.daemon import wait_until
from tests.functional.test_readme import Newcomer, answers
from tests.page import BLOCKS, Block
from tifftockd.testing import ConfigError, InvalidInput, LoadError, attempt

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_perl = pytest.mark.skipif(not os.path.exists("/usr/bin/perl"), reason="there is no /usr/bin/perl")


class Reader:
    """Takes the page's blocks, one after the other: none is left out."""

    def __init__(self, newcomer):
        self.newcomer = newcomer
        self._left = [block for block in BLOCKS if not block.for_service]

    def _next(self, *kinds):
        block = self._left.pop(0)
        assert block.kind in kinds, f"another block was expected here:\n{block.text}"
        return block

    def run(self, **instead):
        """The next block is pasted into the shell; what it printed."""
        block = self._next("sh")
        assert block.name is None
        return self.newcomer.paste(block, **instead)

    def shown(self):
        """The next block is what the one before has printed."""
        return self._next("text").text.strip()

    def save(self, name):
        """The next block is a file, and saved under its name where the shell is."""
        block = self._next("python", "ini", "sh", "perl", "json")
        assert block.name == name
        file = self.newcomer.folder / "note" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(block.text.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}"))
        file.chmod(0o644)

    def finish(self):
        assert not self._left


@pytest.fixture
def reader(tmp_path):
    newcomer = Newcomer(tmp_path).prepare()
    python = tmp_path / ".venv/bin/python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    # Some commands are to fail, and to be looked at.
    newcomer.paste(Block("sh", "set +e", None))
    reader = Reader(newcomer)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        reader.port = bound.getsockname()[1]
    try:
        newcomer.start()
        yield reader
    finally:
        newcomer.leave()


def lines(output):
    """`outcome: delivered` and the like."""
    return dict(re.findall(r"^(method|outcome|error): +(.*)$", output, re.MULTILINE))


@needs_curl
@needs_perl
def test_the_page_from_top_to_bottom(reader, monkeypatch):
    newcomer, home = reader.newcomer, reader.newcomer.folder
    assert reader.run() == "", "where the command is"
    write_try_and_reload(reader, newcomer, home)
    settings_and_failures(reader)
    reader.save("tests/test_lamp.py")
    assert re.search(r"^Ran 3 tests in .*\n\nOK$", reader.run(), re.MULTILINE)
    executables(reader, home, monkeypatch)
    reader.save("buzz.py")
    output = reader.run()
    assert lines(output)["outcome"] == "delivered"
    assert "buzz buzz stand up" in output
    reader.finish()


def write_try_and_reload(reader, newcomer, home):
    assert reader.run() == ""
    reader.save("note.py")
    tried = reader.run()
    masked = re.sub(r"0\.\d{3}", "0.001", tried).replace(str(home), "/home/ann")
    assert masked == reader.shown()
    assert (home / "notes.txt").read_text().endswith(" buy milk\n")
    reloads = newcomer.log_text().count("tifftockd: reload")
    assert reader.run() == ""
    wait_until(lambda: newcomer.log_text().count("tifftockd: reload") > reloads, "the reload")
    handlers, made = answers(reader.run())
    assert "note" in [method["method"] for method in handlers["methods"]]
    assert handlers["failures"] == []
    assert newcomer.outcome(made)["outcome"] == "delivered"
    history, *notes = reader.run().splitlines()
    assert '"outcome": "delivered"' in history
    assert notes[-1] == f"{made['when']} buy milk"


def settings_and_failures(reader):
    reader.save("lamp.py")
    assert reader.run() == reader.shown()
    reader.save(".env")
    off, refused = reader.run().split("tifftockd: ")
    assert lines(off)["outcome"] == "failed, to be tried again"
    assert "in remind" in off
    assert refused == "option 'level' of method lamp must be of type int"
    reader.save("lamp.py")
    assert lines(reader.run())["error"] == "the lamp is off"


def executables(reader, home, monkeypatch):
    note = home / "note"
    reader.save("shout.sh")
    reader.save("tally.pl")
    assert [*re.findall(r"^outcome: +(.*)$", reader.run(), re.MULTILINE)] == ["delivered", "delivered"]
    assert (note / "shouts.txt").read_text() == "ann, tea is ready!\n"
    assert re.fullmatch(r"\d{4}-\S+ tea is ready\n", (note / "tally.txt").read_text())
    # What makes them fail: nobody to shout at, and no place to write to.
    monkeypatch.chdir(note)
    assert attempt("shout.sh", "x").error == "it exited with status 64 (EX_USAGE): at whom?"
    (note / "tally.txt").unlink()
    (note / "tally.txt").mkdir()
    assert attempt("tally.pl", "x").error.startswith("it exited with status 75 (EX_TEMPFAIL): tally.txt: ")
    # It takes all that is declared, and none of what is not.
    reader.save("shout.json")
    given = {"volume": 11, "mood": "glad", "sign": "!"}
    assert attempt("shout.sh", "x", to="ann", options=given, environ={"SHOUT_KEY": "k"}).outcome == "delivered"
    with pytest.raises(InvalidInput, match="option 'sign' .* line break"):
        attempt("shout.sh", "x", to="ann", options={"sign": "a\nb"}, environ={"SHOUT_KEY": "k"})
    with pytest.raises(InvalidInput, match="SHOUT_KEY not set"):
        attempt("shout.sh", "x", to="ann")


def test_the_blocks_for_the_service_are_known():
    kinds = [block.kind for block in BLOCKS if block.for_service]
    assert kinds == ["sh"] + ["ini"] * 8, "tests/system/test_handlers_page.py runs these"


# ---- tifftockd.testing

ACT = """
import os, signal, time
from tifftockd import PermanentError, RemindProcess, TransientError

class Act(RemindProcess):
    options = {"level": int}
    timeout = "20s"

    def remind(self, message):
        exec(message)

class Wary(Act):
    repeatable = False
    timeout = "300ms"
"""


@pytest.fixture(scope="module")
def act(tmp_path_factory):
    file = tmp_path_factory.mktemp("handlers") / "act.py"
    file.write_text(ACT)
    file.chmod(0o644)
    # It is not loaded: what it says would end the attempt's process.
    (file.parent / "test_act.py").write_text("import os\nos._exit(1)\n")
    return file


def test_an_attempt_is_told_all_that_a_reminder_says(act):
    code = "print(self.to, self.options, self.attempt, os.environ['LAMP_KEY'], os.getcwd(), oct(os.umask(0)))"
    result = attempt(act, code, method="act", to="hall", options={"level": 3}, environ={"LAMP_KEY": "secret"})
    assert (result.outcome, result.transient, result.error, result.traceback) == ("delivered", False, None, "")
    assert result.output == f"hall {{'level': 3}} 1 secret {os.getcwd()} 0o77\n"
    assert 0 <= result.seconds < 20


@pytest.mark.parametrize(
    ("method", "code", "outcome", "transient", "retry_after", "error"),
    [
        ("act", "raise TransientError('busy', retry_after=60)", "failed", True, 60, "busy"),
        ("act", "raise PermanentError('never')", "failed", False, None, "never"),
        ("act", "raise ValueError('broken')", "failed", True, None, "ValueError: broken"),
        ("act", "os.kill(os.getpid(), signal.SIGKILL)", "failed", True, None, "SIGKILL"),
        ("wary", "time.sleep(600)", "uncertain", False, None, "it passed its deadline of 300ms"),
    ],
)
def test_how_an_attempt_went_is_told(act, method, code, outcome, transient, retry_after, error):
    result = attempt(act, code, method=method)
    assert (result.outcome, result.transient, result.retry_after) == (outcome, transient, retry_after)
    assert error in result.error
    assert ("in remind" in result.traceback) == ("raise" in code)
    assert "Traceback" not in result.output


def test_what_cannot_be_tried_is_an_exception(act, tmp_path):
    with pytest.raises(InvalidInput, match="method=None is none of those in .*: act, wary"):
        attempt(act, "x")
    with pytest.raises(InvalidInput, match="method='log' is none of those"):
        attempt(act, "x", method="log")
    with pytest.raises(InvalidInput, match="has no option 'room'"):
        attempt(act, "x", method="act", options={"room": 1})
    with pytest.raises(ConfigError, match="HANDLER_TIMEOUT is 'soon'"):
        attempt(act, "x", method="act", environ={"HANDLER_TIMEOUT": "soon"})
    with pytest.raises(LoadError, match="there is no such file"):
        attempt(tmp_path / "none.py", "x")
    (tmp_path / "bell.sh").write_text("#!/bin/sh\n")
    with pytest.raises(LoadError, match="an executable needs a run bit"):
        attempt(tmp_path / "bell.sh", "x")
    (tmp_path / "flawed.py").write_text("\nx = = 1\n")
    with pytest.raises(LoadError, match="flawed.py: line 2: invalid syntax"):
        attempt(tmp_path / "flawed.py", "x")


def test_the_processes_of_the_tests_are_let_alone(act):
    """What handlers leave behind is killed; a process that the tests have started is none of that."""
    mine = os.posix_spawn("/bin/sleep", ["sleep", "600"], os.environ)
    try:
        code = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
        left = int(attempt(act, code, method="act").output)
        wait_until(lambda: not os.path.exists(f"/proc/{left}"), "the end of what the handler left")
        assert os.waitpid(mine, os.WNOHANG) == (0, 0)
    finally:
        os.kill(mine, signal.SIGKILL)
        os.waitpid(mine, 0)


def test_what_a_result_holds_is_on_the_page():
    from dataclasses import fields

    from tifftockd.testing import Result

    [rows] = page.tables("Tests")
    assert [page.codes(row[0]) for row in rows] == [[field.name] for field in fields(Result)]
