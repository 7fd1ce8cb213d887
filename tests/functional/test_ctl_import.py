"""tifftockctl import: many reminders from a file, all or none, and none of them twice."""

import json
from datetime import datetime, timedelta

import pytest

from tests.daemon import running, wait_until
from tests.terminal import COLOUR, Terminal
from tifftockd.ctl import importing
from tifftockd.ctl.client import Client
from tifftockd.ctl.errors import NoAnswer

ZONE = "Europe/Berlin"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("daemon"), TZ=ZONE) as made:
        yield made


@pytest.fixture
def terminal(daemon):
    for one in daemon.get("/reminders?state=all"):
        daemon.request("DELETE", f"/reminder/{one['id']}")
    return Terminal({"XDG_RUNTIME_DIR": str(daemon.folder / "run"), "TZ": ZONE})


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(importing, "_MOST", 3)


def lines(*items):
    return "\n".join(item if isinstance(item, str) else json.dumps(item) for item in items).encode() + b"\n"


def some(count, **more):
    return [{"when": "2035-01-31T09:00", "message": f"number {n}", "method": "log"} | more for n in range(count)]


def messages(daemon):
    return [one["message"] for one in sorted(daemon.get("/reminders"), key=lambda one: one["id"])]


def test_what_tifftock_gave_is_taken_over(terminal, daemon, tmp_path):
    theirs = [
        {"id": n, "message": f"milk {n}", "method": "log", "when": f"2035-07-0{n}T09:00:00", "oddity": 1}
        for n in (3, 1, 2)
    ]
    file = tmp_path / "reminders.json"
    file.write_text(json.dumps(theirs))
    done = terminal.run("import", file)
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines() == [
        "tifftockctl: not imported, as reminders have no such field: oddity",
        "tifftockctl: 3 reminders imported",
    ]
    made = daemon.get("/reminders")
    assert [(one["when"], one["message"]) for one in made] == [
        (f"2035-07-0{n}T09:00:00+02:00", f"milk {n}") for n in (1, 2, 3)
    ]
    assert all(one["method"] == "log" for one in made)


def test_what_it_lists_itself_can_be_imported_again(terminal, daemon):
    daemon.remind(when="2035-01-31T09:00", message="zwei\nZeilen", tz="Asia/Kolkata", to="me", max_late="2h", retries=1)
    daemon.remind(when="2036-01-31T09:00")
    before = daemon.get("/reminders")
    listed = terminal.run("list", "--json").out.encode()
    for one in before:
        daemon.request("DELETE", f"/reminder/{one['id']}")
    assert terminal.run("import", "-", stdin=listed).code == 0
    own = ("id", "key", "created")
    after = daemon.get("/reminders")
    assert [{k: v for k, v in one.items() if k not in own} for one in after] == [
        {k: v for k, v in one.items() if k not in own} for one in before
    ]


def test_csv_is_read_by_its_head(terminal, daemon):
    text = (
        "\ufeffwhen;method;message;to;retries;id\r\n"
        '2035-01-31 9:00;log;"tea; two\r\nlines";me;3;77\r\n'
        "\r\n"
        "friday 17:30;log;bank;;;\r\n"
    )
    done = terminal.run("import", "-", "--json", stdin=text.encode())
    assert done.code == 0, done.err
    first, second = (json.loads(line) for line in done.lines)
    assert (first["message"], first["to"], first["retries"]) == ("tea; two\r\nlines", "me", 3)
    assert (second["message"], second["to"], second["retries"]) == ("bank", None, 5)


def test_every_bad_line_is_named_and_nothing_is_imported_until_all_are_right(terminal, daemon, small):
    good = some(5)
    wrong = lines(
        *good[:2],
        '{"when": "2035-01-31T09:00", ',
        {"when": "2020-01-31T09:00", "message": "x", "method": "log"},
        {"when": "2035-01-31T09:00", "message": "x", "method": "pigeon"},
        *good[2:4],
        {"when": "2035-01-31T09:00", "message": "x\0", "method": "log"},
        {"when": "2035-01-31T09:00", "mesage": "x", "method": "log"},
        {"when": "someday", "message": "x", "method": "log"},
        good[4],
    )
    done = terminal.run("import", "-", stdin=wrong)
    assert (done.code, done.out) == (65, "")
    named = dict(line.removeprefix("tifftockctl: line ").split(": ", 1) for line in done.err.splitlines()[:-1])
    assert [*named] == ["3", "4", "5", "8", "9", "10"]
    assert named["3"].startswith("it is not JSON: ")
    assert named["4"].startswith("it is past: 'when' is 2020-01-31T09:00:00+01:00, which has passed")
    assert "there is no method 'pigeon'; there are: api" in named["5"]
    assert "NUL" in named["8"]
    assert named["9"] == "there is no field 'mesage'; is it 'message'?"
    assert "cannot use the time 'someday'" in named["10"]
    assert done.err.splitlines()[-1].endswith(
        "nothing was imported: 6 of 11 reminders are wrong; --skip-bad imports the rest"
    )
    assert messages(daemon) == []

    done = terminal.run("import", "-", "--skip-bad", "--dry-run", stdin=wrong)
    assert (done.code, messages(daemon)) == (0, [])
    assert "5 reminders would be imported, 6 skipped" in done.err
    done = terminal.run("import", "-", "--skip-bad", stdin=wrong)
    assert done.code == 0
    assert "5 reminders imported, 6 skipped" in done.err
    assert messages(daemon) == [one["message"] for one in good]


def test_an_import_that_broke_off_is_run_again_and_makes_nothing_twice(terminal, daemon, small, monkeypatch):
    soon = datetime.now().astimezone() + timedelta(seconds=1)
    file = lines({"when": soon.isoformat(), "message": "at once", "method": "log"}, *some(9, method="log", to="broken"))
    original, made = Client.ask, []

    def break_off(self, method, path, body=None, once=None):
        answer = original(self, method, path, body, once)
        made.append(answer)
        if len(made) == 2:
            raise NoAnswer("the line is cut", sent=True)
        return answer

    monkeypatch.setattr(Client, "ask", break_off)
    done = terminal.run("import", "-", stdin=file)
    monkeypatch.undo()
    monkeypatch.setattr(importing, "_MOST", 3)
    assert done.code == 69
    again = "run it again within 24 hours for the rest: nothing is made twice"
    assert done.error == f"the line is cut; 3 of 10 are imported; {again}"
    # What was imported has fired meanwhile, and would be refused as past.
    wait_until(lambda: any(one["message"] == "at once" for one in daemon.get("/history")), "the first")
    for expected in ("4 reminders imported", "0 reminders imported"):
        done = terminal.run("import", "-", stdin=file)
        assert done.code == 0, done.err
        assert done.err.splitlines()[-1] == f"tifftockctl: {expected}"
    assert sorted(messages(daemon)) == [f"number {n}" for n in range(9)]
    assert len([one for one in daemon.get("/history") if one["message"] == "at once"]) == 1


def test_a_file_that_an_earlier_run_has_made_is_made_once_more_with_again(terminal, daemon, small):
    file = lines(*({"in": "1h", "message": f"number {n}", "method": "log"} for n in range(4)))
    assert terminal.run("import", "-", stdin=file).code == 0
    assert "--again makes all of them once more" in terminal.run("import", "-", stdin=file).err
    assert len(messages(daemon)) == 4
    for times in (2, 3):
        done = terminal.run("import", "-", "--again", stdin=file)
        assert (done.code, len(messages(daemon))) == (0, 4 * times), done.err


def test_an_import_with_again_that_broke_off_says_that_it_cannot_be_continued(terminal, daemon, small, monkeypatch):
    original, left = Client.ask, [*range(4)]

    def break_off(self, method, path, body=None, once=None):
        if not left:
            raise NoAnswer("the line is cut")
        left.pop()
        return original(self, method, path, body, once)

    monkeypatch.setattr(Client, "ask", break_off)
    done = terminal.run("import", "-", "--again", stdin=lines(*some(9)))
    assert (done.code, len(messages(daemon))) == (69, 3)
    assert done.error == (
        "the line is cut; 3 of 9 are imported; with --again that cannot be continued: import the rest from another file"
    )


def test_equal_lines_are_as_many_reminders(terminal, daemon, small):
    file = lines(*some(1) * 7)
    assert terminal.run("import", "-", stdin=file).code == 0
    assert len(messages(daemon)) == 7


def test_a_large_file_goes_in_pieces_that_the_daemon_takes(terminal, daemon, monkeypatch):
    monkeypatch.setattr(importing, "_LARGEST", 100_000)
    sizes = []
    original = Client.ask

    def look(self, method, path, body=None, once=None):
        sizes.append(len(json.dumps(body)))
        return original(self, method, path, body, once)

    monkeypatch.setattr(Client, "ask", look)
    file = lines(*({"in": "1h", "message": "x" * 30_000, "method": "log"} for _ in range(10)))
    assert terminal.run("import", "-", stdin=file).code == 0
    assert len(sizes) == 2 * 4
    assert max(sizes) < 110_000
    assert len(messages(daemon)) == 10


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (b"", 65, "the file is empty"),
        (b"\n \n", 65, "the file is empty"),
        (b'{"message": "x"}\n\xff\n', 65, "line 2 is not UTF-8"),
        (b"when,mesage\n", 65, "line 1: there is no field 'mesage'; is it 'message'?"),
        (b"when,when\n", 65, "line 1: the column 'when' is there twice"),
        (None, 66, "No such file or directory"),
    ],
    ids=str,
)
def test_a_file_that_is_none_of_these_is_refused(terminal, tmp_path, content, code, says):
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    done = terminal.run("import", file)
    assert (done.code, done.out) == (code, "")
    assert says in done.error


def test_somebody_who_looks_sees_how_far_it_is(terminal, daemon, tmp_path):
    file = tmp_path / "many.jsonl"
    file.write_bytes(lines(*some(1500)))
    done = terminal.at_terminal("import", file)
    assert done.code == 0
    assert "\r\x1b[Klooking [----------------" in done.out
    assert "importing [################--------] 1000/1500" in done.out
    last = COLOUR.sub("", done.out).split("\x1b[K")[-1]
    assert last == "tifftockctl: 1500 reminders imported\n"
    assert len(messages(daemon)) == 1500
