"""Of what an attempt prints, the first and the last half are kept, as text that every store and client can take."""

import itertools
import re

import pytest
from hypothesis import given, strategies as st

from tifftockd.executor.output import Output, clean

GAP = re.compile(r"\n\[([0-9]+) bytes left out\]\n")

# Printable ASCII without what the gap's line is made of, so that it can be told from what was printed.
PLAIN = st.text("abcdefghij .,:;-+*", min_size=1).map(str.encode)
SIZES = st.integers(0, 200)


def taken(size, *pieces):
    output = Output(size)
    for piece in pieces:
        output.add(piece)
    return output.take()


def cut(data, at):
    """Bytes in the pieces that a pipe may give."""
    places = sorted({place % (len(data) + 1) for place in at} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def test_nothing_printed_is_nothing_kept():
    assert taken(100) is None
    assert taken(100, b"") is None


def test_what_fits_is_kept_whole():
    assert taken(8, b"12", b"345", b"678") == "12345678"
    assert taken(8, b"12345678") == "12345678"


def test_what_is_left_out_is_the_middle():
    assert taken(8, b"abcdefghijkl") == "abcd\n[4 bytes left out]\nijkl"
    assert taken(9, b"abcdefghijkl") == "abcde\n[3 bytes left out]\nijkl"
    assert taken(1, b"abc") == "a\n[2 bytes left out]\n"


def test_a_size_of_nothing_keeps_nothing():
    assert taken(0, b"abc", b"def") is None


def test_the_next_attempt_begins_with_nothing():
    output = Output(8)
    output.add(b"abcdefghijkl")
    assert output.take() is not None
    assert output.take() is None
    output.add(b"xy")
    assert output.take() == "xy"
    output.add(b"0123456789")
    assert output.take() == "0123\n[2 bytes left out]\n6789"


@given(size=SIZES, data=PLAIN, at=st.lists(st.integers(0, 10**6), max_size=8))
def test_the_halves_are_those_of_what_was_printed_however_it_came(size, data, at):
    text = taken(size, *cut(data, at))
    if size == 0:
        assert text is None
    elif len(data) <= size:
        assert text == data.decode()
    else:
        head, left_out, tail = GAP.split(text)
        assert data.decode().startswith(head)
        assert data.decode().endswith(tail)
        assert (len(head), len(tail)) == ((size + 1) // 2, size // 2)
        assert int(left_out) == len(data) - size


@given(size=SIZES, pieces=st.lists(st.binary(max_size=100), max_size=12))
def test_whatever_is_printed_no_more_is_kept_than_the_size_and_the_gaps_line(size, pieces):
    output = Output(size)
    for piece in pieces:
        output.add(piece)
        assert len(output._head) + len(output._tail) <= size, "not even for a while"
    text = output.take()
    if text is not None:
        most = size + (len(f"\n[{sum(map(len, pieces))} bytes left out]\n") if sum(map(len, pieces)) > size else 0)
        assert len(text) <= most
        text.encode()
        assert "\0" not in text


@given(data=st.binary(min_size=1, max_size=300), at=st.lists(st.integers(0, 300), max_size=8), size=st.integers(1, 200))
def test_the_text_does_not_depend_on_the_pieces(data, at, size):
    assert taken(size, *cut(data, at)) == taken(size, data)


@given(st.text())
def test_utf8_that_fits_is_kept_as_it_is(text):
    data = text.encode("utf-8", "replace")
    expected = data.decode().replace("\0", "\ufffd") or None
    # A character may come in two pieces.
    assert taken(len(data) + 1, *(data[n : n + 1] for n in range(len(data)))) == expected


def test_bytes_that_are_no_text_are_shown_as_such():
    assert taken(100, b"a\xffb\xc3") == "a\ufffdb\ufffd"
    assert taken(2, "€€".encode()) == "\ufffd\n[4 bytes left out]\n\ufffd"


def test_a_flood_costs_no_more_memory_than_is_kept():
    output = Output(1000)
    for _ in range(1000):
        output.add(b"x" * 65_536)
        assert len(output._head) + len(output._tail) <= 1000
    assert output.take() == "x" * 500 + f"\n[{1000 * 65_536 - 1000} bytes left out]\n" + "x" * 500


# ---- clean


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("", ""),
        ("plain\r\n\t\x1b[1m", "plain\r\n\t\x1b[1m"),
        ("ä€😀\u2028\ufeff", "ä€😀\u2028\ufeff"),
        ("a\0b\0", "a\ufffdb\ufffd"),
        ("a\ud800b\udfff", "a?b?"),
    ],
)
def test_only_what_cannot_be_stored_is_replaced(text, cleaned):
    assert clean(text) == cleaned


@given(st.text(st.characters() | st.characters(categories=["Cs"]) | st.just("\0"), max_size=50))
def test_a_clean_text_can_be_stored_and_sent_and_keeps_its_length(text):
    cleaned = clean(text)
    assert cleaned.encode().decode() == cleaned
    assert "\0" not in cleaned
    assert len(cleaned) == len(text)
    assert clean(cleaned) == cleaned
