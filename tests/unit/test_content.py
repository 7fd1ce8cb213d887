"""What a reminder may say in headers, and `{message}`, `{id}` and `{when}` in what it sends."""

import json
import re

import pytest
from hypothesis import given, strategies as st

from tifftockd.errors import InvalidInput
from tifftockd.handlers.api import Api
from tifftockd.handlers.content import LARGEST, escaped, fill, fill_strings
from tifftockd.handlers.email import Email
from tifftockd.handlers.notify import Notify
from tifftockd.handlers.spec import BUILT_IN, describe

WORDS = {"message": "tea", "id": "7", "when": "2026-11-24T21:00:00+01:00"}
# Texts full of what means something to JSON, to Python's formats, or here.
TEXT = st.text(
    st.sampled_from('{}"\\\n\r\t/%$a{{é\u2028\x7f😀') | st.characters(exclude_categories=["Cs"]), max_size=40
)
PLACES = st.sampled_from(["{message}", "{id}", "{when}"])
TEMPLATE = st.lists(TEXT | PLACES, max_size=6).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEMPLATE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEMPLATE, inner, max_size=3),
    max_leaves=10,
)

# ---- replacement


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("", ""),
        ("{message} {id} {when}", "tea 7 2026-11-24T21:00:00+01:00"),
        ("{message}{message}", "teatea"),
        ("{{message}}", "{tea}"),
        ("{{}} {} {0} {message!r} {message:>9} {id:d} {message.upper} {id[0]}",) * 2,
        ("{Message} {MESSAGE} { message } {messages} {key} {to} {attempt} %(message)s $message ${message",) * 2,
        ("${message}", "$tea"),
        ("{message", "{message"),
        ("message}", "message}"),
    ],
)
def test_three_words_are_replaced_literally_and_nothing_else_between_braces(text, filled):
    assert fill(text, WORDS) == filled


@given(TEXT, TEXT)
def test_what_is_put_in_is_not_looked_at_again(before, message):
    before = before.replace("{", "(")
    assert fill(before + "{message}", WORDS | {"message": message + "{id}"}) == f"{before}{message}{{id}}"


@given(TEXT)
def test_a_text_without_the_three_words_stays_as_it_is(text):
    kept = re.sub(r"\{(?=(?:message|id|when)\})", "(", text)
    assert fill(kept, WORDS) == kept


@given(JSON, TEXT)
def test_json_is_the_same_but_for_its_strings_and_stays_json(value, message):
    words = WORDS | {"message": message}

    def expected(part):
        if isinstance(part, str):
            return re.sub(r"\{(message|id|when)\}", lambda found: words[found[1]], part)
        if isinstance(part, list):
            return [expected(item) for item in part]
        return {name: expected(item) for name, item in part.items()} if isinstance(part, dict) else part

    assert json.loads(json.dumps(fill_strings(value, words))) == expected(value)


@given(TEXT, TEMPLATE)
def test_json_that_was_written_out_stays_json_whatever_the_message_is(message, template):
    words = WORDS | {"message": message}
    written = json.dumps({"text": template, "n": [1, template]}, ensure_ascii=False)
    sent = json.loads(fill(written, escaped(words)))
    assert sent == {"text": fill(template, words), "n": [1, fill(template, words)]}


# ---- what a header cannot carry

SMTP = {"SMTP_HOST": "mail.example.org", "EMAIL_FROM": "a@example.org"}
CONTROLS = ["\r\n", "\n", "\r", "\0", "\t", "\x0b", "\x0c", "\x1b", "\x1e", "\x7f", "\x85", "\x9b", "\u2028", "\u2029"]
HEADERS = [
    (Email, "a@example.org", "subject", lambda text: text),
    (Notify, "json://host", "title", lambda text: text),
    (Api, "http://host", "headers", lambda text: {"X-Title": text}),
]


def check(cls, to, options, message="m"):
    describe(cls, BUILT_IN, SMTP).check(to, options, message)


def refusal(cls, to, options, message="m"):
    with pytest.raises(InvalidInput) as caught:
        check(cls, to, options, message)
    return caught.value


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize(("cls", "to", "option", "made"), HEADERS)
def test_a_control_character_in_a_header_is_refused_wherever_it_stands(cls, to, option, made, control):
    for text in (f"a{control}Bcc: eve@example.org", control, f"a{control}", f"{control}a"):
        error = refusal(cls, to, {option: made(text)})
        assert error.field == f"options.{option}"
        assert "a line break or another control character" in str(error)
        assert "eve" not in str(error)


@pytest.mark.parametrize(("cls", "to", "option", "made"), HEADERS)
def test_any_other_text_is_accepted(cls, to, option, made):
    for text in ("", " ", "Tee, schön heiß", "\u00a0 \u200d ☕😀", "{message} {{x}} %s", "a: b; c=d"):
        check(cls, to, {option: made(text)})


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize(
    ("cls", "pattern"),
    [(Email, "a{}@example.org"), (Email, "a@example.org{}"), (Api, "http://host{}/"), (Notify, "json://host{}x")],
)
def test_a_control_character_in_the_recipient_is_refused(cls, pattern, control):
    assert refusal(cls, pattern.format(control), {}).field == "to"


@pytest.mark.parametrize("control", CONTROLS)
def test_a_message_with_a_control_character_is_refused_only_where_a_header_is_to_hold_it(control):
    message = f"tea{control}X-Evil: 1"
    for headers in ({"X-Title": "{message}"}, {"X-A": "b", "X-Title": "say: {{message}}"}):
        error = refusal(Api, "http://host", {"headers": headers}, message)
        assert error.field == "options.headers"
        assert "X-Title is to hold the message" in str(error)
        assert "Evil" not in str(error)
    check(
        Api,
        "http://host",
        {"headers": {"X-Title": "{id} {when} {Message}"}, "query": {"q": "{message}"}, "body": "{message}"},
        message,
    )


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"X A": "b"}, "'X A' is not a header's name"),
        ({"": "b"}, "'' is not a header's name"),
        ({"X:": "b"}, "is not a header's name"),
        ({"X-A\r\nX-Evil": "b"}, "'X-A X-Evil' is not a header's name"),
        ({"Grün": "b"}, "'Grün' is not a header's name"),
        ({"Content-Length": "5"}, "Content-Length follows from the body"),
        ({"transfer-encoding": "chunked"}, "transfer-encoding follows from the body"),
        ({"X-A": 1}, "the value of X-A must be a string"),
        ({"X-A": None}, "the value of X-A must be a string"),
        ({"X-A": ["b"]}, "the value of X-A must be a string"),
    ],
)
def test_what_is_no_header_is_refused_by_its_name(headers, named):
    error = refusal(Api, "http://host", {"headers": {"X-Good": "1"} | headers})
    assert error.field == "options.headers"
    assert named in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize("value", [None, {"b": 1}, [None], [["x"]], [{}]])
def test_what_a_query_cannot_hold_is_refused(value):
    error = refusal(Api, "http://host", {"query": {"good": 1, "bad": value}})
    assert error.field == "options.query"
    assert "'bad' must be a string, a number, a boolean, or a list of those" in str(error)


@pytest.mark.parametrize("option", ["headers", "query", "body"])
def test_a_message_that_would_be_put_in_a_thousand_times_is_refused(option):
    message = "x" * 30_000
    text = "{message}" * 1000
    error = refusal(Api, "http://host", {option: {"a": text}}, message)
    assert error.field == f"options.{option}"
    assert str(LARGEST) in str(error)
    check(Api, "http://host", {option: {"a": text}}, "x" * 100)


def test_what_is_declared_is_shown_by_name():
    options = {cls: describe(cls, BUILT_IN, SMTP).options for cls in (Api, Email, Notify)}
    assert options[Email] == {"subject": "line", "html": "str"}
    assert options[Notify] == {"title": "line", "type": ["info", "success", "warning", "failure"]}
    assert (options[Api]["headers"], options[Api]["query"], options[Api]["body"]) == ("headers", "query", "body")
