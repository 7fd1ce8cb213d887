"""Files of reminders, as tifftockctl import reads them."""

import csv
import io
import json
import time

import pytest
from hypothesis import given, strategies as st

from tifftockd.ctl.errors import Failure
from tifftockd.ctl.records import read_records

TEA = {"when": "tomorrow 9:00", "message": "tea", "method": "log"}
RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "message": st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20),
            "method": st.sampled_from(["log", "email"]),
            "when": st.just("tomorrow 9:00"),
        }
    ),
    min_size=1,
    max_size=5,
)


def read(text, kind=None):
    return read_records(text.encode() if isinstance(text, str) else text, kind)


@given(RECORDS, st.sampled_from([None, 2]), st.booleans())
def test_json_is_read_as_it_was_written(records, indent, ascii_only):
    found = read(json.dumps(records, indent=indent, ensure_ascii=ascii_only))
    assert [one.fields for one in found.records] == records
    found = read("".join(json.dumps(one, ensure_ascii=ascii_only) + "\n" for one in records))
    assert [(one.where, one.fields) for one in found.records] == [
        (f"line {number}", one) for number, one in enumerate(records, 1)
    ]
    assert (found.bad, found.dropped) == ([], {})


@given(RECORDS, st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]))
def test_csv_is_read_as_it_was_written(records, delimiter, end):
    text = io.StringIO(newline="")
    columns = ["when", "message", "method"]
    writer = csv.DictWriter(text, columns, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(records)
    found = read(text.getvalue(), "csv")
    given_ = [one["message"].strip() for one in records]
    # White space around a cell is not kept, so that one that has nothing else is empty.
    assert [one.fields["message"] for one in found.records] == [one for one in given_ if one]
    assert len(found.bad) == len([one for one in given_ if not one])


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode), st.sampled_from([None, "json", "jsonl", "csv"]))
def test_no_file_makes_it_fall_over(data, kind):
    try:
        found = read(data, kind)
    except Failure as failure:
        assert failure.code == 65
    else:
        assert all(one.fields["message"] for one in found.records)


def test_where_a_record_of_an_array_begins_is_known():
    text = '[\n  {"when": "9:00", "message": "a\\n", "method": "log"},\n\n  7, {"message": 1},\n {"a": 1, "a": 2}'
    text += ', {"a": NaN}, 8]'
    found = read(text)
    assert [one.where for one in found.records] == ["line 2, item 1"]
    assert [(one.where, one.why.partition(":")[0].partition(" like")[0]) for one in found.bad] == [
        ("line 4, item 2", "it is not an object"),
        ("line 4, item 3", "'message' must be a text"),
        ("line 5, item 4", "'a' is there twice"),
        ("line 5, item 5", "it holds NaN, which is not JSON"),
        ("line 5, item 6", "it is not an object"),
    ]


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ('[{"a": 1} {"a": 1}]', "line 1, item 2", "a comma or the end of the array"),
        ("[" + json.dumps(TEA), "line 1, item 2", "a comma or the end of the array"),
        ("[" + json.dumps(TEA) + "] x", "line 1, item 2", "more behind the end"),
        (
            "[" + json.dumps(TEA) + ",\n nonsense]",
            "line 2, item 2",
            "it is not JSON: Expecting value (line 2, column 2)",
        ),
        (json.dumps(TEA) + "\n{\n", "line 2", "it is not JSON"),
        (json.dumps(TEA) + " x\n", "line 1", "write one object a line"),
        ("[" * 100_000, "line 1, item 1", "it is not JSON that can be read"),
        ('[{"message": NaN}]', "line 1, item 1", "it holds NaN, which is not JSON"),
        ('{"retries": -Infinity}', "line 1", "it holds -Infinity, which is not JSON"),
        ('[{"options": {"a": 1, "a": 2}, "when" "x"}]', "line 1, item 1", "it is not JSON: Expecting ':' delimiter"),
        ('{"options": {"a": 1, "a": 2}, "when" "x"}\n', "line 1", "it is not JSON: Expecting ':' delimiter"),
        ('[{"options": {"a": 1, "a": 2}, "to": ' + "9" * 5000 + "}]", "line 1, item 1", "a number is too long"),
        ('when,message\n9:00,"a\n', "line 2", "a quote that begins here has no end"),
        ("when,message,method\n9:00,a,log,log\n", "line 2", "put what has a comma into quotes"),
        ("when,message,method,options\n9:00,a,log,x\n", "line 2", "'options' is not a JSON object"),
        ("when,message,method\n,a,log\n", "line 2", "'when' is missing"),
        ("when,in,message,method\n9:00,1h,a,log\n", "line 2", "'when' and 'in' exclude each other"),
        ("when,message,method\n9:00,a,\n", "line 2", "'method' is missing"),
    ],
    ids=lambda value: value[:40],
)
def test_what_is_wrong_is_told_with_its_place(text, where, says):
    bad = read(text).bad[-1]
    assert bad.where == where
    assert says in bad.why


def test_one_name_twice_among_many_does_not_take_long():
    names = [*(f"n{number}" for number in range(20_000)), "n19999"]
    begun = time.process_time()
    [bad] = read("{" + ", ".join(f'"{name}": 1' for name in names) + "}").bad
    assert bad.why == "'n19999' is there twice"
    assert time.process_time() - begun < 1


def test_what_a_daemon_added_is_dropped_and_what_is_mistyped_is_not():
    exported = {"id": 7, "state": "pending", "key": "x", "to": None, "repeat": None, "catch_up": "one", "other": 1}
    found = read(json.dumps([TEA | exported, TEA | exported]))
    assert [one.fields for one in found.records] == [TEA, TEA]
    assert list(found.dropped) == ["other"]
    [bad] = read(json.dumps([TEA | {"retrys": 1}])).bad
    assert bad.why == "there is no field 'retrys'; is it 'retries'?"


def test_what_repeats_is_read_from_an_export_and_by_hand():
    repeating = {"repeat": "daily", "catch_up": "all", "count": 3, "message": "tea", "method": "log"}
    [record] = read(json.dumps([repeating | {"id": 7, "when": "2035-01-31T09:00:00Z", "until": None}])).records
    assert record.fields == repeating
    [record] = read("repeat,count,message,method\ndaily,3,tea,log\n").records
    assert record.fields == {"repeat": "daily", "count": 3, "message": "tea", "method": "log"}


@pytest.mark.parametrize("state", ["failed", "uncertain", "missed"])
def test_what_has_ended_is_not_made_to_begin_again_because_it_repeats(state):
    ended = {"id": 7, "state": state, "when": "2026-01-31T09:00:00Z", "repeat": "daily", "count": 1}
    [bad] = read(json.dumps([TEA | ended])).bad
    assert bad.why == f"it has ended, as {state}: none of its occurrences is to come"
    [bad] = read(f"id,state,when,repeat,message,method\n7,{state},2026-01-31T09:00:00Z,daily,tea,log\n").bad
    assert bad.why == f"it has ended, as {state}: none of its occurrences is to come"


def test_a_number_before_each_row_of_csv_changes_nothing():
    [bad] = read("id,when,repeat,message,method\n2,2035-01-31T09:00,daily,tea,log\n").bad
    assert bad.why == "'when' and 'repeat' exclude each other"
    [record] = read("id,when,message,method,until\n2,2035-01-31T09:00,tea,log,2036-01-31\n").records
    assert record.fields["until"] == "2036-01-31"


def test_options_in_csv_are_json_or_a_column_each():
    text = 'when,message,method,options,options.subject\n9:00,a,email,"{""html"": ""<b>""}",Bank\n9:00,b,email,,\n'
    first, second = (one.fields for one in read(text).records)
    assert first["options"] == {"html": "<b>", "subject": "Bank"}
    assert "options" not in second
