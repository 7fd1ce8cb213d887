"""Events: lines on a real pipe, datagrams on a real Unix socket in the journal's place."""

import array
import ast
import contextlib
import errno
import os
import re
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tifftockd import journal
from tifftockd.journal import DEBUG, ERR, INFO, WARNING, Journal
from tifftockd.journal.entry import format_line
from tifftockd.journal.ids import MESSAGE_IDS
from tifftockd.reminder import Outcome

PACKAGE = Path(journal.__file__).parents[1]


class Pipe:
    """A stand-in for standard error, whose reader may be slow."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def read(self):
        data = b""
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self.reader, 65536):
                data += piece
        return data.decode()

    def close(self):
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    pipe.close()


class FakeJournal:
    """journald's two sockets: one that standard error is connected to, one that takes events."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(f"{folder}/stdout")
        self.listener.listen()
        self.stderr = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.stderr.connect(f"{folder}/stdout")
        self.stream, _ = self.listener.accept()
        self.events = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.events.bind(f"{folder}/socket")
        self.events.setblocking(False)
        self.journal = Journal(self.stderr.fileno(), folder=self.folder)

    def receive(self):
        data, control, _, _ = self.events.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        for level, kind, value in control:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            [fd] = array.array("i", value)
            with os.fdopen(fd, "rb") as file:
                file.seek(0)
                data = file.read()
        return parse(data)

    def close(self):
        for sock in (self.listener, self.stderr, self.stream, self.events):
            sock.close()


def parse(data):
    """The native protocol, read as its specification says."""
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", data[:8])
            value, data = data[8 : 8 + length], data[8 + length :]
            assert data.startswith(b"\n")
            data = data[1:]
        assert re.fullmatch(rb"[A-Z][A-Z0-9_]{0,63}", name)
        assert name.decode() not in fields
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def journald(tmp_path):
    fake = FakeJournal(tmp_path)
    yield fake
    fake.close()


def at_once(function, arguments):
    threads = [threading.Thread(target=function, args=(argument,)) for argument in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# ---- lines on standard error


def test_an_event_is_one_line_of_keys_and_values(pipe):
    Journal(pipe.writer).event("listening", INFO, {"address": "unix:/run/x", "count": 2, "ok": True, "nothing": None})
    assert pipe.read() == "tifftockd: listening address=unix:/run/x count=2 ok=true\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ('say "hi"', r'"say \"hi\""'),
        ("a=b", '"a=b"'),
        ("back\\slash", r'"back\\slash"'),
        ("line\nbreak\r\ttab", r'"line\nbreak\r\ttab"'),
        ("\x1b[31m", r'"\x1b[31m"'),
        ("\x85\u2028", r'"\x85\u2028"'),
        ("\u202ertl", r'"\u202ertl"'),
        ("\udcff", r'"\udcff"'),
        ("na\u00efve \u20ac", '"na\u00efve \u20ac"'),
    ],
)
def test_values_are_quoted_where_they_must_be(pipe, value, shown):
    Journal(pipe.writer).event("e", INFO, {"key": value})
    assert pipe.read() == f"tifftockd: e key={shown}\n"


@given(st.text(), st.text())
def test_no_value_leaves_its_line_or_looks_like_another_field(first, second):
    line = format_line("e", {"a": first, "b": second})
    assert line.isprintable()
    match = re.fullmatch(r'e a=([^ "=\\]+|"(?:[^"\\]|\\.)*") b=([^ "=\\]+|"(?:[^"\\]|\\.)*")', line)
    assert match is not None


def test_events_below_the_level_are_left_out(pipe):
    quiet = Journal(pipe.writer, level=WARNING)
    quiet.event("info", INFO, {})
    quiet.event("warning", WARNING, {})
    quiet.event("error", ERR, {})
    assert pipe.read() == "tifftockd: warning\ntifftockd: error\n"


def test_debug_is_left_out_by_default(pipe):
    Journal(pipe.writer).event("debug", DEBUG, {})
    assert pipe.read() == ""


def test_a_field_that_cannot_be_shown_does_not_take_the_event_along(pipe):
    class Broken:
        def __str__(self):
            raise RuntimeError("no")

    Journal(pipe.writer).event("e", INFO, {"bad": Broken(), "good": 1})
    assert pipe.read() == 'tifftockd: e bad="Broken that cannot be shown (RuntimeError)" good=1\n'


def test_a_closed_standard_error_harms_nothing(pipe):
    to_pipe = Journal(pipe.writer)
    reader = os.dup(pipe.reader)
    os.close(pipe.reader)
    os.close(reader)
    to_pipe.event("nobody-reads", INFO, {})
    os.close(pipe.writer)
    to_pipe.event("no-descriptor", INFO, {})
    # for the fixture
    pipe.reader, pipe.writer = os.pipe()


def test_a_reader_that_does_not_read_is_not_waited_for_twice(pipe):
    to_pipe = Journal(pipe.writer)
    begun = time.monotonic()
    for number in range(1000):
        to_pipe.event("flood", INFO, {"number": number, "text": "x" * 200})
    assert time.monotonic() - begun < 2
    assert "number=0 " in pipe.read()
    to_pipe.event("again", INFO, {})
    assert pipe.read() == "tifftockd: again\n"


def test_long_lines_of_several_threads_are_not_mixed(tmp_path):
    path = tmp_path / "log"
    with path.open("wb") as file:
        to_file = Journal(file.fileno())

        def log(letter):
            for _ in range(50):
                to_file.event("e", INFO, {"text": letter * 10_000})

        at_once(log, "abcd")
    lines = path.read_text().splitlines()
    assert len(lines) == 200
    assert set(lines) == {f"tifftockd: e text={letter * 10_000}" for letter in "abcd"}


def test_events_that_come_together_are_written_in_blocks_of_whole_lines_that_a_pipe_takes_without_blocking():
    # With O_DIRECT each read gives what one write gave.
    reader, writer = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
    long = "x" * 10_000
    try:
        texts = ["before", *("y" * 100 for _ in range(60)), long, "after"]
        Journal(writer).events([("e", INFO, {"n": n, "text": text}) for n, text in enumerate(texts)])
        Journal(writer).events([("e", DEBUG, {"n": 0})])
        writes = []
        with contextlib.suppress(BlockingIOError):
            while data := os.read(reader, 65536):
                writes.append(data)
    finally:
        os.close(reader)
        os.close(writer)
    assert b"".join(writes).decode() == "".join(f"tifftockd: e n={n} text={text}\n" for n, text in enumerate(texts))
    assert all(len(data) <= select.PIPE_BUF for data in writes)
    # 61 lines of 124 bytes, then the long one's three pieces, and the last
    assert [data.endswith(b"\n") for data in writes] == [True, True, False, False, True, True]


def test_who_finds_another_thread_writing_leaves_its_event_to_that(pipe, monkeypatch):
    monkeypatch.setattr(journal, "_PATIENCE", 30)
    os.set_blocking(pipe.writer, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(pipe.writer, b"x" * select.PIPE_BUF):
            pass
    to_pipe = Journal(pipe.writer)
    writing = threading.Thread(target=to_pipe.event, args=("first", INFO, {}))
    writing.start()
    while to_pipe._lock.acquire(blocking=False):
        to_pipe._lock.release()
        time.sleep(0.001)
    for name in ("second", "third"):
        to_pipe.event(name, INFO, {})  # would wait for a reader
    assert writing.is_alive()
    read = pipe.read()
    writing.join()
    read += pipe.read()
    assert read.lstrip("x") == "tifftockd: first\ntifftockd: second\ntifftockd: third\n"


def test_what_a_thread_keeps_is_written_at_once_by_who_writes_next(pipe, monkeypatch):
    to_pipe, writes, write = Journal(pipe.writer), [], os.write
    monkeypatch.setattr(os, "write", lambda fd, data: writes.append(data) or write(fd, data))
    with to_pipe.kept():
        to_pipe.event("first", INFO, {})
        assert pipe.read() == ""
        at_once(lambda name: to_pipe.event(name, INFO, {}), ["other"])
        assert pipe.read() == "tifftockd: first\ntifftockd: other\n"
        for number in range(3):
            to_pipe.event("more", INFO, {"n": number})
    assert pipe.read() == ""
    to_pipe.events(())
    assert pipe.read() == "".join(f"tifftockd: more n={number}\n" for number in range(3))
    assert len(writes) == 2
    to_pipe.event("last", INFO, {})
    assert pipe.read() == "tifftockd: last\n"


def test_a_write_that_fails_takes_no_other_event_along(tmp_path, monkeypatch):
    """Neither those behind it nor those that other threads have left to the one that writes."""
    with (tmp_path / "log").open("wb") as file:
        to_file = Journal(file.fileno())
        write, failing, failed = os.write, threading.Event(), threading.Event()

        def failing_once(fd, data):
            if not failing.is_set():
                failing.set()
                assert failed.wait(30)
                raise OSError(errno.ENOSPC, "no room")
            return write(fd, data)

        monkeypatch.setattr(os, "write", failing_once)
        writing = threading.Thread(target=to_file.event, args=("lost", INFO, {}))
        writing.start()
        assert failing.wait(30)
        for name in ("second", "third"):
            to_file.event(name, INFO, {})
        failed.set()
        writing.join()
    assert (tmp_path / "log").read_text() == "tifftockd: second\ntifftockd: third\n"


def test_no_event_of_many_threads_is_lost_and_each_thread_keeps_its_order(tmp_path):
    path = tmp_path / "log"
    with path.open("wb") as file:
        to_file = Journal(file.fileno())

        def log(thread):
            for number in range(500):
                to_file.event("e", INFO, {"thread": thread, "number": number})

        at_once(log, range(8))
    lines = path.read_text().splitlines()
    for thread in range(8):
        own = [line for line in lines if f"thread={thread} " in line]
        assert own == [f"tifftockd: e thread={thread} number={number}" for number in range(500)]


# ---- the journal


def test_events_that_come_together_arrive_each_as_its_own(journald):
    journald.journal.events([("first", INFO, {"n": 1}), ("left-out", DEBUG, {}), ("second", WARNING, {"n": 2})])
    received = [journald.receive() for _ in range(2)]
    assert [(event["TIFFTOCK_EVENT"], event["TIFFTOCK_N"]) for event in received] == [("first", "1"), ("second", "2")]
    with pytest.raises(BlockingIOError):
        journald.receive()


def test_under_systemd_the_fields_arrive_as_fields(journald):
    journald.journal.event("store-fault", ERR, {"message": "disk full", "reminder": 7})
    assert journald.receive() == {
        "MESSAGE": 'store-fault message="disk full" reminder=7',
        "MESSAGE_ID": MESSAGE_IDS["store-fault"],
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "tifftockd",
        "TIFFTOCK_EVENT": "store-fault",
        "TIFFTOCK_MESSAGE": "disk full",
        "TIFFTOCK_REMINDER": "7",
    }


def test_a_value_of_several_lines_arrives_as_it_is_and_cannot_forge_a_field(journald):
    text = "first\nPRIORITY=0\n\nlast"
    journald.journal.event("e", INFO, {"text": text})
    fields = journald.receive()
    assert fields["TIFFTOCK_TEXT"] == text
    assert fields["PRIORITY"] == "6"


def test_field_names_are_what_the_journal_takes_and_none_of_ours_is_replaced(journald):
    journald.journal.event("real", INFO, {"event": "forged", "to-\u00e4": "x", "k" * 100: "y"})
    fields = journald.receive()
    assert fields["TIFFTOCK_EVENT"] == "real"
    assert fields["TIFFTOCK_TO__"] == "x"
    assert fields["TIFFTOCK_" + "K" * 55] == "y"


@pytest.mark.parametrize("size", [1000, 200_000, 900_000])
def test_an_event_of_any_size_arrives(journald, size):
    journald.journal.event("e", INFO, {"text": "x" * size})
    assert journald.receive()["TIFFTOCK_TEXT"] == "x" * size


def test_a_value_beyond_a_million_characters_is_cut(journald):
    journald.journal.event("e", INFO, {"text": "x" * 3_000_000})
    assert len(journald.receive()["TIFFTOCK_TEXT"]) == 1_000_003


def test_a_journal_that_does_not_read_gets_lines_on_its_stream_at_once(journald):
    begun = time.monotonic()
    for number in range(2000):
        journald.journal.event("e", WARNING, {"number": number})
    assert time.monotonic() - begun < 2
    assert re.match(rb"<4>e number=\d+\n", journald.stream.recv(65536))


def test_a_restarted_journal_gets_the_next_event(journald):
    journald.events.close()
    os.unlink(f"{journald.folder}/socket")
    journald.journal.event("meanwhile", INFO, {})
    assert journald.stream.recv(65536) == b"<6>meanwhile\n"
    journald.events = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journald.events.bind(f"{journald.folder}/socket")
    journald.journal.event("after", INFO, {})
    assert journald.receive()["TIFFTOCK_EVENT"] == "after"


def test_a_copy_of_the_stream_is_the_journal_too_and_a_pipe_is_not(journald, pipe):
    copy = os.dup(journald.stderr.fileno())
    try:
        assert journal.is_journal(copy, journald.folder)
    finally:
        os.close(copy)
    assert not journal.is_journal(pipe.writer, journald.folder)
    assert not journal.is_journal(copy, journald.folder)


def test_to_look_whether_it_is_the_journal_leaves_no_descriptor_open(pipe):
    before = os.listdir("/proc/self/fd")
    assert not journal.is_journal(pipe.writer)
    assert os.listdir("/proc/self/fd") == before


def test_another_socket_is_not_the_journal(journald):
    left, right = socket.socketpair()
    with left, right, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as tcp:
            assert not journal.is_journal(left.fileno(), journald.folder)
            assert not journal.is_journal(tcp.fileno(), journald.folder)


# ---- the process's own


def run(code, **kwargs):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, **kwargs)


def test_before_and_after_use_events_go_to_the_process_standard_error():
    result = run(
        "import os\n"
        "from tifftockd import journal\n"
        "journal.event('before', name='x')\n"
        "saved = os.dup(2)\n"
        "null = os.open(os.devnull, os.O_WRONLY)\n"
        "os.dup2(null, 2)\n"
        "journal.event('lost')\n"
        "journal.use(saved, level=journal.WARNING)\n"
        "journal.event('too-small')\n"
        "journal.event('saved', journal.ERR, message='to the copy', level='a field')\n"
    )
    assert result.stderr == ('tifftockd: before name=x\ntifftockd: saved message="to the copy" level="a field"\n')
    assert result.stdout == ""


def test_a_child_logs_also_if_a_thread_was_writing_when_it_was_forked():
    result = run(
        "import os, threading\n"
        "from tifftockd import journal\n"
        "writing = threading.Thread(target=journal._journal._lock.acquire)\n"
        "writing.start()\n"
        "writing.join()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    journal._journal._taking_along = True\n"
        "    journal.event('child')\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
    )
    assert result.stderr == "tifftockd: child\n"


def test_what_libraries_log_and_warn_about_comes_out_as_events():
    result = run(
        "import logging, warnings\n"
        "from tifftockd import journal\n"
        "journal.capture_logging()\n"
        "logging.getLogger('waitress').info('listening')\n"
        "logging.getLogger('waitress.queue').warning('Task queue depth is %d', 3)\n"
        "logging.getLogger('sqlalchemy').error('bad %d', 'format')\n"
        "warnings.warn('old way', UserWarning)\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.getLogger('x').exception('failed')\n"
    )
    lines = result.stderr.splitlines()
    assert lines[0] == 'tifftockd: library logger=waitress.queue text="Task queue depth is 3"'
    assert lines[1].startswith("tifftockd: library logger=sqlalchemy text=\"'bad %d' (")
    assert "logger=py.warnings" in lines[2]
    assert "UserWarning: old way" in lines[2]
    assert lines[3].startswith(r'tifftockd: library logger=x text="failed\nTraceback')
    assert len(lines) == 4


def test_it_stays_small_for_worker_processes():
    # without what measures coverage in child processes
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    result = run("import sys\nfrom tifftockd import journal\nprint(*sys.modules)", env=env)
    assert not {"logging", "tempfile", "subprocess", "inspect"} & set(result.stdout.split())


# ---- the table of ids


def event_calls():
    """The first argument of each call of event, in all of tifftockd."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in {"event", "journal.event"}:
                yield file, node.args[0]


def test_each_event_has_a_message_id():
    missing = {
        (argument.value, str(file.relative_to(PACKAGE)))
        for file, argument in event_calls()
        if isinstance(argument, ast.Constant) and argument.value not in MESSAGE_IDS
    }
    assert not missing, "add them to tifftockd/journal/ids.py, each with a new secrets.token_hex(16)"


def test_each_outcome_has_a_message_id():
    assert set(Outcome) <= MESSAGE_IDS.keys()


def test_message_ids_are_128_bits_in_hex_and_each_is_used_once():
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in MESSAGE_IDS.values())
    assert len(set(MESSAGE_IDS.values())) == len(MESSAGE_IDS)
