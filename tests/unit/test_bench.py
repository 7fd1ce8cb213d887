"""What the harness makes of its figures; that it measures, `make bench` shows."""

import xml.etree.ElementTree as ET
from functools import partial

import pytest

from tests.bench import picture, rounds, table
from tests.bench.__main__ import QUESTIONS
from tests.bench.figures import Spread, percentile, spread
from tests.bench.place import Place
from tests.bench.question import Curves, Question, Row, Skipped, at_least, at_most, below
from tests.bench.session import file_system

RUNS = [{"rate": 200.0, "late": [1, 2, 30]}, {"rate": 100.0, "late": [4, 5, 6]}, {"rate": 400.0, "late": [7, 8, 9]}]
PEERS = [{"rate": 50.0, "late": [10, 20, 30]}]


def question(*rows, **fields):
    return Question("Speed", {}, rows, **fields)


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 50), (99, 99), (99.9, 100), (100, 100)])
def test_a_percentile_is_one_of_the_values(percent, value):
    assert percentile(reversed(range(1, 101)), percent) == value


def test_runs_come_to_their_median_and_range():
    assert spread(RUNS, "rate") == Spread(200, 100, 400)
    assert spread(RUNS, ("late", 50)) == Spread(5, 2, 8)
    assert spread(RUNS, ("late", 100)) == Spread(9, 6, 30)
    assert spread(RUNS, "memory") is None
    assert spread([], "rate") is None


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        (
            Row("creates", "a second", "rate", beside="peer", reach=at_least(4)),
            ("creates, a second", "200 (100 to 400)", "peer: 50", "4", "at least 4x", "yes"),
        ),
        (
            Row("late", "ms", ("late", 50), beside="peer", reach=at_most(0.2)),
            ("late, ms", "5 (2 to 8)", "peer: 20", "0.25", "at most 0.2x", "no"),
        ),
        (
            Row("late", "ms", ("late", 50), beside="peer", reach=at_most(0.2, plus=1, unit="ms")),
            ("late, ms", "5 (2 to 8)", "peer: 20", "0.25", "at most 0.2x + 1 ms", "yes"),
        ),
        (
            Row("late", "ms", ("late", 50), reach=below(4, "ms")),
            ("late, ms", "5 (2 to 8)", "", "", "at most 4 ms", "no"),
        ),
        (
            Row("late", "", ("late", 50), beside="absent", reach=at_most(1)),
            ("late", "5 (2 to 8)", "absent: not measured", "", "at most 1x", ""),
        ),
    ],
)
def test_a_line_tells_what_was_measured_and_whether_it_was_reached(row, cells):
    assert table.lines(question(row), {"tifftockd": RUNS, "peer": PEERS, "absent": []}) == [cells]


def test_what_was_not_measured_has_no_line():
    assert (
        table.lines(question(Row("memory", "MiB", "memory"), Row("rate", "", "rate", of="absent")), {"tifftockd": RUNS})
        == []
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1_234.5, "1,234"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.05678, "0.057"), (3.0, "3")],
)
def test_a_figure_has_the_digits_that_count(value, text):
    assert table.figure(value) == text


def test_columns_stand_below_each_other():
    found = table.lines(question(Row("creates", "a second", "rate"), Row("a", "ms", ("late", 50))), {"tifftockd": RUNS})
    _, rule, title, *lines = table.as_text([("Speed", found)]).splitlines()
    assert title == "Speed"
    end = len("  ") + len("creates, a second") + len("  ") + len("200 (100 to 400)")
    assert [line[end - 1] for line in (rule, *lines)] == ["-", ")", ")"]
    assert table.as_markdown([("Speed", found)]).count("\n|") == 4


def test_contenders_take_turns_and_one_that_cannot_run_stops_no_other(tmp_path, capsys):
    order = []

    def run(name, place):
        order.append(name)
        assert not list(place.folder.iterdir())
        (place.folder / "left").touch()
        if name == "absent":
            raise Skipped("not installed")
        if name == "broken":
            raise ValueError("oh")
        return {"rate": 1.0}

    contenders = {name: partial(run, name) for name in ("tifftockd", "absent", "broken", "peer")}
    found, missing = rounds.ask(Question("Speed", contenders, (), runs=2), Place(tmp_path, stores=None))
    assert order == ["tifftockd", "absent", "broken", "peer", "tifftockd", "peer"]
    assert [len(runs) for runs in found.values()] == [2, 0, 0, 2]
    assert missing == {"absent": "not installed", "broken": "it failed: ValueError: oh"}
    assert "ValueError: oh" in capsys.readouterr().err


@pytest.mark.parametrize(("place", "kind"), [("/srv/x", "xfs"), ("/srvx", "ext4"), (None, "unknown file system")])
def test_the_conditions_name_the_file_system_where_it_is_known(tmp_path, place, kind):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /srv rw shared:1 - xfs /dev/sda2 rw\n" if place
        else "65 44 0:21 / /proc rw - proc proc rw\n"
    )  # fmt: skip
    assert file_system(place or tmp_path, mounts) == kind


def test_the_picture_is_of_all_runs_and_can_be_read():
    curves = Curves("How late <all>", "late", ("tifftockd", "absent", "peer"))
    drawn = ET.fromstring(picture.draw([(curves, {"tifftockd": RUNS, "peer": PEERS})], "2 CPUs & a disk"))
    texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"How late <all>", "tifftockd", "peer", "2 CPUs & a disk", "p50", "p99"} <= set(texts)
    assert "absent" not in texts
    lines = list(drawn.iter("{http://www.w3.org/2000/svg}polyline"))
    assert len(lines) == 2
    for line in lines:
        heights = [float(point.split(",")[1]) for point in line.get("points").split()]
        assert heights == sorted(heights, reverse=True), "what is later does not stand higher"


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_names_only_its_own_contenders(name):
    asked = QUESTIONS[name]
    named = {who for row in asked.rows for who in (row.of, row.beside) if who} | set(asked.ours)
    named |= set(asked.curves.of if asked.curves else ())
    assert named <= set(asked.contenders)
