"""An expression means what it means to systemd: to this machine's, and to those of the releases."""

import shutil
from collections import Counter
from datetime import UTC, datetime
from itertools import islice

import pytest

from tests.repeating import by_systemd, compare, here
from tifftockd.clock import micros, moment
from tifftockd.repeat import occurrences, read_repeat
from tifftockd.when import find_zone

ZONES = (
    *("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Europe/Dublin"),
    *("Asia/Kathmandu", "Antarctica/Troll", "Pacific/Chatham", "America/St_Johns", "America/Havana", "Asia/Gaza"),
)
# Those whose rules are the same in every tzdata that is about
OLD_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")

WORDS = (
    *("minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "semiannually", "yearly", "annually"),
    *("anually", "biannually", "bi-annually", "semi-annually", "Daily", "WEEKLY"),
)
# The zone stands in the expression, whatever the machine's is.
ELSEWHERE = (
    *("Mon..Fri 08:55 America/New_York", "*-*-01 06:00 Asia/Kathmandu", "daily UTC", "12:30 utc", "hourly Etc/GMT+12"),
    *("*-*~1 Africa/Abidjan", "Mon Asia/Tokyo", "*:0/30 Europe/London"),
)


@pytest.fixture(scope="module")
def _has_systemd():
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here: apt install systemd")


def differences(run, zones, seeds):
    seen, unexplained = Counter(), []
    for seed in seeds:
        also, different = compare(run, seed, zones[seed % len(zones)])
        seen += also
        unexplained += different
    print(dict(seen))
    assert seen["expressions"] > 29 * len(seeds)
    return unexplained


def of_words(run):
    """The words, and the zones at the end, of which the generated expressions have none."""
    after = datetime(2026, 11, 28, 11, 59, 30, tzinfo=UTC)
    for text, theirs in by_systemd(run, [*WORDS, *ELSEWHERE], "Europe/Berlin", after, 5).items():
        expression, zone = read_repeat(text)
        assert (zone is None) == (text in WORDS), text
        ours = islice(occurrences(expression, find_zone(zone or "Europe/Berlin"), micros(after)), 5)
        assert [moment(at) for at in ours] == theirs, text


@pytest.mark.usefixtures("_has_systemd")
def test_nothing_differs_without_a_reason_from_systemd_here():
    assert differences(here, ZONES, range(36)) == []
    of_words(here)


@pytest.mark.usefixtures("_has_systemd")
def test_a_difference_would_be_seen(monkeypatch):
    """The judge is to be trusted with the many that he lets pass."""
    monkeypatch.setattr("tests.repeating.occurrences", lambda *given: islice(occurrences(*given), 1, None))
    seen, unexplained = compare(here, 1, "UTC")
    assert len(unexplained) > seen["expressions"] / 2


def test_nothing_differs_without_a_reason_from_the_systemd_of_a_release(shared):
    def there(command, variables):
        return shared.machine.run(
            "env", *(f"{name}={value}" for name, value in variables.items()), *command, check=False
        )

    assert differences(there, OLD_ZONES, range(100, 112)) == []
    of_words(there)
