"""What tifftockctl says of each situation that a reminder can be in."""

from datetime import UTC, datetime, timedelta

import pytest

from tifftockd.ctl.explain import explain
from tifftockd.ctl.facts import Facts

NOW = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
LOG = {
    "method": "lamp", "source": "lamp.py", "available": True, "reason": None, "options": {}, "needs_to": False,
    "timeout": "1min", "concurrency": 2,
}  # fmt: skip
HANDLERS = {"methods": [LOG], "failures": [], "loading": False}
HEALTH = {
    "status": "ok", "version": "0.1.0", "scheduler": "alive", "store": "ok", "next_due": None, "counts": {"pending": 2},
}  # fmt: skip


def at(**ago):
    return (NOW - timedelta(**ago)).isoformat()


def reminder(**fields):
    return {
        "id": 7, "when": at(hours=-1), "message": "on", "method": "lamp", "to": None, "options": {}, "tz": None,
        "max_late": "24h", "state": "pending", "attempts": 0, "retries": 5, "created": at(days=1), "key": "k",
        "last_error": None,
    } | fields  # fmt: skip


def entry(attempt, outcome, late, error=None, key="k"):
    return {
        "id": attempt, "reminder": 7, "attempt": attempt, "key": key, "method": "lamp", "to": None, "message": "on",
        "due": at(hours=1), "started": at(seconds=3600 - late) if attempt else None,
        "finished": at(seconds=3599 - late),
        "late_ms": late * 1000 if attempt else None, "outcome": outcome, "error": error, "output": None,
    }  # fmt: skip


def said(one, *history, handlers=HANDLERS, clock=NOW, firing=0, **health):
    facts = Facts(7, one, list(history)[::-1], handlers, HEALTH | health, [], clock, firing)
    return "\n".join(explain(facts, NOW))


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ([reminder()], "It has not fired because its time has not come; nothing is in its way."),
        ([reminder(when=at(minutes=1))], "It is about to fire"),
        ([reminder(state="firing", attempts=1)], "attempt 1 by lamp is running; it may take 1min at the most"),
        ([reminder(state="failed", attempts=2, last_error="no")], "has failed after 2 attempts. It was due"),
        ([reminder(state="missed")], "None could be: the daemon or the machine was off or asleep then"),
        ([reminder(state="missed")], "its method could not be used, or it waited for its turn. tifftockd logs each"),
        ([reminder(state="missed", max_late="0s")], "With a max_late of 0 none is ever early enough."),
        ([reminder(state="uncertain", attempts=1)], "it may have happened, and is not repeated"),
        ([reminder(state="failed")], "tifftockctl rearm 7 fires it again, tifftockctl cancel 7 drops it"),
        ([None, entry(1, "delivered", 0.0004)], "It was on time."),
        ([None, entry(1, "failed", 0.1, "no"), entry(2, "delivered", 60)], "it took 2 attempts; the first began"),
        ([None, entry(1, "failed", 0.1, "no"), entry(2, "delivered", 60)], "UTC (1h ago): failed, no."),
        ([None, entry(1, "delivered", 1800)], "No attempt was made before: the daemon or the machine was off"),
        ([None, entry(0, "cancelled", 0)], "Reminder 7 was cancelled"),
        ([None, entry(0, "missed", 0, "too late")], "ended missed Wed 2026-11-25"),
        ([None, entry(1, "failed", 0, "no", "a"), entry(1, "delivered", 0)], "it came 1 time"),
        ([None, *(entry(n, "failed", n, "no") for n in range(1, 9)), entry(9, "delivered", 9)], "3 attempts came"),
        ([reminder(attempts=1), entry(1, "interrupted", 0, "the daemon died")], "was cut off (the daemon died)"),
    ],
)  # fmt: skip
def test_each_situation_has_its_sentence(facts, says):
    assert says in said(*facts)


def test_a_retry_is_told_with_its_number_and_when():
    one = reminder(when=at(hours=1), attempts=2)
    tried = [entry(1, "failed", 0, "no"), entry(2, "failed", 60, "not now")]
    some = said(one, *tried, next_due=at(minutes=-4))  # of another, for all that is known
    assert "Attempt 2 failed Wed 2026-11-25" in some
    assert ": not now. Retry 2 of 5 is next." in some
    assert "It comes after RETRY_DELAY, doubled with each failure, or later if what failed asked for that." in some
    assert "in 4min" not in some
    some = said(one, *tried, next_due=at(minutes=-4), counts={"pending": 1})
    assert "It comes Wed 2026-11-25" in some
    assert "(in 4min)." in some


def test_what_is_in_its_way_is_told_and_until_when_it_may_still_fire():
    missing = {"methods": [], "failures": [{"file": "lamp.py", "error": "SyntaxError"}], "loading": False}
    some = said(reminder(when=at(hours=1)), handlers=missing)
    assert "there is no method lamp now" in some
    assert "lamp.py could not be loaded: SyntaxError." in some
    assert "(in 23h), 24h after it is due; then it ends without." in some
    unset = HANDLERS | {"methods": [LOG | {"available": False, "reason": "set LAMP_KEY"}]}
    assert "the method lamp cannot be used: set LAMP_KEY" in said(reminder(), handlers=unset)
    assert "still being loaded" in said(reminder(), handlers=missing | {"loading": True})
    assert "the daemon's scheduler is dead" in said(reminder(), scheduler="dead")
    assert "the daemon's last write failed: disk full" in said(reminder(), store="disk full")
    assert "which is plainly wrong" in said(reminder(), clock=datetime(1970, 1, 1, tzinfo=UTC))
    overdue = reminder(when=at(minutes=1))
    assert "It waits for its turn behind 2 attempts: lamp makes 2 at once." in said(overdue, firing=2)
    single = HANDLERS | {"methods": [LOG | {"concurrency": 1}]}
    assert "It waits for its turn behind 1 attempt: lamp makes 1 at once." in said(overdue, handlers=single, firing=1)
    assert "It is about to fire" in said(overdue, firing=1, counts={"pending": 1, "firing": 9}), "9 of other methods"


def test_clocks_that_differ_are_told():
    assert "this machine's" in said(reminder(), clock=NOW + timedelta(minutes=1))
    assert "clock" not in said(reminder(), clock=NOW + timedelta(seconds=2))
    assert "clock" not in said(reminder(), clock=None)
