"""The whole daemon while its wall clock is set: forward, back, over a suspend, and from 1970 to the right time.

The clock is that of tests/faults/clock.c, which needs a C compiler and no root. Nothing here may be early by it, late
by what it once showed, stuck, or awake without need.
"""

import random
import time
from dataclasses import dataclass

import pytest

from tests import age
from tests.bench.processes import settle, use
from tests.daemon import wait_until
from tests.faults.wallclock import WallClock, obstacle
from tifftockd import clock

MINUTE, HOUR, DAY = 60, 3600, 86_400
STEPS = (5 * MINUTE, 3 * HOUR, 3 * DAY)
RELEASED = clock.RELEASED / clock.SECOND

if reason := obstacle():
    pytest.skip(reason, allow_module_level=True)

MARK = """
import time
from tifftockd import RemindProcess

class Mark(RemindProcess):
    '''Writes a line for each attempt: which, and when by both clocks.'''

    def remind(self, message):
        monotonic, wall = time.monotonic(), time.time()
        with open(self.options["file"], "a") as file:
            print(self.id, self.attempt, monotonic, wall, file=file, flush=True)
        time.sleep(self.options.get("sleep", 0))

class Once(Mark):
    method = "once"
    repeatable = False
    timeout = 2
"""


@dataclass(frozen=True)
class Attempt:
    id: int
    number: int
    monotonic: float
    wall: float


@pytest.fixture
def wall(daemon, tmp_path):
    """The clock of `daemon`, a year ahead: a step back by days leads to no time before the release's own."""
    made = WallClock(tmp_path / "clock", now=RELEASED + 365 * DAY)
    daemon.settings |= made.settings
    daemon.dropin("mark.py", MARK)
    return made


@pytest.fixture
def marks(daemon, tmp_path):
    """What the handler has written so far."""
    file = tmp_path / "marks"

    def read():
        lines = file.read_text().splitlines() if file.exists() else []
        return [
            Attempt(int(id_), int(number), float(monotonic), float(at))
            for id_, number, monotonic, at in map(str.split, lines)
        ]

    return read


@pytest.fixture
def plan(daemon, tmp_path):
    """Creates a reminder for an instant of the daemon's clock."""

    def create(due, method="mark", sleep=0, **fields):
        options = {"file": str(tmp_path / "marks"), "sleep": sleep}
        return daemon.remind(method=method, when=f"@{due:.6f}", options=options, **fields)

    return create


def asleep(daemon, before):
    """The daemon comes to rest, and has done little since `before`."""
    settle(daemon.process.pid)
    seconds, wake_ups = use(daemon.process.pid).since(before)
    # A thread that turns in a circle uses all of a CPU; what is asked of it here takes a hundredth of that.
    assert seconds < 3, f"{seconds:.1f} s of CPU time"
    assert wake_ups < 3000, f"{wake_ups} wake-ups"


def states(daemon):
    """Those that there is a reminder in."""
    return {name for name, count in daemon.get("/health")["counts"].items() if count and name != "history"}


def test_a_step_forward_fires_what_has_become_due_and_nothing_else(daemon, wall, marks, plan):
    daemon.settings["HANDLER_CONCURRENCY"] = "1"  # else those begun at once may write in any order
    daemon.start()
    expected = []
    for step in STEPS:
        start = wall.now()
        due = [plan(start + step * part, max_late="30d") for part in (0.25, 0.5, 0.75)]
        missed = plan(start + step / 2, max_late=step / 4)
        not_yet = plan(start + step + HOUR)
        before = use(daemon.process.pid)
        wall.step(step)
        for one in due:
            assert daemon.outcome(one)["late_ms"] >= 1000 * (step * 0.25 - 1)
        assert daemon.outcome(missed)["outcome"] == "missed"
        expected += [one["id"] for one in due]
        assert [mark.id for mark in marks()] == expected, "the oldest first, each once"
        assert marks()[-3].wall >= start + step
        asleep(daemon, before)
        # What comes in its time is not disturbed by what was.
        comes = plan(wall.now() + 0.5)
        assert daemon.outcome(comes)["late_ms"] < 5000
        expected.append(comes["id"])
        assert daemon.request("DELETE", f"/reminder/{not_yet['id']}").status == 204


def test_a_step_back_makes_nothing_early_and_the_same_time_comes_again(daemon, wall, marks, plan):
    daemon.start()
    expected = []
    for step in STEPS:
        due = wall.now() + 1
        waiting = plan(due)
        before = use(daemon.process.pid)
        wall.step(-step)
        sooner = plan(wall.now() + 0.5)
        assert daemon.outcome(sooner)["late_ms"] < 5000, "the alarm goes by the new time"
        assert daemon.state(waiting) == "pending"
        asleep(daemon, before)
        expected.append(sooner["id"])
        assert [mark.id for mark in marks()] == expected
        wall.set(due - 0.5)
        assert daemon.outcome(waiting)["outcome"] == "delivered"
        assert marks()[-1].wall >= due
        expected.append(waiting["id"])


def test_what_was_claimed_by_a_clock_that_is_set_back_goes_back_uncounted(daemon, wall, marks, plan):
    daemon.settings["HANDLER_CONCURRENCY"] = "1"
    daemon.start()
    for _ in range(10):  # quick ones, so that more than one is claimed at a time
        daemon.outcome(plan(wall.now()))
    slow = plan(wall.now(), sleep=2)
    wait_until(lambda: marks()[-1].id == slow["id"], "the slow attempt")
    due = wall.now()
    queued = plan(due)
    wait_until(lambda: daemon.state(queued) == "firing", "the claim")
    before = use(daemon.process.pid)
    wall.step(-HOUR)
    wait_until(lambda: daemon.state(queued) == "pending", "the claim's return")
    assert daemon.get(f"/reminder/{queued['id']}")["attempts"] == 0
    assert daemon.outcome(slow)["outcome"] == "delivered"
    asleep(daemon, before)
    assert daemon.request("DELETE", f"/reminder/{plan(due)['id']}").status == 204
    wall.set(due)
    entry = daemon.outcome(queued)
    assert (entry["outcome"], entry["attempt"]) == ("delivered", 1)
    assert marks()[-1].wall >= due


def test_an_attempt_during_which_the_clock_is_set_back_is_dated_in_order(daemon, wall, marks, plan):
    daemon.start()
    slow = plan(wall.now(), sleep=1)
    wait_until(marks, "the attempt")
    wall.step(-HOUR)
    entry = daemon.outcome(slow)
    assert entry["late_ms"] >= 0
    assert entry["due"] <= entry["started"] <= entry["finished"]


def test_an_attempt_that_breaks_after_the_clock_was_set_back_is_not_taken_for_one_not_begun(daemon, wall, marks, plan):
    daemon.start()
    due = wall.now()
    hanging = plan(due, method="once", sleep=60)
    wait_until(marks, "the attempt")
    wall.step(-HOUR)
    assert daemon.outcome(hanging)["outcome"] == "uncertain"
    wall.set(due + MINUTE)
    daemon.outcome(plan(wall.now()))
    assert [mark.id for mark in marks()].count(hanging["id"]) == 1, "what must not be repeated is not repeated"


def test_steps_at_any_moment_make_nothing_early_and_lose_nothing(daemon, wall, marks, plan):
    chance = random.Random(1)
    daemon.start()
    daemon.outcome(plan(wall.now()))  # a worker is warm, so that claims are handed over ahead of their time
    start = wall.now() + 2
    due = {}
    for number in range(100):
        at = start + number * 0.02
        due[plan(at, method=chance.choice(["mark", "once"]))["id"]] = at
    for part in range(4):
        wall.set(start + part * 0.5 - 0.1)
        for _ in range(10):
            time.sleep(chance.uniform(0.001, 0.1))
            wall.step(chance.choice([-0.3, -0.1, -0.02, 0.02, 0.1]))
        wall.step(-HOUR)
        wait_until(lambda: "firing" not in states(daemon), "each claim to go back, or to its end")
    wall.set(start + 5)
    wait_until(lambda: not {"pending", "firing"} & states(daemon), "an end of each")
    tried = [mark for mark in marks() if mark.id in due]
    assert sorted(mark.id for mark in tried) == sorted(due), "each once"
    early = [mark for mark in tried if not wall.could_show(due[mark.id], mark.monotonic)]
    assert not early
    entries = {entry["reminder"]: entry for entry in daemon.get("/history?limit=1000")}
    assert {entries[id_]["outcome"] for id_ in due} == {"delivered"}
    assert min(entries[id_]["late_ms"] for id_ in due) >= 0


def test_after_a_suspend_the_backlog_is_paced_and_what_is_too_late_is_missed(daemon, wall, marks, plan):
    daemon.settings |= {"CATCH_UP_RATE": "10", "HANDLER_CONCURRENCY": "1"}
    daemon.start()
    start = wall.now()
    due = [plan(start + 10 + number * HOUR / 2) for number in range(15)]
    missed = plan(start + 10, max_late="1h")
    next_day = plan(start + DAY)
    before = use(daemon.process.pid)
    # What resuming looks like to a process: the wall clock is eight hours on, the monotonic one is not, and timers
    # that are to be cancelled when the clock is set have been (timekeeping_resume in the kernel).
    wall.step(8 * HOUR)
    for one in due:
        assert daemon.outcome(one)["outcome"] == "delivered"
    assert daemon.outcome(missed)["outcome"] == "missed"
    assert daemon.state(next_day) == "pending"
    tried = marks()
    assert [mark.id for mark in tried] == [one["id"] for one in due], "the oldest first, each once"
    assert tried[-1].monotonic - tried[0].monotonic > 1, "at CATCH_UP_RATE"
    asleep(daemon, before)


def test_a_clock_that_starts_in_1970_harms_nothing_until_it_is_right(daemon, wall, marks, plan):
    daemon.start()
    right = wall.now() + 2 * HOUR  # when the clock will have been set
    due = plan(right - MINUTE)
    late = plan(right - HOUR, max_late="10m")
    future = plan(right + HOUR)
    daemon.kill()
    wall.set(100)
    daemon.start()
    before = use(daemon.process.pid)
    for fields in ({"in": "10m"}, {"when": "2035-01-31T09:00"}, {"when": "tomorrow 9:00"}):
        answer = daemon.request("POST", "/remind", {"message": "x", "method": "mark"} | fields)
        assert (answer.status, answer.json["kind"]) == (503, "clock_wrong")
    absolute = plan(right - 1)
    assert daemon.request("GET", "/health").status == 200
    asleep(daemon, before)
    daemon.kill()
    daemon.start()
    assert {daemon.state(one) for one in (due, late, future, absolute)} == {"pending"}
    assert not marks()
    before = use(daemon.process.pid)
    wall.set(right)
    assert daemon.outcome(due)["outcome"] == "delivered"
    assert daemon.outcome(absolute)["outcome"] == "delivered"
    assert daemon.outcome(late)["outcome"] == "missed"
    assert daemon.state(future) == "pending"
    assert {mark.id for mark in marks()} == {due["id"], absolute["id"]}
    asleep(daemon, before)
    assert daemon.outcome(daemon.remind(**{"in": "100ms"}))["late_ms"] < 5000


def test_a_step_during_a_long_cleaning_is_noticed_at_once(daemon, wall):
    daemon.database.parent.mkdir(mode=0o700)
    # By the daemon's clock, a year ahead, all of it has been kept for too long.
    age.make(daemon.database, pending=0, final=0, history=30_000)
    daemon.start()
    wall.step(-HOUR)
    wait_until(lambda: " clock-set " in daemon.log_text(), "the notice")
    assert daemon.get("/health")["counts"]["history"] > 0, "the cleaning still goes on"


def test_a_wrong_clock_that_reaches_the_right_time_without_being_set_is_noticed(daemon, wall, marks, plan):
    wall.set(RELEASED - HOUR)
    daemon.start()
    due = plan(RELEASED + 1)
    wall.set(RELEASED - 2)
    settle(daemon.process.pid)
    assert daemon.outcome(due)["late_ms"] < 5000
    assert marks()[0].wall >= RELEASED + 1
