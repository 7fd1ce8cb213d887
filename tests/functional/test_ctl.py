"""tifftockctl beside a daemon: what people type, what they see, and what scripts get."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import threading

import pytest

from tests.daemon import IN_FOREGROUND, PATIENCE, running, unmeasured, wait_until
from tests.terminal import COLOUR, COMMAND, Terminal
from tifftockd.ctl import client, commands

ZONE = "Europe/Berlin"
# Wed 2026-11-25 09:00 CET
TIME = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)? CES?T"
# From 9 hours to a day and 9 hours away, by the hour at which this runs.
TOMORROW = r"in (1d( \d+h)?|\d+h( \d+min)?)"
NASTY = "\x1b[31mred\x1b]0;title\x07 \x9b2J \u202eevil\r\n\ttab"
TITLED = """
from tifftockd import RemindProcess

class Titled(RemindProcess):
    options = {"title": str, "n": int}

    def remind(self, message):
        pass
"""


WAITING = """
import os, time
from tifftockd import RemindProcess

class Waiting(RemindProcess):
    concurrency = 1

    def remind(self, message):
        while not os.path.exists(self.options["gate"]):
            time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    from tests.daemon import NOTE

    with running(tmp_path_factory.mktemp("daemon"), TZ=ZONE, RETRY_DELAY="1h") as made:
        made.dropin("note.py", NOTE)
        made.dropin("titled.py", TITLED)
        made.dropin("waiting.py", WAITING)
        made.reload()
        yield made


@pytest.fixture
def terminal(daemon):
    """Where there is nothing but what a test makes."""

    def empty():
        there = daemon.get("/reminders?state=all")
        for one in there:
            daemon.request("DELETE", f"/reminder/{one['id']}")
        return not there

    wait_until(empty, "that what a test left has ended, which cannot be cancelled while it fires")
    return Terminal({"XDG_RUNTIME_DIR": str(daemon.folder / "run"), "TZ": ZONE, "HOME": str(daemon.folder)})


def made(done):
    """The id in the line of a reminder that was made."""
    assert done.code == 0, done.err
    return int(done.out.split()[0])


# ---- making


def test_a_reminder_is_made_and_shown_in_a_line(terminal, daemon):
    done = terminal.run("remind", "tomorrow 9:00", "call the dentist", "--method", "log")
    assert re.fullmatch(rf"\d+  {TIME}  {TOMORROW}  log  call the dentist\n", done.out), done.out
    assert daemon.get(f"/reminder/{made(done)}")["when"][10:16] == "T09:00"
    assert done.err == ""


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (["10min", "tea", "--method", "log"], {"message": "tea"}),
        (["in 1h 30min", "--method", "log", "tea"], {"message": "tea", "max_late": "24h"}),
        (["--in", "600", "tea", "--method=log", "--max-late=2h", "--retries", "0"], {"max_late": "2h", "retries": 0}),
        (["--method", "note", "2035-01-31T09:00", "x", "--tz", "America/New_York"], {"tz": "America/New_York"}),
        (["now", "x", "--method", "note", "--to", "me", "--option", "sleep=0", "--option", "file=/dev/null"],
         {"to": "me", "options": {"sleep": 0, "file": "/dev/null"}}),
        (["1d", "x", "--method", "note", "--option", "a=[1]", "--option", "b=x y", '--option=c="5"', "--option", "d="],
         {"options": {"a": [1], "b": "x y", "c": "5", "d": ""}}),
        (["--method", "log", "--", "1d", "-x"], {"message": "-x"}),
        (["10min", "--method", "log", "--", "-5 degrees"], {"message": "-5 degrees"}),
        (["10min", "--method", "log", "--", "tea"], {"message": "tea"}),
        (["10min", "--method", "log", "--", "--"], {"message": "--"}),
        (["10min", "tea", "--method", "log", "--"], {"message": "tea"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_is_typed_is_what_is_made(terminal, arguments, sent):
    done = terminal.run("--json", "remind", *arguments)
    assert done.code == 0, done.err
    one = json.loads(done.out)
    assert {name: one[name] for name in sent} == sent


def test_a_message_may_come_from_the_input(terminal):
    done = terminal.run("remind", "1h", "-", "--method", "log", "--json", stdin="zwei\nZeilen ü\n".encode())
    assert json.loads(done.out)["message"] == "zwei\nZeilen ü"
    assert "not UTF-8" in terminal.run("remind", "1h", "-", "--method", "log", stdin=b"\xff").error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["10", "tea"], "write 10s, 10min or 10h"),
        (["10min"], "write both when and what"),
        (["10min", "tea", "time"], "one argument too many: time"),
        (["--in", "10min", "tea", "time"], "--in stands for WHEN"),
        (["--in", "10min", "--repeat", "daily", "tea"], "exclude each other"),
        (["10min", "tea", "--count", "3"], "--count belongs to --repeat"),
        (["10min", "tea", "--email", "a@b.example", "--sms", "+1"], "one method"),
        (["10min", "tea", "--email", "a@b.example", "--method", "email"], "one method"),
        (["10min", "tea", "--email", "a@b.example", "--to", "x"], "--to belongs to --method"),
        (["10min", "tea", "--method", "log", "--option", "x"], "NAME=VALUE"),
        (["10min", "tea", "--method", "log", "--retries", "-1"], "from 0 to 1000"),
        (["10min", "tea", "--wrong"], "unrecognized arguments: --wrong"),
        (["10min", "--method", "log", "-5 degrees"], "unrecognized arguments: -5 degrees"),
        (["10min", "--wrong", "--", "tea"], "unrecognized arguments: --wrong"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_told_and_makes_nothing(terminal, daemon, arguments, says):
    done = terminal.run("remind", *arguments)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert daemon.get("/reminders") == []


def test_without_a_method_nothing_is_guessed(terminal):
    done = terminal.run("remind", "10min", "tea")
    assert done.code == 2
    assert done.error.startswith(
        "say by which method: --email ADDRESS, --sms NUMBER or --method NAME; ready are api, log"
    )


def test_the_daemons_no_is_told_in_its_words(terminal, daemon):
    done = terminal.run("remind", "10min", "tea", "--email", "me@example.org")
    assert (done.code, done.out) == (1, "")
    answer = daemon.request("POST", "/remind", {"in": "10min", "message": "tea", "method": "email"})
    assert done.error == answer.json["error"]
    assert terminal.run("remind", "someday", "tea", "--method", "log").code == 1


@pytest.mark.parametrize("command", [["remind", "1h", "tea", "--method", "titled"], ["try", "titled", "tea"]])
@pytest.mark.parametrize(
    ("typed", "right"),
    [("title=2025", """'title="2025"'"""), ("title=1e3", """'title="1e3"'"""), ("title=true", """'title="true"'""")],
)
def test_a_text_that_looks_like_something_else_is_told_how_to_type_it(terminal, command, typed, right):
    done = terminal.run(*command, "--option", "n=1", "--option", typed)
    assert done.code == 1
    assert done.error == f"option 'title' of method titled must be of type str: write --option {right}"
    [option] = shlex.split(right)
    assert terminal.run(*command, "--option", option).code == 0
    assert terminal.run(*command, "--option", "n=x").error == "option 'n' of method titled must be of type int"


def test_a_request_whose_answer_was_lost_is_not_carried_out_twice(daemon):
    """A server between them that takes the first answer away."""
    path = str(daemon.folder / "run" / "between.sock")
    heard = []

    def stand_between(listener):
        for take in (True, False):
            connection, _ = listener.accept()
            with connection, socket.socket(socket.AF_UNIX) as there:
                there.connect(daemon.socket_path)
                request = b""
                while b"\r\n\r\n" not in request or not request.endswith(b"}"):
                    request += connection.recv(65_536)
                heard.append(request)
                there.sendall(request)
                answer = b""
                while not answer.endswith(b"}\n"):
                    answer += there.recv(65_536)
                if not take:
                    connection.sendall(answer)

    before = len(daemon.get("/reminders"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=stand_between, args=[listener], daemon=True)
        thread.start()
        done = Terminal({"TIFFTOCK_URL": f"unix:{path}"}).run("remind", "1h", "once", "--method", "log")
        assert made(done)
        thread.join(PATIENCE)
    assert heard[0] == heard[1]
    assert len(daemon.get("/reminders")) == before + 1


# ---- seeing


def test_what_is_coming_is_a_table(terminal, daemon):
    later = daemon.remind(**{"in": "2h", "message": "später 会議"})
    sooner = daemon.remind(when="2035-01-31T09:00:00", message=NASTY)
    done = terminal.run()
    head, first, second = done.lines
    assert head.split() == ["ID", "WHEN", "IN", "METHOD", "MESSAGE"]
    assert re.fullmatch(rf" *{later['id']}  {TIME}  (2h|1h 59min) +log +später 会議", first), first
    # Seconds are shown in all or none: the other time is from now on, and once in a minute has none.
    seconds = ":00" if re.search(r"\d\d:\d\d:\d\d", first) else ""
    assert re.fullmatch(rf" *{sooner['id']}  Wed 2035-01-31 09:00{seconds} CET  8y \d+d  log +.*", second), second
    assert all(line.index("log") == head.index("METHOD") for line in (first, second))
    escaped = r"\x1b[31mred\x1b]0;title\x07 \x9b2J \u202eevil\r\n\ttab"
    assert second.endswith(escaped)
    assert done.err == ""


def test_for_programs_each_object_is_a_line_as_the_api_gave_it(terminal, daemon):
    for text in ("tea", NASTY):
        daemon.remind(**{"in": "1h", "message": text})
    done = terminal.run("--json")
    assert [json.loads(line) for line in done.lines] == daemon.get("/reminders")
    assert not re.search(r"[\x7f-\x9f\u202e\x1b]", done.out)
    assert [json.loads(line) for line in terminal.run("history", "--json").lines] == daemon.get("/history")


def test_lists_can_be_narrowed_and_go_on_where_their_link_leads(terminal, daemon, monkeypatch):
    for hours in range(1, 8):
        daemon.remind(**{"in": f"{hours}h", "message": f"number {hours}", "method": "note" if hours % 2 else "log"})
    asked = []
    original = client.Client.ask

    def in_pages_of_three(self, method, path, *more):
        asked.append(path)
        return original(self, method, f"{path}?limit=3" if path == "/reminders" else path, *more)

    monkeypatch.setattr(client.Client, "ask", in_pages_of_three)
    assert len(terminal.run().lines) == 1 + 7
    assert len(asked) == 3
    assert [line.split()[-1] for line in terminal.run("-n", "2").lines[1:]] == ["1", "2"]
    assert len(terminal.run("list", "--method", "log").lines) == 1 + 3
    assert len(terminal.run("--before", "in 3 hours", "--owner", "me").lines) == 0
    at = daemon.get("/reminders")[3]["when"]
    assert len(terminal.run("list", "--before", at, "--owner", "me").lines) == 1 + 3
    assert terminal.run("list", "--state", "missed").error == "there are none"


def test_a_long_list_comes_in_several_tables(terminal, daemon, monkeypatch):
    for hours in range(1, 6):
        daemon.remind(**{"in": f"{hours}h"})
    monkeypatch.setattr(commands, "_IN_A_TABLE", 2)
    heads = [line.split()[0] == "ID" for line in terminal.run().lines]
    assert heads == [True, False, False, True, False, False, True, False]


def test_nothing_coming_is_said_beside_the_output(terminal):
    done = terminal.run()
    assert (done.code, done.out) == (0, "")
    assert done.error.startswith("nothing is coming")


def test_the_history_of_one_says_how_each_attempt_ended(terminal, daemon):
    one = daemon.remind(method="note", options={"file": "/dev/null", "raise": "permanent"}, message="boiler")
    daemon.outcome(one)
    head, line = terminal.run("history", one["id"]).lines
    assert head.split() == ["ATTEMPT", "DUE", "STARTED", "LATE", "OUTCOME", "WHY"]
    assert re.fullmatch(rf" *1  {TIME}  \d\d:\d\d(:\d\d)? +[\d.]+m?s  failed +never again", line), line
    assert any("boiler" in line for line in terminal.run("history", "-n", "3").lines)
    waiting = daemon.remind(**{"in": "2h"})
    done = terminal.run("history", waiting["id"])
    assert (done.code, done.out) == (0, "")
    assert re.search(r"it is due in (2h|1h 59min)$", done.error)


def test_show_tells_all_of_one(terminal, daemon):
    one = daemon.remind(**{"in": "2h", "message": "two\nlines", "method": "note", "options": {"file": "ü"}, "to": "me"})
    shown = terminal.run("show", one["id"]).out
    for text in (
        f"id        {one['id']}\n",
        "state     pending\n",
        '{"file": "ü"}',
        "message   two\n          lines\n",
    ):
        assert text in shown
    assert json.loads(terminal.run("show", "--json", one["id"]).out) == one


def test_methods_and_health_are_shown(terminal, daemon):
    done = terminal.run("handlers")
    assert re.search(r"^log +ready +optional +none +built-in", done.out, re.MULTILINE)
    assert re.search(r"^sms +unavailable ", done.out, re.MULTILINE)
    assert re.search(r"^sms: TWILIO_ACCOUNT_SID", done.out, re.MULTILINE)
    assert [json.loads(line) for line in terminal.run("handlers", "--json").lines] == daemon.get("/handlers")["methods"]
    done = terminal.run("status")
    assert done.code == 0
    assert re.match(r"tifftockd  ok\nversion    [\d.]+\n", done.out)
    assert json.loads(terminal.run("status", "--json").out)["status"] == "ok"


# ---- changing


def test_cancelling_says_what_was_cancelled_and_goes_on_past_what_cannot_be(terminal, daemon):
    one, two = (daemon.remind(**{"in": "1h", "message": text}) for text in ("tea", "egg"))
    done = terminal.run("cancel", one["id"], 999_999, two["id"])
    assert done.out == f"{one['id']}  cancelled  log  tea\n{two['id']}  cancelled  log  egg\n"
    assert (done.code, done.error) == (4, "999999: reminder 999999 not found")
    assert daemon.get("/reminders") == []


def test_rearming_fires_what_has_failed(terminal, daemon):
    one = daemon.remind(method="note", options={"file": "/dev/null", "raise": "permanent"})
    daemon.outcome(one)
    wait_until(lambda: daemon.state(one) == "failed", "its end")
    assert made(terminal.run("rearm", one["id"])) == one["id"]
    daemon.outcome(one, 2)
    wait_until(lambda: daemon.state(one) == "failed", "its end")
    done = terminal.run("rearm", one["id"], "tomorrow 9:00")
    assert re.search(rf" 09:00 CES?T  {TOMORROW}  note", done.out)
    done = terminal.run("rearm", one["id"])
    assert done.code == 1
    assert "is pending as it is" in done.error
    assert terminal.run("rearm", 999_999).code == 4


def test_rearming_what_is_being_attempted_is_to_be_tried_again(terminal, daemon):
    pipe = daemon.folder / "pipe"
    os.mkfifo(pipe)
    one = daemon.remind(method="note", options={"file": str(pipe)})
    wait_until(lambda: daemon.state(one) == "firing", "its attempt, which waits for a reader")
    done = terminal.run("rearm", one["id"])
    assert done.code == 1
    assert done.error == f"reminder {one['id']} is being attempted right now; try again when that has ended"
    assert pipe.read_text()


def test_trying_a_method_shows_its_history_and_fails_when_it_fails(terminal, daemon):
    done = terminal.run("try", "log", "hello")
    assert done.code == 0
    assert re.search(r"^outcome   delivered$", done.out, re.MULTILINE)
    done = terminal.run(
        "try", "note", "hello", "--to", "me", "--option", "file=/dev/null", "--option", "raise=transient", "--json"
    )
    entry = json.loads(done.out)
    assert (done.code, entry["outcome"], entry["error"], entry["to"]) == (1, "failed", "not now", "me")
    assert f"rearm {entry['reminder']} fires it again" in done.error
    done = terminal.run("try", "note", "x", "--option", "file=/dev/null", "--option", "sleep=2", "--timeout", "1")
    assert done.code == 75
    assert "has not ended within 1 s" in done.error
    assert terminal.run("try", "nonsense", "x").code == 1


# ---- why


def test_what_waits_is_explained(terminal, daemon):
    one = daemon.remind(**{"in": "2h"})
    done = terminal.run("explain", one["id"])
    assert re.match(rf"Reminder {one['id']} is pending: it is due {TIME} \(in (2h|1h 59min)\), by log.\n", done.out)
    assert "its time has not come; nothing is in its way" in done.out
    assert terminal.run("explain", 999_999).code == 4


def test_what_has_failed_and_is_tried_again_is_explained(terminal, daemon):
    one = daemon.remind(method="note", options={"file": "/dev/null", "raise": "error"})
    daemon.outcome(one)
    wait_until(lambda: daemon.state(one) == "pending", "the retry")
    done = terminal.run("explain", one["id"])
    assert re.search(rf"Attempt 1 failed {TIME} \(.*\): ValueError: broken. Retry 1 of 5 is next.\n", done.out)
    assert re.search(rf"It comes {TIME} \(in 1h( \d+min)?\)\.", done.out), done.out


def test_what_waits_for_its_turn_is_explained(terminal, daemon, tmp_path):
    gate = tmp_path / "gate"
    first, last = (daemon.remind(method="waiting", options={"gate": str(gate)}) for _ in range(2))
    wait_until(lambda: daemon.state(first) == "firing", "the first")
    done = terminal.run("explain", last["id"])
    gate.touch()
    assert "It waits for its turn behind 1 attempt: waiting makes 1 at once.\n" in done.out
    assert "It may start until" in done.out


def test_what_was_delivered_is_explained(terminal, daemon):
    one = daemon.remind()
    daemon.outcome(one)
    done = terminal.run("explain", one["id"])
    assert re.match(
        rf"Reminder {one['id']} was delivered by log: it was due {TIME} \(.*\), and began {TIME}, ", done.out
    )
    assert "It was on time." in done.out
    assert json.loads(terminal.run("explain", one["id"], "--json").out)["explanation"] == done.lines


def test_what_has_no_method_any_more_is_explained(terminal, daemon):
    file = daemon.dropin(
        "lamp.py", "from tifftockd import RemindProcess\nclass Lamp(RemindProcess):\n def remind(self, m): ...\n"
    )
    daemon.reload()
    one = daemon.remind(**{"in": "2h", "method": "lamp"})
    file.write_text("import\n")
    daemon.reload()
    try:
        # A file that cannot be loaded any more stays as it was: the daemon that starts has not got it.
        file.unlink()
        daemon.reload()
        wait_until(lambda: daemon.get(f"/reminder/{one['id']}")["last_error"], "that its method is gone")
        done = terminal.run("explain", one["id"])
    finally:
        daemon.reload()
    assert "It waits because there is no method lamp now" in done.out
    assert re.search(rf"It may start until {TIME} \(in .*\), 24h after it is due", done.out)
    assert "method lamp is not loaded" in terminal.run().out


# ---- where nobody answers


def test_each_reason_for_no_answer_has_its_code_and_what_to_do(terminal, daemon, tmp_path):
    nowhere = Terminal({"XDG_RUNTIME_DIR": str(tmp_path)})
    if not os.path.exists("/run/tifftock.sock"):
        done = nowhere.run()
        assert done.code == 69
        assert done.error.startswith(f"nothing listens on {tmp_path}/tifftock.sock")
        assert "systemctl start tifftockd" in done.error
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    done = terminal.run("--url", f"http://127.0.0.1:{port}")
    assert (done.code, done.error.partition(":")[0]) == (69, "nothing listens at http")
    done = terminal.run("--url", "unix:/run/tifftock.sock.none")
    assert done.code == 69
    for url in (
        "ftp://x",
        "unix:x",
        "http://",
        "http://x:99999",
        "https://",
        "https://x/y",
        "http://u:p@x",
        "http://x/y",
        "nonsense",
    ):
        done = terminal.run("--url", url)
        assert done.code == 2, url
        assert done.error.startswith(f"--url {url}: ")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_who_may_not_use_the_socket_is_told_how_to_be_let_in(tmp_path):
    path = tmp_path / "t.sock"
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.name.startswith(("pytest-", "popen-")):  # pytest's own
            parent.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o660)
        os.chown(path, 0, 4)  # adm, which Debian always has
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *COMMAND, "--url", f"unix:{path}"],
            capture_output=True, text=True, check=False, timeout=PATIENCE, cwd="/", env=unmeasured(),
        )  # fmt: skip
    if "ModuleNotFoundError" in done.stderr or "can't open" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("this Python cannot be run by others")
    assert (done.returncode, done.stdout) == (77, "")
    advice = "join the group: sudo adduser $USER adm, and log in again"
    assert done.stderr == f"tifftockctl: permission denied on {path}: {advice}\n"


def test_over_tcp_a_key_is_needed_and_told_where_to_put(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with running(tmp_path, API_URL=url, API_KEY="first second"):
        terminal = Terminal({"TIFFTOCK_URL": url})
        done = terminal.run("status")
        assert done.code == 77
        assert "TIFFTOCK_KEY" in done.error
        assert "--key-file FILE" in done.error
        terminal.environ["TIFFTOCK_KEY"] = "wrong"
        assert terminal.run("status").code == 77
        terminal.environ["TIFFTOCK_KEY"] = "second"
        assert terminal.run("status").code == 0
        file = tmp_path / "key"
        file.write_text("first\n")
        terminal.environ["TIFFTOCK_KEY"] = "wrong"
        assert terminal.run("status", "--key-file", file).code == 0
        file.write_text("a b")
        assert terminal.run("status", "--key-file", file).code == 66
        assert terminal.run("status", "--key-file", tmp_path / "none").code == 66


# ---- as a command


def test_at_a_terminal_it_has_colours_and_fits(terminal, daemon):
    daemon.remind(**{"in": "2h", "message": "会" * 100})
    daemon.remind(**{"in": "3h", "message": NASTY * 3})
    done = terminal.at_terminal(columns=72)
    assert "\x1b[36m" in done.out
    plain = COLOUR.sub("", done.out)
    assert "\x1b" not in plain
    assert len(plain.splitlines()) == 3
    assert all(len(line) + line.count("会") <= 72 for line in plain.splitlines())
    assert plain.count("…") == 2
    for environ in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in terminal.at_terminal(columns=72, **environ).out
    assert "\x1b" not in terminal.at_terminal("--no-color", columns=72).out


def test_who_stops_reading_ends_it_quietly(terminal, daemon):
    answer = daemon.request("POST", "/reminders", [{"in": "1h", "method": "log", "message": "x" * 30_000}] * 20)
    assert answer.status == 201
    done = subprocess.run(
        ["bash", "-c", '"$@" | head -1; echo "${PIPESTATUS[0]}"', "bash", *COMMAND],
        env=terminal.whole_environ, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines()[1:] == ["141"]
    done = subprocess.run(
        ["bash", "-c", '"$@" --help | true; echo "${PIPESTATUS[0]}"; "$@" >&- <&-', "bash", *COMMAND],
        env=terminal.whole_environ, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() in ("141", "0")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            COMMAND, env=terminal.whole_environ, stdout=full, stderr=subprocess.PIPE, check=False, timeout=PATIENCE
        )
    assert done.returncode == 74
    assert done.stderr == b"tifftockctl: cannot write the output: No space left on device\n"


def test_ctrl_c_ends_it_with_130(terminal, daemon):
    process = subprocess.Popen(
        [*IN_FOREGROUND, *COMMAND, "try", "note", "slow", "--option", "sleep=3", "--option", "file=/dev/null"],
        env=terminal.whole_environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_until(lambda: any(one["message"] == "slow" for one in daemon.get("/reminders")), "the try")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE) == (b"", b"")
    assert process.returncode == 130


def test_help_and_version_need_no_daemon(tmp_path):
    nowhere = Terminal({"XDG_RUNTIME_DIR": str(tmp_path)})
    done = nowhere.run("--help")
    assert done.code == 0
    assert "COMMAND" in done.out
    assert nowhere.run("remind", "-h").code == 0
    assert re.fullmatch(r"tifftockctl [\d.]+\n", nowhere.run("--version").out)
    assert nowhere.run("nonsense").code == 2
    assert nowhere.run("show", "0").code == 2
