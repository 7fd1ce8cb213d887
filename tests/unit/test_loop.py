"""The executor's loop: in order, never early, asleep while there is nothing to do, and no callback ends it."""

import os
import select
import socket
import threading
import time

import pytest

from tests.daemon import PATIENCE, wait_until
from tifftockd import journal
from tifftockd.executor.loop import Loop


@pytest.fixture
def loop():
    made = Loop("test")
    made.start()
    yield made
    # In a thread of its own: a loop that does not end must not hold the tests.
    threading.Thread(target=made.stop, daemon=True).start()
    made._thread.join(PATIENCE)
    assert not made._thread.is_alive()


def inside(loop, function):
    """Run a function in the loop's thread, and return what it gives."""
    done, given = threading.Event(), []

    def run():
        given.append(function())
        done.set()

    loop.call(run)
    assert done.wait(PATIENCE), "the loop does not answer"
    return given[0]


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


# ---- timers


def test_timers_ring_in_the_order_of_their_times(loop):
    rung = []
    times = (0.09, 0.03, 0.06, 0.0, 0.045)
    inside(loop, lambda: [loop.after(seconds, lambda seconds=seconds: rung.append(seconds)) for seconds in times])
    wait_until(lambda: len(rung) == 5, "all timers")
    assert rung == sorted(times)


def test_timers_of_the_same_instant_ring_as_they_were_made(loop, monkeypatch):
    rung = []

    def make():
        now = time.monotonic()
        # One reading of the clock for all, so that only the order of making is left.
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", lambda: now)
            for n in range(50):
                loop.after(0.02, lambda n=n: rung.append(n))

    inside(loop, make)
    wait_until(lambda: len(rung) == 50, "all timers")
    assert rung == list(range(50))


def test_no_timer_is_early_nor_much_later_than_the_machine_is_busy(loop):
    late = []

    def make():
        for n in range(40):
            due = time.monotonic() + n * 0.005
            loop.after(n * 0.005, lambda due=due: late.append(time.monotonic() - due))

    inside(loop, make)
    wait_until(lambda: len(late) == 40, "all timers")
    assert min(late) >= 0
    assert sorted(late)[20] < 0.05


def test_a_timer_that_was_made_later_and_is_due_earlier_is_not_waited_past(loop):
    rung = threading.Event()
    inside(loop, lambda: loop.after(PATIENCE, lambda: None))
    inside(loop, lambda: loop.after(0.01, rung.set))
    assert rung.wait(PATIENCE / 2)


def test_a_cancelled_timer_does_not_ring(loop):
    rung = []

    def make():
        timers = [loop.after(0.01 + n / 1000, lambda n=n: rung.append(n)) for n in range(10)]
        for timer in timers[::2]:
            timer.cancel()
        loop.after(0.03, lambda: rung.append("last"))

    inside(loop, make)
    wait_until(lambda: "last" in rung, "the last timer")
    assert rung == [1, 3, 5, 7, 9, "last"]


def test_a_timer_can_be_cancelled_by_the_one_before_it(loop):
    rung = []

    def make():
        def first():
            rung.append("first")
            second.cancel()
            second.cancel()

        # The first holds the loop until both are due.
        loop.after(0.0, lambda: time.sleep(0.02))
        loop.after(0.005, first)
        second = loop.after(0.01, lambda: rung.append("second"))
        loop.after(0.03, lambda: rung.append("third"))

    inside(loop, make)
    wait_until(lambda: "third" in rung, "the third timer")
    assert rung == ["first", "third"]


def test_cancelling_one_that_has_rung_changes_nothing(loop):
    rung = []
    timer = inside(loop, lambda: loop.after(0, lambda: rung.append(1)))
    wait_until(lambda: rung, "the timer")
    timer.cancel()
    assert inside(loop, lambda: "alive") == "alive"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the assertion says it
@pytest.mark.parametrize("days", [25, 30, 3_652_059])
def test_a_timer_of_many_days_does_not_end_the_loop(days):
    loop = Loop("test")
    loop.start()
    loop.call(lambda: loop.after(days * 86_400, lambda: None))
    loop._thread.join(0.1)
    assert loop._thread.is_alive()
    rung = threading.Event()
    inside(loop, lambda: loop.after(0.01, rung.set))
    assert rung.wait(PATIENCE)
    loop.stop()


# ---- calls


def test_calls_from_many_threads_all_run_in_the_loops_thread_each_threads_in_order(loop):
    ran, where = [], set()

    def run(caller, n):
        ran.append((caller, n))
        where.add(threading.get_ident())

    def make(caller):
        for n in range(250):
            loop.call(lambda n=n: run(caller, n))

    callers = [threading.Thread(target=make, args=(caller,)) for caller in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
    wait_until(lambda: len(ran) == 2000, "all calls")
    assert where == {loop._thread.ident}
    for caller in range(8):
        assert [n for who, n in ran if who == caller] == list(range(250))


def test_a_call_wakes_a_loop_that_sleeps(loop):
    inside(loop, lambda: None)
    started = time.monotonic()
    inside(loop, lambda: loop.after(PATIENCE, lambda: None))
    assert time.monotonic() - started < PATIENCE / 2


def test_a_call_may_make_calls(loop):
    ran = []

    def again(n):
        ran.append(n)
        if n:
            loop.call(lambda: again(n - 1))

    loop.call(lambda: again(5))
    wait_until(lambda: len(ran) == 6, "the last call")
    assert ran == [5, 4, 3, 2, 1, 0]


def test_a_stop_comes_after_the_calls_that_have_been_made():
    loop = Loop("test")
    ran = []
    loop.start()
    loop.call(lambda: time.sleep(0.05))
    for n in range(100):
        loop.call(lambda n=n: ran.append(n))
    loop.call(lambda: loop.after(PATIENCE, lambda: ran.append("a timer is not waited for")))
    loop.stop()
    assert ran == list(range(100))
    assert not loop._thread.is_alive()


def test_calls_made_before_the_start_are_run():
    loop = Loop("test")
    ran = threading.Event()
    loop.call(ran.set)
    loop.start()
    assert ran.wait(PATIENCE)
    loop.stop()


# ---- descriptors


def test_a_callback_is_called_with_the_events_while_its_descriptor_is_ready(loop, ends):
    ours, theirs = ends
    seen = []

    def ready(events):
        with_data = ours.recv(1) if events & select.EPOLLIN else b""
        seen.append(with_data)

    inside(loop, lambda: loop.watch(ours.fileno(), ready))
    theirs.send(b"abc")
    wait_until(lambda: len(seen) == 3, "three readings")
    assert seen == [b"a", b"b", b"c"]


def test_what_is_watched_for_can_be_changed(loop, ends):
    ours, _ = ends
    seen = []

    def ready(events):
        seen.append(events)
        loop.watch(ours.fileno(), ready, select.EPOLLIN)

    inside(loop, lambda: loop.watch(ours.fileno(), ready, select.EPOLLIN))
    assert inside(loop, lambda: list(seen)) == []
    inside(loop, lambda: loop.watch(ours.fileno(), ready, select.EPOLLIN | select.EPOLLOUT))
    wait_until(lambda: seen, "room to write")
    time.sleep(0.02)
    assert seen == [select.EPOLLOUT], "once it was changed back, no more"


def test_a_closed_peer_is_told(loop, ends):
    ours, theirs = ends
    seen = []

    def ready(events):
        seen.append(events)
        loop.forget(ours.fileno())

    inside(loop, lambda: loop.watch(ours.fileno(), ready))
    theirs.close()
    wait_until(lambda: seen, "the end of the peer")
    assert seen[0] & (select.EPOLLHUP | select.EPOLLIN)


def test_what_is_forgotten_is_watched_no_longer_and_can_be_watched_again(loop, ends):
    ours, theirs = ends
    seen = []
    inside(loop, lambda: loop.watch(ours.fileno(), seen.append))
    inside(loop, lambda: loop.forget(ours.fileno()))
    theirs.send(b"abc")
    rung = threading.Event()
    inside(loop, lambda: loop.after(0.02, rung.set))
    assert rung.wait(PATIENCE)
    assert seen == []
    inside(loop, lambda: loop.watch(ours.fileno(), lambda _events: seen.append(ours.recv(9))))
    wait_until(lambda: seen, "what was sent meanwhile")
    assert seen == [b"abc"]


def test_forgetting_what_is_not_watched_does_no_harm(loop):
    inside(loop, lambda: loop.forget(987_654))
    assert inside(loop, lambda: "alive") == "alive"


def test_one_that_is_forgotten_by_another_in_the_same_round_is_not_called(loop):
    pairs = [socket.socketpair() for _ in range(2)]
    seen = []

    def ready(one, other):
        seen.append(one.recv(9))
        loop.forget(other.fileno())

    def make():
        for one, other in ((0, 1), (1, 0)):
            ours, others = pairs[one][0], pairs[other][0]
            loop.watch(ours.fileno(), lambda _events, ours=ours, others=others: ready(ours, others))
        # Both are ready when the loop looks next.
        for _, theirs in pairs:
            theirs.send(b"x")

    inside(loop, make)
    wait_until(lambda: seen, "the first")
    assert inside(loop, lambda: list(seen)) == [b"x"]
    for pair in pairs:
        for end in pair:
            end.close()


# ---- whatever a callback raises


def test_a_callback_that_raises_is_logged_and_the_others_go_on(loop, ends, tmp_path, monkeypatch):
    ours, theirs = ends
    ran = []

    def broken(what):
        raise ValueError(f"broken {what}")

    def ready(_events):
        ours.recv(1)
        broken("descriptor")

    with (tmp_path / "log").open("ab") as log:
        monkeypatch.setattr(journal, "_journal", journal.Journal(log.fileno()))
        loop.call(lambda: broken("call"))
        loop.call(lambda: ran.append("call"))
        inside(loop, lambda: loop.after(0, lambda: broken("timer")))
        inside(loop, lambda: loop.after(0, lambda: ran.append("timer")))
        inside(loop, lambda: loop.watch(ours.fileno(), ready))
        theirs.send(b"ab")
        wait_until(lambda: (tmp_path / "log").read_text().count("\n") == 4, "the log")
        assert inside(loop, lambda: ran) == ["call", "timer"]
        inside(loop, lambda: loop.forget(ours.fileno()))
    assert sorted((tmp_path / "log").read_text().splitlines()) == [
        f'tifftockd: executor-error message="ValueError: broken {what}"'
        for what in ("call", "descriptor", "descriptor", "timer")
    ]


# ---- asleep


def switches(loop):
    with open(f"/proc/self/task/{loop._thread.native_id}/status") as status:
        return sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)


@pytest.mark.parametrize("timers", ["none", "far", "cancelled"])
def test_a_loop_with_nothing_to_do_sleeps(loop, ends, timers):
    ours, _ = ends
    inside(loop, lambda: loop.watch(ours.fileno(), lambda _events: None))
    if timers == "far":
        inside(loop, lambda: loop.after(PATIENCE, lambda: None))
    if timers == "cancelled":
        inside(loop, lambda: [loop.after(n / 20, lambda: None).cancel() for n in range(200)])

    def sleeps():
        before = switches(loop)
        time.sleep(0.2)
        return switches(loop) == before

    # The last call may still be on its way to sleep; a loop that polls never sleeps so long.
    wait_until(sleeps, "a while of sleep", patience=5)


def test_a_loop_leaves_descriptors_that_it_was_lent_alone(ends):
    ours, theirs = ends
    loop = Loop("test")
    loop.start()
    inside(loop, lambda: loop.watch(ours.fileno(), lambda _events: None))
    loop.stop()
    os.fstat(ours.fileno())
    theirs.send(b"x")
    assert ours.recv(1) == b"x"


def test_a_turn_that_fails_is_not_the_end():
    class Stumbling(Loop):
        stumbles = 2

        def _timeout(self):
            if self.stumbles:
                self.stumbles -= 1
                raise OverflowError
            return super()._timeout()

    loop = Stumbling("test")
    loop.start()
    inside(loop, lambda: None)
    assert loop.stumbles == 0
    assert loop.alive
    loop.stop()
    assert not loop.alive
