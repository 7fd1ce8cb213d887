"""Many at one instant: workers get several at once, and still each attempt is its own."""

import itertools
import os
from collections import Counter
from typing import NamedTuple

import pytest

from tests.daemon import wait_until

ODD = """
import os, time
from tifftockd import RemindProcess

class Odd(RemindProcess):
    renew = 200

    def remind(self, message):
        found = os.getpid(), self.id, len(os.sched_getaffinity(0)), os.nice(0), int("SPOILT" in os.environ)
        with open({marks!r}, "a") as marks:
            print(*found, file=marks)
        kind, _, number = message.partition(" ")
        match kind:
            case "prints":
                print(number)
            case "dies":
                os._exit(1)
            case "spoils":
                os.environ["SPOILT"] = number
            case "yields":
                os.nice(1)
            case "hangs":
                while not os.path.exists({gate!r}):
                    time.sleep(0.01)

class Single(Odd):
    concurrency = 1
"""


@pytest.fixture
def odd(daemon, tmp_path):
    """A daemon whose method `odd` does as its message says."""
    daemon.marks, daemon.gate = tmp_path / "marks", tmp_path / "gate"
    daemon.dropin("odd.py", ODD.format(marks=str(daemon.marks), gate=str(daemon.gate)))
    daemon.start()
    wait_until(lambda: not daemon.get("/handlers")["loading"], "the drop-in")
    return daemon


def fire(daemon, messages, method="odd"):
    """Have them due at once; their messages by their ids."""
    many = [{"in": 0, "method": method, "message": message, "retries": 0} for message in messages]
    made = [one["id"] for one in daemon.request("POST", "/reminders", many).json]
    return dict(zip(made, messages, strict=True))


class Mark(NamedTuple):
    """What an attempt finds."""

    pid: int
    id: int
    cpus: int
    nice: int
    spoilt: int


def begun(daemon):
    """What all have found, in their order."""
    marks = [line.split() for line in daemon.marks.read_text().splitlines()]
    return [Mark(*map(int, mark)) for mark in marks]


def ended(daemon):
    """What history says, by the reminder's id; of each there is one entry."""
    entries = daemon.get("/history?limit=10000")
    by_id = {one["reminder"]: one for one in entries}
    assert len(by_id) == len(entries)
    return by_id


def test_what_one_of_many_does_is_its_own(odd):
    kinds = ("prints", "dies", "spoils")
    # In between, so many ordinary ones that workers get several at once again.
    made = fire(odd, [f"{kinds[n // 125 % 3]} {n}" if n % 125 > 120 else f"passes {n}" for n in range(1500)])
    wait_until(lambda: not odd.get("/reminders?limit=1"), "the end of all", patience=60)
    found = ended(odd)
    assert found.keys() == made.keys()
    for id_, entry in found.items():
        kind, number = made[id_].split()
        assert entry["attempt"] == 1
        assert entry["output"] == (f"{number}\n" if kind == "prints" else None)
        if kind == "dies":
            assert entry["outcome"] == "failed"
            assert entry["error"] == "the worker exited with status 1 during the attempt"
        else:
            assert (entry["outcome"], entry["error"]) == ("delivered", None)
    marks = begun(odd)
    assert sorted(one.id for one in marks) == sorted(made), "each was begun once"
    assert max(Counter(one.pid for one in marks).values()) <= 200
    assert not any(one.spoilt for one in marks), "what one has changed, no other finds"


def test_what_is_looked_at_after_the_last_of_several_reaches_none_but_these(odd):
    made = fire(odd, [f"{'yields' if n % 200 == 199 else 'passes'} {n}" for n in range(1000)])
    wait_until(lambda: not odd.get("/reminders?limit=1"), "the end of all", patience=60)
    assert {one["outcome"] for one in ended(odd).values()} == {"delivered"}
    marks = begun(odd)
    yielding = [place for place, one in enumerate(marks) if made[one.id].startswith("yields")]
    assert len(yielding) == 5
    for place in yielding:
        after = [one for one in marks[place + 1 :] if one.pid == marks[place].pid]
        assert len(after) <= 3
        assert all(one.nice > 0 for one in after)


def test_workers_that_get_several_may_use_all_cpus(odd):
    fire(odd, ["passes"] * 800)
    wait_until(lambda: not odd.get("/reminders?limit=1"), "the end of all")
    assert {one.cpus for one in begun(odd)} == {len(os.sched_getaffinity(0))}


def test_of_a_method_with_one_worker_each_has_ended_before_the_next_begins(odd):
    made = fire(odd, ["passes"] * 400, "single")
    wait_until(lambda: not odd.get("/reminders?limit=1"), "the end of all")
    entries = sorted(ended(odd).values(), key=lambda entry: entry["started"])
    assert len(entries) == len(made)
    for one, following in itertools.pairwise(entries):
        assert one["started"] <= one["finished"] <= following["started"]


def test_nothing_waits_behind_an_attempt_that_takes_long(odd):
    made = fire(odd, [f"hangs {n}" if n in (200, 300, 400) else f"passes {n}" for n in range(800)])
    wait_until(lambda: len(ended(odd)) == len(made) - 3, "the end of all but those that hang")
    states = [one["state"] for one in odd.get("/reminders?limit=10")]
    assert states == ["firing"] * 3
    metrics = odd.request("GET", "/metrics").text
    assert "\ntifftock_attempts_running 3\n" in metrics
    assert "\ntifftock_attempts_queued 0\n" in metrics
    odd.gate.touch()
    wait_until(lambda: not odd.get("/reminders"), "the end of all")
    assert {one["outcome"] for one in ended(odd).values()} == {"delivered"}
