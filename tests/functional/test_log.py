"""The method `log`."""

import fcntl
import os

import pytest

from tifftockd import TransientError, journal
from tifftockd.errors import InvalidInput
from tifftockd.handlers.log import Log
from tifftockd.handlers.spec import describe


@pytest.fixture
def written():
    """What the journal's stream has received, as a function."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    journal.use(writer)
    try:
        yield lambda: os.read(reader, 65536).decode()
    finally:
        journal.use()
        os.close(reader)
        os.close(writer)


def fire(message, to=None):
    Log({"id": 7, "when": "2026-11-24T21:00:00+01:00", "message": message, "to": to}).remind(message)


def test_the_message_is_one_line_with_the_reminders_id_and_label(written):
    fire("tea is ready", to="kitchen")
    line = written()
    assert line.count("\n") == 1
    assert "reminder" in line
    assert '"tea is ready"' in line
    assert "reminder=7" in line
    assert "to=kitchen" in line


def test_without_a_label_there_is_no_field_for_it(written):
    fire("tea")
    assert "to=" not in written()


def test_a_message_cannot_forge_a_second_line(written):
    fire("tea\ntifftockd: reminder message=forged\x1b[31m")
    line = written()
    assert line.count("\n") == 1
    assert "\x1b" not in line


def test_an_empty_message_is_written_too(written):
    fire("")
    assert "reminder=7" in written()


@pytest.mark.parametrize("stream", ["on a full disk", "that nobody reads", "whose reader has gone"])
def test_a_message_that_nothing_has_taken_is_not_called_delivered(stream):
    reader, writer = os.pipe()
    match stream:
        case "on a full disk":
            with open("/dev/full", "wb") as full:
                os.dup2(full.fileno(), writer)
        case "that nobody reads":
            os.write(writer, bytes(fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)))
        case "whose reader has gone":
            os.close(reader)
    journal.use(writer)
    try:
        with pytest.raises(TransientError, match="neither the journal nor standard error"):
            fire("tea")
    finally:
        journal.use()
        os.close(writer)


def test_any_label_but_no_option_is_accepted():
    spec = describe(Log, "built-in", {})
    assert (spec.missing, spec.needs_to, spec.repeatable) == (None, False, True)
    spec.check("anything at all", {})
    with pytest.raises(InvalidInput):
        spec.check(None, {"level": "debug"})
