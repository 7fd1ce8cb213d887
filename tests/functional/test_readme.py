"""README.md is a contract: its commands are run as a newcomer would, and what it lists is compared with the code."""

import ast
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from string import Template
from urllib.parse import parse_qs, urlencode

import pytest

import tifftockd
from tests import page
from tests.daemon import PATIENCE, Daemon, end, wait_until
from tests.servers import Answer, HttpServer, MailServer, trust
from tifftockd import cli
from tifftockd.api.app import ROUTES
from tifftockd.api.fields import FIELDS
from tifftockd.api.form import TYPE as FORM
from tifftockd.config import HANDLERS_OWN, SETTINGS
from tifftockd.ctl import errors
from tifftockd.ctl.parser import make_parser
from tifftockd.handlers import email, notify, sms
from tifftockd.handlers.builtin import builtin_specs
from tifftockd.reminder import Outcome, State

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PACKAGE = Path(tifftockd.__file__).parent

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

# ---- reading README.md

FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTIONS = {part.partition("\n")[0]: part.partition("\n")[2] for part in README.split("\n## ")}


@dataclass(frozen=True)
class Block:
    """What stands between two fences; `answer` is the block of output that follows a block of commands."""

    kind: str
    text: str
    answer: str | None = None


def blocks(section, kind):
    """The blocks of one kind, with their outputs."""
    found = [Block(*match) for match in FENCED.findall(SECTIONS[section])]
    pairs = zip_longest(found, found[1:])
    return [
        Block(kind, block.text, following.text if following and following.kind in ("text", "json") else None)
        for block, following in pairs
        if block.kind == kind
    ]


def tables(section):
    """The tables of a section: each a list of rows, each a list of cells, without the head."""
    found = re.findall(r"^\|.*?\n\|[-|]+\n((?:\|.*\n)+)", SECTIONS[section], re.MULTILINE)
    return [[[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()] for table in found]


def codes(text):
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", FENCED.sub("", text))


# What differs from run to run, and what it is compared as.
VOLATILE = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d", "TIME"),
    (r'"key": "[0-9a-f]{32}"', '"key": "KEY"'),
    (r'"late_ms": \d+\.\d+', '"late_ms": 0'),
    (r"unix:/\S+/tifftock\.sock", "unix:SOCKET"),
)


def masked(text):
    for pattern, replacement in VOLATILE:
        text = re.sub(pattern, replacement, text)
    text = text.strip()
    # JSON is shown with line breaks.
    return json.loads(text) if text.startswith(("{", "[")) else text


# ---- the newcomer's machine


@dataclass
class Newcomer(Daemon):
    """A daemon that was started in a home where nothing has been set up, and a second terminal beside it."""

    unset: tuple[str, ...] = ("XDG_STATE_HOME", "XDG_CONFIG_HOME")
    bash: subprocess.Popen | None = None

    @property
    def environ(self):
        return {name: value for name, value in super().environ.items() if name not in self.unset}

    @property
    def socket_path(self):
        return self.log_text().partition("addresses=unix:")[2].split()[0]

    def prepare(self):
        (self.folder / "run").mkdir(mode=0o700)
        # What `make run` makes: the commands are those of the Python which runs the tests.
        folder = self.folder / ".venv" / "bin"
        folder.mkdir(parents=True)
        for name, module in (("tifftockd", "tifftockd"), ("tifftockctl", "tifftockd.ctl")):
            (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
            (folder / name).chmod(0o755)
        self.bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-eu"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            cwd=self.folder, env=self.environ, start_new_session=True,
        )  # fmt: skip
        return self

    def paste(self, block, **instead):
        """Run a block's commands in the terminal; what they printed. `instead`: other words for some of the text."""
        text = block.text
        for word, other in instead.values():
            assert word in text
            text = text.replace(word, other)
        limit = threading.Timer(PATIENCE, os.killpg, [self.bash.pid, signal.SIGKILL])
        limit.start()
        try:
            self.bash.stdin.write(f"{text}\necho; echo 'END OF BLOCK'\n")
            self.bash.stdin.flush()
            lines = []
            while (line := self.bash.stdout.readline()) != "END OF BLOCK\n":
                lines.append(line)
                assert line, f"a command failed:\n{text}\n{''.join(lines)}"
        finally:
            limit.cancel()
        return "".join(lines).strip()

    def say(self, *blocks):
        """Write settings where the README says, for the next start or reload."""
        file = self.folder / ".env"
        file.touch(0o600)
        with file.open("a") as settings:
            settings.writelines(block.text for block in blocks)

    def reload_as_shown(self):
        [reload, _] = blocks("Methods", "sh")
        count = self.log_text().count("reload")
        self.paste(reload)
        wait_until(lambda: self.log_text().count("reload") > count, "the reload")
        assert "reload-failed" not in self.log_text()

    def fire(self, reminder):
        answer = self.request("PATCH", f"/reminder/{reminder['id']}", {"in": 0})
        assert answer.status == 200, answer
        return self.outcome(reminder)

    def leave(self):
        self.bash.stdin.close()
        self.bash.stdout.close()
        self.bash.wait(PATIENCE)
        end(self)


@pytest.fixture
def newcomer(tmp_path):
    made = Newcomer(tmp_path).prepare()
    yield made
    made.leave()


def answers(output):
    """The JSON that commands printed, one answer a line, none of them an error."""
    found = [json.loads(line) for line in output.splitlines()]
    assert not [answer for answer in found if "kind" in answer]
    return found


# ---- its commands


def test_every_block_of_commands_is_run_by_a_test():
    """A block that is added to a section fails its test; one in a new section, this one."""
    sections = [section for section in SECTIONS if any(blocks(section, kind) for kind in ("sh", "ini", "python"))]
    assert sections == [
        "Quick start",
        "On Debian, as a service",  # tests/system/test_readme.py
        "At a terminal",
        "Everyday use",
        "For programs",
        "Methods",
        "Your own method",
        "Coming from TiffTock",
        "Running it",
        "Developing",
    ]
    assert {kind for kind, _ in FENCED.findall(README)} == {"sh", "ini", "python", "json", "text", ""}


@needs_curl
@pytest.mark.parametrize("runtime_dir", [True, False], ids=["with_runtime_dir", "without"])
def test_quick_start(tmp_path, runtime_dir):
    newcomer = Newcomer(tmp_path, {"TMPDIR": str(tmp_path)})
    if not runtime_dir:
        newcomer.unset = (*newcomer.unset, "XDG_RUNTIME_DIR")
    newcomer.prepare()
    try:
        start, remind, history = blocks("Quick start", "sh")
        assert start.text == "make run\n"
        newcomer.start()
        assert masked(newcomer.log_text()) == masked(start.answer)
        folder = "run" if runtime_dir else f"tifftock-{os.getuid()}"
        assert newcomer.socket_path == str(tmp_path / folder / "tifftock.sock")

        # Nobody waits for ten seconds here. Progress is shown to a person only who is at a terminal.
        [made] = answers(newcomer.paste(remind, span=('"10s"', '"1s"'), quiet=("curl ", "curl -sS ")))
        assert (made["state"], made["method"], made["message"]) == ("pending", "log", "tea is ready")
        newcomer.outcome(made)
        wait_until(lambda: '"tea is ready"' in newcomer.log_text(), "the message in the first terminal")
        shown = masked(newcomer.paste(history, quiet=("curl ", "curl -sS ")))
        assert shown == masked(history.answer)
        assert newcomer.stop() == 0
    finally:
        newcomer.leave()


def test_at_a_terminal(newcomer):
    newcomer.start()
    [block] = blocks("At a terminal", "sh")
    output = newcomer.paste(block)
    time = r"[A-Z][a-z]{2} \d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)? \S+"
    lines = [
        rf"^1  {time}  in [\ddhmins ]+  log  call the dentist$",
        r"^ID  WHEN +IN +METHOD  MESSAGE$",
        rf"^ 2  {time}  (10min|9min \d+s) +log     tea is ready$",
        rf"^ 1  {time}  [\ddhmins ]+ log     call the dentist$",
    ]
    # What is shown is like what comes.
    shown = "".join(text for kind, text in FENCED.findall(SECTIONS["At a terminal"]) if kind == "text")
    for text in (shown, output):
        assert all(re.search(line, text, re.MULTILINE) for line in lines), text
    assert shown.count("\n") == len(lines)
    for said in ("its time has not come", "2  cancelled  log  tea is ready", "outcome   delivered", "tifftockd  ok"):
        assert said in output


def test_all_commands_and_exit_codes_of_tifftockctl_are_there():
    [rows] = tables("At a terminal")
    shown = {code.split()[0] for row in rows for code in codes(row[0])}
    [commands] = [action for action in make_parser()._actions if action.dest == "command"]
    assert shown == set(commands.choices)
    said = SECTIONS["At a terminal"].partition("the exit codes are:")[2].partition(".")[0]
    assert {int(number) for number in re.findall(r"\d+", said)} == {0} | {
        value for name, value in vars(errors).items() if name.startswith("EX_")
    }


@needs_curl
def test_everyday_use(newcomer):
    newcomer.start()
    # the one of the quick start
    newcomer.outcome(newcomer.remind())
    block, again = blocks("Everyday use", "sh")
    bank, passport, coming, filtered, read, snoozed, changed, history, handlers, health = answers(newcomer.paste(block))
    assert bank["when"][11:19] == "09:00:00"
    assert passport["when"] == "2035-01-31T09:00:00+01:00"
    assert coming == filtered == [bank, passport]
    assert read == bank
    assert bank["when"] != snoozed["when"] != changed["when"]
    assert (changed["when"][11:19], changed["message"]) == ("17:30:00", "call the other bank")
    # DELETE says nothing
    assert [(entry["reminder"], entry["outcome"]) for entry in history] == [(2, "cancelled")]
    assert [method["method"] for method in handlers["methods"]] == ["api", "email", "log", "notify", "sms"]
    assert (health["status"], health["counts"]["pending"]) == ("ok", 1)
    standup, rent, coming = answers(newcomer.paste(again))
    assert (standup["repeat"], rent["count"]) == ("Mon..Fri 08:55", 12)
    assert len(coming) == 5
    assert coming[0] == standup["when"]


@needs_curl
def test_for_programs(newcomer):
    newcomer.start()
    newcomer.paste(blocks("Everyday use", "sh")[0])
    before = len(newcomer.get("/reminders"))
    [block] = blocks("For programs", "sh")
    for _ in range(2):
        output = newcomer.paste(block)
    once, (tea, egg), page, contract, *_ = [json.loads(line) for line in output.splitlines() if line[:1] in ("{", "[")]
    assert once["message"] == "has it come?"
    assert [one["message"] for one in (tea, egg)] == ["tea is ready", "egg is ready"]
    assert len(page) == 2
    assert re.search(r'^Link: </reminders\?limit=2&after=[0-9.]+>; rel="next"\r?$', output, re.MULTILINE)
    assert contract["openapi"] == "3.1.1"
    assert "\ntifftock_reminders{" in output
    # Twice: the one with a key was made once.
    assert len(newcomer.get("/reminders")) == before + 1 + 2 * 2


@needs_curl
def test_methods(newcomer):
    [settings] = blocks("Methods", "ini")
    [_, use] = blocks("Methods", "sh")
    values = dict(line.split("=", 1) for line in settings.text.split())
    login = values["SMTP_USER"], values["SMTP_PASSWORD"]
    taken = Answer(201, json.dumps({"sid": "SM1", "status": "queued"}))
    with (
        MailServer("starttls", login=login) as mail,
        HttpServer(taken) as twilio,
        HttpServer() as lights,
        HttpServer() as family,
    ):
        # The environment wins over .env: it says where the outside world is.
        newcomer.settings |= trust(newcomer.folder) | {
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(mail.port),
            "TWILIO_API_URL": twilio.url,
            "NOTIFY_FAMILY": f"json://127.0.0.1:{family.port}",
        }
        newcomer.start()
        newcomer.say(settings)
        newcomer.reload_as_shown()
        newcomer.paste(blocks("Everyday use", "sh")[0])
        made = answers(newcomer.paste(use, target=("localhost:8080", f"127.0.0.1:{lights.port}")))
        assert [reminder["method"] for reminder in made] == ["email", "sms", "api", "notify"]
        for reminder in made:
            assert newcomer.fire(reminder)["outcome"] == "delivered"
    [sent] = mail.mails
    assert (sent.encrypted, sent.user, sent.recipients) == (True, values["SMTP_USER"], ["bob@example.org"])
    assert (sent.message["From"], sent.message["Subject"]) == (values["EMAIL_FROM"], "Bank")
    assert sent.text == "call the bank\n"
    assert parse_qs(twilio.requests[0].body.decode())["To"] == ["+491701234567"]
    [request] = lights.requests
    # As it was due when it fired.
    why = f"on, said at {newcomer.history(made[2])[0]['due']}"
    assert (request.method, request.target, request.json()) == ("PUT", "/lights", {"on": True, "why": why})
    assert request.headers["authorization"] == "Bearer SECRET"
    [told] = [request.json() for request in family.requests]
    assert (told["title"], told["message"], told["type"]) == ("Bank", "call the bank", "warning")


@needs_curl
def test_your_own_method(newcomer):
    newcomer.start()
    [source] = blocks("Your own method", "python")
    [use] = blocks("Your own method", "sh")
    place = re.match(r"# ~/(\S+)\n", source.text)[1]
    file = newcomer.folder / place
    file.parent.mkdir(mode=0o755, parents=True)
    file.write_text(source.text)
    file.chmod(0o644)
    newcomer.reload_as_shown()
    newcomer.paste(blocks("Everyday use", "sh")[0])
    *tried, answer = newcomer.paste(use).splitlines()
    assert "outcome:   delivered" in tried
    [made] = answers(answer)
    assert newcomer.outcome(made)["outcome"] == "delivered"
    assert (newcomer.folder / "notes.txt").read_text().endswith(f"\n{made['when']} buy milk\n")


def test_the_first_class_is_the_one_that_the_page_for_authors_begins_with():
    [source] = blocks("Your own method", "python")
    assert source.text.partition("\n")[2] == next(block for block in page.BLOCKS if block.kind == "python").text


@needs_curl
def test_coming_from_tifftock(newcomer):
    [settings] = blocks("Coming from TiffTock", "ini")
    [use] = blocks("Coming from TiffTock", "sh")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    here = ("localhost:5000", f"localhost:{port}")
    newcomer.say(Block("ini", settings.text.replace(*here)))
    # The rest of a TiffTock user's .env
    newcomer.settings |= {
        "MAILGUN_API_KEY": "key",
        "MAILGUN_EMAIL_DOMAIN": "example.org",
        "MAILGUN_EMAIL_FROM": "ann@example.org",
        "MAILGUN_EMAIL_TO": "ann@example.org",
    }
    newcomer.start()
    assert f"http://127.0.0.1:{port}" in newcomer.log_text()
    made, listed = answers(newcomer.paste(use, here=here))
    assert listed == [made]
    assert made["when"].startswith("2035-01-31T09:00:00")


def test_running_it(newcomer):
    newcomer.start()
    [block] = blocks("Running it", "sh")
    output = newcomer.paste(block)
    assert "tock.db: 0 reminders, 0 lines of history" in output
    assert "method log (built-in): ready" in output
    assert "method:    log (built-in)\noutcome:   delivered" in output
    assert "method email (built-in): unavailable: set SMTP_HOST" in output
    assert output.endswith(f"tifftockd {tifftockd.__version__}")


def make(*arguments):
    """What make would do."""
    # A make that runs this test hands its own flags and targets down.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True
    ).stdout


@needs_make
def test_make_run_starts_the_daemon():
    assert make("-n", "run").splitlines()[-1] == "exec .venv/bin/tifftockd"


@needs_make
def test_developing():
    [block] = blocks("Developing", "sh")
    commands = [line.split("#")[0].split() for line in block.text.splitlines()]
    assert {command[0] for command in commands} == {"make"}
    known = make("help")
    for _, target in commands:
        assert f"make {target} " in known
        assert make("-n", target)


def test_all_exit_codes_are_there():
    shown = {int(number) for number in re.findall(r"\d+", SECTIONS["Running it"].partition("Exit codes:")[2])}
    assert shown == {getattr(cli, name) for name in dir(cli) if name.startswith("EX_")} | {os.EX_TEMPFAIL}


# ---- what it lists


def test_each_form_of_time_is_accepted(shared):
    [times, _] = tables("Everyday use")
    spans = re.search(r"a span from now: (.*?) or a number", SECTIONS["Everyday use"])[1]
    forms = [{"when": form} for row in times for form in codes(row[0])] + [{"in": form} for form in codes(spans)]
    assert len(forms) >= 12
    for form in forms:
        shared.remind(**form)
        by_hand = urlencode({"message": "test", "method": "log"} | form)
        assert shared.request("POST", "/remind", by_hand, {"Content-Type": FORM}).status == 201, form


def test_all_fields_of_a_reminder_are_there():
    assert FIELDS.keys() <= set(codes(SECTIONS["Everyday use"]))


def test_all_routes_are_there_and_none_that_is_not():
    [_, routes] = tables("Everyday use")
    rows = {codes(row[0])[0]: row for row in routes}
    assert set(rows) == {f"{route.method} {route.path}" for route in ROUTES}
    assert set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /\S*)`", README)) == set(rows)
    for route in ROUTES:
        # The place in a list is the Link's own.
        wanted = {parameter.name for parameter in route.query} - {"after", "before"}
        choices = {"state": {*State, "all"}, "outcome": set(Outcome), "owner": {"me"}}
        words = set().union(*(choices.get(name, set()) for name in wanted))
        assert set(codes(rows[f"{route.method} {route.path}"][2])) == wanted | words


def test_all_methods_are_there_with_what_they_accept():
    [rows] = tables("Methods")
    shown = {codes(row[0])[0]: set(codes(row[3])) for row in rows}
    assert shown == {spec.method: set(spec.options or ()) for spec in builtin_specs({})}
    for method, needs, *_ in rows:
        for name in codes(needs):
            if name.startswith("TWILIO_"):
                assert name in sms.Sms.settings
            else:
                assert name in (*email.SMTP_SETTINGS, *email.MAILGUN_SETTINGS)
        assert codes(needs) or method in ("`log`", "`api`", "`notify`")


# What looks like the name of a setting.
NAME = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|TZ")
# Other people's variables
COMMON = {"XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"}
# tifftockctl's: tests/unit/test_manpages.py
OF_CTL = {"TIFFTOCK_URL", "TIFFTOCK_KEY"}


def handlers_settings():
    """The names that the built-in handlers' sources look up."""
    names = {
        node.value
        for file in (PACKAGE / "handlers").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value)
    }
    # where requests itself looks for authorities
    return names - {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}


def test_all_settings_are_there_with_their_defaults_and_none_that_is_not():
    [rows] = tables("Settings")
    shown = {}
    for names, values, _ in rows:
        shown |= zip_longest(codes(names), codes(values))
    known = {setting.name for setting in SETTINGS} | set(HANDLERS_OWN)
    assert set(shown) == known | {f"{notify.PREFIX}<NAME>"}
    assert handlers_settings() <= known
    everywhere = {name for code in codes(README) for name in NAME.findall(code)}
    assert everywhere <= set(shown) | COMMON | OF_CTL
    environ = {"XDG_RUNTIME_DIR": "/r", "XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": "/c", "HOME": "/h"}
    for setting in SETTINGS:
        default = setting.default(environ) if callable(setting.default) else setting.default
        assert Template(shown.pop(setting.name) or "").substitute(environ) == (default or "")
    assert not any(shown.values())
    [security] = [row for row in rows if "SMTP_PORT" in row[0]]
    assert re.findall(r"\d+", security[2]) == [str(port) for port in email.PORTS.values()]
    assert set(codes(security[2])) == set(email.PORTS)


def test_all_parts_of_the_package_are_there():
    [picture] = blocks("Developing", "")
    shown = set(re.findall(r"([a-z_]+(?:/|\.py)) ", picture.text))
    folders = {f"{file.parent.name}/" for file in PACKAGE.glob("*/__init__.py")}
    assert shown == folders | {file.name for file in PACKAGE.glob("[!_]*.py")}
