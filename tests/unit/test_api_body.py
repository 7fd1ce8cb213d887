"""JSON in and out."""

import io
import json
import time

import pytest
from hypothesis import given, strategies as st

from tifftockd.api.body import LARGEST, read_array, read_object
from tifftockd.api.strict import DEEPEST, to_json, to_json_array
from tifftockd.errors import InvalidInput, TooLarge


def read(data):
    return read_object(io.BytesIO(data if isinstance(data, bytes) else data.encode()))


def nested(levels, innermost="", message="x"):
    return f'{{"message": "{message}", "options": ' + "[" * (levels - 1) + innermost + "]" * (levels - 1) + "}"


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(TEXT, JSON, max_size=5))
def test_what_was_sent_is_what_is_read_and_what_is_written(value):
    assert read(json.dumps(value)) == value
    assert read(to_json(value)) == value
    assert to_json(value).endswith(b"\n")
    assert to_json(value).count(b"\n") == 1
    assert to_json_array([value, value]) == to_json([value, value])
    assert to_json_array([]) == to_json([])


@pytest.mark.parametrize(
    ("data", "wrong", "field"),
    [
        (b"", "is empty: send a JSON object like", None),
        (b" \n", "is empty", None),
        (b"when=now&message=x", "is not JSON", None),
        (b'{"message": "x"', "is not JSON.*line 1, column 16", None),
        (b'{"message": "x"} {}', "is not JSON", None),
        (b"{'message': 'x'}", "is not JSON", None),
        (b'{"message": "a\nb"}', "is not JSON", None),
        (b'{"message": "\xff"}', "is not UTF-8 .its byte 13", None),
        (b'{"message": "x"}'.decode().encode("utf-16"), "is not UTF-8", None),
        (b"[]", "is not a JSON object", None),
        (b'"x"', "is not a JSON object", None),
        (b"null", "is not a JSON object", None),
        (b'{"message": "a", "message": "b"}', "holds the name 'message' twice", "message"),
        (b'{"options": {"a": 1, "a": 1}}', "holds the name 'a' twice", "a"),
        (b'{"in": NaN}', "holds NaN", None),
        (b'{"in": -Infinity}', "holds -Infinity", None),
        (b'{"in": 1e999}', "larger than a double", None),
        (b'{"in": 9223372036854775808}', "64 bits", None),
        (b'{"in": -9223372036854775809}', "64 bits", None),
        (b'{"in": ' + b"9" * 5000 + b"}", "64 bits", None),
        (b'{"message": "a\\u0000b"}', "NUL", "message"),
        (b'{"options": {"a": ["x", {"\\u0000": 1}]}}', "NUL", "options"),
        (b'{"message": "\\ud800"}', "surrogate", "message"),
        (b'{"\\udfff": 1}', "surrogate", None),
        (nested(DEEPEST + 1), "nested deeper than 32", "options"),
        (nested(20_000), "nested deeper than 32", None),
        ("[" * 60_000, "nested deeper than 32", None),
    ],
)
def test_a_body_that_cannot_be_kept_as_it_is_is_refused(data, wrong, field):
    with pytest.raises(InvalidInput, match=wrong) as caught:
        read(data)
    assert caught.value.kind == "malformed"
    if field is not None:
        assert caught.value.field == field


def test_one_name_twice_among_many_does_not_take_long():
    names = [*(f"n{number}" for number in range(20_000)), "n19999"]
    body = b'[{"options": {%s}}]' % ", ".join(f'"{name}": 1' for name in names).encode()
    begun = time.process_time()
    with pytest.raises(InvalidInput, match="holds the name 'n19999' twice"):
        read_array(io.BytesIO(body))
    assert time.process_time() - begun < 1


def test_a_surrogate_pair_is_one_character():
    assert read(b'{"message": "\\ud83c\\udf75"}') == {"message": "\N{TEACUP WITHOUT HANDLE}"}


def test_a_byte_order_mark_is_ignored():
    assert read(b'\xef\xbb\xbf{"message": "x"}') == {"message": "x"}


def test_the_limits_themselves_are_accepted():
    assert read('{"a": 9223372036854775807, "b": -9223372036854775808}') == {"a": 2**63 - 1, "b": -(2**63)}
    read(nested(DEEPEST))
    filler = LARGEST - len('{"message": ""}')
    assert len(read('{"message": "%s"}' % ("x" * filler))["message"]) == filler


@pytest.mark.parametrize("beside", ["{}", "0", "[]", '"{"'])
@pytest.mark.parametrize("many", [0, 1, 100])
def test_the_depth_of_one_among_many_is_its_own(beside, many):
    def read_beside(item):
        return read_array(io.BytesIO(f"[{f'{beside}, ' * many}{item}]".encode()))

    assert read_beside(nested(DEEPEST))[many] == read(nested(DEEPEST))
    assert "nested deeper than 32" in read_beside(nested(DEEPEST + 1))[many].message


@pytest.mark.parametrize("message", ["x", "\\u0041"])
@pytest.mark.parametrize("innermost", ["", "1", '"x"', "null, 2"])
def test_the_depth_is_that_of_arrays_and_objects_whatever_else_there_is(innermost, message):
    assert read(nested(DEEPEST, innermost, message))
    with pytest.raises(InvalidInput, match="nested deeper than 32"):
        read(nested(DEEPEST + 1, innermost, message))


def test_the_texts_of_the_last_level_are_looked_at():
    with pytest.raises(InvalidInput, match="NUL"):
        read(nested(DEEPEST, r'"\u0000"'))
    with pytest.raises(InvalidInput, match="surrogate"):
        read(nested(DEEPEST - 1, r'{"\ud800": 1}'))


def test_a_larger_body_is_not_read_to_its_end():
    stream = io.BytesIO(b"x" * (LARGEST * 3))
    with pytest.raises(TooLarge, match="larger than the 65536 bytes"):
        read_object(stream)
    assert stream.tell() == LARGEST + 1


def test_half_of_a_surrogate_pair_from_elsewhere_is_written_as_an_escape():
    data = to_json({"output": "\udcff"})
    assert data == b'{"output": "\\udcff"}\n'
    assert json.loads(data) == {"output": "\udcff"}


def test_what_is_no_json_is_not_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(float("nan"))


# ---- forms


FORM = "application/x-www-form-urlencoded"


def form(text):
    return read_object(io.BytesIO(text.encode()), f"{FORM}; charset=utf-8")


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("when=tomorrow 9:00&message=call the dentist&method=email", {
            "when": "tomorrow 9:00", "message": "call the dentist", "method": "email",
        }),
        ("when=2035-01-31T09:00:00+01:00", {"when": "2035-01-31T09:00:00+01:00"}),
        ("when=2035-01-31T09:00:00%2B01:00", {"when": "2035-01-31T09:00:00+01:00"}),
        ("in=10m&max_late=90&retries=3", {"in": "10m", "max_late": 90, "retries": 3}),
        ("in=1.5", {"in": 1.5}),
        ("to=&tz=", {"to": None, "tz": None}),
        ("message=", {"message": ""}),
        ('options={"subject": "Bank", "n": [1]}', {"options": {"subject": "Bank", "n": [1]}}),
        ("options.subject=Bank&options.color=red", {"options": {"subject": "Bank", "color": "red"}}),
        ('options={"a": 1}&options.b=2', {"options": {"a": 1, "b": "2"}}),
        ("message=a%26b%3Dc+%C3%A4", {"message": "a&b=c ä"}),
        ("message=10", {"message": "10"}),
        (' {"message": "json"}', {"message": "json"}),
    ],
)  # fmt: skip
def test_a_form_is_read_as_the_same_fields(text, fields):
    assert form(text) == fields


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("message=a&message=b", "twice"),
        ("options.a=1&options.a=2", "twice"),
        ("options=[1]&options.a=2", "twice"),
        ("options={", "not JSON"),
        ('options={"a": NaN}', "NaN"),
        ("message=%ff", "UTF-8"),
        ("message=%00", "NUL"),
        ("&".join(f"a{n}=" for n in range(2000)), "cannot be read"),
        ("", "empty"),
    ],
)
def test_a_form_that_cannot_be_read_is_refused(text, says):
    with pytest.raises(InvalidInput, match=says):
        form(text)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("{", "'options' is not JSON: "),
        ('{"a": 1, "a": 2}', "'options' holds the name 'a' twice in one object"),
        ('{"a": NaN}', "'options' holds NaN"),
        ("[" * 60_000, "'options' is nested deeper than 32"),
        (r'{"a": "\u0000"}', "holds a NUL"),
        ("[" * 32 + "]" * 32, "nested deeper than 32"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_wrong_in_the_options_of_a_form_is_told_as_theirs(options, says):
    with pytest.raises(InvalidInput) as caught:
        form(f"in=1m&options={options}")
    assert (caught.value.field, caught.value.kind) == ("options", "malformed")
    assert says in caught.value.message


@pytest.mark.parametrize("innermost", ["1", '"\\u0041"'])
def test_the_form_itself_is_the_first_level(innermost):
    def options(levels):
        return "options=" + "[" * levels + innermost + "]" * levels

    assert form(options(DEEPEST - 1))
    with pytest.raises(InvalidInput, match="nested deeper than 32"):
        form(options(DEEPEST))


def test_a_form_may_be_as_long_as_its_encoding_makes_it():
    assert form("message=" + "%20" * 32_768) == {"message": " " * 32_768}
    with pytest.raises(TooLarge):
        form("message=" + "x" * (3 * LARGEST))


# ---- arrays


@pytest.mark.parametrize("text", ["{}", "1", '"x"', "", "[", "[NaN]", "[" * 100_000 + "]" * 100_000])
def test_what_is_no_array_is_refused(text):
    with pytest.raises(InvalidInput):
        read_array(io.BytesIO(text.encode()))


@pytest.mark.parametrize(
    ("item", "field"),
    [(r'"\u0000"', None), ("[" * 40 + "]" * 40, None), (r'{"a": "\ud800"}', "a"), (r'{"\u0000": 1}', None)],
)
def test_an_item_that_cannot_be_kept_does_not_hide_the_others(item, field):
    first, wrong, last = read_array(io.BytesIO(f'[{{"a": 1}}, {item}, {{"a": 2}}]'.encode()))
    assert (first, last) == ({"a": 1}, {"a": 2})
    assert (wrong.kind, wrong.field) == ("malformed", field)


def test_an_array_is_read_whole():
    many = [{"message": str(n), "options": {"n": n}} for n in range(1000)]
    assert read_array(io.BytesIO(json.dumps(many).encode())) == many
