"""Tables, texts and times as tifftockctl shows them."""

import io
import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from tifftockd.ctl import times
from tifftockd.ctl.screen import Screen
from tifftockd.ctl.table import Cell, Column, fit, print_table
from tifftockd.ctl.text import cut, harmless, width

NOW = datetime(2026, 11, 24, 20, 11, 30, tzinfo=UTC)
TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from("会e\u0301\x1b\u202e👍\n…"), max_size=30)


@given(st.text(max_size=30))
def test_nothing_that_a_terminal_obeys_is_left(text):
    shown = harmless(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
    shown.encode()
    assert harmless(shown) == shown


def test_what_is_harmless_stays_as_it_is():
    assert harmless("größer, 会議, 👍🏽, e\u0301") == "größer, 会議, 👍🏽, e\u0301"
    assert harmless("a\x1b[0m\r\n\t\x00\x9b\u202e\ud800") == r"a\x1b[0m\r\n\t\x00\x9b\u202e\ud800"


@pytest.mark.parametrize(
    ("text", "cells"), [("abc", 3), ("会議", 4), ("e\u0301", 1), ("ｆ", 2), ("\u200b", 0), ("한", 2)]
)
def test_a_text_is_as_wide_as_a_terminal_makes_it(text, cells):
    assert width(text) == cells


@given(TEXTS.map(harmless), st.integers(1, 40), st.sampled_from(["…", "..."]))
def test_what_is_cut_fits_and_says_so(text, room, mark):
    short = cut(text, room, mark)
    assert width(short) <= room
    if width(text) <= room:
        assert short == text
    elif room >= len(mark):
        assert short.endswith(mark)
        assert text.startswith(short.removesuffix(mark))


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), min_size=1, max_size=6), st.integers(1, 120))
def test_columns_give_way_no_more_than_is_needed_and_the_widest_first(columns, room):
    natural = [size for size, _ in columns]
    kinds = [Column("", flexible=flexible) for _, flexible in columns]
    widths = fit(natural, kinds, room)
    gaps = 2 * (len(columns) - 1)
    assert all(
        new == old if not kind.flexible else min(old, 8) <= new <= old
        for old, new, kind in zip(natural, widths, kinds, strict=True)
    )
    if sum(natural) + gaps <= room:
        assert widths == natural
    elif sum(widths) + gaps <= room:
        assert sum(widths) + gaps == room
        smaller = [new for old, new in zip(natural, widths, strict=True) if new < old]
        kept = [new for old, new, kind in zip(natural, widths, kinds, strict=True) if new == old and kind.flexible]
        assert max(smaller) - min(smaller) <= 1
        assert not kept or max(kept) <= max(smaller) + 1
    else:
        assert all(new <= 8 or not kind.flexible for new, kind in zip(widths, kinds, strict=True))


def screen(columns):
    made = Screen({}, colour=False, as_json=False)
    made.out, made.width, made.mark = io.StringIO(), columns, "…"
    return made


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=4), st.integers(1, 60) | st.none())
def test_no_line_of_a_table_is_wider_than_its_terminal(rows, room):
    shown = screen(room)
    columns = [Column("A", right=True), Column("B", flexible=True), Column("C", flexible=True)]
    print_table(shown, columns, [[Cell(text, "failed") for text in row] for row in rows])
    lines = shown.out.getvalue().split("\n")[:-1]
    assert len(lines) == 1 + len(rows)
    if room is not None:
        assert all(width(line) <= room for line in lines)
    else:
        assert all(harmless(text).strip() in line for row, line in zip(rows, lines[1:], strict=True) for text in row)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "now"),
        (-0.9, "now"),
        (5, "in 5s"),
        (-120, "2min ago"),
        (42_480, "in 11h 48min"),
        (42_480.9, "in 11h 48min"),
        (599.97, "in 10min"),
        (86_400 * 3 + 30, "in 3d"),
        (-31_556_952 * 8, "8y ago"),
        (31_556_952 + 86_400 * 67, "in 1y 67d"),
    ],
)
def test_how_far_away_it_is(seconds, shown):
    assert times.relative((NOW + timedelta(seconds=seconds)).isoformat(), NOW) == shown


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_every_instant_can_be_shown(instant, now):
    assert times.local(instant.isoformat(), since=now.isoformat())
    assert times.relative(instant.isoformat(), now)


def test_on_one_day_the_time_of_day_is_enough():
    due = datetime(2026, 11, 24, 12, 0).astimezone()
    started = due + timedelta(seconds=5)
    assert times.local(started.isoformat(), since=due.isoformat()) == "12:00:05"
    assert times.local((due + timedelta(days=1)).isoformat(), since=due.isoformat()).startswith("Wed 2026-11-25 12:00 ")


def test_what_is_no_instant_is_shown_as_it_is():
    assert [times.local(one) for one in (None, "soon", 7)] == ["-", "soon", "7"]
    assert [times.relative(one, NOW) for one in (None, "soon", "2026-11-24T20:00:00")] == ["-"] * 3


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        *((0.04, "0.0ms"), (9.94, "9.9ms"), (12.3, "12ms"), (3400, "3.4s"), (130_000, "2min 10s"), (None, "-")),
        *((-3, "-3.0ms"), (float("inf"), "-")),
    ],
)
def test_how_late_it_was(milliseconds, shown):
    assert times.late(milliseconds) == shown
