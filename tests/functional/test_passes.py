"""How much the scheduler does at once."""

import pytest

import tifftockd.store
from tests.daemon import wait_until
from tests.functional.test_clock import draft, watching
from tifftockd import clock
from tifftockd.clock import SECOND


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
        wait_until(lambda: store.summary().counts["history"] == 40, "the outcomes")
        settled, claimed = (sum(counts) for counts in zip(*passes, strict=True))
        assert (settled, claimed) == (40, 40)
        assert (max(max(counts) for counts in passes) <= 16) == few
