"""What requests are made of: steps inside a transaction."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tifftockd import clock
from tifftockd.clock import Micros
from tifftockd.errors import Firing, NotFound
from tifftockd.reminder import FINAL, Draft, Entry, Occurrence, Outcome, Recalled, Reminder, Settlement, State
from tifftockd.store import rows, sql
from tifftockd.store.library import TextClause
from tifftockd.store.queries import LOOKED, LOOKED_DUE, LOOKED_NEAR, Want
from tifftockd.store.transaction import Transaction

# Takes a claim back that no worker has begun; None when it is too late.
Recall = Callable[[int], Recalled | None]


def arm(draft: Draft) -> dict[str, Any]:
    """The columns that an arming sets, its key among them: 128 random bits."""
    return {
        "due": draft.due,
        "written": draft.written,
        "message": draft.message,
        "method": draft.method,
        "recipient": draft.to,
        "options": rows.dump_options(draft.options),
        "tz": draft.tz,
        "max_late": draft.max_late,
        "retries": draft.retries,
        "latest": draft.due + draft.max_late,
        "key": _new_key(),
        **rows.repeat_columns(draft.repeat),
        "snoozed_from": draft.snoozed_from,
    }


def _new_key() -> str:
    return os.urandom(16).hex()


def insert(tx: Transaction, draft: Draft, owner: int | None, now: Micros) -> Reminder:
    """A new row."""
    row = _row(draft, owner, now)
    return _new(tx.insert("reminder", row), draft, row["key"], owner, now)


def insert_all(tx: Transaction, drafts: Sequence[Draft], owner: int | None, now: Micros) -> list[Reminder]:
    """New rows, their ids in the drafts' order."""
    first = (tx.value(sql.LAST_ID) or 0) + 1
    # Their ids are given, as an INSERT of many tells none.
    made = [_row(draft, owner, now) | {"id": id_} for id_, draft in enumerate(drafts, first)]
    if made:
        tx.insert_each("reminder", made)
    return [_new(row["id"], draft, row["key"], owner, now) for row, draft in zip(made, drafts, strict=True)]


def _row(draft: Draft, owner: int | None, now: Micros) -> dict[str, Any]:
    return arm(draft) | {"fire_at": draft.due, "state": State.PENDING, "owner": owner, "created": now}


def _new(id_: int, draft: Draft, key: str, owner: int | None, now: Micros) -> Reminder:
    return Reminder(
        id=id_,
        due=draft.due,
        written=draft.written,
        fire_at=draft.due,
        message=draft.message,
        method=draft.method,
        to=draft.to,
        options=draft.options,
        tz=draft.tz,
        max_late=draft.max_late,
        retries=draft.retries,
        state=State.PENDING,
        attempts=0,
        failures=0,
        interruptions=0,
        key=key,
        owner=owner,
        created=now,
        last_error=None,
        repeat=draft.repeat,
        snoozed_from=draft.snoozed_from,
    )


def get(tx: Transaction, id_: int) -> Reminder:
    """One row, or NotFound."""
    found = read(tx, [id_])
    if not found:
        raise NotFound(_why_not_there(tx, id_))
    return found[0]


def _why_not_there(tx: Transaction, id_: int) -> str:
    last = [row[0] for row in tx.execute(sql.LAST, {"id": id_})]
    if not last:
        return f"reminder {id_} not found"
    return f"reminder {id_} is not there any more: it ended {last[0]}, and GET /history?reminder={id_} says how"


def read(tx: Transaction, ids: Sequence[int], set_aside: Micros | None = None) -> list[Reminder]:
    """The reminders of these ids, in the ids' order.

    A row that cannot be read is shown as such, or, given an instant, ends `failed` with the reason.
    """
    if not ids:
        return []
    try:
        return _in_order(ids, tx.execute(sql.MANY, {"ids": json.dumps(ids)}))
    except (ValueError, TypeError):
        return [one for id_ in ids for one in _read_alone(tx, id_, set_aside)]


def _in_order(ids: Sequence[int], found: Iterable[Sequence[Any]]) -> list[Reminder]:
    reminders = {row[0]: rows.reminder(row) for row in found}
    return [reminders[id_] for id_ in ids if id_ in reminders]


def _read_alone(tx: Transaction, id_: int, set_aside: Micros | None) -> list[Reminder]:
    try:
        return [rows.reminder(row) for row in tx.execute(sql.ONE, {"id": id_})]
    except (ValueError, TypeError) as error:
        reason = f"the row cannot be read: {str(error).splitlines()[0]}"
    if set_aside is not None:
        parameters = {"id": id_, "now": set_aside, "reason": reason}
        tx.execute(sql.SET_ASIDE_HISTORY, parameters)
        tx.execute(sql.SET_ASIDE, parameters)
        return []
    return [rows.unreadable(id_, due, state, reason) for due, state in tx.execute(sql.PLACE, {"id": id_})]


def along(tx: Transaction, asked: Mapping[str, Any]) -> str | None:
    """The column that is asked for by which to look through a list: of several, one whose value few rows have."""
    if len(asked) > 1:
        for column, value in asked.items():
            if tx.value(sql.FEW[column], {column: value, "limit": LOOKED}):
                return column
    return next(iter(asked), None)


def look(
    tx: Transaction, statement: TextClause, parameters: Mapping[str, Any], asked: Mapping[str, Any], most: int
) -> tuple[list[tuple[Any, ...]], tuple[Any, ...] | None]:
    """Up to so many places that fit, and the place to look on from; None when there is nothing behind it."""
    # Along the one column that is asked for nearly all fit.
    limit = most if len(asked) < 2 else LOOKED
    found: list[tuple[Any, ...]] = []
    place, looked = [], 0
    for *place, fits in tx.execute(statement, {**parameters, **asked, "limit": limit}):
        looked += 1
        if fits:
            found.append(tuple(place))
        if len(found) == most:
            break
    return found, tuple(place) if most == len(found) or looked == limit else None


def read_entries(tx: Transaction, ids: Sequence[int]) -> list[Entry]:
    """The entries of these ids, the newest first."""
    return [entry(row) for row in tx.execute(sql.ENTRIES, {"ids": json.dumps(ids)})] if ids else []


def entry(row: Sequence[Any]) -> Entry:
    """An entry, or what is shown in place of one that cannot be read."""
    try:
        return rows.entry(row)
    except (ValueError, TypeError) as error:
        return rows.unreadable_entry(row[0], row[1], f"the entry cannot be read: {error}")


def stop(tx: Transaction, id_: int, recall: Recall) -> Reminder:
    """The reminder, certainly not being attempted; a claim that no worker has begun is taken back, uncounted."""
    reminder = get(tx, id_)
    if reminder.state is not State.FIRING:
        return reminder
    recalled = recall(id_)
    if recalled is None:
        message = f"reminder {id_} is being attempted right now; try again when that has ended"
        raise Firing(message, repeats=reminder.repeat is not None)
    tx.on_rollback(recalled.undo)
    tx.on_commit(recalled.done)
    return reminder._replace(state=State.PENDING, attempts=reminder.attempts - 1)


def cancellation(reminder: Reminder, now: Micros) -> Settlement:
    """What drops it, and writes that down."""
    now = max(now, reminder.created)
    return Settlement(
        reminder, Outcome.CANCELLED, None, reminder.fire_at, reminder.attempts, 0, 0, None, now, None, None
    )  # fmt: skip


def rearm(tx: Transaction, reminder: Reminder, draft: Draft) -> Reminder:
    """Replace what it says. A new arming, with a new key, if it was final or an attempt had been made.

    What waits to be tried again is tried now, if its time stays as it is; not at that time, which would make it look
    like what has never been tried.
    """
    tried = reminder.attempts or reminder.fire_at != reminder.due
    again = tried and reminder.state not in FINAL and draft.due == reminder.due
    values = arm(draft) | {"id": reminder.id, "fire_at": max(draft.due, clock.now()) if again else draft.due}
    if reminder.state not in FINAL and reminder.attempts == 0:
        values["key"] = reminder.key
    tx.execute(sql.REARM, values)
    return get(tx, reminder.id)


def claim(tx: Transaction, wants: Sequence[Want], since: Micros, allowance: int, now: Micros) -> list[Reminder]:
    """Mark what is due, and not too late, as firing and return it, oldest first, with its new attempt number.

    Of what was due before `since`, up to `allowance` over all methods; what has become due since then goes first
    for a method's room.
    """
    fresh: list[tuple[Micros, int, bool]] = []
    overdue: list[tuple[Micros, int, bool]] = []
    # Behind much that is too late a pass looks for one method, by lot: for all of them it would take too long.
    far = random.choice(wants) if wants else None  # noqa: S311
    for want in wants:
        looked = LOOKED_DUE if want is far else LOOKED_NEAR
        due = _due(tx, want, looked, {"start": since, "until": want.until, "limit": want.room, "now": now})
        fresh += due
        if allowance:
            limit = min(want.room - len(due), allowance)
            asked = {"start": -(2**63), "until": since - 1, "limit": limit, "now": now}
            overdue += _due(tx, want, looked, asked)
    overdue.sort()
    chosen = sorted(overdue[:allowance] + fresh)
    if not chosen:
        return []
    ids = [id_ for _, id_, _ in chosen]
    claimed = tx.execute(
        sql.CLAIM, {"chosen": json.dumps([(id_, safe) for _, id_, safe in chosen]), "now": now}
    ).fetchall()
    try:
        return _in_order(ids, claimed)
    except (ValueError, TypeError):
        return read(tx, ids, now)


def _due(tx: Transaction, want: Want, looked: int, asked: dict[str, int]) -> list[tuple[Micros, int, bool]]:
    if asked["limit"] <= 0:
        return []
    limit = asked["limit"] + len(want.spared)
    found = tx.execute(sql.DUE, asked | {"method": want.method, "looked": looked, "limit": limit})
    due = [(fire_at, id_, want.repeatable) for fire_at, id_ in found if id_ not in want.spared]
    return due[: asked["limit"]]


def settle(tx: Transaction, settlements: Sequence[Settlement]) -> None:
    """Write the history of what has ended, and drop its reminders or move them on."""
    entries = [entry for settlement in settlements for entry in _entries(settlement)]
    dropped = [settlement.reminder.id for settlement in settlements if settlement.state is None]
    kept = [_moved(one) for one in settlements if one.state is not None and one.next is None]
    armed = [_armed(one.reminder, one.next) for one in settlements if one.next is not None]
    if entries:
        tx.insert_each("history", entries)
    if dropped:
        tx.execute(sql.DELETE, {"ids": json.dumps(dropped)})
    if kept:
        tx.execute_each(sql.UPDATE, kept)
    if armed:
        tx.execute_each(sql.NEXT, armed)


def _entries(settlement: Settlement) -> Iterator[dict[str, Any]]:
    """A line for what has ended, and one for each occurrence that was passed over."""
    if settlement.outcome is None:
        return
    entry = _entry(settlement)
    yield entry
    for due in settlement.passed:
        yield entry | {
            "attempt": 0,
            "key": _new_key(),
            "due": due,
            "started": None,
            "outcome": Outcome.MISSED,
            "error": settlement.passed_why,
            "output": None,
        }


def _entry(settlement: Settlement) -> dict[str, Any]:
    reminder = settlement.reminder
    return {
        "reminder": reminder.id,
        "attempt": settlement.attempts,
        "key": reminder.key,
        "method": reminder.method,
        "recipient": reminder.to,
        "message": reminder.message,
        "options": rows.dump_options(reminder.options),
        "tz": reminder.tz,
        "due": reminder.due,
        "started": settlement.started,
        "finished": settlement.finished,
        "outcome": settlement.outcome,
        "error": settlement.error,
        "output": settlement.output,
        "max_late": reminder.max_late,
        "retries": reminder.retries,
    }


def _armed(reminder: Reminder, coming: Occurrence) -> dict[str, Any]:
    return {
        "id": reminder.id,
        "was": reminder.state,
        "due": coming.due,
        "count": coming.count,
        "key": _new_key(),
    }


def _moved(settlement: Settlement) -> dict[str, Any]:
    repeat = settlement.reminder.repeat
    left = None if repeat is None or repeat.count is None else repeat.count - len(settlement.passed)
    return {
        "id": settlement.reminder.id,
        "was": settlement.reminder.state,
        "state": settlement.state,
        "fire_at": settlement.fire_at,
        "count": left,
        "attempts": settlement.attempts,
        "failures": settlement.failures,
        "interruptions": settlement.interruptions,
        "last_error": settlement.error if settlement.outcome is not None else settlement.reminder.last_error,
        "ended": settlement.finished if settlement.state in FINAL else None,
    }


def counts(tx: Transaction) -> dict[str, int]:
    """How many reminders there are in each state, and entries of `history`."""
    return dict(tx.execute(sql.COUNTS))


def kept(tx: Transaction) -> tuple[int, int]:
    """How many entries of history and how many final reminders there are."""
    tally = counts(tx)
    return tally["history"], sum(tally[state] for state in FINAL)


def upcoming(tx: Transaction, since: Micros = -(2**63)) -> tuple[dict[str, Micros], dict[str, Micros]]:
    """When each method's first pending attempt is due; and, where that was before `since`, the first that was not."""
    found = tx.execute(sql.UPCOMING, {"since": since}).fetchall()
    return {method: at for method, at, _ in found}, {method: at for method, _, at in found if at is not None}
