"""What a handler's class declares, and what reminders may say to it: mistakes are named, with what would be right."""

import json
import re

import pytest
from hypothesis import given, settings, strategies as st

from tifftockd import RemindProcess
from tifftockd.clock import SECOND
from tifftockd.errors import InvalidInput, LoadError
from tifftockd.handlers.builtin import MODULES, builtin_specs
from tifftockd.handlers.spec import BUILT_IN as SOURCE, TYPES, MethodSpec, describe


def handler(name="Lamp", **declared):
    return type(name, (RemindProcess,), declared | {"remind": lambda self, message: None})


def spec(**declared):
    return describe(handler(**declared), "built-in", {})


# The one that re.compile answers with an OverflowError.
OVERFLOW = "a{99999999999999999999}"


# ---- what a class that declares nothing gets


def test_a_class_that_declares_nothing_leaves_everything_to_the_settings():
    assert spec() == MethodSpec(
        method="lamp",
        source="built-in",
        options=None,
        needs_to=False,
        to_pattern=None,
        to_hint=None,
        timeout=None,
        concurrency=None,
        repeatable=True,
        memory=None,
        output=None,
        renew=None,
        missing=None,
    )


def test_all_that_a_class_declares_survives_the_way_to_the_daemon():
    declared = spec(
        method="lamp-2",
        options={"level": int, "colour": ("red", "green")},
        needs_to=True,
        _to_pattern="[a-z]+",
        _to_hint="a room",
        timeout="1min 30s",
        concurrency=3,
        repeatable=False,
        memory="1G",
        output="16K",
        renew=5,
        settings=("LAMP_KEY",),
    )
    assert MethodSpec(**json.loads(json.dumps(declared._asdict()))) == declared
    assert (declared.timeout, declared.concurrency, declared.renew) == (90 * SECOND, 3, 5)
    assert (declared.memory, declared.output) == (1 << 30, 16 << 10)
    assert (declared.repeatable, declared.needs_to) == (False, True)
    assert declared.options == {"level": "int", "colour": ["red", "green"]}
    assert declared.missing == "LAMP_KEY not set"


# ---- names


@pytest.mark.parametrize(
    ("cls", "method"),
    [
        ("Lamp", "lamp"),
        ("LampRemindProcess", "lamp"),
        ("EmailRemindProcess", "email"),
        ("Lamp2_x", "lamp2_x"),
        ("RemindProcessLamp", "remindprocesslamp"),
    ],
)
def test_without_method_the_name_is_the_classs(cls, method):
    assert describe(handler(cls), "lamp.py", {}).method == method


@pytest.mark.parametrize("method", ["a", "lamp", "lamp-1", "a_b", "a" * 64])
def test_a_method_may_be_named(method):
    assert spec(method=method).method == method


@pytest.mark.parametrize(
    "method",
    ["", "Lamp", "1lamp", "-lamp", "la mp", "lamp\n", "lämp", "lamp.py", "a/b", "a" * 65, 5, b"lamp", ["lamp"]],
)
def test_a_name_that_reminders_could_not_use_is_refused(method):
    with pytest.raises(LoadError, match=re.escape(f"Lamp.method is {method!r}; it must match [a-z]")):
        spec(method=method)


@pytest.mark.parametrize("name", ["_Lamp", "RemindProcess", "Lämp"])
def test_a_class_whose_own_name_cannot_be_used_is_told_so(name):
    with pytest.raises(LoadError, match=f"{name}.method is .* must match"):
        describe(handler(name), "lamp.py", {})


# ---- declarations


def test_every_type_of_option_has_a_name():
    declared = {"s": str, "i": int, "f": float, "b": bool, "l": list, "d": dict, "o": object, "v": ["x"]}
    assert spec(options=declared).options == {
        "s": "str", "i": "int", "f": "float", "b": "bool", "l": "list", "d": "dict", "o": "any", "v": ["x"],
    }  # fmt: skip


def test_a_line_is_a_string_without_line_breaks():
    lines = spec(options={"title": "line"})
    assert lines.options == {"title": "line"}
    lines.check(None, {"title": "Tee, schön heiß"})
    with pytest.raises(InvalidInput, match="^option 'title' of method lamp: it has a line break") as refused:
        lines.check(None, {"title": "a\nb"})
    assert refused.value.field == "options.title"
    with pytest.raises(InvalidInput, match="^option 'title' of method lamp must be of type str$"):
        lines.check(None, {"title": 5})


def test_no_options_is_not_any_options():
    assert spec(options={}).options == {}
    assert spec().options is None


@pytest.mark.parametrize("wanted", [bytes, set, None, "str", any, 5, (), [], ("a", 1), (str, int), re.compile("a")])
def test_an_option_of_no_known_type_is_named(wanted):
    offered = "str, int, float, bool, list, dict, object, 'line', or a tuple of allowed strings"
    with pytest.raises(LoadError, match=rf"^Lamp\.options\['level'\] must be one of {offered}$"):
        spec(options={"level": wanted})


@pytest.mark.parametrize("declared", [["level"], "level", {"level"}, 5, str])
def test_options_that_are_no_dict_are_refused_with_an_example(declared):
    with pytest.raises(LoadError, match=r"Lamp.options must be a dict like {'subject': str}"):
        spec(options=declared)


@pytest.mark.parametrize(
    ("timeout", "micros"),
    [(5, 5 * SECOND), (0.25, SECOND // 4), ("300ms", 300_000), ("90", 90 * SECOND), ("2min", 120 * SECOND)],
)
def test_a_timeout_is_a_span(timeout, micros):
    assert spec(timeout=timeout).timeout == micros


@pytest.mark.parametrize(
    ("timeout", "words"),
    [
        (0, "longer than nothing"),
        ("0s", "longer than nothing"),
        (-1, "negative"),
        ("soon", "10m, 1h 30min"),
        ("", "10m, 1h 30min"),
        ("1 fortnight", "no unit 'fortnight'"),
        (True, "a boolean"),
        ([60], "an array"),
        (float("nan"), "finite"),
    ],
)
def test_a_timeout_that_is_none_is_named(timeout, words):
    with pytest.raises(LoadError, match=rf"^Lamp\.timeout.*{words}"):
        spec(timeout=timeout)


@pytest.mark.parametrize("written", [1 << 20, "1048576", "1024K", "1M"])
def test_a_size_is_bytes_or_has_a_unit(written):
    assert spec(output=written).output == 1 << 20


def test_a_size_may_be_large():
    assert spec(memory="2G").memory == 2 << 30


@pytest.mark.parametrize("name", ["memory", "output"])
@pytest.mark.parametrize("written", ["", "much", "-1", -1, "1.5G", "1GB", True, 1.5, [1], "9" * 30])
def test_a_size_that_is_none_is_named(name, written):
    with pytest.raises(LoadError, match=rf"^Lamp\.{name}: .* is not a size; write bytes, or units"):
        spec(**{name: written})


@pytest.mark.parametrize(
    ("name", "beyond", "least", "most"),
    [
        ("memory", "1K", 64 << 20, 16 << 40),
        ("memory", "17T", 64 << 20, 16 << 40),
        ("output", "1T", 0, 1 << 20),
        ("timeout", "31d", 1, 30 * 86_400 * SECOND),
    ],
)
def test_a_class_may_not_go_beyond_what_the_setting_may_be(name, beyond, least, most):
    try:
        value = getattr(spec(**{name: beyond}), name)
    except LoadError as refused:
        assert f"Lamp.{name}" in str(refused)
    else:
        assert least <= value <= most


@pytest.mark.parametrize("name", ["concurrency", "renew"])
@pytest.mark.parametrize("count", [1, 7, 1024])
def test_a_count_is_a_whole_number(name, count):
    assert getattr(spec(**{name: count}), name) == count


@pytest.mark.parametrize("name", ["concurrency", "renew"])
@pytest.mark.parametrize("count", [0, -1, "4", 4.0, True, 10**10, [4]])
def test_a_count_that_is_none_is_named_with_its_range(name, count):
    with pytest.raises(
        LoadError, match=rf"^Lamp\.{name} is {re.escape(repr(count))}; it must be a whole number from 1 to \d+$"
    ):
        spec(**{name: count})


def test_more_workers_at_once_than_a_machine_can_have_are_refused():
    with pytest.raises(LoadError, match="from 1 to 1024"):
        spec(concurrency=1025)


@pytest.mark.parametrize("name", ["_to_pattern", "_to_hint"])
@pytest.mark.parametrize("value", [5, b"a", ["a"], re.compile("a")])
def test_a_text_that_is_none_is_named(name, value):
    with pytest.raises(LoadError, match=rf"^Lamp\.{name} must be a string, not {type(value).__name__}$"):
        spec(**{name: value})


@pytest.mark.parametrize("pattern", ["(", "[a", "*", "(?P<a>b)(?P<a>c)", "a{2,1}", OVERFLOW])
def test_a_pattern_that_is_no_regular_expression_is_named(pattern):
    with pytest.raises(LoadError, match=r"^Lamp\._to_pattern is not a regular expression: "):
        spec(_to_pattern=pattern)


def test_missing_settings_are_all_named():
    cls = handler(settings=("LAMP_KEY", "LAMP_URL", "LAMP_ROOM"))
    assert describe(cls, "lamp.py", {"LAMP_URL": "http://x"}).missing == "LAMP_KEY and LAMP_ROOM not set"
    assert describe(cls, "lamp.py", {"LAMP_KEY": "", "LAMP_URL": "u", "LAMP_ROOM": "r"}).missing == "LAMP_KEY not set"
    assert describe(cls, "lamp.py", dict.fromkeys(cls.settings, "x")).missing is None


@pytest.mark.parametrize("settings", ["LAMP_KEY", ("LAMP_KEY", ""), ["LAMP_KEY", 5], {"LAMP_KEY": "x"}, None, 5])
def test_settings_that_are_no_names_are_refused_with_an_example(settings):
    told = f'Lamp.settings is {settings!r}; it must be a tuple of names like ("LAMP_KEY",)'
    with pytest.raises(LoadError, match=f"^{re.escape(told)}$"):
        spec(settings=settings)


def test_settings_may_be_a_list():
    assert spec(settings=["LAMP_KEY"]).missing == "LAMP_KEY not set"


@pytest.mark.parametrize("name", ["repeatable", "needs_to"])
@pytest.mark.parametrize("value", ["no", "", None, 0, 1, []])
def test_a_flag_that_is_none_is_named(name, value):
    with pytest.raises(LoadError, match=rf"^Lamp\.{name} is {re.escape(repr(value))}; it must be True or False$"):
        spec(**{name: value})


def test_what_a_class_says_by_itself_of_settings_and_recipients_counts_as_it_is():
    cls = handler(
        missing=classmethod(lambda cls, env: env.get("FAULT")), requires_to=classmethod(lambda cls, env: env.get("TO"))
    )
    assert (describe(cls, "lamp.py", {}).missing, describe(cls, "lamp.py", {}).needs_to) == (None, False)
    told = describe(cls, "lamp.py", {"FAULT": "no lamp", "TO": "needed"})
    assert (told.missing, told.needs_to) == ("no lamp", True)


def test_settings_may_decide_whether_a_recipient_is_needed():
    cls = handler(requires_to=classmethod(lambda cls, env: "LAMP_TO" not in env))
    assert describe(cls, "lamp.py", {}).needs_to
    assert not describe(cls, "lamp.py", {"LAMP_TO": "hall"}).needs_to


def test_the_built_in_classes_declare_what_can_be_used():
    specs = builtin_specs({})
    assert sorted(one.method for one in specs) == sorted(MODULES)
    assert {one.source for one in specs} == {SOURCE}


# ---- what reminders may say


VALUES = {
    "str": ["", "x"],
    "int": [0, -5, 10**18],
    "float": [0.5, 1, -2],
    "bool": [True, False],
    "list": [[], [1, "x"]],
    "dict": [{}, {"x": 1}],
    "any": ["x", 1, 0.5, True, [], {}, None],
}
# What is of the one and not of the other in JSON: true is no number, 1.0 is no whole number, null is nothing.
KINDS = ["x", 5, 0.5, True, [1], {"a": 1}, None]
REFUSED = [
    (kind, value) for kind in VALUES for value in KINDS if type(value) not in {type(one) for one in VALUES[kind]}
]


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_an_option_takes_the_values_of_its_type(kind):
    checked = spec()._replace(options={"level": kind})
    for value in VALUES[kind]:
        checked.check(None, {"level": value})


def test_every_type_but_any_refuses_the_others():
    assert {kind for kind, _ in REFUSED} == set(TYPES) - {"any"}


@pytest.mark.parametrize(("kind", "value"), REFUSED)
def test_an_option_refuses_the_values_of_other_types_and_says_what_it_takes(kind, value):
    checked = spec()._replace(options={"level": kind})
    with pytest.raises(InvalidInput, match=f"^option 'level' of method lamp must be of type {kind}$") as refused:
        checked.check(None, {"level": value})
    assert refused.value.field == "options.level"


@pytest.mark.parametrize("value", ["blue", "", "RED", 1, None, ["red"], {}, True])
def test_a_value_that_is_not_allowed_is_told_which_are(value):
    with pytest.raises(InvalidInput, match="^option 'colour' of method lamp must be one of red, green$") as refused:
        spec(options={"colour": ("red", "green")}).check(None, {"colour": value})
    assert refused.value.field == "options.colour"


def test_allowed_values_are_accepted():
    for value in ("red", "green"):
        spec(options={"colour": ("red", "green")}).check(None, {"colour": value})


def test_an_unknown_option_is_told_which_there_are():
    with pytest.raises(InvalidInput, match="lamp has no option 'levle'; it accepts: colour, level$") as refused:
        spec(options={"level": int, "colour": str}).check(None, {"levle": 5})
    assert (refused.value.field, refused.value.kind) == ("options.levle", "unknown_field")
    with pytest.raises(InvalidInput, match="it accepts: none$"):
        spec(options={}).check(None, {"level": 5})


@settings(max_examples=25)
@given(
    st.dictionaries(st.text(max_size=5), st.recursive(st.none() | st.booleans() | st.text(), st.lists, max_leaves=5))
)
def test_a_method_that_declares_nothing_takes_any_options(options):
    spec().check(None, options)


@pytest.mark.parametrize("to", [None, ""])
def test_a_recipient_that_is_needed_and_not_there_is_asked_for(to):
    with pytest.raises(InvalidInput, match="^method lamp needs a recipient: set 'to'$") as refused:
        spec(needs_to=True).check(to, {})
    assert (refused.value.field, refused.value.kind) == ("to", "missing")
    spec(needs_to=True).check("hall", {})
    spec().check(to, {})


@pytest.mark.parametrize("to", ["", "hall\n", "Hall", "hall kitchen", "1hall"])
def test_all_of_a_recipient_must_match(to):
    with pytest.raises(InvalidInput, match="^'to' does not fit method lamp: a room in lower case$") as refused:
        spec(_to_pattern="[a-z]+", _to_hint="a room in lower case").check(to, {})
    assert refused.value.field == "to"


def test_without_a_hint_the_pattern_itself_is_told():
    with pytest.raises(InvalidInput, match=re.escape("it must match [a-z]+")):
        spec(_to_pattern="[a-z]+").check("5", {})


def test_a_recipient_that_need_not_be_there_and_is_not_need_not_match():
    spec(_to_pattern="[a-z]+").check(None, {})
    spec(_to_pattern="[a-z]+").check("hall", {})


def test_the_daemon_matches_no_pattern_of_a_dropin():
    assert describe(handler("Lamp", _to_pattern="(a+)+b"), "lamp.py", {}).to_pattern is None
