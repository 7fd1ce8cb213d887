"""The wall clock: alarms, steps, and a clock that is plainly wrong. It is faked at its one seam, `clock.now`."""

import os
import select
from contextlib import contextmanager

import pytest

from tests.daemon import NOTE, wait_until
from tests.functional.test_firing import lines
from tifftockd import clock
from tifftockd.clock import SECOND, Alarm
from tifftockd.config import load_config
from tifftockd.executor import Executor
from tifftockd.reminder import Draft, Outcome, State
from tifftockd.scheduler import Scheduler
from tifftockd.scheduler.cleaning import Cleaning
from tifftockd.store import HistoryQuery, Store

HOUR = 3600 * SECOND


def rings(alarm, seconds):
    poll = select.poll()
    poll.register(alarm.fileno(), select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def test_an_alarm_rings_at_its_instant_and_not_before():
    alarm = Alarm()
    at = clock.now() + 100_000
    assert alarm.set(at) is False
    assert rings(alarm, 10)
    assert clock.now() >= at
    assert alarm.acknowledge() is False
    assert not rings(alarm, 0)
    alarm.close()


def test_an_alarm_for_the_past_rings_at_once_and_none_rings_never():
    alarm = Alarm()
    alarm.set(None)
    assert not rings(alarm, 0.05)
    alarm.set(-5)
    assert rings(alarm, 10)
    alarm.close()


def test_an_alarm_takes_the_year_9999():
    alarm = Alarm()
    alarm.set(253_402_300_799 * SECOND)
    assert not rings(alarm, 0.05)
    alarm.close()


class Shifted:
    """A clock that can be set: the real one and an offset."""

    def __init__(self, real):
        self.real = real
        self.offset = 0
        self.stepped = False

    def __call__(self):
        return self.real() + self.offset


@contextmanager
def watching(folder, **settings):
    """Store, executor and scheduler in this process, so that the test can set the clock they see."""
    handlers = folder / "handlers.d"
    handlers.mkdir()
    (handlers / "note.py").write_text(NOTE)
    places = {"DATABASE_URL": f"sqlite:///{folder}/t.db", "HANDLERS_DIR": str(handlers), "API_URL": f"unix:{folder}/s"}
    config = load_config({"PATH": os.environ["PATH"]} | places | settings)
    store = Store(config.database_url, config.database_path)
    store.open()
    scheduler = Scheduler(store, config)
    executor = Executor(config, scheduler.wake)
    scheduler.recover()
    executor.start()
    executor.registry.wait(30)
    scheduler.start(executor)
    try:
        yield store, scheduler
    finally:
        scheduler.stop_claiming()
        executor.stop(0)
        scheduler.stop()
        store.close()


def draft(due, **fields):
    values = {
        "due": due, "written": "", "message": "m", "method": "note", "to": None, "options": {"file": os.devnull},
        "tz": None, "max_late": HOUR, "retries": 0,
    }  # fmt: skip
    return Draft(**values | fields)


@pytest.fixture
def shifted(monkeypatch):
    made = Shifted(clock.now)

    class ShiftedAlarm(Alarm):
        def set(self, instant):
            return super().set(None if instant is None else instant - made.offset)

        def acknowledge(self):
            stepped, made.stepped = made.stepped, False
            return super().acknowledge() or stepped

    monkeypatch.setattr(clock, "now", made)
    monkeypatch.setattr(clock, "Alarm", ShiftedAlarm)
    return made


def outcome(store, reminder):
    found = wait_until(lambda: store.history(HistoryQuery(reminder=reminder.id)).entries, "an outcome")
    return found[0].outcome


def set_clock(scheduler, shifted, offset):
    """As the kernel does it: the clock jumps, and the alarm says so."""
    shifted.offset = offset
    shifted.stepped = True
    scheduler.wake()


def test_a_clock_of_1970_fires_and_misses_nothing_until_it_is_set(tmp_path, shifted):
    real = clock.now()
    shifted.offset = -real + 100 * SECOND
    with watching(tmp_path) as (store, scheduler):
        assert clock.is_wrong(clock.now())
        due = scheduler.create(draft(real - 60 * SECOND), None)
        late = scheduler.create(draft(real - 2 * HOUR), None)
        early = scheduler.create(draft(50 * SECOND), None)
        passes = scheduler.passes
        scheduler.wake()
        wait_until(lambda: scheduler.passes > passes, "a pass")
        assert {store.get(one.id).state for one in (due, late, early)} == {State.PENDING}
        set_clock(scheduler, shifted, 0)
        assert outcome(store, due) is Outcome.DELIVERED
        assert outcome(store, late) is Outcome.MISSED
        assert outcome(store, early) is Outcome.MISSED


def test_a_clock_set_forward_fires_what_has_become_due(tmp_path, shifted):
    # An hour behind at first: the workers read the real clock, and must agree when the attempt comes to them.
    real = clock.now()
    shifted.offset = -HOUR
    with watching(tmp_path) as (store, scheduler):
        made = scheduler.create(draft(real), None)
        far = scheduler.create(draft(real + 3 * HOUR), None)
        passes = scheduler.passes
        scheduler.wake()
        wait_until(lambda: scheduler.passes > passes, "a pass")
        assert store.get(made.id).state is State.PENDING
        set_clock(scheduler, shifted, 0)
        assert outcome(store, made) is Outcome.DELIVERED
        assert store.get(far.id).state is State.PENDING


def test_a_clock_set_back_takes_back_what_was_claimed_by_the_old_time(tmp_path, shifted):
    note = tmp_path / "note"
    with watching(tmp_path, HANDLER_CONCURRENCY="1") as (store, scheduler):
        for _ in range(10):
            quick = scheduler.create(draft(clock.now()), None)
            assert outcome(store, quick) is Outcome.DELIVERED
        slow = scheduler.create(draft(clock.now(), options={"file": str(note), "sleep": 2}), None)
        wait_until(lambda: lines(note), "the slow attempt")
        queued = scheduler.create(draft(clock.now(), options={"file": str(note)}), None)
        wait_until(lambda: store.get(queued.id).state is State.FIRING, "the claim")
        set_clock(scheduler, shifted, -HOUR)
        back = wait_until(lambda: (r := store.get(queued.id)).state is State.PENDING and r, "the claim's return")
        assert back.attempts == 0
        assert outcome(store, slow) is Outcome.DELIVERED
        assert len(lines(note)) == 1
        set_clock(scheduler, shifted, 0)
        assert outcome(store, queued) is Outcome.DELIVERED


def test_a_long_sleep_of_the_machine_is_an_outage_and_its_backlog_is_paced(tmp_path, shifted, capfd):
    note = tmp_path / "note"
    with watching(tmp_path, CATCH_UP_RATE="10") as (store, scheduler):
        at = clock.now() + SECOND // 2
        made = [scheduler.create(draft(at, options={"file": str(note)}), None) for _ in range(15)]
        # The clock runs ahead, as after a suspend: no ECANCELED, the alarm just rings late.
        shifted.offset = 60 * SECOND
        for one in made:
            assert outcome(store, one) is Outcome.DELIVERED
        began = [t for *_, t, _ in lines(note)]
        assert max(began) - min(began) > 1.0
        wait_until(lambda: "outage" in capfd.readouterr().err, "the summary")


def test_a_wrong_clock_that_is_right_at_last_without_being_set_is_noticed(tmp_path, shifted):
    shifted.offset = clock.RELEASED - clock.now() - SECOND
    with watching(tmp_path) as (store, scheduler):
        # The workers read the real clock, by which it is later.
        made = scheduler.create(draft(clock.RELEASED + SECOND // 2, max_late=10**6 * HOUR), None)
        assert outcome(store, made) is Outcome.DELIVERED


def test_an_attempt_that_breaks_after_the_clock_was_set_back_has_been_begun(tmp_path, shifted):
    note = tmp_path / "note"
    with watching(tmp_path, HANDLER_TIMEOUT="1s") as (store, scheduler):
        due = clock.now()
        made = scheduler.create(draft(due, method="once", options={"file": str(note), "sleep": 60}), None)
        wait_until(lambda: lines(note), "the attempt")
        set_clock(scheduler, shifted, -HOUR)
        assert outcome(store, made) is Outcome.UNCERTAIN, "what must not be repeated is not taken back"
        [entry] = store.history(HistoryQuery(reminder=made.id)).entries
        assert due <= entry.started <= entry.finished


@pytest.mark.parametrize("left", [None, HOUR, clock.RELEASED + 1000 * HOUR])
def test_what_is_cancelled_by_a_clock_that_is_wrong_is_not_dated_for_the_next_cleaning(tmp_path, left):
    store = Store(f"sqlite:///{tmp_path}/t.db", tmp_path / "t.db")
    store.open()
    store.left_at = left
    for now, dated in ((2 * HOUR, max(left or 0, clock.RELEASED)), (clock.RELEASED + HOUR, clock.RELEASED + HOUR)):
        gone = store.create(draft(clock.now()), None, now)
        store.cancel(gone.id, now, lambda id_: None)
        assert store.history(HistoryQuery(reminder=gone.id)).entries[0].finished == dated
    store.close()


def test_cleaning_that_a_clock_put_off_takes_place_when_the_clock_is_set_back(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/t.db", tmp_path / "t.db")
    store.open()
    cleaning = Cleaning(store)
    real, year = clock.now(), 365 * 24 * HOUR
    gone = store.create(draft(real), None, real + year)
    store.cancel(gone.id, real + year, lambda id_: None)
    cleaning.step(1, real + year, days=30, most=10)
    assert cleaning.next(real + year) > real + year
    cleaning.clock_set(real)
    assert cleaning.next(real) <= real + HOUR
    cleaning.step(1, real + HOUR, days=30, most=10)
    assert cleaning.next(real + HOUR) <= real + 31 * 24 * HOUR, "an entry dated in the future puts nothing off"
    store.close()
