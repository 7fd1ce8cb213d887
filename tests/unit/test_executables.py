"""Which files are executables, what is declared beside them, and what they are told."""

import inspect
import json
import os
import re
import shlex
import subprocess
import time

import pytest
from hypothesis import given, strategies as st

from tifftockd import RemindProcess
from tifftockd.clock import SECOND
from tifftockd.errors import HandlerError, LoadError, PermanentError, TransientError
from tifftockd.handlers import executable
from tifftockd.handlers.dropins import find_dropins, find_overlooked, method_of, stamp_of, without_run_bit
from tifftockd.handlers.executable import describe_program, signal_name, variables
from tifftockd.handlers.spec import NAME, TYPES

IS_ROOT = os.geteuid() == 0
STRANGER = 54321
PATH = "/etc/tifftock/handlers.d/lamp.sh"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "handlers.d"
    made.mkdir(mode=0o755)
    return made


@pytest.fixture
def find(folder):
    """Look for drop-ins, and give the descriptors back at the end."""
    found = []

    def find():
        found[:0] = dropins = find_dropins(folder)
        return dropins

    yield find
    for dropin in found:
        if dropin.program is not None:
            os.close(dropin.program.descriptor)


def write(folder, name, text="#!/bin/sh\n", mode=0o755):
    file = folder / name
    file.write_text(text)
    file.chmod(mode)
    return file


def refusal(find):
    """Why the one drop-in of a folder was refused; nothing of it is kept."""
    [dropin] = find()
    assert (dropin.text, dropin.program) == (b"", None)
    assert dropin.refused is not None
    return dropin.refused


# ---- names


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("lamp", "lamp"),
        ("lamp.sh", "lamp"),
        ("lamp.pl", "lamp"),
        ("lamp.exe", "lamp"),
        ("a", "a"),
        ("lamp-2_x.rb", "lamp-2_x"),
        ("l" * 70, "l" * 70),  # and told so
    ],
)
def test_an_executable_is_the_method_of_its_name_without_its_suffix(name, method):
    assert method_of(name) == method


@pytest.mark.parametrize(
    "name",
    [
        *("Lamp", "1lamp", "-lamp", "_lamp", "lämp", "la mp", "lamp\n", ".lamp", "", ".sh", "README", "__pycache__"),
        *("lamp.", "lamp..sh", "lamp.tar.gz", "lamp.sh.bak", "lamp.s h", "lamp.sh\n", "lamp.s-h"),
        *("lamp.py", "lamp.PY", "lamp.pyc", "lamp.json"),
        *("lamp.dpkg-old", "lamp.dpkg-new", "lamp.dpkg-dist", "lamp.dpkg-bak", "lamp.dpkg-tmp", "lamp.sh.dpkg-old"),
        *("lamp.ucf-old", "lamp.ucf-new", "lamp.ucf-dist", "lamp.rpmnew", "lamp.rpmsave", "lamp.rpmorig"),
        *("lamp~", "lamp.sh~", "#lamp#", "lamp.bak", "lamp.BAK", "lamp.old", "lamp.orig", "lamp.rej", "lamp.swp"),
        *(".lamp.swp", "lamp.tmp", "lamp.new", "lamp.save", "lamp.disabled"),
    ],
)
def test_what_tools_leave_beside_files_and_other_names_are_no_executables(name):
    assert method_of(name) is None


@given(st.from_regex(NAME, fullmatch=True), st.sampled_from(["", ".sh", ".pl", ".x86_64"]))
def test_every_name_of_a_method_can_be_a_files(method, suffix):
    assert method_of(method + suffix) == method


def test_a_name_that_is_too_long_for_a_method_is_told_so():
    with pytest.raises(LoadError, match="its name is too long for a method"):
        describe_program(f"/x/{'l' * 65}.sh", b"", {})


# ---- files


def test_executables_and_modules_are_found_in_one_sorted_order(folder, find):
    write(folder, "c.py", mode=0o644)
    for name in ("b.sh", "d", "a"):
        write(folder, name)
    found = find()
    assert [dropin.path for dropin in found] == [str(folder / name) for name in ("a", "b.sh", "c.py", "d")]
    assert [dropin.refused for dropin in found] == [None] * 4
    assert [dropin.program is None for dropin in found] == [False, False, True, False]


def test_only_regular_files_with_a_run_bit_are_executables(folder, find):
    write(folder, "data", mode=0o644)
    (folder / "sub").mkdir(mode=0o755)
    os.mkfifo(folder / "pipe", 0o755)
    (folder / "gone").symlink_to("nowhere")
    (folder / "null").symlink_to("/dev/null")
    assert find() == []
    assert find_dropins(folder / "data") != []  # a folder that is none
    link = write(folder, "real")
    (folder / "link").symlink_to(link)
    assert [dropin.path for dropin in find()] == [str(folder / name) for name in ("link", "real")]


@pytest.mark.parametrize("mode", [0o100, 0o700, 0o755, 0o711])
def test_a_file_need_not_be_readable_to_be_run(folder, find, mode):
    write(folder, "lamp", mode=mode)
    [dropin] = find()
    assert dropin.refused is None
    assert dropin.program.stamp == stamp_of(os.stat(folder / "lamp"))


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o722])
def test_an_executable_that_others_can_write_is_refused_until_the_command_it_names_was_run(folder, find, mode):
    file = write(folder, "lamp", mode=mode)
    reason = refusal(find)
    assert reason.startswith(f"{file} can be written by others than its owner; mend it by: chmod go-w ")
    subprocess.run(shlex.split(reason.partition("mend it by: ")[2]), check=True)
    assert [dropin.refused for dropin in find()] == [None]


def test_a_folder_that_others_can_write_has_no_executables_that_can_be_trusted(folder, find):
    write(folder, "lamp")
    folder.chmod(0o777)
    assert refusal(find).startswith(f"{folder} can be written by others")


@pytest.mark.skipif(not IS_ROOT, reason="only root can give files away")
@pytest.mark.parametrize("name", ["lamp.sh", "lamp.json"])
def test_a_strangers_executable_or_declaration_is_refused(folder, find, name):
    write(folder, "lamp.sh")
    write(folder, "lamp.json", "{}", 0o644)
    os.chown(folder / name, STRANGER, -1)
    assert f"{folder / name} belongs to user {STRANGER}, who is not trusted" in refusal(find)


@pytest.mark.skipif(not IS_ROOT, reason="only root can make what another user may not run")
def test_an_executable_that_the_daemon_may_not_run_is_refused_with_the_command_that_mends_it(folder, find):
    file = write(folder, "lamp", mode=0o744)
    # The real uid is what access(2) asks about.
    os.setreuid(STRANGER, 0)
    try:
        reason = refusal(find)
        assert reason == f"{file} may not be run by user 0; mend it by: chmod a+x {file}"
        subprocess.run(shlex.split(reason.partition("mend it by: ")[2]), check=True)
        assert [dropin.refused for dropin in find()] == [None]
    finally:
        os.setreuid(0, 0)


def test_the_descriptor_keeps_the_file_that_was_checked(folder, find):
    file = write(folder, "lamp", "first")
    [dropin] = find()
    (folder / "next").write_text("second")
    (folder / "next").rename(file)
    with open(f"/proc/self/fd/{dropin.program.descriptor}") as kept:
        assert kept.read() == "first"


def test_a_version_is_another_one_when_the_file_was_replaced_written_to_or_declared_otherwise(folder, find):
    file = write(folder, "lamp", "first")
    before = find()
    assert find() == before
    file.chmod(0o700)
    assert find() == before
    write(folder, "lamp.json", "{}", 0o644)
    declared = find()
    assert declared != before
    file.write_text("other")
    os.utime(file, ns=(0, 0))
    assert find() != declared


def test_what_is_refused_leaves_no_descriptor_open(folder, find):
    write(folder, "lamp", mode=0o777)
    write(folder, "moon")
    write(folder, "moon.json", "{}", 0o666)
    before = os.listdir("/proc/self/fd")
    assert all(dropin.refused for dropin in find())
    assert os.listdir("/proc/self/fd") == before


def test_a_file_that_only_lacks_its_run_bit_is_found_to_say_so(folder):
    file = write(folder, "lamp.sh", mode=0o644)
    write(folder, "lamp")
    write(folder, "moon", mode=0o644)
    assert without_run_bit(folder, "lamp") == [f"{file} has no run bit; mend it by: chmod a+x {file}"]
    assert without_run_bit(folder / "nowhere", "lamp") == []


def test_what_looks_like_a_method_and_is_none_is_found_to_say_why(folder):
    script = write(folder, "lamp.sh", "#!/bin/sh\n", mode=0o644)
    named = [write(folder, name) for name in ("1st", "Moon", "my lamp.sh", "stern-ö")]
    for name in ("sun", "Sun.bak", "Sun.BAK", "Sun.sh~", "Sun.sh.dpkg-old", ".Sun", "Sun.py"):
        write(folder, name)
    for name in ("README", "notes.txt", "Lamp"):
        write(folder, name, "about #!", mode=0o644)
    (folder / "Folder").mkdir()
    told = find_overlooked(folder)
    assert f"{script} has no run bit; mend it by: chmod a+x {script}" in told
    assert {line.partition(" is no method: ")[0] for line in told if "chmod" not in line} == set(map(str, named))
    assert len(told) == 1 + len(named)
    assert find_overlooked(folder / "nowhere") == []


# ---- the declaration's file


@pytest.mark.parametrize("name", ["lamp", "lamp.sh"])
def test_the_declaration_is_named_after_the_method(folder, find, name):
    write(folder, name)
    write(folder, "lamp.json", '{"timeout": 5}', 0o644)
    write(folder, "moon.json", "no executable, so anything", 0o666)
    [dropin] = find()
    assert (dropin.refused, dropin.text) == (None, b'{"timeout": 5}')


def test_a_declaration_with_a_run_bit_is_no_executable(folder, find):
    write(folder, "lamp.json", "{}", 0o755)
    assert find() == []


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda file: write(file.parent, file.name, "{}", 0o666), "can be written by others"),
        (lambda file: file.mkdir(mode=0o755), "it is not a file"),
        (lambda file: file.symlink_to("nowhere"), "cannot be read: No such file or directory"),
        (lambda file: write(file.parent, file.name, " " * 65_537, 0o644), "it is larger than 65536 bytes"),
    ],
    ids=["writable", "folder", "link", "large"],
)
def test_a_declaration_that_cannot_be_trusted_or_read_refuses_its_executable(folder, find, make, reason):
    write(folder, "lamp")
    make(folder / "lamp.json")
    told = refusal(find)
    assert told.startswith("lamp.json: ")
    assert reason in told


# ---- what is declared


def declared(**fields):
    return describe_program(PATH, json.dumps(fields).encode(), {})


def wrong(text):
    with pytest.raises(LoadError) as refused:
        describe_program(PATH, text if isinstance(text, bytes) else json.dumps(text).encode(), {})
    told = refused.value.message
    assert told.startswith("lamp.json: "), told
    assert "Declared" not in told
    return told.removeprefix("lamp.json: ")


def test_without_a_declaration_all_is_as_of_a_class_that_declares_nothing():
    class Lamp(RemindProcess):
        def remind(self, message):
            pass

    spec = describe_program(PATH, b"", {})
    assert spec == executable.describe(Lamp, PATH, {})._replace(source=PATH)
    assert spec == declared()
    assert spec.method == "lamp"


def test_whatever_a_class_may_declare_but_its_name_can_be_declared():
    names = {name for name in inspect.get_annotations(RemindProcess) if name[0] != "_"}
    assert set(executable._FIELDS) == names - {"method"}


def test_what_is_declared_is_what_a_class_would_declare():
    class Lamp(RemindProcess):
        options = {"level": int, "share": float, "colour": ("red", "green"), "extra": object}  # noqa: RUF012
        needs_to = True
        timeout = "90s"
        concurrency = 1
        repeatable = False
        memory = "1G"
        output = "16K"
        renew = 5
        settings = ("LAMP_KEY",)

        def remind(self, message):
            pass

    spec = declared(
        options={"level": "int", "share": "float", "colour": ["red", "green"], "extra": "any"},
        needs_to=True, timeout="90s", concurrency=1, repeatable=False, memory="1G", output="16K", renew=5,
        settings=["LAMP_KEY"],
    )  # fmt: skip
    assert spec == executable.describe(Lamp, PATH, {})
    assert (spec.timeout, spec.repeatable, spec.missing) == (90 * SECOND, False, "LAMP_KEY not set")


@pytest.mark.parametrize("kind", [*TYPES, "line"])
def test_every_type_that_handlers_shows_can_be_declared(kind):
    assert declared(options={"level": kind}).options == {"level": kind}


@pytest.mark.parametrize("name", ["options", "timeout", "concurrency", "memory", "output", "renew"])
def test_null_means_what_it_means_without_the_field(name):
    assert declared(**{name: None}) == declared()


@pytest.mark.parametrize("value", [5, "yes", None, [], 0, 1])
@pytest.mark.parametrize("name", ["needs_to", "repeatable"])
def test_a_flag_is_true_or_false(name, value):
    assert wrong({name: value}) == f"{name} is {json.dumps(value)}; it must be true or false"


@pytest.mark.parametrize("value", ["LAMP_KEY", None, [5], [""], {}, True])
def test_settings_are_a_list_of_names(value):
    assert wrong({"settings": value}).startswith(f"settings is {json.dumps(value)}; it must be a list of names like [")


@pytest.mark.parametrize("value", ["level", ["level"], 5, True])
def test_options_are_an_object(value):
    assert wrong({"options": value}) == 'options must be an object like {"subject": "str"}'


@pytest.mark.parametrize("value", ["string", "integer", "", None, 5, True, [], ["a", 1], {}, {"type": "str"}])
def test_an_option_is_a_type_or_a_list_of_texts(value):
    told = wrong({"options": {"level": value}})
    assert (
        told
        == "options['level'] must be one of str, int, float, bool, list, dict, any, line, or a list of allowed strings"
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("timeout", "soon", "timeout: cannot use the span 'soon': write it like 10m"),
        ("timeout", 0, "timeout must be longer than nothing"),
        ("timeout", "31d", "timeout must be at most 30d"),
        ("timeout", True, "timeout: "),
        ("timeout", float("nan"), "timeout: "),
        ("timeout", {}, "timeout: "),
        ("concurrency", "4", "concurrency is '4'; it must be a whole number from 1 to 1024"),
        ("concurrency", 0, "concurrency is 0; it must be a whole number from 1 to 1024"),
        ("memory", "lots", "memory: 'lots' is not a size"),
        ("memory", "1M", "memory is '1M'; it must be from 64M to 16T"),
        ("output", -1, "output: -1 is not a size"),
        ("renew", 1.5, "renew is 1.5; it must be a whole number"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_would_be_right(name, value, words):
    assert wrong({name: value}).startswith(words)


@pytest.mark.parametrize("name", ["optoins", "method", "_to_pattern", "Timeout", "prepare", "remind", "", "x" * 200])
def test_an_unknown_field_is_named_with_those_that_are_known(name):
    told = wrong({name: 1})
    assert re.match(r"there is no field '.{0,65}; known: options, needs_to, timeout, ", told)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "line 1, column 2: "),
        (b'{"timeout": 5,\n "renew": }', "line 2, column 11: "),
        (b" ", "line 1, column 2: "),
        (b"\xff{}", "it is not UTF-8 (its byte 0)"),
        (b"[]", 'it must be an object like {"timeout": "90s"}'),
        (b"null", "it must be an object"),
        (b'{"timeout": 5, "timeout": 6}', "timeout is there twice"),
        (b'{"options": {"a": "str", "a": "int"}}', "a is there twice"),
        (b'{"renew": ' + b"9" * 5000 + b"}", "it holds what no declaration can mean"),
        (b"[" * 50_000, "it holds what no declaration can mean"),
    ],
)
def test_what_is_no_declaration_is_told_so(text, words):
    assert wrong(text).startswith(words)


def test_one_name_twice_among_many_does_not_take_long():
    names = [*(f"n{number}" for number in range(20_000)), "n19999"]
    begun = time.process_time()
    assert wrong(b"{%s}" % ", ".join(f'"{name}": 1' for name in names).encode()) == "n19999 is there twice"
    assert time.process_time() - begun < 1


def test_a_byte_order_mark_is_ignored():
    assert describe_program(PATH, b'\xef\xbb\xbf{"timeout": 5}', {}).timeout == 5 * SECOND


# ---- what it is told, and what it says


def test_a_reminder_as_environment_variables():
    reminder = {"id": 7, "message": "a=b\n-ä", "to": None, "options": {"ä": [1, None]}, "attempt": 1}
    assert variables(reminder) == {
        b"TIFFTOCK_ID": b"7",
        b"TIFFTOCK_MESSAGE": "a=b\n-ä".encode(),
        b"TIFFTOCK_TO": b"",
        b"TIFFTOCK_OPTIONS": '{"ä": [1, null]}'.encode(),
        b"TIFFTOCK_ATTEMPT": b"1",
    }


@pytest.mark.parametrize("status", [-40, -9, *range(1, 256)])
def test_what_a_status_means(status):
    meant = PermanentError if 64 <= status <= 78 else HandlerError
    if status == 75:
        meant = TransientError
    with pytest.raises(HandlerError) as raised:
        executable._judge(status, "")
    assert type(raised.value) is meant
    assert str(abs(status) if status != -9 else "SIGKILL") in str(raised.value)


def test_status_0_is_delivered():
    executable._judge(0, "a warning")


@pytest.mark.parametrize(
    ("tail", "line"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"one\ntwo", "two"),
        (b"one\ntwo\n\n", "two"),
        (b"  cannot open \xff\n", "cannot open \ufffd"),
        (b"\x1b[31mred\x1b[0m", " [31mred [0m"),
        (b"x" * 1000, "x" * 300),
    ],
)
def test_the_last_line_of_standard_error_is_kept_as_one_printable_line(tail, line):
    assert executable._last_line(bytearray(tail)) == line


def test_signals_have_names_or_numbers():
    assert (signal_name(15), signal_name(34), signal_name(40)) == ("SIGTERM", "SIGRTMIN", "signal 40")
