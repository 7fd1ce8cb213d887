"""The man pages, and the files that the package puts into /etc, are compared with the code."""

import ast
import inspect
import json
import os
import re
import shlex
import types
from pathlib import Path

import pytest

from tests import page as handlers
from tifftockd import RemindProcess, cli
from tifftockd.api.fields import FIELDS
from tifftockd.config import HANDLERS_OWN, LONGEST_TIMEOUT, MEMORY, OUTPUT, SETTINGS
from tifftockd.config.places import socket_address
from tifftockd.ctl import address, errors, parser, records
from tifftockd.ctl.parser import make_parser, read_arguments
from tifftockd.errors import LoadError
from tifftockd.handlers import email, notify
from tifftockd.handlers.executable import describe_program, variables
from tifftockd.handlers.spec import TYPES, describe, method_name
from tifftockd.reminder import Outcome, State

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


ALL_SETTINGS = {setting.name for setting in SETTINGS} | set(HANDLERS_OWN)
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


@pytest.mark.parametrize("name", ["tifftockd.8", "tifftock.env.5"])
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
        if "ctl" not in file.relative_to(PACKAGE).parts
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr.startswith("EX_")
    }
    return {getattr(os, name) for name in names}


def test_all_exit_codes_are_in_tifftockd_8():
    assert {int(number) for number in items(section(page("tifftockd.8"), "EXIT STATUS"))} == exit_codes()


# ---- tifftockctl


def commands():
    """The parser of each command, by its name."""
    [action] = [action for action in make_parser()._actions if action.dest == "command"]
    return action.choices


def options_of(parser):
    return {option for action in parser._actions for option in action.option_strings}


def test_all_commands_and_options_are_in_tifftockctl_1_and_none_that_is_not():
    text = page("tifftockctl.1")
    described = items(section(text, "COMMANDS"), "Ic")
    assert [tag.split()[0] for tag in described] == [
        *("list", "remind", "show", "explain", "history", "next", "snooze", "cancel", "rearm", "try", "import"),
        *("handlers", "status"),
    ]
    assert {tag.split()[0] for tag in described} == set(commands())
    common = options_of(make_parser())
    listed = items(section(text, "OPTIONS"), "Fl")
    assert flags("".join(f"Fl {tag}\n" for tag in listed)) == common
    for tag, said in described.items():
        name = tag.split()[0]
        told = section(text, "IMPORT") if name == "import" else said
        own = options_of(commands()[name]) - common
        assert flags(told.replace("Fl n , -limit", "Fl n Fl -limit")) == own, name
        positionals = [action.metavar for action in commands()[name]._actions if not action.option_strings]
        assert [word for word in tag.split()[1:] if word.isupper()] == " ".join(positionals).split()


def test_all_exit_codes_of_tifftockctl_are_in_its_page():
    codes = {value for name, value in vars(errors).items() if name.startswith("EX_")}
    assert {int(number) for number in items(section(page("tifftockctl.1"), "EXIT STATUS"))} == codes | {0}


def test_all_variables_of_tifftockctl_are_in_its_page():
    sources = "".join(file.read_text() for file in (PACKAGE / "ctl").glob("*.py"))
    named = set(re.findall(r'environ(?:\.get\(|\[)"(\w+)"', sources))
    described = set(items(section(page("tifftockctl.1"), "ENVIRONMENT"), "Ev"))
    # Everybody's: the terminal's, and that of the daemon's place; and what libraries look up
    assert named - {"TERM", "COLUMNS", "XDG_RUNTIME_DIR"} == described - {"TZ", "SSL_CERT_FILE"}


def test_the_commands_that_tifftockctl_1_shows_can_be_read():
    [shown] = examples(page("tifftockctl.1"))
    for line in shown.splitlines():
        command, *arguments = shlex.split(line)
        assert command == "tifftockctl"
        assert read_arguments(arguments).command


def test_tifftockctl_knows_the_daemons_fields_states_outcomes_and_places(tmp_path):
    assert set(FIELDS) <= set(records.FIELDS)
    assert set(parser.STATES) == {*State, "all"}
    assert set(parser.OUTCOMES) == {*Outcome}
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    for places in (environ, {}, {"XDG_RUNTIME_DIR": "relative"}):
        assert f"unix:{address.by_hand(places)}" == socket_address(places)
    socket_unit = (ROOT / "systemd/tifftockd.socket").read_text()
    assert f"\nListenStream={address.SERVICE}\n" in socket_unit


def test_the_unit_does_not_restart_what_only_a_person_can_mend():
    unit = (ROOT / "systemd/tifftockd.service").read_text()
    codes = [str(code) for code in (os.EX_USAGE, os.EX_DATAERR, os.EX_CONFIG)]
    assert f"\nRestartPreventExitStatus={' '.join(codes)}\n" in unit
    assert f"case $EXIT_STATUS in {'|'.join(codes)})" in unit


# ---- handlers: docs/handlers.md, of which tifftock-handlers(7) is made


def test_what_a_class_may_declare_is_on_the_page_with_its_defaults():
    [declared] = handlers.tables("Settings and secrets")
    shown = {handlers.codes(name)[0]: value for name, value, _ in declared}
    [limits] = handlers.tables("Deadlines and other limits")
    general = {handlers.codes(name)[0]: handlers.codes(setting + value) for name, setting, value, _ in limits}
    assert {*shown, *general} == {name for name in inspect.get_annotations(RemindProcess) if name[0] != "_"}
    for name, value in shown.items():
        if name == "method":
            assert not hasattr(RemindProcess, name)
            assert not handlers.codes(value)
        else:
            assert getattr(RemindProcess, name) == ast.literal_eval(handlers.codes(value)[0])
    for name, (setting, value) in general.items():
        assert getattr(RemindProcess, name) is None
        assert setting == f"HANDLER_{name.upper()}"
        assert value == defaults()[setting]


def test_the_bounds_of_limits_are_on_the_page():
    [limits] = handlers.tables("Deadlines and other limits")
    said = {handlers.codes(row[0])[0]: row[3] for row in limits}
    assert LONGEST_TIMEOUT in handlers.codes(said["timeout"])
    assert handlers.codes(said["memory"]) == [*MEMORY]
    assert handlers.codes(said["output"]) == [OUTPUT[1]]

    def described(**declared):
        return describe(type("Lamp", (RemindProcess,), declared), "x", {})

    least, most = map(int, re.findall(r"\d+", said["concurrency"]))
    assert [described(concurrency=value).concurrency for value in (least, most)] == [least, most]
    for value in (least - 1, most + 1):
        with pytest.raises(LoadError):
            described(concurrency=value)


def test_what_a_handler_finds_in_itself_is_on_the_page():
    class Some(RemindProcess):
        def remind(self, message):
            pass

    [rows] = handlers.tables("Ten lines")
    assert {handlers.codes(row[0])[0] for row in rows} == {
        f"self.{name}" for name in vars(Some({"id": 1, "when": "", "message": ""}))
    }


def test_the_page_names_no_setting_that_is_not_there():
    named = {code for code in handlers.codes(handlers.PROSE) if NAME.fullmatch(code)}
    assert named <= ALL_SETTINGS | {"EX_TEMPFAIL"} | {name for name in named if name.startswith("TIFFTOCK_")}


def test_what_an_executable_finds_in_its_environment_is_on_the_page():
    named = {code for code in handlers.codes(handlers.PROSE) if code.startswith("TIFFTOCK_")}
    told = ("id", "when", "message", "method", "to", "options", "attempt", "key")
    assert named == {name.decode() for name in variables(dict.fromkeys(told))}


def readme_examples():
    """The indented parts of handlers.d/README."""
    text = (ROOT / "packaging/handlers.d/README").read_text()
    return [
        re.sub(r"^ {4}", "", part, flags=re.MULTILINE)
        for part in re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", text, re.MULTILINE)
    ]


def test_the_examples_of_handlers_are_handlers():
    shown = [block.text for block in handlers.BLOCKS if block.kind == "python" and "(RemindProcess)" in block.text]
    beside = [text for text in readme_examples() if "class " in text]
    assert (len(shown), len(beside)) == (4, 1)
    for source in (*shown, *beside):
        module = types.ModuleType("example")
        exec(compile(source, "example", "exec"), module.__dict__)
        classes = [value for value in vars(module).values() if getattr(value, "__module__", "") == "example"]
        assert [describe(cls, "example", {}).method for cls in classes] == [method_name(classes[0])]
        assert not inspect.isabstract(classes[0])


def test_the_first_example_has_no_more_than_ten_lines():
    first = next(block.text for block in handlers.BLOCKS if block.kind == "python")
    assert len([line for line in first.splitlines() if line]) <= 10


def test_the_example_of_a_declaration_declares_all_that_can_be():
    [text] = [block.text for block in handlers.BLOCKS if block.kind == "json"]
    describe_program("/x/shout.sh", text.encode(), {})
    assert set(json.loads(text)) == {name for name in inspect.get_annotations(RemindProcess) if name[0] != "_"} - {
        "method"
    }
    said = handlers.section("Executables").partition("The types of options here are")[2].partition(".")[0]
    assert set(handlers.codes(said)) == {*TYPES, "line"}
    of_classes = handlers.section("Settings and secrets").partition("The types of options are")[2]
    assert set(handlers.codes(of_classes.partition(" for any")[0])) == set(TYPES) - {"any"} | {"object"}


def test_the_examples_for_more_rights_are_the_same_wherever_they_are_shown():
    shown = [block.text.strip() for block in handlers.BLOCKS if "[Service]" in block.text]
    beside = [text.strip() for text in readme_examples() if "[Service]" in text]
    assert (len(shown), len(beside)) == (8, 3)
    assert set(beside) <= set(shown)
    unit = (ROOT / "systemd/tifftockd.service").read_text()
    comments = "\n".join(line for line in unit.splitlines() if line.startswith("#"))
    for text in shown:
        for line in text.splitlines()[1:]:
            assert line in comments or line.split("=")[0] in ("SupplementaryGroups", "ExecPaths"), line


def test_all_routes_are_in_tifftockd_8():
    from tifftockd.api.app import ROUTES

    listed = "".join(items(section(page("tifftockd.8"), "THE API"), "Li"))
    assert set(re.findall(r"/[a-z.]+", listed)) == set(re.findall(r"/[a-z.]+", "".join(route.path for route in ROUTES)))


def test_the_commands_that_tifftockd_8_shows_use_routes_and_options_that_there_are():
    from tifftockd.api.app import ROUTES

    text = "".join(examples(page("tifftockd.8")))
    calls = [shlex.split(line)[1].partition("?")[0] for line in text.splitlines() if line.startswith("tock /")]
    assert len(calls) >= 8
    paths = [re.sub(r"<[^>]*>", "[0-9]+", route.path) for route in ROUTES]
    assert all(any(re.fullmatch(path, call) for path in paths) for call in calls)
