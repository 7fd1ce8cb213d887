"""Times, spans and zones: what is meant is what comes out, and what means nothing is refused in words."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given, settings, strategies as st

from tifftockd.clock import SECOND, Micros, micros
from tifftockd.errors import InvalidTime
from tifftockd.when import (
    find_zone,
    format_instant,
    format_span,
    is_absolute,
    parse_span,
    parse_when,
    server_zone,
    zones,
)
from tifftockd.when.times import format_when

BERLIN = ZoneInfo("Europe/Berlin")
APIA = ZoneInfo("Pacific/Apia")
NOON = datetime(2026, 11, 24, 11, 0, tzinfo=UTC)  # a Tuesday, 12:00 in Berlin
MICROSECOND = timedelta(microseconds=1)

unhurried = settings(deadline=None)  # a busy machine is no failure


def berlin(text: str, now: datetime = NOON) -> str:
    """What `text` means in Berlin, written as RFC 3339."""
    return format_when(parse_when(text, tz=BERLIN, now=now), BERLIN)


def refusal(text: str, tz: tzinfo = BERLIN, now: datetime = NOON) -> str:
    with pytest.raises(InvalidTime) as caught:
        parse_when(text, tz=tz, now=now)
    assert caught.value.field == "when"
    return str(caught.value)


# ---- ISO 8601 and RFC 3339


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-24T21:00:00+01:00", "2026-11-24T21:00:00+01:00"),
        ("2026-11-24T21:00:00+0530", "2026-11-24T16:30:00+01:00"),
        ("2026-11-24T21:00:00-05", "2026-11-25T03:00:00+01:00"),
        ("2026-11-24T21:00:00 +01:00", "2026-11-24T21:00:00+01:00"),
        ("2026-11-24T20:00Z", "2026-11-24T21:00:00+01:00"),
        ("2026-11-24t20:00:00z", "2026-11-24T21:00:00+01:00"),
        ("2026-11-24 20:00:00-00:00", "2026-11-24T21:00:00+01:00"),
        ("2026-11-24T21:00:00+23:59", "2026-11-23T22:01:00+01:00"),
        ("2026-11-24T21:00", "2026-11-24T21:00:00+01:00"),
        ("2026-07-01T21:00", "2026-07-01T21:00:00+02:00"),
        ("2026-11-24 21:00:30", "2026-11-24T21:00:30+01:00"),
        ("2026-11-24", "2026-11-24T00:00:00+01:00"),
        ("2026-11-24T21:00:00.5", "2026-11-24T21:00:00.500000+01:00"),
        ("2026-11-24T21:00:00,000001", "2026-11-24T21:00:00.000001+01:00"),
        ("2026-11-24T21:00:00.123456000", "2026-11-24T21:00:00.123456+01:00"),
        ("2026-11-24T21:00:00.000000", "2026-11-24T21:00:00+01:00"),
        (" \t2026-11-24T21:00\n", "2026-11-24T21:00:00+01:00"),
        ("2028-02-29", "2028-02-29T00:00:00+01:00"),
        ("9999-12-31T23:59:59.999999", "9999-12-31T23:59:59.999999+01:00"),
    ],
)
def test_iso_8601_is_read(text: str, meant: str) -> None:
    assert berlin(text) == meant


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2026-11-24T24:00", "use 00:00 of the next day"),
        ("tomorrow 24:00", "use 00:00 of the next day"),
        ("2026-11-24T23:59:60Z", "leap second"),
        ("23:59:60", "leap second"),
        ("2026-W48-2", "week dates"),
        ("2026W482T21:00", "week dates"),
        ("2026-328", "day of the year"),
        ("2026328T2100", "day of the year"),
        ("20261124", "basic format"),
        ("20261124T210000Z", "basic format"),
        ("2026-11-24T210000", "basic format"),
        ("2026-11-24T25:00", "hour must be in 0..23"),
        ("2026-11-24T21:60", "minute must be in 0..59"),
        ("2026-11-24T21:00:61", "second must be in 0..59"),
        ("2026-02-29", "day"),
        ("2026-13-01", "month must be in 1..12"),
        ("0000-01-01", "year"),
        ("2026-11-24T21:00:00.0000001", "a microsecond"),
        ("2026-11-24T21:00+24:00", "offset"),
        ("2026-11-24T21:00+01:60", "offset"),
        ("yesterday 9:00", "today, tomorrow, a weekday"),
        ("10m", "'in'"),
        ("10000-01-01", "the horizon is the year 9999"),
        ("@253402300800", "the horizon is the year 9999"),
        ("@" + "9" * 90, "the horizon is the year 9999"),
        ("@-62135596801", "the years 1 to 9999"),
        ("9999-12-31T23:59:59-01:00", "the horizon is the year 9999"),
        ("0001-01-01T00:00:00+01:00", "the years 1 to 9999"),
    ],
)
def test_what_is_wrong_is_named_with_three_that_work(text: str, reason: str) -> None:
    message = refusal(text)
    assert reason in message
    assert_shows_three_that_work(message)


def assert_shows_three_that_work(message: str) -> None:
    found = re.search(r"write it like (.+), (.+) or (.+)$", message)
    assert found is not None, message
    for shown in found.groups():
        assert parse_when(shown, tz=BERLIN, now=NOON) > NOON


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "soon",
        "tomorrow",
        "2026-11-24T21",
        "2026-11-24T9:00",
        "2026-11-24X21:00",
        "2026-11-24T21:00:00.",
        "2026-11-24T21:00.5",
        "2026-11-24T21:00:00+1",
        "2026-11-24T21:00:00+01:00:30",
        "2026-11-24Z",
        "2026-11-24T21:00Z Z",
        "2026-1-5 9:00",
        "tomorrow 9:00Z",
        "tomorrow9:00",
        "9:0",
        "@",
        "@1e9",
        "@1.",
        "+1-01-01",
        "2026-11-24T21:00\x00",
        "2026-11-24\nT21:00",
        "\ud800",
        "٢٠٢٦-١١-٢٤",
        "２０２６-11-24",
        "ſunday 9:00",
    ],
)
def test_an_unreadable_time_is_answered_with_three_that_work(text: str) -> None:
    message = refusal(text)
    assert_shows_three_that_work(message)
    assert message.isprintable()


def test_a_long_time_is_refused_without_repeating_it() -> None:
    for text in ("9" * 101, "\U0001f552" * 5000, " " * 10_000_000):
        message = refusal(text)
        assert "longer than 100 characters" in message
        assert len(message) < 300


def test_a_time_that_only_its_zone_puts_beyond_the_horizon_is_refused() -> None:
    last = "9999-12-31T23:59:59Z"
    assert parse_when(last, tz=UTC, now=NOON).year == 9999
    assert "the horizon is the year 9999" in refusal(last, tz=BERLIN)
    first = "0001-01-01T00:00:00Z"
    assert parse_when(first, tz=UTC, now=NOON).year == 1
    assert "the years 1 to 9999" in refusal(first, tz=timezone(-timedelta(hours=1)))
    assert "the years 1 to 9999" in refusal("9999-12-31 23:00", tz=timezone(-timedelta(hours=1)))


# ---- what people write


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("9:00", "2026-11-25T09:00:00+01:00"),  # it is 12:00: tomorrow
        ("12:00", "2026-11-25T12:00:00+01:00"),  # now is not to come
        ("12:00:01", "2026-11-24T12:00:01+01:00"),
        ("21:30", "2026-11-24T21:30:00+01:00"),
        ("today 9:00", "2026-11-24T09:00:00+01:00"),
        ("tomorrow 21:30:15", "2026-11-25T21:30:15+01:00"),
        ("TOMORROW  7:05", "2026-11-25T07:05:00+01:00"),
        ("tuesday 12:01", "2026-11-24T12:01:00+01:00"),  # today, still to come
        ("Tue 12:00", "2026-12-01T12:00:00+01:00"),
        ("wed 0:00", "2026-11-25T00:00:00+01:00"),
        ("MONDAY 09:00", "2026-11-30T09:00:00+01:00"),
        ("2026-12-24 9:00", "2026-12-24T09:00:00+01:00"),
        ("2026-12-24  18:00", "2026-12-24T18:00:00+01:00"),
        ("@1795600800", "2026-11-25T11:00:00+01:00"),
        ("@0.000001", "1970-01-01T01:00:00.000001+01:00"),
        ("@-0.5", "1970-01-01T00:59:59.500000+01:00"),
    ],
)
def test_peoples_forms_are_read(text: str, meant: str) -> None:
    assert berlin(text) == meant


def test_the_day_is_that_of_the_zone_and_not_of_utc() -> None:
    late = datetime(2026, 11, 24, 23, 30, tzinfo=UTC)  # Wednesday 00:30 in Berlin
    assert berlin("today 9:00", late) == "2026-11-25T09:00:00+01:00"
    assert berlin("tomorrow 9:00", late) == "2026-11-26T09:00:00+01:00"
    assert berlin("wed 0:15", late) == "2026-12-02T00:15:00+01:00"


def test_tomorrow_over_a_change_of_the_clocks_keeps_the_time_of_day() -> None:
    saturday = datetime(2026, 10, 24, 10, 0, tzinfo=UTC)
    assert berlin("tomorrow 12:00", saturday) == "2026-10-25T12:00:00+01:00"


@unhurried
@given(
    now=st.datetimes(datetime(1971, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC)),
    day=st.sampled_from(["", "mon ", "Tuesday ", "wed ", "THU ", "friday ", "Sat ", "sunday "]),
    clock=st.times(),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Pacific/Apia", "Asia/Kathmandu", "Africa/Casablanca"]),
)
def test_a_weekday_or_a_bare_time_is_the_next_one(now: datetime, day: str, clock: datetime, zone: str) -> None:
    tz = ZoneInfo(zone)
    instant = parse_when(f"{day}{clock:%H:%M:%S}", tz=tz, now=now)
    # a day of 25 hours, and a gap of one more at its end
    assert now < instant <= now + timedelta(days=7 if day else 1, hours=2)


# ---- changes of the clocks


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-03-29 01:59:59.999999", "2026-03-29T01:59:59.999999+01:00"),
        ("2026-03-29 02:00", "2026-03-29T03:00:00+02:00"),
        ("2026-03-29 02:30", "2026-03-29T03:00:00+02:00"),
        ("2026-03-29 02:59:59.999999", "2026-03-29T03:00:00+02:00"),
        ("2026-03-29 03:00", "2026-03-29T03:00:00+02:00"),
        ("2026-10-25 02:00", "2026-10-25T02:00:00+02:00"),
        ("2026-10-25 02:30", "2026-10-25T02:30:00+02:00"),
        ("2026-10-25 02:59:59.999999", "2026-10-25T02:59:59.999999+02:00"),
        ("2026-10-25 03:00", "2026-10-25T03:00:00+01:00"),
    ],
)
def test_a_skipped_time_is_the_first_after_it_and_a_doubled_one_the_first(text: str, meant: str) -> None:
    assert berlin(text) == meant


@pytest.mark.parametrize("text", ["2011-12-30", "2011-12-30 00:00:00.5", "2011-12-30 12:00", "2011-12-30 23:59:59"])
def test_a_skipped_day_is_the_start_of_the_next(text: str) -> None:
    assert parse_when(text, tz=APIA, now=NOON) == datetime(2011, 12, 30, 10, 0, tzinfo=UTC)
    before = datetime(2011, 12, 29, 22, 0, tzinfo=UTC)  # the 29th, 12:00
    for day in ("tomorrow", "friday"):
        instant = parse_when(f"{day} 9:00", tz=APIA, now=before)
        assert format_when(instant, APIA) == "2011-12-31T00:00:00+14:00"


@unhurried
@given(
    wall=st.datetimes(datetime(1880, 1, 1), datetime(2500, 1, 1)),
    zone=st.sampled_from(sorted(zoneinfo.available_timezones() - {"localtime"})),
)
@example(datetime(2011, 12, 30, 5), "Pacific/Apia")
@example(datetime(1993, 8, 21, 5), "Pacific/Kwajalein")
@example(datetime(2026, 10, 4, 2, 15), "Australia/Lord_Howe")
@example(datetime(2026, 4, 5, 1, 45), "Australia/Lord_Howe")
def test_no_earlier_instant_shows_a_local_time(wall: datetime, zone: str) -> None:
    tz = ZoneInfo(zone)
    instant = parse_when(wall.isoformat(), tz=tz, now=NOON)
    shows = instant.astimezone(tz).replace(tzinfo=None)
    assert shows >= wall
    just_before = (instant - MICROSECOND).astimezone(tz).replace(tzinfo=None)
    assert just_before < wall
    if shows > wall:  # then nothing shows it: the change is right here
        assert shows - just_before > MICROSECOND


# ---- the same instant comes out

anywhere = st.sampled_from([ZoneInfo(name) for name in sorted(zoneinfo.available_timezones() - {"localtime"})])
minutes = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
every_instant = st.datetimes(timezones=st.just(UTC))


@unhurried
@given(instant=every_instant, tz=anywhere | minutes)
@example(datetime.min.replace(tzinfo=UTC), ZoneInfo("America/New_York"))
@example(datetime.max.replace(tzinfo=UTC), ZoneInfo("Asia/Tokyo"))
@example(datetime(1890, 1, 1, tzinfo=UTC), ZoneInfo("Europe/Berlin"))  # +00:53:28
def test_what_is_written_is_read_back_as_the_same_instant(instant: datetime, tz: tzinfo) -> None:
    written = format_when(instant, tz)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?[+-]\d\d:\d\d", written)
    assert ("." in written) == bool(instant.microsecond)
    read = parse_when(written, tz=UTC, now=NOON)
    assert read == instant
    assert read.tzinfo is UTC
    assert is_absolute(written)


@unhurried
@given(instant=every_instant, tz=anywhere | minutes)
@example(instant=datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), tz=BERLIN)
@example(instant=datetime(2026, 10, 25, 0, 59, 59, 999_999, tzinfo=UTC), tz=BERLIN)  # the last of summer time
def test_a_stored_instant_is_written_as_any_other(instant: datetime, tz: tzinfo) -> None:
    assert format_instant(micros(instant), tz) == format_when(instant, tz)


@unhurried
@given(
    instant=instants,
    tz=minutes,
    elsewhere=anywhere,
    separator=st.sampled_from("Tt "),
    point=st.sampled_from(".,"),
    digits=st.sampled_from([None, 6, 9]),
    gap=st.sampled_from(["", " "]),
    colon=st.sampled_from(["", ":"]),
)
def test_an_offset_is_read_in_each_of_its_forms(
    instant: datetime,
    tz: timezone,
    elsewhere: tzinfo,
    separator: str,
    point: str,
    digits: int | None,
    gap: str,
    colon: str,
) -> None:
    local = instant.astimezone(tz)
    offset = f"{local:%z}"
    decimals = f"{local.microsecond:06}".ljust(digits or 0, "0")
    if digits is None:
        decimals = decimals.rstrip("0") or "0"
    written = f"{local:{separator}%H:%M:%S}{point}{decimals}{gap}{offset[:3]}{colon}{offset[3:]}"
    written = local.date().isoformat() + written
    assert parse_when(written, tz=elsewhere, now=NOON) == instant
    assert is_absolute(written)


@unhurried
@given(instant=instants, tz=anywhere)
def test_a_local_time_is_read_as_the_same_instant(instant: datetime, tz: tzinfo) -> None:
    local = instant.astimezone(tz)
    assume(local.fold == 0)  # of two, it is the first that is meant
    written = local.replace(tzinfo=None).isoformat(" ")
    assert parse_when(written, tz=tz, now=NOON) == instant
    assert not is_absolute(written)


@unhurried
@given(instant=instants, tz=anywhere)
def test_an_epoch_is_read_as_the_same_instant(instant: datetime, tz: tzinfo) -> None:
    micros = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // MICROSECOND
    sign = "-" if micros < 0 else ""
    written = f"@{sign}{abs(micros) // 1_000_000}.{abs(micros) % 1_000_000:06}"
    assert parse_when(written, tz=tz, now=NOON) == instant
    assert is_absolute(written)


@unhurried
@given(instant=instants, now=instants, tz=anywhere)
def test_a_date_with_a_time_of_day_is_read_as_the_same_instant(instant: datetime, now: datetime, tz: tzinfo) -> None:
    local = instant.astimezone(tz).replace(microsecond=0)
    assume(local.fold == 0)
    written = f"{local.date().isoformat()} {local.hour}:{local:%M:%S}"
    assert parse_when(written, tz=tz, now=now) == local


@pytest.mark.parametrize("text", ["2026-11-24T21:00", "2026-11-24", "9:00", "mon 9:00", "tomorrow 9:00", "soon", ""])
def test_a_local_or_unreadable_time_is_not_absolute(text: str) -> None:
    assert not is_absolute(text)


@pytest.mark.parametrize("text", ["2026-02-30T00:00Z", "@", "@x", "@" + "9" * 200, "9999-12-31T23:59:59-01:00"])
def test_a_time_that_cannot_be_read_is_not_absolute(text: str) -> None:
    assert not is_absolute(text)


def test_beyond_the_horizon_of_a_zone_utc_is_written() -> None:
    last = datetime(9999, 12, 31, 23, 30, tzinfo=UTC)
    assert format_when(last, ZoneInfo("Asia/Tokyo")) == "9999-12-31T23:30:00+00:00"
    assert format_when(last, ZoneInfo("America/New_York")) == "9999-12-31T18:30:00-05:00"


def test_an_offset_with_seconds_is_not_written() -> None:
    assert format_when(datetime(1890, 1, 1, tzinfo=UTC), BERLIN) == "1890-01-01T00:00:00+00:00"


# ---- anything goes in, a value or InvalidTime comes out

near_times = st.text(st.sampled_from(" 0123456789-+:.,TtZz@WwinmodayEurpBl/\x00\n٣ſµ<>JM"), max_size=40)
hostile = st.text(st.characters(exclude_categories=())) | near_times
written_times = st.tuples(
    st.sampled_from(["", " ", "today ", "SUN ", "0001-01-01", "9999-12-31", "2026-02-29", "0000-00-00", "2026-11-24"]),
    st.sampled_from(["", " ", "T", "t"]),
    st.sampled_from(["", "0:00", "00:00", "23:59", "24:00", "12:60", "12:34:60", "23:59:59", "1:02:03", "99:99"]),
    st.sampled_from(["", ".", ".1", ",999999", ".0000000", ".1234567"]),
    st.sampled_from(["", "Z", " z", "+00", "-2359", "+23:59", "-12:00", "+24:00", "+12:60", "-00:00"]),
).map("".join)

written_spans = st.lists(
    st.tuples(
        st.sampled_from(["0", "1", "007", "59", "1.5", "0.000001", "0.0000001", "9" * 20, "99999999"]),
        st.sampled_from(["", " "]),
        st.sampled_from(["", "us", "µs", "ms", "s", "m", "min", "h", "d", "w", "M", "year", "x"]),
    ).map("".join)
).map(" ".join)


@unhurried
@given(text=hostile | written_times, now=every_instant, tz=anywhere | minutes)
def test_any_text_is_a_time_or_refused(text: str, now: datetime, tz: tzinfo) -> None:
    try:
        instant = parse_when(text, tz=tz, now=now)
    except InvalidTime as error:
        assert str(error).isprintable()
        assert len(str(error)) < 300
    else:
        assert instant.utcoffset() == timedelta(0)
        assert instant.astimezone(tz) == instant
    assert is_absolute(text) in (True, False)


@unhurried
@given(text=hostile | written_spans)
def test_any_text_is_a_span_or_refused(text: str) -> None:
    try:
        span = parse_span(text)
    except InvalidTime as error:
        assert str(error).isprintable()
        assert len(str(error)) < 300
    else:
        assert parse_span(format_span(span)) == span


@unhurried
@given(value=st.integers() | st.floats() | st.integers(-(10**500), 10**500))
def test_any_number_is_a_span_or_refused(value: float) -> None:
    try:
        span = parse_span(value)
    except InvalidTime:
        assert not 0 <= value <= 9998 * 365 * 86400
    else:
        assert span >= 0
        assert abs(Fraction(value) * 1_000_000 - span) <= 1 + Fraction(value) / 10**9


@unhurried
@given(name=hostile)
def test_any_text_is_a_zone_or_refused(name: str) -> None:
    for find in (find_zone, server_zone):
        try:
            zone = find(name)
        except InvalidTime as error:
            assert str(error).isprintable()
            assert len(str(error)) < 400
        else:
            assert format_when(NOON, zone)


# ---- spans


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, "0"),
        (90, "90"),
        (1.5, "1.5"),
        (0.1, "0.1"),
        (1e-6, "0.000001"),
        (0.30000000000000004, "0.3"),
        (1e9, "1000000000"),
        ("90", "90"),
        ("1.5", "1.5"),
        ("10m", "600"),
        (" 10 m ", "600"),
        ("1h 30min", "5400"),
        ("1h30m", "5400"),
        ("1.5h", "5400"),
        ("1 hour 30 minutes 5 seconds", "5405"),
        ("2d", "172800"),
        ("1week 1day", "691200"),
        ("5ms", "0.005"),
        ("5us", "0.000005"),
        ("5\u00b5s", "0.000005"),
        ("5\u03bcs", "0.000005"),
        ("7usec 3msec", "0.003007"),
        ("0.1s", "0.1"),
        ("0.000001s", "0.000001"),
        ("1m 1m", "120"),
        ("0000000000000000000000000000000000000000001s", "1"),
        ("1.000000000000000000000000000000000000s", "1"),
    ],
)
def test_a_span_is_exact(value: str | float, seconds: str) -> None:
    assert Fraction(parse_span(value), 1_000_000) == Fraction(seconds)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "write it like 10m, 1h 30min or 1.5h"),
        ("h", "write it like"),
        ("1h later", "write it like"),
        ("1.h", "write it like"),
        (".5h", "write it like"),
        ("1,5h", "write it like"),
        ("1e", "there is no unit 'e'"),
        ("1fortnight", "there is no unit 'fortnight'"),
        ("1h30", "each of its parts needs a unit"),
        ("1 2", "each of its parts needs a unit"),
        ("1M", "use 'when'"),
        ("2 months", "use 'when'"),
        ("1y", "use 'when'"),
        ("1 year", "use 'when'"),
        ("-5m", "negative"),
        (-1, "negative"),
        (-0.001, "negative"),
        (math.nan, "finite"),
        (math.inf, "finite"),
        ("infinity", "write it like"),
        ("0.1us", "a microsecond is the finest"),
        ("0.0000001", "a microsecond is the finest"),
        pytest.param("9" * 10_000, "longer than 100 characters", id="10000 characters"),
        ("9" * 99, "longer than 9999 years"),
        ("10000000d", "longer than 9999 years"),
        pytest.param(10**5000, "longer than 9999 years", id="5001 digits"),
        (1e300, "longer than 9999 years"),
        (True, "cannot be a boolean: write it like"),
        (None, "cannot be null: write it like"),
        (["1h"], "cannot be an array: write it like"),
        ({}, "cannot be an object: write it like"),
        ((1,), "cannot be of type tuple: write it like"),
        ("٣s", "write it like"),
        ("1\x00s", "write it like"),
    ],
)
def test_what_is_no_span_is_refused_with_the_reason(value: str, reason: str) -> None:
    with pytest.raises(InvalidTime) as caught:
        parse_span(value)
    assert reason in str(caught.value)
    assert caught.value.field is None
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (0, "0s"),
        (86_400 * SECOND, "24h"),
        (5400 * SECOND, "1h 30min"),
        (90 * SECOND, "1min 30s"),
        (90_000, "90ms"),
        (SECOND + 1002, "1s 1ms 2us"),
        (365 * 86_400 * SECOND, "8760h"),
    ],
)
def test_a_span_is_written_in_one_way(span: Micros, text: str) -> None:
    assert format_span(span) == text


@unhurried
@given(st.integers(0, date.max.toordinal() * 86_400 * SECOND))
def test_a_span_is_read_back_as_it_was_written(span: Micros) -> None:
    assert parse_span(format_span(span)) == span


@unhurried
@given(st.decimals(0, 10**9, places=6))
def test_decimals_of_a_span_are_exact(seconds: Fraction) -> None:
    assert Fraction(parse_span(f"{seconds:f}s"), 1_000_000) == Fraction(seconds)


def test_a_negative_span_is_not_written() -> None:
    with pytest.raises(ValueError, match="negative"):
        format_span(-1)


# ---- zones


def test_an_iana_name_is_a_zone() -> None:
    assert find_zone("Europe/Berlin").utcoffset(NOON.replace(tzinfo=None)) == timedelta(hours=1)
    assert find_zone("Etc/GMT+3").utcoffset(NOON.replace(tzinfo=None)) == timedelta(hours=-3)
    assert str(find_zone("America/Argentina/Buenos_Aires")) == "America/Argentina/Buenos_Aires"
    assert find_zone("UTC") is UTC


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Berlin",
        "localtime",
        "posixrules",
        "right/UTC",
        "posix/UTC",
        "Europe",
        "Europe/",
        "/etc/localtime",
        "/usr/share/zoneinfo/Europe/Berlin",
        "../zoneinfo/Europe/Berlin",
        "Europe/../Europe/Berlin",
        "tzdata.zi",
        "Europe/Berlin\x00",
        "Europe/Berlin\n",
        "\ud800",
        "A" * 65,
        pytest.param("A" * 100_000, id="100000 characters"),
        "A/" * 30 + "A",
        "CET-1CEST",
    ],
)
def test_what_is_no_iana_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidTime, match="write an IANA name like Europe/Berlin") as caught:
        find_zone(name)
    assert caught.value.field == "tz"
    assert len(str(caught.value)) < 200


def test_without_zone_data_there_is_utc_and_the_refusal_says_what_to_install() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tifftockd.when import find_zone, server_zone\n"
        "print(find_zone('UTC'), server_zone('UTC'), server_zone('CET-1'))\n"
        "find_zone('Europe/Berlin')\n"
    )
    root = str(Path(zones.__file__).parents[2])
    # -S: a tzdata that pip installed is not there either
    run = subprocess.run(
        [sys.executable, "-S", "-c", code, root], env={"PYTHONTZPATH": ""}, capture_output=True, text=True, check=False
    )
    assert run.stdout.split() == ["UTC", "UTC", "CET-1"]
    assert run.stderr.splitlines()[-1].endswith(
        "no time zone 'Europe/Berlin': this machine knows no zone but UTC, install tzdata"
    )


@pytest.fixture
def libc_zone() -> Iterator[None]:
    """Puts back TZ, which a test of libc's view must set for the whole process."""
    before = os.environ.get("TZ")
    yield
    if before is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("libc_zone")
@pytest.mark.parametrize(
    "tz",
    [
        "",
        ":",
        "UTC",
        ":UTC",
        "UTC0",
        "Europe/Berlin",
        ":Europe/Berlin",
        "/usr/share/zoneinfo/Asia/Tokyo",
        ":/usr/share/zoneinfo/Asia/Tokyo",
        # Without that file, as on Debian 13 without tzdata-legacy, glibc has summer time end at 2:00 UTC (2.41).
        *(["EST5EDT"] if Path("/usr/share/zoneinfo/EST5EDT").exists() else []),
        "CET-1CEST,M3.5.0,M10.5.0/3",
        ":CET-1CEST,M3.5.0,M10.5.0/3",
        "JST-9",
        "<+0330>-3:30",
        "ABC-5:30:15",
        "<-03>3<-02>,M3.5.0/-2,M10.5.0/-1",
        "IST-1GMT0,M10.5.0,M3.5.0/1",
        "NZST-12:00:00NZDT-13:00:00,M10.1.0,M3.3.0",
        "AAA3BBB,J60/12:30,J300/1",
        "AAA3BBB,J60/-30,J300/26:15:30",
    ],
)
def test_the_servers_zone_is_what_libc_takes_it_for(tz: str) -> None:
    os.environ["TZ"] = tz
    time.tzset()
    zone = server_zone(tz)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for hours in range(0, 3 * 366 * 24, 7):
        instant = start + timedelta(hours=hours)
        libc = time.localtime(instant.timestamp()).tm_gmtoff
        assert instant.astimezone(zone).utcoffset() == timedelta(seconds=libc), instant
    assert str(zone)
    assert repr(zone)


@unhurried
@given(instant=st.datetimes(datetime(2008, 1, 1), datetime(2500, 1, 1), timezones=st.just(UTC)))
def test_summer_time_without_a_rule_has_the_american_one(instant: datetime) -> None:
    assert format_when(instant, server_zone("AAA5BBB")) == format_when(instant, ZoneInfo("America/New_York"))


@pytest.mark.parametrize(
    "tz",
    [
        "Berlin",
        "Europe",
        "right/UTC",
        "../zoneinfo/UTC",
        "/etc",
        "/etc/passwd",
        "/nowhere/UTC",
        "/dev/zero",
        "CETX",
        "X5",
        "CET-25",
        "CET-23CEST",
        "CET-1CEST,M3.5.0",
        "CET-1CEST,M13.5.0,M10.5.0",
        "CET-1CEST,M3.5.0,M10.5.0/168",
        "CET-1,M3.5.0,M10.5.0",
        "CET-1CEST,J0,J10",
        "CET-1CEST,59,299",
        "CET-1\nCEST",
        "CET-1CEST,M3.5.0,M10.5.0/3 ",
        "\x00",
        "/\x00",
        "\udcff",
        pytest.param("A" * 10_000, id="10000 characters"),
    ],
)
def test_a_tz_that_libc_would_take_for_utc_is_refused_by_name(tz: str) -> None:
    with pytest.raises(InvalidTime) as caught:
        server_zone(tz)
    assert repr(tz[:20])[1:-1] in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_zone_file_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = Path("/usr/share/zoneinfo/Asia/Tokyo").read_bytes()
    cut = tmp_path / "zone"
    for size in range(len(whole)):
        cut.write_bytes(whole[:size])
        with pytest.raises(InvalidTime, match=r"cannot read the time zone file .*zone"):
            server_zone(str(cut))
    cut.write_bytes(whole)
    assert format_when(NOON, server_zone(str(cut))) == "2026-11-24T20:00:00+09:00"


def test_without_tz_the_zone_is_that_of_etc_localtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    localtime = tmp_path / "localtime"
    monkeypatch.setattr(zones, "LOCALTIME", localtime)
    assert server_zone(None) is UTC

    localtime.symlink_to("/usr/share/zoneinfo/Asia/Tokyo")
    assert format_when(NOON, server_zone(None)) == "2026-11-24T20:00:00+09:00"

    localtime.unlink()
    localtime.write_text("Asia/Tokyo")
    with pytest.raises(InvalidTime, match=r"localtime. .*magic not found"):
        server_zone(None)
