"""What /openapi.json says of times, spans and zones is what is read."""

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings, strategies as st

from tifftockd.api import patterns
from tifftockd.api.fields import LONGEST_IN, MOST_LATE
from tifftockd.api.schemas import components
from tifftockd.clock import SECOND
from tifftockd.when import find_zone, parse_span, parse_when

# The end of a month, of a year, of February, of a decade, of a century
DAYS = [date(2026, 11, 25), date(2026, 11, 29), date(2026, 12, 31), date(2028, 2, 27), date(2029, 12, 30)]
DAYS += [date(2099, 12, 31), date(2100, 1, 1)]
# The first and the last to see a day
ZONES = [ZoneInfo("Pacific/Kiritimati"), ZoneInfo("Pacific/Pago_Pago"), UTC]


def last_second(today):
    return datetime(today.year, today.month, today.day, 23, 59, 59, tzinfo=UTC)


@settings(max_examples=200)
@given(st.data())
def test_what_is_said_to_be_in_the_future_is(data):
    today = data.draw(st.sampled_from(DAYS))
    pattern = data.draw(st.sampled_from([patterns.NEXT, patterns.iso_from(today), patterns.epoch_from(today)]))
    text = data.draw(st.from_regex(pattern, fullmatch=True))
    for zone in ZONES:
        assert parse_when(text, tz=zone, now=last_second(today)) > last_second(today) - timedelta(seconds=1)


@settings(max_examples=100)
@given(st.sampled_from(patterns.ANY).flatmap(lambda pattern: st.from_regex(pattern, fullmatch=True)))
def test_what_is_said_to_be_a_time_is_read(text):
    for zone in ZONES:
        parse_when(text, tz=zone, now=last_second(DAYS[0]))


@pytest.mark.parametrize("today", DAYS)
def test_what_lies_further_ahead_than_two_days_is_said_to_be_in_the_future(today):
    for days in [*range(3, 800), 36_500]:
        later = last_second(today) + timedelta(days=days)
        if later.day > 28 and later.year == (today + timedelta(days=2)).year:
            continue  # which months have them is not said of the year that has begun
        if (later.month, later.day) != (2, 29):
            assert re.search(patterns.iso_from(today), later.isoformat())
            assert re.search(patterns.iso_from(today), f"{later:%Y-%m-%d %H:%M}")
        assert re.search(patterns.epoch_from(today), f"@{later.timestamp():.0f}")
    assert not re.search(patterns.iso_from(today), last_second(today).isoformat())
    assert not re.search(patterns.epoch_from(today), f"@{last_second(today).timestamp():.0f}")


@settings(max_examples=100)
@given(st.sampled_from(["In", "MaxLate"]), st.data())
def test_what_is_said_to_be_a_span_is_read_and_not_too_long(name, data):
    longest = {"In": LONGEST_IN, "MaxLate": MOST_LATE}[name]
    text, number = components([], DAYS[0])[name]["anyOf"]
    assert number["maximum"] * SECOND == longest
    span = parse_span(data.draw(st.from_regex(text["pattern"], fullmatch=True)))
    assert span <= longest


@pytest.mark.parametrize("text", ["0", "90", "10m", "1h 30min", "1.5h", "2d", "2weeks", "90ms", "1h30m5s", "500 usec"])
def test_common_spans_are_said_to_be_some(text):
    for name in ("In", "MaxLate"):
        pattern = components([], DAYS[0])[name]["anyOf"][0]["pattern"]
        assert re.search(pattern, text)
        assert not re.search(pattern, f"-{text}")
        assert not re.search(pattern, f"{text} ago")


def test_the_zones_that_are_named_are_those_that_are_known():
    pattern = components([], DAYS[0])["Zone"]["pattern"]
    for name in ("UTC", "Europe/Berlin", "Etc/GMT+1", "America/Argentina/Buenos_Aires"):
        assert re.search(pattern, name)
    for name in ("Mars/Base", "localtime", "posix/UTC", "Etc/GMTT1", ""):
        assert not re.search(pattern, name)
    for name in re.sub(r"[\\^$()]", "", pattern).split("|"):
        find_zone(name)
