"""From the fields that a user sends to a Draft."""

from datetime import UTC, datetime
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from tifftockd.api.drafts import GRACE, HORIZON, new_draft, revised_draft
from tifftockd.api.fields import FIELDS, read_fields
from tifftockd.api.present import show_entry, show_reminder
from tifftockd.clock import RELEASED, SECOND, micros, moment
from tifftockd.errors import ClockWrong, InvalidInput, InvalidTime
from tifftockd.reminder import Entry, Outcome, Reminder, State
from tifftockd.when import parse_span, parse_when

HOUR = 3600 * SECOND
NOW = micros(datetime(2030, 1, 15, 12, 0, tzinfo=UTC))
CONFIG = SimpleNamespace(max_late=24 * HOUR, retries=5, zone=ZoneInfo("Europe/Berlin"))
LEAST = {"in": "10m", "message": "tea", "method": "log"}


def create(now=NOW, **fields):
    return new_draft(read_fields(fields), CONFIG, now)


def at(text):
    return micros(datetime.fromisoformat(text))


STORED = Reminder(
    id=7, due=NOW + HOUR, written="in 1h", fire_at=NOW + HOUR, message="tea", method="log", to="me", options={"a": 1},
    tz="America/New_York", max_late=2 * HOUR, retries=3, state=State.PENDING, attempts=0, failures=0, interruptions=0,
    key="00" * 16, owner=1000, created=NOW, last_error=None,
)  # fmt: skip


def show(reminder, why_not=lambda _: None):
    return show_reminder(reminder, CONFIG, why_not)


def revise(reminder=STORED, now=NOW, **fields):
    return revised_draft(reminder, read_fields(fields), CONFIG, now)


# ---- a new one


def test_the_least_that_is_needed_gets_the_defaults():
    draft = create(**LEAST)
    assert (draft.due, draft.written) == (NOW + 600 * SECOND, "in 10min")
    assert (draft.message, draft.method, draft.to, draft.options, draft.tz) == ("tea", "log", None, {}, None)
    assert (draft.max_late, draft.retries) == (24 * HOUR, 5)


def test_everything_that_is_given_is_taken():
    draft = create(
        when="2030-02-01T09:00", message="tea", method="email", to="a@b.test", options={"subject": "x"},
        tz="Asia/Tokyo", max_late="1h 30min", retries=0,
    )  # fmt: skip
    assert (draft.due, draft.written) == (at("2030-02-01T09:00+09:00"), "2030-02-01T09:00")
    assert (draft.to, draft.options, draft.tz) == ("a@b.test", {"subject": "x"}, "Asia/Tokyo")
    assert (draft.max_late, draft.retries) == (90 * 60 * SECOND, 0)


@pytest.mark.parametrize(
    ("when", "due"),
    [
        ("2030-02-01T09:00", "2030-02-01T09:00+01:00"),
        ("2030-02-01T09:00Z", "2030-02-01T09:00+00:00"),
        ("tomorrow 9:00", "2030-01-16T09:00+01:00"),
        ("13:30", "2030-01-15T13:30+01:00"),
        ("@1900000000.5", "2030-03-17T17:46:40.500+00:00"),
    ],
)
def test_a_time_without_an_offset_is_the_servers(when, due):
    draft = create(when=when, message="x", method="log")
    assert (draft.due, draft.written) == (at(due), when)


@pytest.mark.parametrize("span", [0, 0.25, 90, "90", "1h", "1500ms"])
def test_a_span_counts_from_the_request_on(span):
    assert create(**LEAST | {"in": span}).due == NOW + parse_span(span)


def test_a_time_that_has_just_passed_is_still_taken():
    assert create(when="2030-01-15T11:59:00Z", message="x", method="log").due == NOW - GRACE
    with pytest.raises(
        InvalidInput, match="2030-01-15T12:58:59.+ has passed; it is 2030-01-15T13:00:00.01:00 now"
    ) as caught:
        create(when="2030-01-15T11:58:59.999999Z", message="x", method="log")
    assert (caught.value.kind, caught.value.field) == ("too_late", "when")


def test_the_horizon_is_the_year_9999():
    create(when="9999-12-31T22:59:59.999999Z", message="x", method="log")
    late = HORIZON - HOUR
    assert create(late, **LEAST | {"in": "1h"}).due == HORIZON
    with pytest.raises(InvalidTime, match="past the horizon, the year 9999"):
        create(late, **LEAST | {"in": f"{HOUR + 1}us"})
    with pytest.raises(InvalidTime, match="9999"):
        create(when="9999-12-31T23:59:59-01:00", message="x", method="log")


@pytest.mark.parametrize(
    ("fields", "field", "kind", "wrong"),
    [
        ({}, "message", "missing", "'message' is missing"),
        ({"message": "x"}, "when", "missing", "'when' is missing"),
        ({"subject": "x"}, "subject", "unknown_field", f"no field 'subject'; known: {', '.join(FIELDS)}"),
        ({"When": "now"}, "When", "unknown_field", "no field 'When'"),
        ({"when": "13:00", "in": "1m"}, "in", "invalid", "'when' and 'in' were given: send one of them"),
        ({"when": "soon", "message": "x"}, "when", "invalid_time", "cannot use the time 'soon'"),
        ({"when": 1_900_000_000}, "when", "invalid", "must be a string, like tomorrow 9:00, "),
        ({"when": None}, "when", "invalid", "must be a string"),
        ({"in": "soon"}, "in", "invalid_time", "'in': cannot use the span 'soon'"),
        ({"in": -1}, "in", "invalid_time", "negative"),
        ({"in": None}, "in", "invalid_time", "a span cannot be null"),
        ({"in": True}, "in", "invalid_time", "a boolean"),
        ({"in": []}, "in", "invalid_time", "an array"),
        ({"in": 2**62}, "in", "invalid_time", "longer than 9999 years"),
        ({"in": "2880000d 1us"}, "in", "invalid_time", "longer than 2880000 days"),
        ({"message": ""}, "message", "invalid", "must be a string that is not empty"),
        ({"message": 5}, "message", "invalid", "must be a string"),
        ({"message": "é" * 16_385}, "message", "invalid", "longer than 32768 bytes"),
        ({"method": None}, "method", "invalid", "the name of a method"),
        ({"method": ""}, "method", "invalid", "the name of a method"),
        ({"to": ""}, "to", "invalid", "a string that is not empty, or null"),
        ({"to": ["a", "b"]}, "to", "invalid", "a string"),
        ({"to": "x" * 4097}, "to", "invalid", "longer than 4096 bytes"),
        ({"options": []}, "options", "invalid", "a JSON object"),
        ({"options": None}, "options", "invalid", "a JSON object"),
        ({"tz": "Mars/Base"}, "tz", "invalid_time", "no time zone 'Mars/Base'"),
        ({"tz": 1}, "tz", "invalid", "an IANA name"),
        ({"max_late": "3650d 1us"}, "max_late", "invalid_time", "longer than 3650d: send a span from 0 to 3650d"),
        ({"max_late": -1}, "max_late", "invalid_time", "'max_late'.* negative"),
        ({"max_late": None}, "max_late", "invalid_time", "'max_late'"),
        ({"retries": -1}, "retries", "invalid", "from 0 to 1000"),
        ({"retries": 1001}, "retries", "invalid", "from 0 to 1000"),
        ({"retries": 1.5}, "retries", "invalid", "a whole number"),
        ({"retries": True}, "retries", "invalid", "a whole number"),
    ],
)
def test_what_is_wrong_names_its_field_and_what_would_be_right(fields, field, kind, wrong):
    with pytest.raises(InvalidInput, match=wrong) as caught:
        create(**fields)
    assert (caught.value.field, caught.value.kind) == (field, kind)


def test_the_limits_themselves_are_taken():
    draft = create(
        **LEAST | {"message": "é" * 16_384, "to": "x" * 4096, "max_late": "3650d", "retries": 1000, "tz": None}
    )
    assert len(draft.message.encode()) == 32_768
    assert draft.max_late == 3650 * 24 * HOUR
    assert create(**LEAST | {"max_late": 0}).max_late == 0
    assert create(**LEAST | {"in": "2880000d"}).due == NOW + 2_880_000 * 24 * HOUR
    assert create(**LEAST | {"retries": 5.0}).retries == 5


# ---- a clock that is plainly wrong


@pytest.mark.parametrize("time", [{"in": "10m"}, {"when": "tomorrow 9:00"}, {"when": "2030-01-01T09:00"}])
def test_a_wrong_clock_is_not_asked(time):
    fields = {"message": "x", "method": "log"} | time
    with pytest.raises(ClockWrong) as caught:
        create(now=RELEASED - 1, **fields)
    assert caught.value.field in time
    create(now=RELEASED, **fields)


@pytest.mark.parametrize("when", ["2030-01-01T09:00Z", "2030-01-01T09:00+02:00", "@1900000000"])
def test_a_wrong_clock_does_not_matter_to_an_instant(when):
    assert create(now=0, when=when, message="x", method="log").due > RELEASED


def test_what_cannot_be_read_is_an_error_under_a_wrong_clock_too():
    with pytest.raises(InvalidTime):
        create(now=0, when="soon", message="x", method="log")


# ---- a change


def test_only_what_is_given_changes():
    assert revise() == revise(message="tea")
    draft = revise(message="coffee")
    assert draft == revise()._replace(message="coffee")
    assert (draft.due, draft.written, draft.tz, draft.max_late) == (NOW + HOUR, "in 1h", "America/New_York", 2 * HOUR)


def test_what_may_be_null_can_be_taken_away():
    draft = revise(to=None, tz=None)
    assert (draft.to, draft.tz, draft.due) == (None, None, NOW + HOUR)


def test_the_reminders_own_zone_holds_unless_another_is_given():
    assert revise(when="2030-02-01T09:00").due == at("2030-02-01T09:00-05:00")
    assert revise(when="2030-02-01T09:00", tz="Asia/Tokyo").due == at("2030-02-01T09:00+09:00")
    assert revise(when="2030-02-01T09:00", tz=None).due == at("2030-02-01T09:00+01:00")


def test_a_zone_alone_changes_no_instant():
    draft = revise(tz="Asia/Tokyo")
    assert (draft.due, draft.tz) == (NOW + HOUR, "Asia/Tokyo")


def test_a_zone_that_is_no_longer_known_is_replaced_by_the_servers():
    stored = STORED._replace(tz="Atlantis/Capital")
    assert revise(stored, when="2030-02-01T09:00").due == at("2030-02-01T09:00+01:00")
    assert show(stored)["when"] == "2030-01-15T14:00:00+01:00"


@pytest.mark.parametrize("state", [State.FAILED, State.MISSED, State.UNCERTAIN])
def test_one_that_has_ended_is_to_fire_now_unless_a_time_is_given(state):
    ended = STORED._replace(state=state, due=NOW - 48 * HOUR)
    draft = revise(ended)
    assert (draft.due, draft.written) == (NOW, "now")
    assert revise(ended, **{"in": "1h"}).due == NOW + HOUR
    with pytest.raises(ClockWrong):
        revise(ended, now=0)


def test_one_that_waits_for_a_retry_keeps_its_time_however_old():
    assert revise(STORED._replace(due=NOW - 5 * HOUR, attempts=2), message="x").due == NOW - 5 * HOUR


def test_a_new_time_is_checked_like_that_of_a_new_one():
    with pytest.raises(InvalidInput, match="has passed"):
        revise(when="2030-01-15T11:00Z")
    with pytest.raises(ClockWrong):
        revise(now=0, **{"in": "1h"})


# ---- what is shown


def test_a_reminder_is_shown_in_its_own_zone():
    assert show(STORED) == {
        "id": 7,
        "when": "2030-01-15T08:00:00-05:00",
        "message": "tea",
        "method": "log",
        "to": "me",
        "options": {"a": 1},
        "tz": "America/New_York",
        "max_late": "2h",
        "state": "pending",
        "attempts": 0,
        "key": "00" * 16,
        "owner": 1000,
        "retries": 3,
        "repeat": None,
        "until": None,
        "count": None,
        "catch_up": "one",
        "overlap": "wait",
        "snoozed_from": None,
        "created": "2030-01-15T07:00:00-05:00",
        "last_error": None,
    }
    assert show(STORED._replace(tz=None))["when"] == "2030-01-15T14:00:00+01:00"


def test_one_that_waits_for_its_method_tells_so_and_one_that_has_ended_why():
    def why_not(method):
        return f"method {method} is not loaded"

    assert show(STORED._replace(last_error="no route"))["last_error"] == "no route"
    assert show(STORED._replace(last_error="no route"), why_not)["last_error"] == "method log is not loaded"
    ended = STORED._replace(state=State.FAILED, last_error="no route")
    assert show(ended, why_not)["last_error"] == "no route"


def test_an_entry_of_history_tells_how_late_it_was():
    entry = Entry(
        id=31, reminder=7, attempt=1, key="k", method="log", to=None, message="tea", options={}, tz="Asia/Tokyo",
        due=NOW, started=NOW + 1234, finished=NOW + SECOND, outcome=Outcome.DELIVERED, error=None, output="x",
    )  # fmt: skip
    assert show_entry(entry, CONFIG) == {
        "id": 31,
        "reminder": 7,
        "attempt": 1,
        "key": "k",
        "method": "log",
        "to": None,
        "message": "tea",
        "options": {},
        "due": "2030-01-15T21:00:00+09:00",
        "started": "2030-01-15T21:00:00.001234+09:00",
        "finished": "2030-01-15T21:00:01+09:00",
        "late_ms": 1.234,
        "outcome": "delivered",
        "error": None,
        "output": "x",
    }
    cancelled = show_entry(entry._replace(started=None, outcome=Outcome.CANCELLED), CONFIG)
    assert (cancelled["started"], cancelled["late_ms"]) == (None, None)


@given(
    st.integers(NOW, HORIZON),
    st.sampled_from([None, "UTC", "America/New_York", "Australia/Lord_Howe", "Africa/Monrovia", "Asia/Kathmandu"]),
    st.integers(0, 3650 * 24 * HOUR),
)
def test_what_is_shown_can_be_sent_again(due, tz, max_late):
    shown = show(STORED._replace(due=due, tz=tz, max_late=max_late))
    draft = create(when=shown["when"], message="x", method="log", tz=shown["tz"], max_late=shown["max_late"])
    assert (draft.due, draft.max_late) == (due, max_late)
    assert parse_when(shown["when"], tz=UTC, now=moment(NOW)) == moment(due)
