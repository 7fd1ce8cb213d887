"""The comparison of the soak's rhythms finds what is wrong."""

import pytest

from tests.faults.occurrences import SECOND, Request, Rhythm, check, forgotten
from tests.faults.outside import Effect

START = 1_800_000_000 * SECOND


def entry(second, outcome="delivered", attempt=1, **more):
    due = START + second * SECOND
    began = None if outcome in ("missed", "cancelled") else due + attempt * 10_000
    found = {"id": second * 10 + attempt, "due": due, "attempt": attempt, "key": f"{second}", "outcome": outcome}
    return found | {"started": began, "finished": (began or due) + 2000, "error": None} | more


def rhythm(entries, stored=6, effects=None, **body):
    """Every second from the second 1 on; `stored`: the second that it is pending for, None: it is there no more."""
    made = Rhythm(
        {"id": 7, "when": "2027-01-15T08:00:01Z"},
        1,
        {"method": "mark", "catch_up": "all", "overlap": "wait", "max_late": 10, "retries": 1} | body,
        entries=entries,
    )
    if stored is not None:
        due = START + stored * SECOND
        made.stored = {"due": due, "fire_at": due, "state": "pending", "key": "next", "attempts": 0, "count": None}
    done = [one for one in entries if one["outcome"] == "delivered"] if effects is None else effects
    made.effects = [Effect(one["started"] + 1, one["key"], "", 7, one["attempt"]) for one in done]
    return made


def found(made):
    return [text.partition(":")[0] for text in check(made, [START])]


def test_what_is_right_is_found_right():
    again = [entry(3, "failed"), entry(3, attempt=2)]
    assert found(rhythm([entry(1), entry(2), *again, entry(4), entry(5)])) == []
    assert found(rhythm([entry(1), entry(2)], stored=None, count=2)) == []


@pytest.mark.parametrize(
    ("made", "rule"),
    [
        (rhythm([entry(1), entry(3)], stored=4), "every occurrence is told"),
        (rhythm([entry(2)], stored=3), "every occurrence is told"),
        (rhythm([], stored=None), "it ends when it was to"),
        (rhythm([entry(1), entry(2)], stored=None, count=3), "it ends when it was to"),
        (rhythm([entry(1), entry(1, key="other")], stored=2), "never silently twice"),
        (rhythm([entry(1)], stored=2, effects=[]), "effects are explained"),
        (rhythm([entry(1)], stored=2, effects=[entry(1), entry(1)]), "effects are explained"),
        (rhythm([entry(1, started=START)], stored=2), "attempts are in time"),
        (rhythm([entry(1, "failed", n) for n in (1, 2, 3)], stored=2), "attempts are counted"),
        (rhythm([entry(1, "uncertain")], stored=2), "what is in doubt has a reason"),
        (rhythm([entry(1, "missed")], stored=2), "what is missed has a reason"),
    ],
)
def test_what_is_wrong_is_found(made, rule):
    assert rule in found(made)


def test_an_effect_after_a_cancellation_is_found():
    made = rhythm([entry(1), entry(2, "cancelled", attempt=0)], stored=None)
    made.requests = [Request("cancel", START, answered=START, status=204)]
    assert "what is cancelled never fires" in found(made)


def test_what_waits_while_what_came_later_is_attempted_is_found():
    late = rhythm([entry(1), entry(5)], stored=6)
    assert list(forgotten([late, rhythm([], stored=5)], START)) == []
    assert len(list(forgotten([late, rhythm([], stored=3)], START))) == 1
