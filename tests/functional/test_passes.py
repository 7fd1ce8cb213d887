"""How much the scheduler does at once."""

from datetime import UTC

import pytest

import tifftockd.store
from tests.daemon import wait_until
from tests.functional.test_clock import draft, watching
from tifftockd import clock
from tifftockd.clock import SECOND
from tifftockd.config import load_config
from tifftockd.executor.claims import Claims
from tifftockd.reminder import Ending, Verdict
from tifftockd.scheduler import Scheduler
from tifftockd.settling import Policy
from tifftockd.store import Store, Want


@pytest.mark.parametrize(("company", "few"), [(3600, True), (0, False)])
def test_while_others_use_the_store_a_pass_is_short(tmp_path, monkeypatch, company, few):
    monkeypatch.setattr(tifftockd.store, "_COMPANY", company)
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


class Ended:
    """An executor whose attempts have all ended."""

    gathering = False

    def __init__(self, reminders):
        self.claims = Claims(lambda claims: None)
        self.claims.hold(reminders)
        self.claims.begin(reminders)
        now = clock.now()
        self.endings = [Ending(reminder, Verdict.DELIVERED, now, now) for reminder in reminders]

    def take_endings(self):
        endings, self.endings = self.endings, []
        return endings


def test_when_the_daemon_stops_all_that_has_ended_is_settled(tmp_path, monkeypatch):
    monkeypatch.setattr(tifftockd.store, "_COMPANY", 3600)
    store = Store(f"sqlite:///{tmp_path}/t.db", tmp_path / "t.db")
    store.open()
    now = clock.now()
    store.create_all([draft(now)] * 300, None, now)
    policy = Policy(SECOND, UTC, now)
    wants = [Want("note", 300, now, True)]
    turn = store.turn([], wants, now, policy=policy, allowance=0, expiring=False, hold=lambda reminders: lambda: None)
    scheduler = Scheduler(store, load_config({}))
    scheduler.stop_claiming()
    scheduler.start(Ended(turn.claimed))
    scheduler.stop()
    counts = store.summary().counts
    assert (counts["firing"], counts["history"]) == (0, 300)
    store.close()
