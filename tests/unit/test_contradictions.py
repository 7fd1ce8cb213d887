"""The judge of histories is judged: right ones pass, and each contradiction is found for what it is."""

from dataclasses import replace

import pytest

from tests.faults.contradictions import COMMON_RULES, RULES, check
from tests.faults.history import Effect, Entry, History, Kind, Operation, Shown, instant

KEY, OTHER = "a" * 32, "b" * 32
DAY = 86_400_000_000


def create(at, due, *, message="c1", id_=1, key=KEY, method="mark", answered=2, **fields):
    """Without an answer when `answered` is None."""
    asked = Operation(Kind.CREATE, at, message=message, due=due, max_late=DAY)
    return _answered(asked, answered, 201, Shown(id_, message, method, due, "pending", 0, key), **fields)


def patch(at, due, *, message="p1", id_=1, key=KEY, method="mark", answered=2, shown_due=None, **fields):
    asked = Operation(Kind.PATCH, at, reminder=id_, message=message, due=due, max_late=DAY)
    shown = Shown(id_, message, method, due if shown_due is None else shown_due, "pending", 0, key)
    return _answered(asked, answered, 200, shown, **fields)


def cancel(at, *, id_=1, answered=2, status=204):
    return _answered(Operation(Kind.CANCEL, at, reminder=id_), answered, 204, None, status)


def read(at, message="c1", *, id_=1, key=KEY, due=100, state="pending", status=200):
    shown = Shown(id_, message, "mark", due, state, 0, key)
    return _answered(Operation(Kind.READ, at, reminder=id_), 2, 200, shown, status)


def _answered(operation, after, usual, shown, status=None, **fields):
    if after is None:
        return operation
    status = status or usual
    shown = shown if status == usual else None
    return replace(operation, **{"answered": operation.sent + after, "status": status, "shown": shown} | fields)


def entry(outcome, started, finished, *, attempt=1, message="c1", id_=1, key=KEY, due=100, method="mark"):
    """Numbered by `lived`."""
    return Entry(0, id_, attempt, key, method, message, due, started, finished, outcome)


def mark(at, *, attempt=1, message="c1", id_=1, key=KEY):
    return Effect(at, key, message, id_, attempt)


def stored(message="c1", *, id_=1, state="pending", due=100, key=KEY, attempts=0):
    return Shown(id_, message, "mark", due, state, attempts, key)


def lived(*things, collected=10_000):
    """A history of these, each put where it belongs."""
    history = History(collected=collected)
    for thing in things:
        if isinstance(thing, int):
            history.downs.append(thing)
        elif isinstance(thing, Operation):
            history.operations.append(thing)
        elif isinstance(thing, Effect):
            history.effects.append(thing)
        elif isinstance(thing, Entry):
            history.entries.append(replace(thing, id=len(history.entries) + 1))
        else:
            history.stored.append(thing)
    return history


def rules(*things, **fields):
    return {found.rule for found in check(lived(*things, **fields))}


DELIVERED = (create(10, 100), entry("delivered", 101, 105), mark(102))
FAR = 99_999
CANCELLED = (cancel(20), entry("cancelled", None, 21, attempt=0))

RIGHT = {
    "nothing at all": (),
    "delivered": DELIVERED,
    "waits": (create(10, FAR), stored(due=FAR)),
    "cancelled": (create(10, 100), *CANCELLED),
    "interrupted, then delivered": (
        create(10, 100), 110, entry("interrupted", 101, 120), mark(102),
        entry("delivered", 121, 130, attempt=2), mark(122, attempt=2),
    ),
    "interrupted before it had an effect": (
        create(10, 100), 110, entry("interrupted", 101, 120), entry("delivered", 121, 130, attempt=2),
        mark(122, attempt=2),
    ),
    "failed, armed anew, delivered": (
        create(10, 100), entry("failed", 101, 105), mark(102), patch(200, 300, key=OTHER),
        entry("delivered", 301, 305, message="p1", key=OTHER, due=300), mark(302, message="p1", key=OTHER),
    ),
    "armed anew for now": (
        create(10, 100), entry("failed", 101, 105), mark(102), patch(200, None, key=OTHER, shown_due=201),
        entry("delivered", 203, 205, message="p1", key=OTHER, due=201), mark(204, message="p1", key=OTHER),
    ),
    "changed before its time, under the same key": (
        create(10, 100), patch(20, 200), entry("delivered", 201, 205, message="p1", due=200), mark(202, message="p1"),
    ),
    "changed without a time": (
        create(10, 100), patch(20, None, shown_due=100), entry("delivered", 101, 105, message="p1"),
        mark(102, message="p1"),
    ),
    "uncertain, and cancelled later": (
        create(10, 100, method="once"), 110, entry("uncertain", 101, 120, method="once"), mark(102),
        cancel(200), entry("cancelled", None, 201, attempt=1, method="once"),
    ),
    "cut off five times": (
        create(10, 100),
        *(entry("interrupted", 100 * n + 1, 100 * n + 50, attempt=n) for n in range(1, 5)),
        entry("uncertain", 501, 550, attempt=5), stored(state="uncertain", attempts=5),
    ),
    "missed": (
        create(10, 100, max_late=50), entry("missed", None, 200, attempt=0), stored(state="missed"),
    ),
    "an unanswered create that was done": (
        create(10, 100, answered=None), 15, entry("delivered", 101, 105), mark(102),
    ),
    "an unanswered create that was not": (create(10, 100, answered=None), 15),
    "an unanswered DELETE that was done": (
        create(10, 100), cancel(20, answered=None), 25, entry("cancelled", None, 21, attempt=0),
    ),
    "an unanswered DELETE that was not": (*DELIVERED, cancel(20, answered=None), 25),
    "an unanswered PATCH that was done": (
        create(10, 100), patch(20, 200, answered=None), 25, entry("delivered", 201, 205, message="p1", due=200),
        mark(202, message="p1"),
    ),
    "an unanswered PATCH that was not": (*DELIVERED, patch(20, 200, answered=None), 25),
    "a PATCH that may come before another": (
        create(10, 100), patch(20, 200, answered=30), patch(25, 300, message="p2", answered=30),
        entry("delivered", 201, 205, message="p1", due=200), mark(202, message="p1"),
    ),
    "refused requests": (
        *DELIVERED, patch(102, 200, status=409), cancel(103, status=409), cancel(200, status=404),
        create(300, 400, message="c2", status=400),
    ),
    "a create that met a full disk": (create(10, 100, status=503),),
    "noticed late": (
        create(10, 100), entry("interrupted", 101, 105), entry("delivered", 110, 120, attempt=2),
        Effect(112, KEY, "c1", delay=50), Effect(115, KEY, "c1", delay=50),
    ),
    "its history as it was shown": (
        *DELIVERED,
        Operation(Kind.HISTORY, 200, 201, 200, 1, entries=(replace(entry("delivered", 101, 105), id=1),)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("things", RIGHT.values(), ids=RIGHT)
def test_a_right_history_passes(things):
    assert check(lived(*things)) == []


ONCE = (create(10, 100, method="once"), entry("uncertain", 101, 120, method="once"), mark(102))
WRONG = {
    "accepted, and never seen again": ("accepted is kept", (create(10, 100),)),
    "failed, and neither stored nor cancelled": (
        "accepted is kept", (create(10, 100), entry("failed", 101, 105), mark(102)),
    ),
    "an interrupted attempt is not made again": (
        "accepted is kept", (create(10, 100), 110, entry("interrupted", 101, 120)),
    ),
    "delivered, and still stored": ("accepted is kept", (*DELIVERED, stored(due=FAR))),
    "stored with another end than its history's": (
        "accepted is kept", (create(10, 100), entry("failed", 101, 105), mark(102), stored(state="missed")),
    ),
    "still pending long after its time": ("nothing stays undone", (create(10, 100), stored())),
    "still firing": ("nothing stays undone", (create(10, 100), stored(state="firing"))),
    "an id used twice": ("one id one reminder", (*DELIVERED, create(200, 300, message="c2"))),
    "an id used twice, as its entry shows": (
        "one id one reminder",
        (*DELIVERED, create(200, 300, message="c2", answered=None),
         entry("delivered", 301, 305, message="c2", due=300)),
    ),
    "two reminders of one request": (
        "one request one reminder",
        (*DELIVERED, entry("delivered", 101, 105, id_=2, key=OTHER), mark(102, id_=2, key=OTHER)),
    ),
    "an effect of a message that nobody sent": ("known messages", (*DELIVERED, mark(102, message="x"))),
    "an effect of a request that was refused": (
        "known messages",
        (*DELIVERED, patch(50, 80, status=409), entry("delivered", 81, 85, message="p1", due=80)),
    ),
    "an effect of another reminder's message": (
        "one request one reminder",
        (*DELIVERED, create(10, 100, id_=2, message="c2", key=OTHER), mark(102, message="c2")),
    ),
    "an answer that shows another time": (
        "answers say what was asked", (create(10, FAR), patch(20, FAR + 1, shown_due=FAR), stored("p1", due=FAR + 1)),
    ),
    "an effect before its time": (
        "never early", (create(10, 100), entry("delivered", 90, 105), mark(91)),
    ),
    "an entry that hides it": (
        "never early", (create(10, 100), entry("delivered", 90, 105, due=90), mark(91)),
    ),
    "an attempt at the time before the PATCH": (
        "never early",
        (create(10, 100), patch(20, 200), entry("delivered", 101, 105, message="p1"), mark(102, message="p1")),
    ),
    "armed anew for now, and for no such time": (
        "never early",
        (create(10, 100), entry("failed", 101, 105), mark(102), patch(200, None, key=OTHER, shown_due=150),
         entry("delivered", 203, 205, message="p1", key=OTHER, due=150), mark(204, message="p1", key=OTHER)),
    ),
    "an effect after 204": ("deleted never fires", (create(10, 100), *CANCELLED, mark(102))),
    "an attempt after 204": ("deleted never fires", (create(10, 100), *CANCELLED, entry("delivered", 101, 105))),
    "204, and no entry": ("deleted never fires", (create(10, FAR), cancel(20), stored(due=FAR))),
    "204 twice": ("deleted never fires", (create(10, 100), *CANCELLED, cancel(30))),
    "cancelled, and nobody asked": ("deleted never fires", (create(10, 100), entry("cancelled", None, 21, attempt=0))),
    "cancelled by a DELETE that was refused": (
        "deleted never fires",
        (create(10, 100), cancel(20, status=409), entry("cancelled", None, 21, attempt=0)),
    ),
    "the old time fired after a PATCH": (
        "patches hold", (create(10, 100), patch(20, 200), entry("delivered", 101, 105), mark(102)),
    ),
    "the old text is stored after a PATCH": (
        "patches hold", (create(10, FAR), patch(20, FAR), stored(due=FAR)),
    ),
    "the old text is shown after a PATCH": (
        "patches hold", (create(10, FAR), patch(20, FAR), read(30, due=FAR), stored("p1", due=FAR)),
    ),
    "a PATCH that was sure to be undone by nothing": (
        "patches hold",
        (create(10, 100), patch(15, 200, message="p0", answered=None), 18, patch(20, 300),
         entry("delivered", 201, 205, message="p0", due=200), mark(202, message="p0")),
    ),
    "404, and it fires later": ("not found is gone", (*DELIVERED, read(50, status=404))),
    "404, and it is stored": ("not found is gone", (create(10, FAR), read(50, status=404), stored(due=FAR))),
    "404, and found later": (
        "not found is gone", (create(10, 100), *CANCELLED, read(50, status=404), read(60)),
    ),
    "another key for a repeat": (
        "keys tell armings apart",
        (create(10, 100), 110, entry("interrupted", 101, 120), entry("delivered", 121, 130, attempt=2, key=OTHER),
         mark(122, attempt=2, key=OTHER)),
    ),
    "the old key for a new arming": (
        "keys tell armings apart",
        (create(10, 100), entry("failed", 101, 105), mark(102), patch(200, 300),
         entry("delivered", 301, 305, message="p1", due=300), mark(302, message="p1")),
    ),
    "the old key for a new arming that waits": (
        "keys tell armings apart",
        (create(10, 100), entry("failed", 101, 105), mark(102), patch(200, FAR), stored("p1", due=FAR)),
    ),
    "an attempt that was counted twice": (
        "keys tell armings apart",
        (create(10, 100), 110, entry("interrupted", 101, 120), entry("delivered", 121, 130), mark(122)),
    ),
    "an attempt that was not counted": (
        "keys tell armings apart", (create(10, 100), entry("delivered", 101, 105, attempt=2), mark(102, attempt=2)),
    ),
    "two attempts at once": (
        "keys tell armings apart",
        (create(10, 100), entry("interrupted", 101, 120), entry("delivered", 110, 130, attempt=2),
         mark(112, attempt=2)),
    ),
    "one key for two reminders": (
        "no key is shared",
        (*DELIVERED, create(10, 100, id_=2, message="c2"), entry("delivered", 101, 105, id_=2, message="c2"),
         mark(102, id_=2, message="c2")),
    ),
    "an effect without an attempt": ("effects are explained", (create(10, FAR), mark(FAR + 1), stored(due=FAR))),
    "an effect outside its attempt": (
        "effects are explained", (create(10, 100), entry("delivered", 101, 105), mark(200)),
    ),
    "two effects of one attempt": ("effects are explained", (*DELIVERED, mark(103))),
    "two effects, noticed by a receiver": (
        "effects are explained",
        (create(10, 100), entry("delivered", 101, 105), Effect(102, KEY, "c1", delay=9),
         Effect(103, KEY, "c1", delay=9)),
    ),
    "an effect after a crash that the history does not know": (
        "effects are explained",
        (create(10, 100), mark(102), 110, entry("delivered", 121, 130), mark(122)),
    ),
    "delivered, and nobody has seen it": ("effects are explained", (create(10, 100), entry("delivered", 101, 105))),
    "an effect of a create of which nothing is kept": (
        "effects have a reminder", (create(10, 100, answered=None), 15, Effect(102, KEY, "c1")),
    ),
    "delivered twice": (
        "never silently twice", (*DELIVERED, entry("delivered", 121, 130, attempt=2), mark(122, attempt=2)),
    ),
    "what must not be repeated is repeated": (
        "what must not be repeated is not",
        (*ONCE, entry("delivered", 121, 130, attempt=2, method="once"), mark(122, attempt=2)),
    ),
    "what must not be repeated is to be": (
        "what must not be repeated is not",
        (create(10, 100, method="once"), entry("interrupted", 101, 120, method="once"), stored(due=FAR)),
    ),
    "uncertain without a reason": (
        "uncertain has a reason", (create(10, 100), entry("uncertain", 101, 105), stored(state="uncertain")),
    ),
    "an attempt after max_late": (
        "nothing starts too late", (create(10, 100, max_late=50), entry("delivered", 151, 155), mark(152)),
    ),
    "missed too soon": (
        "nothing starts too late",
        (create(10, 100, max_late=50), entry("missed", None, 150, attempt=0), stored(state="missed")),
    ),
    "missed, and yet it happened": (
        "nothing starts too late",
        (create(10, 100, max_late=50), mark(120), entry("missed", None, 200, attempt=0), stored(state="missed")),
    ),
    "a history that has changed": (
        "what was shown stays",
        (*DELIVERED, Operation(Kind.HISTORY, 200, 201, 200, 1, entries=(replace(entry("failed", 101, 105), id=1),))),
    ),
    "a history that has been lost": (
        "what was shown stays",
        (create(10, FAR), stored(due=FAR),
         Operation(Kind.HISTORY, 200, 201, 200, 1, entries=(replace(entry("failed", 101, 105), id=1),))),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("rule", "things"), WRONG.values(), ids=WRONG)
def test_a_contradiction_is_found(rule, things):
    assert rule in rules(*things)


def test_every_rule_finds_something():
    named = {rule.__name__.replace("_", " ") for rule in RULES + COMMON_RULES}
    assert named <= {rule for rule, _ in WRONG.values()}


def test_times_are_read_to_the_microsecond():
    assert instant("2026-11-24T21:00:10.540776+01:00") == 1_795_550_410_540_776
