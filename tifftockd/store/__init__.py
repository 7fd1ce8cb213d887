"""The store: reminders and their history in one SQLite file, through dataset. The only room that imports it.

Every method waits for the commit and raises StoreUnavailable when the disk refuses. SQL is `text()`, compiled once, but
for INSERTs of any number of rows, and run by the driver on the connection of dataset's `db.executable`: no column is
ever made on the fly.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tifftockd import clock
from tifftockd.clock import Micros
from tifftockd.errors import Misfit, StoreError
from tifftockd.reminder import Draft, Reminder, Settlement
from tifftockd.settling import Policy, expire, supersede
from tifftockd.store import damage, replay, sql, steps
from tifftockd.store.backup import backup
from tifftockd.store.figures import Figures
from tifftockd.store.library import SQLAlchemyError
from tifftockd.store.lock import DatabaseLock
from tifftockd.store.queries import (
    CLEANED,
    PIECE,
    HistoryPage,
    HistoryQuery,
    Measured,
    ReminderPage,
    ReminderQuery,
    Summary,
    Turn,
    Want,
)
from tifftockd.store.replay import Once
from tifftockd.store.schema import migrate
from tifftockd.store.steps import Recall
from tifftockd.store.transaction import Transaction
from tifftockd.store.writer import Writer

__all__ = [
    "PIECE",
    "HistoryPage",
    "HistoryQuery",
    "Measured",
    "Once",
    "ReminderPage",
    "ReminderQuery",
    "Store",
    "Summary",
    "Turn",
    "Want",
    "backup",
]

# STRICT tables. Others have an older one than Python needs: Python 3.11 on RHEL 9 has 3.34.
_OLDEST_SQLITE = 3, 37
# Seconds after which somebody who has written something no longer counts as company.
_COMPANY = 0.1


class Store:
    """The database, from `open` to `close`."""

    def __init__(self, url: str, path: Path) -> None:
        """`url`: dataset's; `path`: the file that it names."""
        self._path = path
        self._figures = Figures()
        self._writer = Writer(url, self._figures.commits.observe)
        self._lock: DatabaseLock | None = None
        # When the database was last written to, before it was opened; None if it is new.
        self.left_at: Micros | None = None
        self._known: tuple[int, Summary | None] = 0, None  # after so many commits

    def open(self, migrating: Callable[[], None] = lambda: None) -> None:
        """Take the database's lock, open it and bring its schema up to date. StoreError says what is wrong.

        `migrating` is called before a migration, which may take long.
        """
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            oldest, here = ".".join(map(str, _OLDEST_SQLITE)), sqlite3.sqlite_version
            raise StoreError(f"the SQLite of this Python is {here}: it must be {oldest} or newer", exit_code=78)
        try:
            _make_folder(self._path.parent)
        except OSError as error:
            raise StoreError(f"cannot create {self._path.parent}: {error.strerror}") from error
        self._lock = DatabaseLock(self._path)
        self.left_at = _last_write(self._path)
        damage.refuse_to_replace(self._path)

        def prepare(cursor: sqlite3.Cursor) -> None:
            migrate(cursor, str(self._path), migrating)
            damage.check(cursor, self._path)

        try:
            self._writer.start(prepare)
        except (SQLAlchemyError, sqlite3.Error, damage.Damage) as error:
            reason = getattr(error, "orig", error)
            if damage.is_damage(reason):
                raise damage.reported(self._path, reason) from error
            raise StoreError(f"cannot open {self._path}: {reason}") from error

    def close(self) -> None:
        """Finish what is queued and close the database."""
        self._writer.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @property
    def fault(self) -> str | None:
        """The last write's error; None when it went well."""
        return self._writer.fault

    # ---- what requests ask

    def create(
        self,
        draft: Draft,
        owner: int | None,
        now: Micros,
        stored: Callable[[Reminder], None] = lambda _: None,
        once: Once | None = None,
    ) -> Reminder:
        """Store a new reminder and return it, with its id and key; `stored` is told of it after the commit.

        `once`: Replayed if this has been done before, KeyReused if something else has.
        """

        def insert(tx: Transaction) -> list[Reminder]:
            return [steps.insert(tx, draft, owner, now)]

        return self._insert(insert, lambda made: stored(made[0]), once, single=once is None)[0]

    def create_all(
        self,
        drafts: Sequence[Draft],
        owner: int | None,
        now: Micros,
        stored: Callable[[Sequence[Reminder]], None] = lambda _: None,
        once: Once | None = None,
    ) -> list[Reminder]:
        """As `create`, for many at once: all of them, or none."""
        return self._insert(lambda tx: steps.insert_all(tx, drafts, owner, now), stored, once)

    def _insert(
        self,
        insert: Callable[[Transaction], list[Reminder]],
        stored: Callable[[Sequence[Reminder]], None],
        once: Once | None,
        *,
        single: bool = False,
    ) -> list[Reminder]:
        def create(tx: Transaction) -> list[Reminder]:
            if once is not None:
                replay.refuse_repeat(tx, once)
            made = insert(tx)
            if once is not None:
                replay.keep(tx, once, made)
            tx.on_commit(lambda: stored(made))
            return made

        return self._writer.run(create, single=single)

    def refuse_repeat(self, once: Once) -> None:
        """Raise Replayed if it was answered before, KeyReused if something else was."""
        self._writer.run(lambda tx: replay.refuse_repeat(tx, once), writes=False)

    def get(self, id_: int) -> Reminder:
        """The reminder, or NotFound."""
        return self._writer.run(lambda tx: steps.get(tx, id_), writes=False)

    def cancel(self, id_: int, now: Micros, recall: Recall) -> Reminder:
        """Drop a reminder that is not being attempted, and say so in its history. NotFound, Firing."""

        def cancel(tx: Transaction) -> Reminder:
            reminder = steps.stop(tx, id_, recall)
            # A board that wakes in 1970 must not date what is to be kept for a month.
            then = max(clock.RELEASED, self.left_at or 0) if clock.is_wrong(now) else now
            self._settle(tx, [steps.cancellation(reminder, then)])
            return reminder

        return self._writer.run(cancel)

    def change(
        self,
        id_: int,
        revise: Callable[[Reminder], Draft],
        recall: Recall,
        stored: Callable[[Reminder], None] = lambda _: None,
        once: Once | None = None,
    ) -> Reminder:
        """Replace what a reminder says by what `revise` makes of it. NotFound, Firing, Misfit, or what `revise` raises.

        A new arming, with a key of its own and attempts from 0, if it is final or an attempt has been made.
        `once`: as for `create`.
        """

        def change(tx: Transaction) -> Reminder:
            if once is not None:
                replay.refuse_repeat(tx, once)
            reminder = steps.stop(tx, id_, recall)
            if not reminder.method:  # what stands in for it must not take its place
                raise Misfit(f"{reminder.last_error}; it can be cancelled")
            changed = steps.rearm(tx, reminder, revise(reminder))
            if once is not None:
                replay.keep(tx, once, [changed])
            tx.on_commit(lambda: stored(changed))
            return changed

        return self._writer.run(change)

    def page(self, query: ReminderQuery) -> ReminderPage:
        """The next reminders that fit."""
        due, id_ = query.after or (-(2**63), 0)
        before = 2**63 - 1 if query.due_before is None else query.due_before
        parameters = {"due": due, "id": id_, "before": before}
        asked = _asked(method=query.method, owner=query.owner)

        def page(tx: Transaction) -> ReminderPage:
            statement = sql.page(query.states, frozenset(asked), steps.along(tx, asked))
            found, after = steps.look(tx, statement, parameters, asked, query.rows)
            return ReminderPage(steps.read(tx, [id_ for _, id_ in found]), after)

        return self._writer.run(page, writes=False)

    def history(self, query: HistoryQuery) -> HistoryPage:
        """The next entries that fit."""
        parameters = {"before": query.before or 2**63 - 1}
        asked = _asked(reminder=query.reminder, outcome=query.outcome)

        def page(tx: Transaction) -> HistoryPage:
            statement = sql.history(frozenset(asked), steps.along(tx, asked))
            found, before = steps.look(tx, statement, parameters, asked, query.rows)
            return HistoryPage(steps.read_entries(tx, [id_ for (id_,) in found]), None if before is None else before[0])

        return self._writer.run(page, writes=False)

    @property
    def in_company(self) -> bool:
        """Whether anybody but the scheduler has written something just now."""
        return clock.monotonic() - self._writer.visited < _COMPANY

    @property
    def commit_seconds(self) -> float:
        """How long the last commit of something took."""
        return self._writer.commit_seconds

    def summary(self) -> Summary:
        """The counts by state, kept by the writing transactions, and what comes next.

        The writer is asked only when it is at work, or has written since it was asked last: it sleeps while all idles.
        """
        commits, known = self._known
        if known is not None and self._writer.idle and commits == self._writer.commits:
            return known
        # Inside the transaction: what is committed later counts as news, also if this one has seen it already.
        commits, summary = self._writer.run(lambda tx: (self._writer.commits, self._summary(tx)), writes=False)
        self._known = commits, summary
        return summary

    def measured(self) -> Measured:
        """The summary, and what has been measured since the start."""

        def measured(tx: Transaction) -> Measured:
            figures = self._figures
            return Measured(
                summary=self._summary(tx),
                outcomes=dict(figures.outcomes),
                lateness=figures.lateness.samples(),
                commits=figures.commits.samples(),
                waiting=self._writer.waiting,
            )

        return self._writer.run(measured, writes=False)

    def _summary(self, tx: Transaction) -> Summary:
        upcoming, _ = steps.upcoming(tx)
        method = min(upcoming, key=upcoming.__getitem__, default=None)
        return Summary(steps.counts(tx), upcoming[method] if method else None, method, self.fault)

    # ---- what the scheduler does

    def turn(
        self,
        settlements: Sequence[Settlement],
        wants: Sequence[Want],
        now: Micros,
        *,
        policy: Policy,
        allowance: int,
        expiring: int,
        hold: Callable[[list[Reminder]], Callable[[], None]],
    ) -> Turn:
        """One pass, in one transaction: settle what has ended, end what is too late, claim what is due.

        `allowance`: of what was due before `policy.since`, so many are claimed at the most, oldest first.
        `expiring`: so many lines of history are written of what is too late, but for what one reminder may need. An
        occurrence that another takes the place of is claimed in vain, and comes back as if it had expired. `hold` is
        told of the claims before any later request can meet them, and returns how to forget them.
        """

        def turn(tx: Transaction) -> Turn:
            began = clock.monotonic()
            self._settle(tx, settlements)
            late = [id_ for (id_,) in tx.execute(sql.EXPIRED, {"now": now, "limit": expiring})]
            expired: list[Settlement] = []
            left = expiring
            for reminder in steps.read(tx, late, now):
                if left <= 0:
                    break
                expired.append(expire(reminder, now, policy))
                left -= 1 + len(expired[-1].passed)
            self._settle(tx, expired)
            claimed = steps.claim(tx, wants, policy.since, allowance, now)
            superseded = {one.id: ended for one in claimed if (ended := supersede(one, now, policy)) is not None}
            if superseded:
                claimed = [one for one in claimed if one.id not in superseded]
                self._settle(tx, [*superseded.values()])
            if claimed:
                tx.on_rollback(hold(claimed))
            upcoming, watched = steps.upcoming(tx, policy.since)
            return Turn(
                claimed=claimed,
                expired=[*expired, *superseded.values()],
                next_by_method=upcoming,
                next_watched=watched,
                next_latest=tx.value(sql.NEXT_LATEST),
                kept=max(steps.kept(tx)),
                seconds=clock.monotonic() - began,
            )

        return self._writer.run(turn, first=True)

    def firing(self) -> list[tuple[Reminder, Micros, bool]]:
        """Attempts without an outcome: reminder, when it was claimed, whether it may be repeated. For the start."""

        def firing(tx: Transaction) -> list[tuple[Reminder, Micros, bool]]:
            claims = {id_: (claimed, bool(repeatable)) for id_, claimed, repeatable in tx.execute(sql.FIRING)}
            return [(one, *claims[one.id]) for one in steps.read(tx, list(claims))]

        return self._writer.run(firing, writes=False)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Write what has ended."""
        self._writer.run(lambda tx: self._settle(tx, settlements), first=True)

    def _settle(self, tx: Transaction, settlements: Sequence[Settlement]) -> None:
        steps.settle(tx, settlements)
        tx.on_commit(lambda: self._figures.ended(settlements))

    def clean(self, before: Micros, most: int, now: Micros) -> bool:
        """Drop up to CLEANED entries and final reminders that ended before `before`, or are more than `most`.

        True when there may be more to do.
        """

        def clean(tx: Transaction) -> bool:
            dropped = 0
            for count, statement in zip(steps.kept(tx), (sql.CLEAN_HISTORY, sql.CLEAN_FINAL), strict=True):
                parameters = {"before": before, "now": now, "surplus": count - most, "limit": CLEANED}
                dropped = max(dropped, tx.execute(statement, parameters).rowcount)
            if dropped:
                tx.on_commit(self._writer.checkpoint)
            return dropped == CLEANED

        return self._writer.run(clean, first=True)

    def shrink(self) -> bool:
        """Give up to CLEANED free pages back to the file system; True when there may be more."""

        def shrink(tx: Transaction) -> bool:
            free: int = tx.value(sql.FREE_PAGES)
            for _ in range(min(free, CLEANED)):
                tx.execute(sql.VACUUM)
            if free:
                tx.on_commit(self._writer.checkpoint)
            # Fewer, as in a database that somebody has made for another way of vacuuming nothing happens.
            return bool(0 < tx.value(sql.FREE_PAGES) < free)

        return self._writer.run(shrink, first=True)

    def oldest(self, now: Micros) -> Micros | None:
        """When the oldest entry or final reminder ended, of entries at the latest `now`; None when there is none."""

        def oldest(tx: Transaction) -> Micros | None:
            ends = [tx.value(sql.OLDEST_ENTRY, {"now": now}), tx.value(sql.OLDEST_FINAL)]
            return min((end for end in ends if end is not None), default=None)

        return self._writer.run(oldest, writes=False, first=True)


def _asked(**asked: int | str | None) -> dict[str, int | str]:
    return {name: value for name, value in asked.items() if value is not None}


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, on disk: SQLite syncs the database's name in its folder, and no other name."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place in missing:
        fd = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _last_write(path: Path) -> Micros | None:
    """By the times of the file and its log."""
    times = []
    for file in (path, path.with_name(f"{path.name}-wal")):
        with suppress(OSError):
            times.append(file.stat().st_mtime_ns // 1000)
    return max(times, default=None)
