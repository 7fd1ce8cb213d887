"""Who has a claim: also where the transaction that was to change that comes to nothing."""

from tests.unit.test_settling import CLAIMED
from tifftockd.executor.claims import Claims


def test_a_claim_that_was_recalled_and_made_anew_in_vain_is_what_it_was():
    queued = []
    claims = Claims(queued.extend)
    claims.hold([CLAIMED])
    claims.begin([CLAIMED])
    [first] = queued
    # In one batch a request takes it back, and a pass claims the reminder again; then the disk refuses.
    recalled = claims.recall(CLAIMED.id)
    undo = claims.hold([CLAIMED._replace(attempts=2)])
    undo()
    recalled.undo()
    assert claims.ids() == {CLAIMED.id}
    assert claims.recall_all() == [CLAIMED]
    assert first.recalled


def test_a_claim_that_was_made_in_vain_is_forgotten():
    claims = Claims(lambda _: None)
    claims.hold([CLAIMED])()
    assert claims.ids() == set()
    assert claims.recall(CLAIMED.id) is None


def test_a_claim_that_is_given_back_can_be_cancelled_at_once_and_is_given_back_once():
    queued = []
    claims = Claims(queued.extend)
    others = CLAIMED._replace(id=8)
    claims.hold([CLAIMED, others])
    claims.begin([CLAIMED, others])
    cancelled = claims.recall(others.id)
    assert claims.recall_these(queued) == [CLAIMED]
    assert claims.recall(CLAIMED.id) is not None
    assert claims.recall_all() == []
    cancelled.undo()
    assert [claim.reminder for claim in queued[2:]] == [others], "it is queued again"
