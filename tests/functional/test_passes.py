"""How much the scheduler does at once."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC

import pytest

import tifftockd.scheduler.gap
import tifftockd.scheduler.portion
import tifftockd.store.steps
from tests.daemon import wait_until
from tests.functional.test_clock import HOUR, draft, watching
from tests.unit.test_gap import Attempted
from tifftockd import clock, journal
from tifftockd.clock import SECOND
from tifftockd.config import load_config
from tifftockd.errors import Overloaded, StoreUnavailable
from tifftockd.executor.claims import Claims
from tifftockd.reminder import CatchUp, Ending, Repeat, State, Verdict
from tifftockd.scheduler import Scheduler
from tifftockd.scheduler.pace import Pace
from tifftockd.settling import Policy, settle
from tifftockd.store import HistoryQuery, Store, Want


def opened(folder):
    store = Store(f"sqlite:///{folder}/t.db", folder / "t.db")
    store.open()
    return store


def claimed(store, now):
    """All that is due, as the scheduler would claim it."""
    policy, wants = Policy(SECOND, UTC, now), [Want("note", 300, now, True)]
    return store.turn(
        [], wants, now, policy=policy, allowance=0, expiring=0, hold=lambda reminders: lambda: None
    ).claimed


@pytest.mark.parametrize(("company", "few"), [(3600, True), (0, False)])
def test_while_others_use_the_store_a_pass_is_short(tmp_path, monkeypatch, company, few):
    monkeypatch.setattr(tifftockd.store, "_COMPANY", company)
    monkeypatch.setattr(tifftockd.scheduler.portion.Portion, "took", lambda *_: None)  # so that they stay short
    with watching(tmp_path) as (store, scheduler):
        passes = []

        def turn(settlements, *arguments, **settings):
            done = real(settlements, *arguments, **settings)
            passes.append((len(settlements), len(done.claimed)))
            return done

        real, store.turn = store.turn, turn
        scheduler.create_all([draft(clock.now() + SECOND)] * 40, None)
        wait_until(lambda: sum(settled for settled, _ in passes) == 40, "the outcomes")
        assert sum(claimed for _, claimed in passes) == 40
        assert (max(max(counts) for counts in passes) <= 16) == few


def test_what_is_too_late_is_ended_a_few_at_a_time_and_does_not_hold_up_what_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(tifftockd.scheduler.portion.Portion, "took", lambda *_: None)
    store = opened(tmp_path)
    now = clock.now()
    late, due = draft(now - 2 * SECOND, max_late=SECOND), draft(now - SECOND)
    store.create_all([late] * 40 + [due], None, now)
    passes = []

    def turn(*arguments, **settings):
        done = real(*arguments, **settings)
        passes.append((len(done.expired), len(done.claimed)))
        return done

    real, store.turn = store.turn, turn
    scheduler = Scheduler(store, load_config({}))
    scheduler.start(Ended([]))
    wait_until(lambda: store.summary().counts["missed"] == 40, "the outcomes")
    scheduler.stop()
    # The first does not know yet what else there is.
    assert passes[:3] == [(16, 0), (16, 1), (8, 0)]
    store.close()


@pytest.mark.parametrize("watched", [True, False])
def test_what_is_not_too_late_is_claimed_oldest_first_whatever_is_too_late(tmp_path, watched):
    store = opened(tmp_path)
    now = clock.now()
    store.create_all([draft(now - HOUR, max_late=SECOND)] * 9, None, now)
    store.create_all([draft(now + HOUR, max_late=0)] * 9, None, now)
    made = [store.create(draft(now - ago, max_late=late), None, now) for ago, late in ((2, HOUR), (1, SECOND))]
    wants, policy = [Want("note", 1, now, True)], Policy(SECOND, UTC, 0 if watched else now)
    for oldest in made:
        done = store.turn([], wants, now, policy=policy, allowance=1, expiring=4, hold=lambda _: lambda: None)
        assert [reminder.id for reminder in done.claimed] == [oldest.id]
    store.close()


def test_what_a_request_waits_for_is_left_to_it_and_then_claimed(tmp_path, monkeypatch):
    store = opened(tmp_path)
    now = clock.now()
    spared, other = (store.create(draft(now), None, now).id for _ in range(2))
    scheduler, attempted = Scheduler(store, load_config({})), Attempted()
    monkeypatch.setattr(tifftockd.scheduler.gap, "PATIENCE", 30)
    monkeypatch.setattr(Ended, "room", lambda *_: 1)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(scheduler._gap.find, spared, attempted.ask)
        wait_until(scheduler._gap.ids, "a request that waits")
        scheduler.start(Ended([]))
        wait_until(lambda: store.get(other).state == "firing", "the claim of what nobody waits for")
        assert store.get(spared).state == "pending"
        attempted.going_on = False
        scheduler._gap.ended([spared])
        assert answer.result(30) == "done"
    wait_until(lambda: store.get(spared).state == "firing", "the claim of what nobody waits for any more")
    scheduler.stop()
    store.close()


def test_an_outage_is_told_of_when_all_that_is_too_late_has_ended(tmp_path, monkeypatch, capfd):
    store = opened(tmp_path)
    now = clock.now()
    store.create_all([draft(now - 2 * SECOND, max_late=SECOND)] * 40, None, now)
    executor = Ended([])
    monkeypatch.setattr(executor, "has", lambda method: False)  # no attempt is waited for
    scheduler = Scheduler(store, load_config({}))
    scheduler.start(executor)
    wait_until(lambda: store.summary().counts["missed"] == 40, "the outcomes")
    scheduler.stop()
    assert re.findall(r"tifftockd: outage.* missed=(\d+)", capfd.readouterr().err) == ["40"]
    store.close()


def test_what_becomes_due_while_requests_are_answered_and_nothing_fires_yet_was_watched(tmp_path):
    """A start may wait for drop-ins: who is told 200 meanwhile is not told later that nobody was there."""
    store = opened(tmp_path)
    scheduler = Scheduler(store, load_config({}))
    scheduler.recover()
    once = Repeat("daily", count=1, catch_up=CatchUp.NONE)
    made = store.create(draft(clock.now())._replace(repeat=once), None, clock.now())
    time.sleep(0.002)
    scheduler.start(Ended([]))
    wait_until(lambda: store.get(made.id).state is State.FIRING, "the claim")
    scheduler.stop()
    store.close()


@pytest.mark.parametrize("step", [-2 * HOUR, 2 * HOUR])
def test_a_clock_that_is_set_during_the_start_changes_nothing_of_what_was_watched(tmp_path, monkeypatch, step):
    store = opened(tmp_path)
    scheduler = Scheduler(store, load_config({}))
    scheduler.recover()
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real() + step)
    scheduler.start(Ended([]))
    assert abs(scheduler._pace.since - clock.now()) < 10 * SECOND
    scheduler.stop()
    store.close()


def test_a_reminder_that_is_due_waits_for_no_overdue_one(tmp_path, monkeypatch):
    monkeypatch.setattr(Pace, "next", lambda self, now: now + HOUR)
    store = opened(tmp_path)
    store.create_all([draft(clock.now() - SECOND)] * 9, None, clock.now())
    scheduler = Scheduler(store, load_config({"CATCH_UP_RATE": "1"}))
    scheduler.start(Ended([]))
    assert scheduler.has_looked(10)
    fresh = scheduler.create(draft(clock.now() + SECOND // 4), None)
    wait_until(lambda: store.get(fresh.id).state is State.FIRING, "the claim")
    scheduler.stop()
    store.close()


class Failing:
    """A store whose passes fail while `fails` is set."""

    def __init__(self, store):
        self.fails, self.failed, self.watched = threading.Event(), threading.Event(), []
        self._turn, store.turn = store.turn, self._try

    def _try(self, *arguments, policy, **settings):
        if self.fails.is_set():
            self.failed.set()
            raise StoreUnavailable("the disk is full")
        self.watched.append(policy.since)
        return self._turn(*arguments, policy=policy, **settings)


@pytest.mark.parametrize("from_the_start", [True, False])
def test_while_the_store_fails_nobody_watches(tmp_path, monkeypatch, from_the_start):
    monkeypatch.setattr(tifftockd.scheduler, "_OUTAGE", SECOND // 10)
    monkeypatch.setattr(tifftockd.scheduler, "_BACKOFF_MS", 10)
    store = opened(tmp_path)
    due, failing = clock.now() + SECOND // 4, Failing(store)
    scheduler = Scheduler(store, load_config({}))
    if from_the_start:
        failing.fails.set()
    scheduler.start(Ended([]))
    assert from_the_start or scheduler.has_looked(10)
    reminder = scheduler.create(draft(due), None)
    failing.fails.set()
    wait_until(lambda: clock.now() > due + SECOND, "an outage")
    failing.fails.clear()
    wait_until(lambda: store.get(reminder.id).state is State.FIRING, "the claim")
    scheduler.stop()
    assert failing.watched[-1] > due + SECOND // 2
    store.close()


def test_when_the_store_works_again_a_new_reminder_waits_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tifftockd.scheduler, "_BACKOFF_MS", 120_000)
    store = opened(tmp_path)
    failing, scheduler = Failing(store), Scheduler(store, load_config({}))
    scheduler.start(Ended([]))
    assert scheduler.has_looked(10)
    scheduler.create(draft(clock.now() + SECOND // 2), None)
    wait_until(lambda: scheduler._alarm_at is not None, "the alarm")
    failing.fails.set()
    assert failing.failed.wait(10)
    wait_until(lambda: scheduler._alarm_at is None, "the failed pass")
    failing.fails.clear()
    made = scheduler.create(draft(clock.now()), None)
    wait_until(lambda: store.get(made.id).state is State.FIRING, "the claim")
    scheduler.stop()
    store.close()


def test_where_only_the_cleaning_fails_somebody_watches(tmp_path, monkeypatch):
    monkeypatch.setattr(tifftockd.scheduler, "_OUTAGE", SECOND // 10)
    monkeypatch.setattr(tifftockd.scheduler, "_BACKOFF_MS", 10)
    store = opened(tmp_path)
    watched, scheduler = Failing(store).watched, Scheduler(store, load_config({}))
    scheduler.start(Ended([]))
    assert scheduler.has_looked(10)
    made = scheduler.create(draft(clock.now() + SECOND // 2), None)
    wait_until(lambda: scheduler._alarm_at is not None, "the alarm")

    def step(*_):
        raise Overloaded("too many wait")

    monkeypatch.setattr(scheduler._cleaning, "step", step)
    wait_until(lambda: store.get(made.id).state is State.FIRING, "the claim")
    passes = len(watched)
    wait_until(lambda: len(watched) > passes + 50, "passes")
    scheduler.stop()
    assert len(set(watched)) == 1
    store.close()


def test_a_claim_that_is_taken_back_ends_its_outage(tmp_path, capfd):
    store, now = opened(tmp_path), clock.now()
    late, due = store.create_all([draft(now - HOUR, max_late=SECOND), draft(now - SECOND)], None, now)
    scheduler = Scheduler(store, load_config({}))
    scheduler.start(Ended([]))
    wait_until(lambda: store.get(due.id).state is State.FIRING, "the claim")
    wait_until(lambda: store.get(late.id).state is State.MISSED, "the outcome")
    scheduler.cancel(due.id)
    scheduler.wake()
    scheduler.stop()
    assert re.findall(r"tifftockd: outage.* missed=(\d+)", capfd.readouterr().err) == ["1"]
    store.close()


def test_of_several_methods_with_much_that_is_too_late_each_has_its_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(tifftockd.store.steps, "LOOKED_NEAR", 1)
    store, now = opened(tmp_path), clock.now()
    methods = "note", "log", "lamp"
    late = [draft(now - HOUR, max_late=SECOND)._replace(method=method) for method in methods] * 3
    store.create_all(late + [draft(now)._replace(method=method) for method in methods], None, now)
    policy, wants = Policy(SECOND, UTC, 0), [Want(method, 300, now, True) for method in methods]
    passes = []
    while sum(passes) < 3:
        done = store.turn([], wants, now, policy=policy, allowance=0, expiring=0, hold=lambda _: lambda: None)
        passes.append(len(done.claimed))
        assert len(passes) < 1000
    assert max(passes) == 1
    store.close()


def test_of_repeats_that_are_too_late_all_missed_occurrences_count(tmp_path):
    store = opened(tmp_path)
    minute = clock.now() // (60 * SECOND) * 60 * SECOND
    now = minute + 1
    store.create_all([draft(minute - HOUR, max_late=0, repeat=Repeat("*:*:00"))] * 4, None, now)
    policy, lines = Policy(SECOND, UTC, now), []
    while not lines or lines[-1]:
        done = store.turn([], [], now, policy=policy, allowance=0, expiring=100, hold=lambda _: lambda: None)
        lines.append([len(ended.passed) for ended in done.expired])
    assert lines == [[60, 60], [60, 60], []]
    store.close()


@pytest.mark.parametrize("count", [1, 7, 64, 145])
def test_of_many_that_are_written_at_once_each_keeps_what_is_its_own(tmp_path, count):
    store = opened(tmp_path)
    now = clock.now()
    made = store.create_all([draft(now)._replace(message=f"the {n}th") for n in range(count)], None, now)
    assert [store.get(reminder.id) for reminder in made] == made
    policy = Policy(SECOND, UTC, now)
    store.settle([settle(Ending(one, Verdict.DELIVERED, now, now + one.id), policy) for one in claimed(store, now)])
    entries = store.history(HistoryQuery(rows=count)).entries
    assert {(entry.reminder, entry.key, entry.message, entry.finished) for entry in entries} == {
        (one.id, one.key, one.message, now + one.id) for one in made
    }
    assert store.summary().counts["history"] == count
    store.close()


class Ended:
    """An executor whose attempts have all ended."""

    gathering = False
    alive = True

    def __init__(self, reminders):
        self.claims = Claims(lambda claims: None)
        self.claims.hold(reminders)
        self.claims.begin(reminders)
        now = clock.now()
        self.endings = [Ending(reminder, Verdict.DELIVERED, now, now) for reminder in reminders]

    def take_endings(self):
        endings, self.endings = self.endings, []
        return endings

    def room(self, method):
        return 300

    def repeatable(self, method):
        return True

    def is_warm(self, method):
        return True

    def has(self, method):
        return True


def test_what_has_ended_is_recorded_before_more_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(tifftockd.store, "_COMPANY", 3600)
    store = opened(tmp_path)
    now = clock.now()
    store.create_all([draft(now)] * 100, None, now)
    executor, passes = Ended(claimed(store, now)), []
    store.create_all([draft(now)] * 5, None, now)

    def turn(settlements, wants, *arguments, **settings):
        passes.append((len(settlements), len(wants)))
        return real(settlements, wants, *arguments, **settings)

    real, store.turn = store.turn, turn
    scheduler = Scheduler(store, load_config({}))
    scheduler.start(executor)
    wait_until(lambda: store.summary().counts["firing"] == 5, "the claims")
    scheduler.stop()
    before = [wanted for settled, wanted in passes[: [settled for settled, _ in passes].index(0)]]
    assert before == [0] * (len(before) - 1) + [1]
    store.close()


def test_one_whose_end_cannot_be_stored_holds_up_no_other_and_nobody_who_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(tifftockd.scheduler.gap, "PATIENCE", 30)
    store = opened(tmp_path)
    now = clock.now()
    yearly = store.create(draft(now, repeat=Repeat("yearly")), None, now).id
    odd = store.create(draft(now), None, now).id
    scheduler, executor = Scheduler(store, load_config({})), Ended(claimed(store, now))
    # Half of a surrogate pair, which SQLite takes from nobody.
    executor.endings = [
        one._replace(verdict=Verdict.PERMANENT, error="\ud800") if one.reminder.id == odd else one
        for one in executor.endings
    ]
    with ThreadPoolExecutor() as pool:
        cancelled = pool.submit(scheduler.cancel, yearly)
        wait_until(scheduler._gap.ids, "a request that waits")
        scheduler.start(executor)
        cancelled.result(20)
    wait_until(lambda: store.get(odd).state == "failed", "its end")
    scheduler.stop()
    assert store.get(odd).last_error == "its error cannot be stored"
    assert executor.claims.ids() == set()
    ends = {(entry.reminder, entry.outcome) for entry in store.history(HistoryQuery(rows=9)).entries}
    assert ends == {(yearly, "delivered"), (yearly, "cancelled"), (odd, "failed")}
    store.close()


def test_what_is_told_of_a_commit_is_written_when_those_who_wait_for_it_have_gone_on(tmp_path, capfd):
    store = opened(tmp_path)
    made = Scheduler(store, load_config({})).create(draft(clock.now() + HOUR), None)
    assert capfd.readouterr().err == ""
    journal.flush()
    assert f"created reminder={made.id} " in capfd.readouterr().err
    store.close()


def test_it_is_starting_until_it_runs(tmp_path, monkeypatch):
    store, seen = opened(tmp_path), []
    scheduler = Scheduler(store, load_config({}))
    start = threading.Thread.start

    def watched(thread):
        seen.append(scheduler.condition)
        start(thread)
        seen.append(scheduler.condition)

    monkeypatch.setattr(threading.Thread, "start", watched)
    scheduler.start(Ended([]))
    assert seen == ["starting", "starting"]
    assert scheduler.condition == "alive"
    scheduler.stop()
    assert scheduler.condition == "dead"
    store.close()


def test_when_the_daemon_stops_all_that_has_ended_is_settled(tmp_path, monkeypatch):
    monkeypatch.setattr(tifftockd.store, "_COMPANY", 3600)
    store = opened(tmp_path)
    now = clock.now()
    store.create_all([draft(now)] * 300, None, now)
    scheduler = Scheduler(store, load_config({}))
    scheduler.stop_claiming()
    scheduler.start(Ended(claimed(store, now)))
    scheduler.stop()
    counts = store.summary().counts
    assert (counts["firing"], counts["history"]) == (0, 300)
    store.close()
