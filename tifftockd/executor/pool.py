"""A method's workers and the queue before them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from tifftockd import clock
from tifftockd.clock import SECOND, Micros
from tifftockd.executor.claims import Claim, Claims
from tifftockd.executor.forker import why
from tifftockd.executor.loop import Loop, Timer
from tifftockd.executor.starter import PAUSE, Limits, Source, Starter
from tifftockd.executor.tempo import QUICK, TICK, Tempo
from tifftockd.executor.worker_end import WorkerEnd
from tifftockd.handlers.spec import MethodSpec
from tifftockd.reminder import Ending, Reminder, Verdict
from tifftockd.when import format_span

# An attempt is handed over so long before its instant, in microseconds; the worker sleeps the rest. Any later and the
# way to the worker would make it late, any earlier and it could not be recalled.
_AHEAD: Micros = 8_000
# Claims that wait for a method's workers at the most; enough to keep them busy while the next are being committed.
_MOST_QUEUED = 256
# While many are due, so many for each worker at the least, a worker gets up to so many at once: neither it nor the
# daemon has to wait for the other between two, and 10,000 at once take a fifth less time. That is for quick attempts.
# What is behind one that takes longer is given to others, for which so many microseconds of its lateness are to be
# left.
_MANY = 4
_AT_ONCE = 4
_SPARE: Micros = 1 * SECOND
# While some wait for others to end, it is looked after so many seconds whether those still let them begin in time.
_REVIEW = 0.05
# Seconds until an idle worker is let go.
_IDLE = 60.0


class Owner(Protocol):
    """Where endings go, and what a pool has to know of the others of its method: old ones, or its successor."""

    def done(self, ending: Ending) -> None:
        """An attempt has ended."""

    def cooled(self) -> None:
        """The last worker has been let go: the scheduler's alarm has to ring early enough to have another one."""

    def busy(self, pool: Pool) -> int:
        """How many attempts of the method run in other pools."""

    def enqueue(self, claims: Iterable[Claim]) -> None:
        """Claims that came after the pool was closed."""

    def give_back(self, claims: Iterable[Claim]) -> None:
        """Claims that are no longer queued, and are to be pending again."""


class Pool:
    """Starts workers when there is work or soon will be, gives them attempts to make in turn, lets idle ones go.

    `room`, `is_warm` and `enqueue` may be called from any thread, the rest happens in the loop's.
    """

    def __init__(
        self,
        loop: Loop,
        claims: Claims,
        spec: MethodSpec,
        limits: Limits,
        source: Source,
        describe: Callable[[Reminder], dict[str, Any]],
        owner: Owner,
    ) -> None:
        """`describe`: what a handler is told of a reminder."""
        self.spec = spec
        self.repeatable = spec.repeatable
        self.timeout_text = format_span(limits.timeout)
        self._loop = loop
        self._claims = claims
        self._limits = limits
        self._source = source
        self._describe = describe
        self._owner = owner
        self._queue: list[Claim] = []  # in their order
        self._workers: set[WorkerEnd] = set()
        self._idle: list[WorkerEnd] = []
        self._given = 0  # claims in workers' hands
        self._starter = Starter(loop, spec.method, limits, source, self)
        self._closed = False
        self._tempo = Tempo(limits.concurrency)
        self._relief: Timer | None = None
        self._review: Timer | None = None
        self._next: Timer | None = None
        self._retire: Timer | None = None
        self._keep_until = 0.0
        self._stopping = False

    # ---- for the scheduler, from any thread

    def room(self) -> int:
        """How many more reminders may be claimed: what can begin within a second."""
        return max(0, self._room())

    def _room(self) -> int:
        """The same; below 0, so many are claimed too many."""
        # Not by the workers: one that arrives, is let go or dies is for a moment neither idle nor busy. Nobody calls
        # when that is over, and who sees no room then sleeps on beside what is due.
        free = self._limits.concurrency - self._owner.busy(self)
        if self.repeatable:
            free += self._tempo.in_a_second([worker.lasting for worker in list(self._workers) if worker.claims])
        with self._claims.lock:
            queued = sum(not claim.recalled for claim in self._queue)
            free -= self._given
        return min(free, _MOST_QUEUED) - queued

    def is_warm(self) -> bool:
        """Whether a worker is there, or on its way."""
        return bool(self._workers)

    def enqueue(self, claims: Iterable[Claim]) -> None:
        """Claims that are to be handed out. The caller has marked them as queued."""
        with self._claims.lock:
            closed = self._closed
            if not closed:
                self._queue += claims
                self._queue.sort(key=lambda claim: (claim.reminder.fire_at, claim.reminder.id))
        if closed:
            self._owner.enqueue(claims)
        else:
            self._loop.call(self.dispatch)

    def warm(self, seconds: float) -> None:
        """Have a worker ready, for work in so many seconds."""

        def start() -> None:
            self._keep_until = max(self._keep_until, clock.monotonic() + seconds + PAUSE)
            # Attempts may run in the pool that this one has taken the method from.
            free = self._owner.busy(self) < self._limits.concurrency
            if free and not self._workers and not self._starter.resting and not self._stopping:
                self._start_worker()

        self._loop.call(start)

    # ---- in the loop's thread

    def take_queue(self, close: bool = True) -> list[Claim]:
        """All that is queued, to be queued elsewhere; with `close`, what still comes goes there, too."""
        with self._claims.lock:
            self._closed = self._closed or close
            queue, self._queue = self._queue, []
            return queue

    def hand_over(self) -> None:
        """Another pool has the method from now on."""
        self._owner.enqueue(self.take_queue())
        self.stop()

    def stop(self) -> None:
        """Let idle workers go now, and the others after their attempts."""
        self._stopping = True
        for worker in list(self._idle):
            self._let_go(worker)

    def close(self) -> None:
        """Forget all workers: their processes end with their template."""
        self._stopping = True
        workers, self._workers, self._idle = self._workers, set(), []
        self._starter.forget()
        for worker in workers:
            worker.close()

    def interrupt(self) -> None:
        """Kill what is running: the daemon stops."""
        for worker in list(self._workers):
            worker.catch_up()
            worker.doom("the daemon stopped during it", Verdict.INTERRUPTED)

    @property
    def busy(self) -> int:
        """How many attempts are running."""
        return sum(bool(worker.claims) for worker in list(self._workers))

    def dispatch(self) -> None:
        """Hand out what can be, and start the workers that are wanting."""
        while self._idle and (claim := self._take(now := clock.now())) is not None:
            self._begin(claim, now)
        self._start_workers()
        if self._queue and self.busy and self._review is None:
            self._review = self._loop.after(_REVIEW, self._look_at_queue)

    def _take(self, now: Micros, spare: Micros | None = None) -> Claim | None:
        """The next claim, from now on in a worker's hands; None when there is none, or it has to wait.

        `spare`: nor one that may begin no later than so long after now.
        """
        with self._claims.lock:
            while self._queue and self._queue[0].recalled:
                self._queue.pop(0).queued = False
            if not self._queue or self._stopping:
                return None
            ahead = self._queue[0].reminder.fire_at - now - _AHEAD
            if ahead > 0:
                self._wake_in(ahead / SECOND)
                return None
            if spare is not None and self._queue[0].reminder.latest < now + spare:
                return None
            if self._tempo.is_crowded(now - self._queue[0].reminder.fire_at):
                self._wake_in(TICK)
                return None
            claim = self._queue.pop(0)
            self._claims.hand_over(claim)
            self._given += 1
            return claim

    def _begin(self, claim: Claim, now: Micros) -> None:
        """Hand it to an idle worker, with some of those behind it, unless it cannot be any more."""
        attempts = [
            (one, told)
            for one in (claim, *self._behind(self._idle[-1], now))
            if (told := self._told(one, now)) is not None
        ]
        if attempts:
            self._idle.pop().begin(attempts, now)
        if len(attempts) > 1 and self._relief is None:
            self._relief = self._loop.after(QUICK, self._relieve)

    def _behind(self, worker: WorkerEnd, now: Micros) -> Iterator[Claim]:
        """What it can be given besides."""
        if not (self._tempo.is_quick and self.repeatable):
            return
        # Its share of them; and none that a worker to be renewed would leave behind.
        share = len(self._queue) // (self._limits.concurrency * _MANY)
        for _ in range(min(_AT_ONCE - 1, share, self._limits.renew - worker.job - 1)):
            if (claim := self._take(now, _SPARE)) is None:
                return
            yield claim

    def _told(self, claim: Claim, now: Micros) -> dict[str, Any] | None:
        """What its handler is to know; None: it has ended, as no handler can be told of it any more."""
        if claim.reminder.latest < now:
            self._given -= 1
            self._owner.done(Ending(claim.reminder, Verdict.TOO_LATE, None, now))
            return None
        try:
            return self._describe(claim.reminder)
        except Exception as error:
            reason = f"no handler can be told of it: {type(error).__name__}"
            self._given -= 1
            self._owner.done(Ending(claim.reminder, Verdict.PERMANENT, None, now, reason))
            return None

    def _relieve(self) -> None:
        """Nothing waits behind an attempt that takes long while another worker could make it."""
        self._relief = None
        crowded = [worker for worker in self._workers if len(worker.claims) > 1]
        for worker in crowded:
            worker.relieve(QUICK)
        if crowded:
            self._relief = self._loop.after(QUICK, self._relieve)

    def _look_at_queue(self) -> None:
        """What was claimed for quick attempts, and would wait for slow ones, is not to be theirs if the daemon dies."""
        self._review = None
        if (surplus := -self._room()) > 0:
            with self._claims.lock:
                self._queue, claims = self._queue[:-surplus], self._queue[-surplus:]
            self._owner.give_back(claims)
        self.dispatch()

    def _wake_in(self, seconds: float) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = self._loop.after(seconds, self.dispatch)

    def _start_workers(self) -> None:
        wanted = len(self._queue) - self._starter.count - len(self._idle)
        room = self._limits.concurrency - len(self._workers)
        if wanted <= 0 or room <= 0:
            return
        for _ in range(min(wanted, room - self._owner.busy(self))):
            if not self._starter.resting and not self._stopping:
                self._start_worker()

    def _start_worker(self) -> None:
        if (worker := self._starter.start()) is not None:
            self._workers.add(worker)

    # ---- what the starter tells

    def died(self, worker: WorkerEnd, status: int) -> None:
        """Judge what it leaves behind."""
        if worker not in self._workers:
            return
        self._workers.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        worker.died(why(status))
        self._starter.lost(worker, status)
        self.dispatch()
        if not self._workers:
            self._owner.cooled()

    def cannot_start(self, reason: str) -> None:
        """Give what is queued back as surely not done."""
        for claim in self.take_queue(close=False):
            with self._claims.lock:
                claim.queued = False
                if claim.recalled:
                    continue
                self._claims.hand_over(claim)
            self._owner.done(Ending(claim.reminder, Verdict.TRANSIENT, None, clock.now(), reason))

    # ---- what the workers' ends tell

    def became_idle(self, worker: WorkerEnd, last: bool = False) -> None:
        """Give it the next attempt, or let it go."""
        self._starter.arrived(worker)
        if worker not in self._workers:
            return
        worker.idle_since = clock.monotonic()
        self._idle.append(worker)
        if last or self._stopping:
            self._let_go(worker)
        self.dispatch()
        if not self._workers:
            self._owner.cooled()
        if self._idle and self._retire is None:
            self._retire = self._loop.after(_IDLE, self._retire_idle)

    def ended(self, ending: Ending) -> None:
        """Remember what attempts take, and pass the ending on."""
        self._given -= 1
        seconds = None if ending.started is None else max(0, ending.finished - ending.started) / SECOND
        self._tempo.ended(seconds, silent=ending.output is None)
        self._owner.done(ending)

    def spoiled(self) -> None:
        """Others of the method may do so as well: one at a time for now."""
        self._tempo.spoiled()

    def kill(self, worker: WorkerEnd) -> None:
        """Through the process that forked it, which knows it by its tag."""
        if worker in self._idle:
            self._idle.remove(worker)
        self._source.kill_worker(worker.tag, worker.pid)

    def _let_go(self, worker: WorkerEnd) -> None:
        self._workers.discard(worker)
        self._idle.remove(worker)
        worker.close()

    def _retire_idle(self) -> None:
        self._retire = None
        now = clock.monotonic()
        for worker in [worker for worker in self._idle if worker.idle_since + _IDLE <= now]:
            if len(self._workers) == 1 and (self._queue or now < self._keep_until):
                continue
            self._let_go(worker)
        if not self._workers:
            self._owner.cooled()
        if self._idle:
            oldest = min(worker.idle_since for worker in self._idle)
            self._retire = self._loop.after(max(oldest + _IDLE - now, 1.0), self._retire_idle)
