"""docs/repeating.md says what is true."""

import re
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tifftockd import clock
from tifftockd.clock import micros, moment
from tifftockd.errors import InvalidInput
from tifftockd.repeat import occurrences, read_repeat

TEXT = (Path(__file__).parents[2] / "docs/repeating.md").read_text()
BERLIN = ZoneInfo("Europe/Berlin")
SEEN = datetime(2026, 11, 28, 13, tzinfo=BERLIN)


@pytest.fixture(autouse=True)
def _on_that_day(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: micros(SEEN))


def rows(title, columns):
    """The rows of a section's table: for each cell what stands between backticks."""
    section = TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found = [
        tuple(re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|"))
        for line in re.findall(r"^\| .*`.*\|$", section, re.MULTILINE)
    ]
    assert {len(row) for row in found} == {columns}
    return found


def from_then_on(text, zone=BERLIN, after=SEEN):
    expression, name = read_repeat(text)
    assert name is None
    return (moment(at).astimezone(zone) for at in occurrences(expression, zone, micros(after)))


EXAMPLES = [
    (expression, meaning, times)
    for title in ("OnCalendar expressions", "Lines of cron")
    for expressions, meaning, times in rows(title, 3)
    for expression in expressions
]


def test_the_page_has_examples():
    assert len(EXAMPLES) > 35


@pytest.mark.parametrize(("expression", "meaning", "times"), EXAMPLES)
def test_an_example_has_the_next_times_that_it_is_shown_with(expression, meaning, times):
    assert [f"{at:%a %Y-%m-%d %T}" for at in islice(from_then_on(expression), len(times))] == times
    for other in meaning:  # what a word stands for
        assert [f"{at:%a %Y-%m-%d %T}" for at in islice(from_then_on(other), len(times))] == times


@pytest.mark.parametrize("row", rows("The two days of the year", 3), ids=lambda row: row[0][0])
def test_the_two_days_are_as_shown(row):
    (expression,), *days = row
    for day, times in zip((datetime(2027, 3, 28), datetime(2027, 10, 31)), days, strict=True):
        start = (day + timedelta(hours=1)).replace(tzinfo=BERLIN)
        until = (day + timedelta(hours=4)).replace(tzinfo=BERLIN).astimezone(UTC)
        found = []
        for at in from_then_on(expression, after=start.astimezone(UTC) - timedelta(seconds=1)):
            if at.astimezone(UTC) > until:
                break
            found.append(f"{at:%H:%M}{at.isoformat()[-6:]}")
        assert found == times


@pytest.mark.parametrize("row", rows("What is refused", 2), ids=lambda row: row[0][0])
def test_what_is_refused_is_refused_so(row):
    (expression,), why = row
    with pytest.raises(InvalidInput) as refused:
        read_repeat(expression)
    assert refused.value.kind == ("never" if '"kind": "never"' in why else "invalid")


def test_what_is_said_to_differ_does():
    for taken in ("*-*~26,27,28", "*:*:7..7", "5/15 * * * *", "Fri..Sun,Mon"):
        assert next(from_then_on(taken))
    for refused in ("*:*:0.5", "@1700000000", "12:00 CEST"):
        with pytest.raises(InvalidInput):
            read_repeat(refused)
