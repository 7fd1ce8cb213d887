"""Repeating: which instants an expression means, across every kind of summer time, and what is refused."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings, strategies as st

from tests.repeating import Maker, changes, wrong_at
from tifftockd import clock
from tifftockd.clock import SECOND, micros, moment
from tifftockd.errors import InvalidInput
from tifftockd.repeat import first_occurrence, occurrences, read_repeat

BERLIN = ZoneInfo("Europe/Berlin")
DAY = 86_400 * SECOND
YEAR = 365 * DAY
SATURDAY = micros(datetime(2026, 11, 28, 12, tzinfo=UTC))  # 13:00 in Berlin

unhurried = settings(deadline=None, max_examples=50)  # a busy machine is no failure


@pytest.fixture(autouse=True, scope="module")
def _now():
    """A Saturday for ever: what never fires any more depends on the day."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: SATURDAY)
        yield


def following(text: str, n: int = 3, *, after: int = SATURDAY, zone: ZoneInfo = BERLIN) -> list[str]:
    """The next n occurrences, as the clocks of the zone show them."""
    expression, _ = read_repeat(text)
    return [f"{moment(at).astimezone(zone):%a %Y-%m-%d %T}" for at in islice(occurrences(expression, zone, after), n)]


def between(expression: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    found = []
    for instant in occurrences(expression, zone, micros(start)):
        if instant > micros(end):
            break
        found.append(moment(instant))
    return found


def refusal(text: str, kind: str = "invalid") -> str:
    with pytest.raises(InvalidInput) as caught:
        read_repeat(text)
    assert (caught.value.field, caught.value.kind) == ("repeat", kind)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- what an expression means


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mon..Fri 08:55", ["Mon 2026-11-30 08:55:00", "Tue 2026-12-01 08:55:00", "Wed 2026-12-02 08:55:00"]),
        ("Fri-Sun, 12-13", ["Sun 2026-12-13 00:00:00", "Fri 2030-12-13 00:00:00", "Sat 2031-12-13 00:00:00"]),
        ("sat,SUNDAY", ["Sun 2026-11-29 00:00:00", "Sat 2026-12-05 00:00:00", "Sun 2026-12-06 00:00:00"]),
        ("*-*-01 06:00", ["Tue 2026-12-01 06:00:00", "Fri 2027-01-01 06:00:00", "Mon 2027-02-01 06:00:00"]),
        ("Mon *-*~7/1", ["Mon 2026-11-30 00:00:00", "Mon 2026-12-28 00:00:00", "Mon 2027-01-25 00:00:00"]),
        ("2~1 9:00", ["Sun 2027-02-28 09:00:00", "Tue 2028-02-29 09:00:00", "Wed 2029-02-28 09:00:00"]),
        ("*~1..6/2", ["Mon 2026-11-30 00:00:00", "Sun 2026-12-27 00:00:00", "Tue 2026-12-29 00:00:00"]),
        ("27/2-1-1", ["Fri 2027-01-01 00:00:00", "Mon 2029-01-01 00:00:00", "Wed 2031-01-01 00:00:00"]),
        ("035..2078/40-1-1", ["Mon 2035-01-01 00:00:00", "Tue 2075-01-01 00:00:00"]),
        ("2035..35/2-1-1", ["Mon 2035-01-01 00:00:00"]),
        ("99..30/10-1-1", ["Mon 2029-01-01 00:00:00"]),
        ("*:0/20", ["Sat 2026-11-28 13:20:00", "Sat 2026-11-28 13:40:00", "Sat 2026-11-28 14:00:00"]),
        ("14..16/2,20:30:5", ["Sat 2026-11-28 14:30:05", "Sat 2026-11-28 16:30:05", "Sat 2026-11-28 20:30:05"]),
        ("*-*-5..5/2", ["Sat 2026-12-05 00:00:00", "Tue 2027-01-05 00:00:00", "Fri 2027-02-05 00:00:00"]),
        ("*:*:*", ["Sat 2026-11-28 13:00:01", "Sat 2026-11-28 13:00:02", "Sat 2026-11-28 13:00:03"]),
        ("2027-06-05", ["Sat 2027-06-05 00:00:00"]),
        ("Mon *-02-29", ["Mon 2044-02-29 00:00:00", "Mon 2072-02-29 00:00:00", "Mon 2112-02-29 00:00:00"]),
        ("minutely", ["Sat 2026-11-28 13:01:00", "Sat 2026-11-28 13:02:00", "Sat 2026-11-28 13:03:00"]),
        ("Quarterly", ["Fri 2027-01-01 00:00:00", "Thu 2027-04-01 00:00:00", "Thu 2027-07-01 00:00:00"]),
        ("semiannually", ["Fri 2027-01-01 00:00:00", "Thu 2027-07-01 00:00:00", "Sat 2028-01-01 00:00:00"]),
        ("bi-annually", ["Fri 2027-01-01 00:00:00", "Thu 2027-07-01 00:00:00", "Sat 2028-01-01 00:00:00"]),
        ("weekly", ["Mon 2026-11-30 00:00:00", "Mon 2026-12-07 00:00:00", "Mon 2026-12-14 00:00:00"]),
        ("55 8 * * 1-5", ["Mon 2026-11-30 08:55:00", "Tue 2026-12-01 08:55:00", "Wed 2026-12-02 08:55:00"]),
        ("30 0 9 * * mon", ["Mon 2026-11-30 09:00:30", "Mon 2026-12-07 09:00:30", "Mon 2026-12-14 09:00:30"]),
        ("0 0 13 * 5", ["Fri 2026-12-04 00:00:00", "Fri 2026-12-11 00:00:00", "Sun 2026-12-13 00:00:00"]),
        ("0 0 */2 * 7", ["Sun 2026-11-29 00:00:00", "Sun 2026-12-13 00:00:00", "Sun 2026-12-27 00:00:00"]),
        ("0 9 L * *", ["Mon 2026-11-30 09:00:00", "Thu 2026-12-31 09:00:00", "Sun 2027-01-31 09:00:00"]),
        ("0 9 * * 1#2", ["Mon 2026-12-14 09:00:00", "Mon 2027-01-11 09:00:00", "Mon 2027-02-08 09:00:00"]),
        ("@hourly", ["Sat 2026-11-28 14:00:00", "Sat 2026-11-28 15:00:00", "Sat 2026-11-28 16:00:00"]),
        ("@midnight", ["Sun 2026-11-29 00:00:00", "Mon 2026-11-30 00:00:00", "Tue 2026-12-01 00:00:00"]),
        ("@weekly", ["Sun 2026-11-29 00:00:00", "Sun 2026-12-06 00:00:00", "Sun 2026-12-13 00:00:00"]),
        ("@monthly", ["Tue 2026-12-01 00:00:00", "Fri 2027-01-01 00:00:00", "Mon 2027-02-01 00:00:00"]),
        ("@annually", ["Fri 2027-01-01 00:00:00", "Sat 2028-01-01 00:00:00", "Mon 2029-01-01 00:00:00"]),
    ],
)
def test_an_expression_means_what_systemd_or_cron_mean_by_it(text, expected):
    assert following(text) == expected


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Mon 09:00 Europe/Berlin", ("Mon 09:00", "Europe/Berlin")),
        ("  daily\tAfrica/Casablanca ", ("daily", "Africa/Casablanca")),
        ("Mon..Fri *-*-* 9:00 utc", ("Mon..Fri *-*-* 9:00", "UTC")),
        ("Mon", ("Mon", None)),
        ("  0   9 * *\t1 ", ("0 9 * * 1", None)),
    ],
)
def test_white_space_is_made_single_and_the_zone_taken_off(text, kept):
    assert read_repeat(text) == kept


def test_an_occurrence_at_the_very_start_is_not_after_it():
    assert following("13:00", 1) == ["Sun 2026-11-29 13:00:00"]
    assert following("13:00", 1, after=SATURDAY - 1) == ["Sat 2026-11-28 13:00:00"]


def test_it_ends_where_there_are_no_more():
    start = micros(datetime(2199, 12, 29, 12, tzinfo=UTC))
    for text in ("daily", "0 0 * * *"):
        assert following(text, 5, after=start) == ["Mon 2199-12-30 00:00:00", "Tue 2199-12-31 00:00:00"]
        assert following(text, 5, after=start + 1000 * YEAR) == []
    assert following("2027-06-05 12:00", 5, after=SATURDAY) == ["Sat 2027-06-05 12:00:00"]


@pytest.mark.parametrize("form", ["on_calendar", "cron"])
def test_expressions_of_every_form_mean_the_numbers_that_are_in_them(form):
    for seed in range(150):
        maker = Maker(seed)
        expression = getattr(maker, form)()
        after = datetime(2026, 11, 29) + timedelta(seconds=maker.chance.randrange(18 * YEAR // SECOND))
        until = after + timedelta(days=800)
        expected = list(islice(expression.walls(after, until), 30))
        try:
            kept, _ = read_repeat(expression.text)
        except InvalidInput as error:
            assert error.kind == "never", (expression.text, error)
            assert expected == []
            continue
        found = [
            moment(at).replace(tzinfo=None)
            for at in islice(occurrences(kept, UTC, micros(after.replace(tzinfo=UTC))), 30)
        ]
        assert [wall for wall in found if wall <= until] == expected, (seed, expression.text)


# ---- what is refused


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", 'write it like "Mon..Fri 08:55"'),
        ("every day", "write it like"),
        ("daily Mars/Olympus", "there is no time zone 'Mars/Olympus'"),
        ("Mon Tue", "write it like"),
        ("Mon,,Tue", "write it like"),
        ("Fri..Mon", "its day-of-week goes from Mon to Sun"),
        ("25:00", "its hour goes from 0 to 23"),
        ("*:5..3", "its minute goes from 0 to 59"),
        ("*-*~29", "its day-of-month goes from 1 to 31 (after ~, the days from the month's end, to 28)"),
        ("2200-1-1", "its year goes from 1970 to 2199"),
        ("1e3-1-1", "write it like"),
        ("9:00 Europe/Atlantis", "there is no time zone 'Europe/Atlantis'"),
        ("*:30/45", "the step of 30/45 leads beyond the last minute"),
        ("*~7/7", "the step of 7/7 leads beyond the last day"),
        ("*:0/0", "its minute"),
        ("*:*:0/0.5", "no decimals"),
        ("*:*:.5", "no decimals"),
        ("@1395716396", "a single time belongs in 'when'"),
        ("@reboot", "use one of @yearly"),
        ("@daily Europe/Berlin", "a zone belongs in 'tz'"),
        ("60 * * * *", "its minute goes from 0 to 59"),
        ("0 9 * * fun", "its day-of-week"),
        ("0 9 * * 1 Europe/Berlin", "a cron line has minute, hour, day of month, month and day of week"),
        ("0 0 9 * * 1 2026", "a zone belongs in 'tz'"),
        ("* * * * * /bin/true --now", "and nothing else"),
        ("\u0660:00", "beyond ASCII"),
        ("\u017fun 9:00", "beyond ASCII"),
        ("0 9 * * \u017fun", "beyond ASCII"),
        ("1," * 5000 + "1 * * * *", "longer than 256 characters"),
        ("x" * 100_000, "longer than 256 characters"),
        ("9" * 200 + ":00", "its hour"),
        ("0/" + "9" * 200 + ":00", "leads beyond the last hour"),
        ("~" * 200, "write it like"),
        ("0 0 * * *" + "/1" * 120, "its day-of-week"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_would_be_right(text, reason):
    assert reason in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        *("*-02-30", "*-04,06-31 12:00", "2020-01-01", "Sat 2027-01-01", "1970..2025-*-* *:*:*"),
        *("2024-05-05 UTC", "0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 0 30-31 feb *"),
    ],
)
def test_what_never_fires_says_so(text):
    assert "never fires" in refusal(text, "never")


@unhurried
@given(st.text(st.sampled_from("0123456789*,./-~#@LW: MonFrisSuntTJa\n"), max_size=40))
@example("L L L L L")
@example("0 0 L/2 * *")
@example("0 0 * * L")
@example("0 0 * * 1#2/2")
@example("0 0 1-L * *")
@example("0 0 LW * 5L")
@example("2199-*-* *:*")
def test_any_text_is_read_or_refused_and_nothing_takes_long(text):
    begun = time.process_time()
    try:
        expression, _ = read_repeat(text)
    except InvalidInput as error:
        assert error.field == "repeat"
        assert error.kind in {"invalid", "never"}
    else:
        assert list(islice(occurrences(expression, BERLIN, SATURDAY), 3))
    assert time.process_time() - begun < 1


_NUMBERS = st.integers(0, 61).map(str)
_FIELDS = st.one_of(
    st.just("*"),
    _NUMBERS,
    st.tuples(_NUMBERS, st.sampled_from(["-", "/", ",", "..", "#", "~"]), _NUMBERS).map("".join),
    st.sampled_from(["L", "LW", "5L", "mon", "FEB", "*/2", "*/40", "1-5/2", "0..5/2"]),
)


@unhurried
@given(st.lists(_FIELDS, min_size=1, max_size=7).map(" ".join), st.sampled_from("-~:"))
def test_any_fields_are_read_or_refused(line, separator):
    for text in (line, line.replace(" ", separator)):
        try:
            expression, _ = read_repeat(text)
        except InvalidInput as error:
            assert error.field == "repeat"
        else:
            assert list(islice(occurrences(expression, BERLIN, SATURDAY), 3))


# ---- summer time

KINDS = {change.kind: change for zone in sorted(available_timezones()) for change in changes(zone, 2026, 2028)}


@pytest.mark.parametrize("change", KINDS.values(), ids=lambda change: f"{change.zone} {change.at:%F}")
def test_a_skipped_time_moves_to_the_change_and_a_doubled_one_is_meant_once(change):
    wrong, asked = wrong_at(change)
    assert wrong == []
    assert asked > 10


def test_a_start_in_the_second_of_two_equal_hours_means_what_is_still_to_come():
    second = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10 in Berlin for the second time
    for expression in ("*:*:*", "* * * * * *", "*:0/30"):
        begun = time.process_time()
        assert moment(next(occurrences(expression, BERLIN, micros(second)))) == datetime(2026, 10, 25, 2, tzinfo=UTC)
        assert time.process_time() - begun < 0.05


def test_a_day_that_is_skipped_is_passed_at_once():
    apia = ZoneInfo("Pacific/Apia")  # had no 30 December 2011
    start = datetime(2011, 12, 30, 9, 59, 58, tzinfo=UTC)
    begun = time.process_time()
    assert between("*:*:*", apia, start, start + timedelta(seconds=4)) == [
        start + timedelta(seconds=second) for second in (1, 2, 3, 4)
    ]
    assert between("2011-12-30 12:00", apia, start, start + timedelta(days=9)) == [start + timedelta(seconds=2)]
    assert between("11:00", apia, start, start + timedelta(days=1)) == [
        start + timedelta(seconds=2),
        start + timedelta(hours=11, seconds=2),
    ]
    assert time.process_time() - begun < 0.1


def test_offsets_with_seconds_are_kept_to_the_second():
    monrovia = ZoneInfo("Africa/Monrovia")  # until 7 January 1972 it was 44 minutes and 30 seconds behind
    start = datetime(1972, 1, 5, 12, tzinfo=UTC)
    assert between("00:00", monrovia, start, start + timedelta(days=3)) == [
        datetime(1972, 1, 6, 0, 44, 30, tzinfo=UTC),
        datetime(1972, 1, 7, 0, 44, 30, tzinfo=UTC),  # from then on the clocks show 00:44:30
        datetime(1972, 1, 8, tzinfo=UTC),
    ]
    assert between("00:44", monrovia, start, start + timedelta(days=2)) == [
        datetime(1972, 1, 6, 1, 28, 30, tzinfo=UTC),
        datetime(1972, 1, 7, 0, 44, 30, tzinfo=UTC),
    ]


@unhurried
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["*:0/20", "Mon..Fri 08:55", "2027-03-28 02:00", "2020-01-01"]), st.integers(0, 400_000)
        ),
        max_size=20,
    )
)
def test_what_is_remembered_of_an_expression_is_what_would_be_found(asked):
    for expression, seconds in asked:
        after = SATURDAY + seconds * SECOND
        assert first_occurrence(expression, BERLIN, after) == next(occurrences(expression, BERLIN, after), None)
