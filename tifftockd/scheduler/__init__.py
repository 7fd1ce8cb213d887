"""The thread that sleeps until the next due reminder, claims it, hands it out, and settles how it ended.

One pass is one transaction: what has ended is settled, what is too late is ended, what is due is claimed. A claim is
committed before its handler runs and the outcome after, so that a crash in between is seen at the next start.
Between passes the thread sleeps on a wall-clock alarm, without a timeout: while nothing is due, nothing wakes it.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable, Sequence

from tifftockd import clock, journal
from tifftockd.clock import SECOND, Micros
from tifftockd.config import Config
from tifftockd.errors import StoreUnavailable
from tifftockd.executor import Executor
from tifftockd.reminder import Draft, Ending, Outcome, Recalled, Reminder, Settlement, Verdict
from tifftockd.scheduler.cleaning import Cleaning
from tifftockd.scheduler.gap import Gap
from tifftockd.scheduler.outage import Outage
from tifftockd.scheduler.pace import Pace
from tifftockd.scheduler.portion import Portion
from tifftockd.scheduler.report import report, report_stored
from tifftockd.settling import Policy, settle
from tifftockd.store import Once, Store, Want
from tifftockd.threads import make_thread

# Claims are committed so long ahead, in microseconds, that the disk's time makes nothing late.
_LEAD: Micros = 50_000
# Workers are started so long before their first attempt, in microseconds. With the parent and a template that imports
# requests, both let go meanwhile, a fast machine takes 0.3 s for it, a small board several times that.
_WARM: Micros = 2 * SECOND
# A pass so long after its time means that nobody was watching: the machine slept, the clock was set, the store failed.
_OUTAGE: Micros = 5 * SECOND
# Milliseconds between passes while the store fails, and how many are tried when the daemon stops meanwhile.
_BACKOFF_MS = 500
_LAST_TRIES = 10


class Scheduler:
    """Everything that changes a reminder goes through here, so that the sleep always ends in time."""

    def __init__(self, store: Store, config: Config, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called, from any thread, when there is something new to tell people."""
        self._changed = changed
        self._looked = threading.Event()
        self._asked: deque[Callable[[], None]] = deque()  # by probes
        self._store = store
        self._config = config
        self._executor: Executor | None = None
        self._alarm = clock.Alarm()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._probed = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._hints: dict[str, Micros] = {}  # reminders stored since the last pass began
        self._next: dict[str, Micros] = {}  # the first pending attempt of each method, at the last pass
        self._next_watched: dict[str, Micros] = {}  # and behind one that is overdue, the first that is not
        self._next_latest: Micros | None = None
        self._alarm_at: Micros | None = None  # what the sleeping thread waits for
        self._began: float | None = None  # when the start did, by clock.monotonic()
        self._unattended: Micros | None = None  # since when something may be due that no pass has looked at
        self._gap = Gap()
        self._pace = Pace(config.catch_up_rate)
        self._portion = Portion()
        self._outage: Outage | None = None
        self._endings: list[Ending] = []  # taken from the executor, not settled yet
        self._cleaning = Cleaning(store)
        self._offset: Micros = 0  # of the wall clock to the monotonic one
        self._claiming = True
        self._stopping = False
        self._started = False
        self._thread = make_thread("scheduler", self._run)
        self.passes = 0

    # ---- what requests do

    def create(self, draft: Draft, owner: int | None, once: Once | None = None) -> Reminder:
        """Store a reminder; it is durable when this returns. Replayed, KeyReused."""
        return self._store.create(draft, owner, clock.now(), lambda made: self._stored("created", made), once)

    def create_all(self, drafts: Sequence[Draft], owner: int | None, once: Once | None = None) -> list[Reminder]:
        """Store many at once, all or none. Replayed, KeyReused."""
        reminders = self._store.create_all(drafts, owner, clock.now(), self._expect_all, once)
        if reminders:
            journal.event("created", reminder=reminders[0].id, last=reminders[-1].id, count=len(reminders))
        return reminders

    def cancel(self, id_: int) -> None:
        """Drop a reminder: no attempt is running, or will. NotFound, Firing."""
        reminder = self._gap.find(id_, lambda: self._store.cancel(id_, clock.now(), self._recall))
        journal.event(Outcome.CANCELLED, reminder=id_, method=reminder.method)
        self._changed()

    def change(self, id_: int, revise: Callable[[Reminder], Draft], once: Once | None = None) -> Reminder:
        """Replace what a reminder says by what `revise` makes of it. NotFound, Firing, or what `revise` raises."""

        def change() -> Reminder:
            return self._store.change(id_, revise, self._recall, lambda made: self._stored("changed", made), once)

        return self._gap.find(id_, change)

    @property
    def condition(self) -> str:
        """`starting`, `alive`, or `dead`; also of the executor, without whose thread nothing fires either."""
        if self._executor is None or not self._started:
            return "starting"
        return "alive" if self._thread.is_alive() and self._executor.alive else "dead"

    @property
    def queued(self) -> int:
        """How many reminders are claimed and wait for a worker."""
        return 0 if self._executor is None else self._executor.queued

    @property
    def running(self) -> int:
        """How many attempts are being made."""
        return 0 if self._executor is None else self._executor.running

    def probe(self, then: Callable[[], None]) -> None:
        """Wake the thread; it calls `then`, which must be quick, as it turns, with success or not."""
        self._asked.append(then)
        os.eventfd_write(self._probed, 1)

    def has_looked(self, patience: float) -> bool:
        """Wait for the first pass that succeeds: overdue work has been looked at."""
        return self._looked.wait(patience)

    # ---- what the daemon does

    def recover(self) -> int:
        """Before all else: attempts without an outcome were interrupted by the death of the daemon or the machine."""
        now, self._began = clock.now(), clock.monotonic()
        settlements = []
        for reminder, claimed, repeatable in self._store.firing():
            started = max(claimed, reminder.fire_at)
            finished = max(now, started)  # a board that wakes in 1970 must not date what is to be kept for a month
            reason = "the daemon or the machine died during it"
            ending = Ending(reminder, Verdict.INTERRUPTED, started, finished, reason, repeatable=repeatable)
            settlements.append(settle(ending, self._policy(since=now)))
        if settlements:
            self._store.settle(settlements)
            report(settlements)
        return len(settlements)

    def start(self, executor: Executor) -> None:
        """Begin to watch: what was due before `recover`, since when requests are answered, is overdue."""
        self._executor = executor
        now = clock.now()
        # Not the wall clock's time of then: it may have been set meanwhile.
        since = now if self._began is None else now - round((clock.monotonic() - self._began) * SECOND)
        left_at = self._store.left_at
        self._had_outage(since, None if left_at is None else since - left_at)
        self._unattended = now
        self._offset = now - round(clock.monotonic() * SECOND)
        self._alarm.set(None)  # from now on it tells when the clock is set
        self._thread.start()
        self._started = True  # not before: it would pass for dead

    def reload(self, config: Config) -> None:
        """Use these settings from the next pass on."""
        self._config = config
        self._pace.rate = config.catch_up_rate
        self.wake()

    def wake(self) -> None:
        """From any thread: look again now."""
        os.eventfd_write(self._wake, 1)

    def stop_claiming(self) -> None:
        """Begin nothing more and take back what no worker has; go on settling."""
        self._claiming = False
        self.wake()

    def stop(self) -> None:
        """Settle what has ended, and end."""
        self._stopping = True
        self.wake()
        if self._thread.is_alive():
            self._thread.join()

    # ---- the thread

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._alarm.fileno(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        poll.register(self._probed, select.POLLIN)
        given_back = False
        tries = 0
        while True:
            last, pause = self._stopping, None
            try:
                if not self._claiming and not given_back:
                    self._give_back()
                    given_back = True
                self._pass(clock.now())
                self.passes += 1
                self._looked.set()
                if last and not self._endings:
                    return
                if self._set_alarm() or self._endings:
                    pause = 0  # and still look: a long cleaning must not hide that the clock was set
            except StoreUnavailable:
                pause = _BACKOFF_MS  # logged where it was noticed
            except Exception as error:
                journal.event("scheduler-error", journal.ERR, message=f"{type(error).__name__}: {error}")
                pause = _BACKOFF_MS
            if last:
                tries += 1
                if tries > _LAST_TRIES:
                    return  # what has ended without a record is found at the next start
            self._sleep(poll, pause)
            if self._alarm.acknowledge():
                self._clock_set()

    def _sleep(self, poll: select.poll, milliseconds: int | None) -> None:
        """Until something is to be done. A probe alone is only answered."""
        probed_only = True
        while probed_only:
            ready = {fd for fd, _ in poll.poll(milliseconds)}
            probed_only = ready == {self._probed}
            for fd in ready & {self._wake, self._probed}:
                os.eventfd_read(fd)
            while self._asked:
                self._asked.popleft()()

    def _pass(self, now: Micros) -> None:
        """Settle, expire, claim: one transaction; then hand out what was claimed."""
        assert self._executor is not None
        claims = self._executor.claims
        self._endings += self._executor.take_endings()
        wrong = clock.is_wrong(now)
        if self._unattended is not None and now > self._unattended + _OUTAGE and not wrong:
            self._had_outage(now, now - self._unattended)
            self._unattended = now  # should it go on, the store failing still
        policy = self._policy(self._pace.since)
        # The last pass takes all, whoever waits.
        most = self._portion.most if self._store.in_company and not self._stopping else None
        endings = self._endings[:most]
        settlements = [settle(ending, policy) for ending in endings]
        with self._lock:
            hints, self._hints = self._hints, {}
        idle = wrong or not self._claiming
        # First what has ended: of several methods more may end than a pass settles, and a crash would repeat it all.
        behind = len(endings) < len(self._endings)
        try:
            wants = [] if idle or behind else self._wants(_earlier(self._next, hints), now, most)
            repeatable = {want.method for want in wants if want.repeatable}
            turn = self._store.turn(
                settlements,
                wants,
                now,
                policy=policy,
                allowance=self._pace.allowance(now),
                # A clock that is plainly wrong makes nothing late; and what is late can wait for what is due.
                expiring=0 if idle else self._portion.most,
                hold=lambda claimed: claims.hold(claimed, repeatable),
            )
        except BaseException:
            self._unattended = now if self._unattended is None else min(self._unattended, now)
            with self._lock:
                self._hints = _earlier(self._hints, hints)
                self._alarm_at = None  # until the next pass, which anything new is to wake
            if self._store.fault is None:
                self._settle_apart(settlements)
            raise
        self._unattended = None
        lines = sum(1 + len(one.passed) for one in turn.expired)
        if most is not None or lines:
            self._portion.took(max(len(endings), len(turn.claimed), lines), turn.seconds, self._store.commit_seconds)
        claims.forget([ending.reminder for ending in endings])
        del self._endings[:most]
        self._gap.ended(ending.reminder.id for ending in endings)
        self._next, self._next_latest = turn.next_by_method, turn.next_latest
        self._next_watched = turn.next_watched
        self._pace.spent(turn.claimed)
        claims.begin(turn.claimed)
        ended = [*settlements, *turn.expired]
        report(ended)
        if self._outage is not None:
            self._look_at_outage(self._outage, ended, turn.claimed, now)
        kept = self._config.history_days, self._config.history_max
        cleaned = not idle and self._cleaning.step(turn.kept, now, *kept)
        if settlements or turn.expired or turn.claimed or cleaned:
            self._changed()

    def _settle_apart(self, settlements: list[Settlement]) -> None:
        """The store works, and still a pass failed: settle one by one, so that an odd one holds up no other."""
        for settlement in settlements:
            try:
                self._store.settle([settlement])
            except StoreUnavailable:
                if self._store.fault is not None:
                    return
                plain = settlement._replace(error="its error cannot be stored", output=None)
                self._store.settle([plain])
            self._endings = [ending for ending in self._endings if ending.reminder is not settlement.reminder]
            if self._executor is not None:
                self._executor.claims.forget([settlement.reminder])
            self._gap.ended([settlement.reminder.id])
            if self._outage is not None:
                self._outage.ended([settlement])
            report([settlement])

    def _wants(self, upcoming: dict[str, Micros], now: Micros, most: int | None) -> list[Want]:
        """What may be claimed: what is due, of methods that are there and have room, up to `most` of each."""
        assert self._executor is not None
        wants, spared = [], self._gap.ids()
        for method, fire_at in upcoming.items():
            if fire_at > now + _LEAD:
                continue
            room = self._executor.room(method)
            if most is not None:
                room = min(room, most)
            if room > 0:
                wants.append(Want(method, room, now + _LEAD, self._executor.repeatable(method), spared))
        return wants

    def _set_alarm(self) -> bool:
        """Set the alarm for what comes next; True when that is now."""
        now = clock.now()
        with self._lock:
            at = self._next_wake(now)
            self._alarm_at = self._unattended = None if at is None else max(at, now)
        if at is not None and at <= now:
            return True
        if self._alarm.set(at):
            self._clock_set()
            return True
        return False

    def _next_wake(self, now: Micros) -> Micros | None:
        assert self._executor is not None
        if not self._claiming:
            return None
        if clock.is_wrong(now):
            return clock.RELEASED  # the alarm rings when the clock is set; one that is slewed gets here unnoticed
        times = [self._cleaning.next(now), self._next_latest + 1 if self._next_latest is not None else None]
        for method, fire_at in _earlier(self._next, self._hints).items():
            at = fire_at - _LEAD
            if self._executor.room(method) == 0 or (at <= now and self._executor.gathering):
                continue  # the executor wakes us when there is, or when the endings that it has are enough for a pass
            if not self._executor.is_warm(method):
                if fire_at - _WARM <= now:
                    self._executor.warm(method, fire_at)
                else:
                    at = fire_at - _WARM
            if fire_at < self._pace.since:
                at = max(at, self._pace.next(now))
                behind = self._next_watched.get(method), self._hints.get(method)
                times += [one - _LEAD for one in behind if one is not None and one >= self._pace.since]
            times.append(at)
        return min((at for at in times if at is not None), default=None)

    def _clock_set(self) -> None:
        """The clock was set: what was claimed by the old time, and is not due by the new one, goes back."""
        now = clock.now()
        offset = now - round(clock.monotonic() * SECOND)
        step, self._offset = offset - self._offset, offset
        journal.event("clock-set", journal.NOTICE, seconds=step / SECOND)
        if step > _OUTAGE:
            self._had_outage(now, step)
        else:
            self._pace.clock_set(now)
        self._cleaning.clock_set(now)
        self._alarm_at, self._unattended = None, now
        self._give_back(lambda reminder: reminder.fire_at <= now + _LEAD)

    def _give_back(self, unless: Callable[[Reminder], bool] = lambda reminder: False) -> None:
        assert self._executor is not None
        taken = self._executor.claims.recall_all(unless)
        now = clock.now()
        self._endings += [Ending(reminder, Verdict.RETURNED, None, now) for reminder in taken]

    # ---- outages

    def _had_outage(self, end: Micros, length: Micros | None) -> None:
        self._pace.watch_from(end)
        if self._outage is None:
            self._outage = Outage(end, length)
        else:
            self._outage.again(end, length or 0)

    def _look_at_outage(self, outage: Outage, ended: list[Settlement], claimed: list[Reminder], now: Micros) -> None:
        assert self._executor is not None
        outage.ended(ended)
        outage.claimed(claimed)  # maybe one that has just ended
        if self._next_latest is not None and self._next_latest < now:
            return  # more is too late than one pass ends
        waiting = [at for method, at in self._next.items() if self._executor.has(method)]
        if outage.is_over(min(waiting, default=None), self._executor.claims.ids()):
            outage.report()
            self._outage = None

    # ---- small things

    def _policy(self, since: Micros) -> Policy:
        return Policy(self._config.retry_delay, self._config.zone, since)

    def _stored(self, event: str, reminder: Reminder) -> None:
        """On the writer's thread: a reminder has been `created` or `changed`."""
        self._expect(reminder)
        report_stored(event, reminder, self._config.zone)

    def _expect(self, reminder: Reminder) -> None:
        """A reminder has been stored. Wake the thread if it would sleep too long."""
        with self._lock:
            known = self._hints.get(reminder.method)
            if known is None or reminder.fire_at < known:
                self._hints[reminder.method] = reminder.fire_at
            alarm_at = self._alarm_at
        warm = self._executor is not None and self._executor.is_warm(reminder.method)
        if alarm_at is None or reminder.fire_at - (_LEAD if warm else _WARM) < alarm_at:
            self.wake()
        self._changed()

    def _expect_all(self, reminders: Sequence[Reminder]) -> None:
        first: dict[str, Reminder] = {}
        for reminder in reminders:
            if reminder.method not in first or reminder.fire_at < first[reminder.method].fire_at:
                first[reminder.method] = reminder
        for reminder in first.values():
            self._expect(reminder)

    def _recall(self, id_: int) -> Recalled | None:
        return self._executor.claims.recall(id_) if self._executor is not None else None


def _earlier(one: dict[str, Micros], other: dict[str, Micros]) -> dict[str, Micros]:
    return one | {method: min(at, one.get(method, at)) for method, at in other.items()}
