"""The man pages, and the files that the package puts into /etc, are compared with the code."""

import ast
import inspect
import json
import os
import re
import shlex
import subprocess
import types
from pathlib import Path

import pytest

from tifftockd import RemindProcess, cli
from tifftockd.config import SETTINGS
from tifftockd.handlers import email, notify
from tifftockd.handlers.dropins import method_of
from tifftockd.handlers.executable import describe_program
from tifftockd.handlers.spec import TYPES, describe

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tifftockd"

# What the service gets from its unit: systemd.exec(5).
UNDER_SYSTEMD = {"CONFIGURATION_DIRECTORY": "/etc/tifftock", "STATE_DIRECTORY": "/var/lib/tifftock"}

# ---- reading mdoc(7)


def page(name):
    """The text of a man page, with its escapes undone."""
    text = (ROOT / "docs/man" / name).read_text()
    return text.replace("\\-", "-").replace("\\(aq", "'").replace("\\(dq", '"').replace("\\e", "\\")


def section(text, title):
    """What stands between a heading, of a section or below one, and the next."""
    return re.split(r"^\.S[hs] .*\n", text.partition(f" {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def items(text, macro=""):
    """The tags of its lists that are marked up so, with what is said about each."""
    parts = re.split(rf"^\.It {macro} ?(.*)\n", text, flags=re.MULTILINE)
    return {
        tag: re.split(r"^\.(?:It|El)\b", said, flags=re.MULTILINE)[0]
        for tag, said in zip(parts[1::2], parts[2::2], strict=True)
    }


def default(said):
    """The default that an item shows, or None."""
    found = re.search(r"^Default:\n\.(?:Li|Ev) (\S+)$", said, re.MULTILINE)
    return found and found[1]


def examples(text):
    """What is shown as it is to be typed."""
    return re.findall(r"^\.Bd -literal\n(.*?)^\.Ed$", text, re.MULTILINE | re.DOTALL)


# ---- settings

# What looks like the name of a setting.
NAME = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|TZ")


def handlers_settings():
    """The names that the built-in handlers' sources look up."""
    names = {
        node.value
        for file in (PACKAGE / "handlers").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value)
    }
    # where requests itself looks for authorities
    return names - {"REQUESTS_CA_BUNDLE"}


ALL_SETTINGS = {setting.name for setting in SETTINGS} | handlers_settings()
# Any name may follow.
BY_NAME = f"{notify.PREFIX} Ns Ar NAME"


def defaults():
    """Every default that there is, as the service has it. Where it listens is systemd's business."""
    ours = {
        setting.name: setting.default(UNDER_SYSTEMD) if callable(setting.default) else setting.default
        for setting in SETTINGS
        if setting.name != "API_URL"
    }
    return {name: value for name, value in ours.items() if value}


def test_all_settings_are_in_tifftock_env_5_with_their_defaults_and_none_that_is_not():
    described = items(page("tifftock.env.5"), "Ev")
    assert set(described) == ALL_SETTINGS | {BY_NAME}
    assert {name: default(said) for name, said in described.items() if default(said)} == defaults()


def test_the_ports_and_kinds_of_security_are_in_tifftock_env_5():
    described = items(page("tifftock.env.5"), "Ev")
    assert re.findall(r"\d+", described["SMTP_PORT"]) == [str(port) for port in email.PORTS.values()]
    assert re.findall(r"^\.Li (\w+)", described["SMTP_SECURITY"].partition("Default:")[0], re.MULTILINE) == [
        *email.PORTS
    ]


@pytest.mark.parametrize("name", ["tifftockd.8", "tifftock.env.5", "tifftock-handlers.7"])
def test_man_pages_name_no_setting_that_is_not_there(name):
    named = set(re.findall(r"^\.(?:It )?Ev (\S+)", page(name), re.MULTILINE))
    assert named <= ALL_SETTINGS | {notify.PREFIX, "CONFIGURATION_DIRECTORY", "HOME"}


def test_the_packaged_tifftock_env_sets_nothing_and_shows_defaults_as_they_are():
    lines = (ROOT / "packaging/tifftock.env").read_text().splitlines()
    assert not [line for line in lines if line and not line.startswith("#")]
    shown = dict(re.fullmatch(r"#(\w+)=(.*)", line).groups() for line in lines if re.match(r"#\w+=", line))
    assert {name for name in shown if not name.startswith(notify.PREFIX)} <= ALL_SETTINGS
    meant = defaults()
    assert {name: shown[name] for name in shown if name in meant} == {
        name: meant[name] for name in shown if name in meant
    }


# ---- the command


def flags(text):
    """The options that are marked up as such."""
    return {f"-{flag}" for flag in re.findall(r"\bFl (\S+)", text)}


def test_all_options_are_in_tifftockd_8_and_none_that_is_not():
    options = {option for action in cli._parser()._actions for option in action.option_strings}
    text = page("tifftockd.8")
    assert flags("".join(re.findall(r"^\.It Fl .*\n", section(text, "OPTIONS"), re.MULTILINE))) == options
    assert flags(section(text, "SYNOPSIS")) == options


def exit_codes():
    """The numbers that the sources give to exit codes: os.EX_... (sysexits.h), and those that an error is made with."""
    names = {
        node.attr
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr.startswith("EX_")
    }
    return {getattr(os, name) for name in names}


def test_all_exit_codes_are_in_tifftockd_8():
    assert {int(number) for number in items(section(page("tifftockd.8"), "EXIT STATUS"))} == exit_codes()


def test_the_unit_does_not_restart_what_only_a_person_can_mend():
    unit = (ROOT / "systemd/tifftockd.service").read_text()
    codes = [str(code) for code in (os.EX_USAGE, os.EX_DATAERR, os.EX_CONFIG)]
    assert f"\nRestartPreventExitStatus={' '.join(codes)}\n" in unit
    assert f"case $EXIT_STATUS in {'|'.join(codes)})" in unit


# ---- handlers


def test_what_a_class_may_declare_is_in_tifftock_handlers_7_with_its_defaults():
    described = items(section(page("tifftock-handlers.7"), "What a class may say"), "Va")
    assert set(described) == {name for name in inspect.get_annotations(RemindProcess) if name[0] != "_"}
    for name, said in described.items():
        shown = default(said)
        if shown in ALL_SETTINGS:
            assert getattr(RemindProcess, name) is None
        elif name == "method":
            assert shown is None
        else:
            assert getattr(RemindProcess, name) == ast.literal_eval(shown)


def test_what_a_handler_finds_in_itself_is_in_tifftock_handlers_7():
    class Some(RemindProcess):
        def remind(self, message):
            pass

    described = items(section(page("tifftock-handlers.7"), "What an attempt finds in itself"), "Va")
    assert set(described) == {f"self.{name}" for name in vars(Some({"id": 1, "when": "", "message": ""}))}


def readme_examples():
    """The indented parts of handlers.d/README."""
    text = (ROOT / "packaging/handlers.d/README").read_text()
    return [
        re.sub(r"^ {4}", "", part, flags=re.MULTILINE)
        for part in re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", text, re.MULTILINE)
    ]


def test_the_examples_of_handlers_are_handlers():
    sources = [text for text in (*examples(page("tifftock-handlers.7")), *readme_examples()) if "class " in text]
    assert len(sources) == 2
    for source in sources:
        module = types.ModuleType("example")
        exec(compile(source, "example", "exec"), module.__dict__)
        classes = [value for value in vars(module).values() if getattr(value, "__module__", "") == "example"]
        assert [describe(cls, "example", {}).method for cls in classes] == [classes[0].method]
        assert not inspect.isabstract(classes[0])


@pytest.mark.parametrize("interpreter", ["/bin/sh", "/usr/bin/perl"])
def test_the_examples_of_executables_do_what_their_exit_status_says(interpreter, tmp_path):
    if not os.path.exists(interpreter):
        pytest.skip(f"there is no {interpreter}")
    [text] = [text for text in examples(page("tifftock-handlers.7")) if text.startswith(f"#!{interpreter}\n")]
    name = re.search(r"^# /etc/tifftock/handlers.d/(\S+)$", text, re.MULTILINE)[1]
    assert method_of(name) == name.partition(".")[0]
    file = tmp_path / name
    file.write_text(text)
    file.chmod(0o755)
    told = {"TIFFTOCK_WHEN": "2026-11-24T21:00:00+01:00", "TIFFTOCK_TO": "ann", "TIFFTOCK_MESSAGE": "tea is ready"}
    done = subprocess.run([file, "tea is ready"], env=told, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
    [made] = tmp_path.glob("*.txt")
    assert "tea is ready" in made.read_text()
    # What makes it fail: for the one nobody to shout at, for the other a place where nothing can be written.
    made.unlink()
    made.mkdir()
    failed = subprocess.run([file, "x"], env=told | {"TIFFTOCK_TO": ""}, cwd=tmp_path, capture_output=True, check=False)
    assert failed.returncode == {"/bin/sh": os.EX_USAGE, "/usr/bin/perl": os.EX_TEMPFAIL}[interpreter]
    assert failed.stderr.strip()


def test_the_example_of_a_declaration_declares_all_that_can_be():
    [text] = [text for text in examples(page("tifftock-handlers.7")) if text.startswith("{")]
    describe_program("/x/shout.sh", text.encode(), {})
    assert set(json.loads(text)) == {name for name in inspect.get_annotations(RemindProcess) if name[0] != "_"} - {
        "method"
    }
    types_ = section(page("tifftock-handlers.7"), "Executables").partition("The types of options are")[2]
    assert set(re.findall(r"^\.Li (\w+)", types_, re.MULTILINE)) == set(TYPES)


def test_the_examples_for_more_rights_are_the_same_wherever_they_are_shown():
    shown = [text.strip() for text in examples(page("tifftock-handlers.7")) if "[Service]" in text]
    beside = [text.strip() for text in readme_examples() if "[Service]" in text]
    assert len(beside) == 3
    assert set(beside) <= set(shown)
    unit = (ROOT / "systemd/tifftockd.service").read_text()
    comments = "\n".join(line for line in unit.splitlines() if line.startswith("#"))
    for text in shown:
        for line in text.splitlines()[1:]:
            assert line in comments or line.split("=")[0] in ("SupplementaryGroups", "ExecPaths"), line


def test_all_routes_are_in_tifftockd_8():
    from tifftockd.api import ROUTES

    listed = "".join(items(section(page("tifftockd.8"), "THE API"), "Li"))
    assert set(re.findall(r"/[a-z.]+", listed)) == {re.match(r"/[a-z.]+", route.path)[0] for route in ROUTES}


def test_the_commands_that_tifftockd_8_shows_use_routes_and_options_that_there_are():
    from tifftockd.api import ROUTES

    text = "".join(examples(page("tifftockd.8")))
    calls = [shlex.split(line)[1].partition("?")[0] for line in text.splitlines() if line.startswith("tock /")]
    assert len(calls) >= 8
    paths = [re.sub(r"<[^>]*>", "[0-9]+", route.path) for route in ROUTES]
    assert all(any(re.fullmatch(path, call) for path in paths) for call in calls)
