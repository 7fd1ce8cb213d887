"""Answers that are given again: what makes a repeated POST with the same Idempotency-Key harmless."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple

from tifftockd import clock
from tifftockd.clock import SECOND, Micros
from tifftockd.errors import KeyReused, Replayed
from tifftockd.reminder import Reminder
from tifftockd.store import sql
from tifftockd.store.transaction import Transaction

# How long an answer is kept, in microseconds.
KEPT: Micros = 86_400 * SECOND
# When one was made by a clock that is plainly wrong: it counts from the next one that is made by a right one.
_UNDATED: Micros = 0
# Of those that have been kept long enough, so many go with each new one: nothing needs to wake up for it.
_SWEPT = 20


class Once(NamedTuple):
    """One request that is to be carried out once, however often it comes."""

    caller: str
    route: str
    key: str
    digest: bytes  # of what was asked for
    now: Micros
    answer: Callable[[list[Reminder]], bytes]  # what to say of the reminders that it made


def refuse_repeat(tx: Transaction, once: Once) -> None:
    """Raise Replayed if it was answered before, KeyReused if something else was."""
    row = tx.execute(sql.REPLAY, {"caller": once.caller, "route": once.route, "key": once.key}).fetchone()
    if row is None:
        return
    digest, answer, created = row
    if created != _UNDATED and created < once.now - KEPT:
        return
    if digest != once.digest:
        raise KeyReused(
            "this Idempotency-Key was used for another request: send a new one with each new request",
            field="Idempotency-Key",
        )
    raise Replayed(zlib.decompress(answer))


def keep(tx: Transaction, once: Once, made: list[Reminder]) -> None:
    """Remember the answer, in the transaction whose outcome it tells, and forget some old ones."""
    wrong = clock.is_wrong(once.now)
    if not wrong:
        tx.execute(sql.DATE_REPLAYS, {"now": once.now, "undated": _UNDATED})
        tx.execute(sql.SWEEP_REPLAYS, {"before": once.now - KEPT, "limit": _SWEPT})
    tx.execute(
        sql.KEEP_REPLAY,
        {
            "caller": once.caller,
            "route": once.route,
            "key": once.key,
            "digest": once.digest,
            "answer": zlib.compress(once.answer(made), 1),
            "created": _UNDATED if wrong else once.now,
        },
    )
