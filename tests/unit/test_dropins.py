"""Which files of the folder are drop-ins, and which of them are trusted: as sudo and cron do."""

import os
import re
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from tifftockd.errors import LoadError
from tifftockd.handlers.dropins import _LARGEST, Dropin, _check, find_dropins

IS_ROOT = os.geteuid() == 0
STRANGER = 54321


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "handlers.d"
    made.mkdir(mode=0o755)
    return made


def write(folder, name, text=b"x = 1\n", mode=0o644):
    file = folder / name
    file.write_bytes(text)
    file.chmod(mode)
    return file


def refusal(folder, name="lamp.py"):
    """Why the one drop-in of a folder was refused; what was refused is not kept."""
    [dropin] = find_dropins(folder)
    assert dropin.path == str(folder / name)
    assert dropin.text == b""
    assert dropin.refused is not None
    return dropin.refused


def status(mode=stat.S_IFREG | 0o644, uid=0):
    """What stat(2) says of a file that only root could make here."""
    return os.stat_result((mode, 1, 1, 1, uid, 0, 10, 0, 0, 0))


# ---- which files


def test_the_files_are_read_in_sorted_order_whatever_the_order_of_the_folder(folder):
    names = ["b.py", "a.py", "10.py", "9.py", "Z.py", "é.py", "a_b.py", "a-b.py"]
    for name in names:
        write(folder, name, name.encode())
    found = find_dropins(folder)
    assert [dropin.path for dropin in found] == [str(folder / name) for name in sorted(names)]
    assert [dropin.text for dropin in found] == [name.encode() for name in sorted(names)]
    assert [dropin.refused for dropin in found] == [None] * len(names)


def test_only_python_files_that_are_not_hidden_are_looked_at(folder):
    for name in ("lamp.txt", ".lamp.py", "lamp.py~", "lamp.pyc", "lamp.py.dpkg-old", "lamp.PY", "lamp", ".py"):
        write(folder, name, mode=0o666)
    (folder / ".#lamp.py").symlink_to("someone@host.1234")  # an editor's lock
    assert find_dropins(folder) == []


def test_no_folder_and_an_empty_one_have_no_drop_ins(folder):
    assert find_dropins(folder / "nothing") == []
    assert find_dropins(folder) == []


def test_a_folder_that_is_none_is_reported(folder):
    file = write(folder, "lamp.py")
    assert find_dropins(file) == [Dropin(str(file), refused="cannot be listed: Not a directory")]


def test_a_folder_that_has_just_gone_is_reported(folder, monkeypatch):
    monkeypatch.setattr(os, "listdir", lambda _folder: ["lamp.py"])
    [gone] = find_dropins(folder / "gone")
    assert gone.refused == "cannot be read: No such file or directory"


def test_a_folder_that_may_not_be_listed_is_reported(folder):
    loop = folder / "loop"
    loop.symlink_to(loop)
    assert find_dropins(loop) == [Dropin(str(loop), refused="cannot be listed: Too many levels of symbolic links")]
    if not IS_ROOT:  # root may list everything
        folder.chmod(0)
        assert find_dropins(folder) == [Dropin(str(folder), refused="cannot be listed: Permission denied")]
        folder.chmod(0o755)


def test_the_bytes_are_kept_as_they_are(folder):
    text = b"\xef\xbb\xbf# \xff\0\r\nx = 1\r"
    write(folder, "lamp.py", text)
    assert find_dropins(folder) == [Dropin(str(folder / "lamp.py"), text)]


def test_a_file_name_that_is_not_utf8_is_a_drop_in_too(folder):
    with open(os.fsencode(folder) + b"/l\xffmp.py", "wb") as file:
        file.write(b"x = 1\n")
    [dropin] = find_dropins(folder)
    assert (dropin.refused, dropin.text) == (None, b"x = 1\n")
    assert os.fsencode(dropin.path).endswith(b"l\xffmp.py")


# ---- module names


@pytest.mark.parametrize("name", ["json.py", "tifftockd.py", "os.py", "1-lamp.py"])
def test_a_drop_in_cannot_take_the_name_of_an_installed_module(name):
    module = Dropin(f"/etc/tifftock/handlers.d/{name}").module
    assert module == f"tifftockd_dropin_{name.removesuffix('.py')}"


# ---- what cannot be read as a file


def test_a_fifo_does_not_hold_the_daemon(folder):
    os.mkfifo(folder / "lamp.py", 0o644)
    assert refusal(folder) == "it is not a file"


def test_a_folder_of_that_name_is_not_a_file(folder):
    (folder / "lamp.py").mkdir(mode=0o755)
    assert refusal(folder) in {"it is not a file", "cannot be read: Is a directory"}


def test_a_device_is_not_a_file(folder):
    (folder / "lamp.py").symlink_to("/dev/zero")
    assert refusal(folder) == "it is not a file"


@pytest.mark.parametrize(
    ("target", "reason"), [("nothing", "No such file or directory"), ("lamp.py", "Too many levels of symbolic links")]
)
def test_a_link_that_leads_nowhere_is_reported(folder, target, reason):
    (folder / "lamp.py").symlink_to(target)
    assert refusal(folder) == f"cannot be read: {reason}"


def test_a_file_that_may_not_be_read_is_reported(folder):
    write(folder, "lamp.py", mode=0)
    if IS_ROOT:  # who may read everything
        assert find_dropins(folder) == [Dropin(str(folder / "lamp.py"), b"x = 1\n")]
    else:
        assert refusal(folder) == "cannot be read: Permission denied"


def test_what_is_refused_leaves_no_descriptor_open(folder):
    os.mkfifo(folder / "a.py", 0o644)
    (folder / "b.py").mkdir()
    (folder / "c.py").symlink_to("nothing")
    write(folder, "d.py", mode=0o666)
    before = os.listdir("/proc/self/fd")
    find_dropins(folder)
    assert os.listdir("/proc/self/fd") == before


def test_one_that_is_refused_does_not_hide_the_others(folder):
    os.mkfifo(folder / "a.py", 0o644)
    write(folder, "b.py", mode=0o666)
    good = write(folder, "c.py")
    assert [dropin.path for dropin in find_dropins(folder) if dropin.refused is None] == [str(good)]
    assert len(find_dropins(folder)) == 3


def test_the_largest_file_is_read_and_a_larger_one_is_refused(folder):
    write(folder, "lamp.py", b"#" * _LARGEST)
    [dropin] = find_dropins(folder)
    assert (dropin.refused, len(dropin.text)) == (None, _LARGEST)
    write(folder, "lamp.py", b"#" * (_LARGEST + 1))
    assert refusal(folder) == f"it is larger than {_LARGEST} bytes"


# ---- who may have written it


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o400, 0o755, 0o700, 0o444])
def test_a_file_that_only_its_owner_can_write_is_trusted(folder, mode):
    write(folder, "lamp.py", mode=mode)
    [dropin] = find_dropins(folder)
    assert (dropin.refused, dropin.text) == (None, b"x = 1\n")


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620, 0o602, 0o777])
@pytest.mark.parametrize("name", ["lamp.py", "the lamp's; rm.py"])
def test_a_file_that_others_can_write_is_refused_until_the_command_it_names_was_run(folder, mode, name):
    file = write(folder, name, mode=mode)
    reason = refusal(folder, name)
    assert reason.startswith(f"{file} can be written by others than its owner; mend it by: chmod go-w ")
    subprocess.run(shlex.split(reason.partition("mend it by: ")[2]), check=True)
    assert find_dropins(folder) == [Dropin(str(file), b"x = 1\n")]


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o1777, 0o770])
def test_nothing_in_a_folder_that_others_can_write_is_trusted(folder, mode):
    files = [write(folder, name) for name in ("a.py", "b.py")]
    folder.chmod(mode)
    found = find_dropins(folder)
    assert [dropin.path for dropin in found] == list(map(str, files))
    for dropin in found:
        assert dropin.text == b""
        assert dropin.refused is not None
        assert dropin.refused.startswith(f"{folder} can be written by others")
    subprocess.run(shlex.split(found[0].refused.partition("mend it by: ")[2]), check=True)
    assert [dropin.refused for dropin in find_dropins(folder)] == [None, None]


def test_a_folder_without_drop_ins_may_be_anybodys(folder):
    folder.chmod(0o777)
    assert find_dropins(folder) == []


def test_what_a_link_leads_to_is_judged_not_the_link(folder, tmp_path):
    target = write(tmp_path, "target", mode=0o644)
    (folder / "lamp.py").symlink_to(target)
    assert find_dropins(folder) == [Dropin(str(folder / "lamp.py"), b"x = 1\n")]
    target.chmod(0o666)
    assert "can be written by others" in refusal(folder)


def test_a_folder_by_way_of_a_link_is_judged_as_the_folder(folder, tmp_path):
    write(folder, "lamp.py")
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert find_dropins(link) == [Dropin(str(link / "lamp.py"), b"x = 1\n")]
    folder.chmod(0o777)
    assert "can be written by others" in refusal(link)


@pytest.mark.parametrize("mode", [stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755])
def test_only_root_and_the_daemons_user_are_trusted(mode):
    for trusted in {0, os.geteuid()}:
        _check(status(mode, trusted), "/etc/lamp.py")
    for stranger in (STRANGER, os.geteuid() + 1):
        mend = f"belongs to user {stranger}, who is not trusted; mend it by: chown root '/etc/the lamp.py'"
        with pytest.raises(LoadError, match=re.escape(mend)):
            _check(status(mode, stranger), "/etc/the lamp.py")


def test_a_daemon_that_is_not_root_trusts_roots_files_and_its_own():
    if IS_ROOT:  # who alone can be somebody else for a moment
        os.seteuid(STRANGER)
    try:
        for trusted in (0, os.geteuid()):
            _check(status(uid=trusted), "/etc/lamp.py")
        with pytest.raises(LoadError):
            _check(status(uid=os.geteuid() + 1), "/etc/lamp.py")
    finally:
        if IS_ROOT:
            os.seteuid(0)


def test_a_strangers_file_is_refused(folder):
    file = write(folder, "lamp.py")
    if IS_ROOT:  # who alone can give files away
        os.chown(file, STRANGER, -1)
        assert (
            refusal(folder) == f"{file} belongs to user {STRANGER}, who is not trusted; mend it by: chown root {file}"
        )
        os.chown(file, 0, STRANGER)
    assert find_dropins(folder) == [Dropin(str(file), b"x = 1\n")], "a group that may not write does not matter"


def test_nothing_in_a_strangers_folder_is_trusted(folder):
    write(folder, "lamp.py")
    if IS_ROOT:  # who alone can give folders away
        os.chown(folder, STRANGER, -1)
        assert refusal(folder).startswith(f"{folder} belongs to user {STRANGER}, who is not trusted")
        os.chown(folder, 0, -1)
    assert [dropin.refused for dropin in find_dropins(folder)] == [None]


def test_roots_files_are_trusted_by_every_user(folder):
    (folder / "lamp.py").symlink_to("/etc/passwd")
    assert find_dropins(folder) == [Dropin(str(folder / "lamp.py"), Path("/etc/passwd").read_bytes())]
