"""The daemon's side of running handlers: a queue, a concurrency and a deadline per method.

One thread talks to all workers. Every other thread comes through `Executor`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from tifftockd import clock
from tifftockd.clock import SECOND, Micros
from tifftockd.config import Config
from tifftockd.errors import TifftockError
from tifftockd.executor.claims import Claim, Claims
from tifftockd.executor.generation import Generation
from tifftockd.executor.loop import Loop, Timer
from tifftockd.executor.pool import Pool
from tifftockd.executor.processes import Template
from tifftockd.executor.starter import Limits
from tifftockd.handlers.builtin import builtin_specs
from tifftockd.handlers.dropins import Dropin
from tifftockd.handlers.registry import Registry
from tifftockd.handlers.spec import MethodSpec
from tifftockd.reminder import Ending, Reminder, Verdict
from tifftockd.when import format_instant, zone_or
from tifftockd.worker import kin

T = TypeVar("T")

# Endings are settled so many at a time, or after so many seconds; the last one that runs waits for nobody. The more
# that wait, the more a crash has repeated. While claims queue, as in a burst, they may wait for twice as long: that
# fills the passes, and 10,000 at once take a fifth less time.
_GATHER = 128
_GATHER_TIME = 0.01
_GATHER_IN_BURST = 0.02
# How often a stopping executor looks whether it is done, in seconds.
_LOOK = 0.02
# How long killed attempts are waited for, in seconds.
_KILLED = 5.0
# How long a reload may take, in seconds: a drop-in has 10 for its import.
_RELOAD = 30.0


class Executor:
    """Runs attempts in worker processes and gathers how they ended."""

    def __init__(self, config: Config, changed: Callable[[], None], only: str | None = None) -> None:
        """`changed` is called, from any thread, when there are endings, room or methods that were not there before.

        `only`: the name of the one drop-in to load; None: all.
        """
        self.registry = Registry(builtin_specs(config.environ), loading=True)
        self.claims = Claims(self._enqueue, changed)
        self._changed = changed
        self._only = only
        self._loop = Loop("executor")
        self._current = self._generation(config, self.registry, {})
        self._draining: list[Generation] = []
        self._endings: list[Ending] = []
        self._endings_lock = threading.Lock()
        self._gathered = Timer(changed)  # when they are told of

    def start(self) -> None:
        """Begin, and load the drop-ins meanwhile: `registry.wait` tells when that is done."""
        # What a dead parent process leaves behind comes to the daemon, which kills it.
        kin.adopt_orphans()
        self._loop.start()
        self._loop.call(lambda: self._current.load(self._changed))

    def reload(self, config: Config) -> None:
        """Load all handlers anew, then let them take over from the old ones; waits for that.

        Running attempts end in the old workers. TifftockError, and all stays as it was, when it cannot be done.
        """
        registry = Registry(builtin_specs(config.environ), loading=True)
        fresh = self._generation(config, registry, self._current.last_used())
        loaded: Future[None] = Future()
        self._loop.call(lambda: _guarded(loaded, lambda: fresh.load(lambda: loaded.set_result(None))))
        try:
            loaded.result(_RELOAD)
        except Exception as error:
            self._loop.call(fresh.close)
            raise TifftockError(f"the handlers cannot be loaded: {str(error) or 'it takes too long'}") from error
        self._ask(lambda: self._switch(fresh))
        self._changed()

    def stop(self, patience: float) -> None:
        """Let running attempts end, for so many seconds; what is left is killed and ends `interrupted`.

        What is queued is the scheduler's to take back. The endings are there for `take_endings` as they come.
        """
        # From now on nothing is handed over. What came into a worker's hands after the last look would be forgotten
        # with it, and uncertain at the next start.
        self._ask(lambda: self._each(Generation.stop))
        if not self._await_idle(patience):
            self._ask(lambda: self._each(Generation.kill_attempts))
            self._await_idle(_KILLED)
        self._ask(lambda: self._each(Generation.close))
        self._loop.stop()

    def probe(self, then: Callable[[], None]) -> None:
        """Wake its thread, which calls `then`."""
        self._loop.call(then)

    @property
    def alive(self) -> bool:
        """Whether its thread lives."""
        return self._loop.alive

    def beat(self) -> None:
        """Fetch HEARTBEAT_URL, if it is set, in a worker."""

        def beat() -> None:
            if self._current.heart is not None:
                self._current.heart.beat()

        self._loop.call(beat)

    # ---- for the scheduler

    def room(self, method: str) -> int:
        """How many more reminders of a method may be claimed; 0 when it is not there."""
        pool = self._usable(method)
        return 0 if pool is None else pool.room()

    def has(self, method: str) -> bool:
        """Whether a method is there and has all it needs."""
        return self._usable(method) is not None

    def _usable(self, method: str) -> Pool | None:
        pool = self._current.pools.get(method)  # once: a reload may exchange them meanwhile
        return pool if pool is not None and pool.spec.missing is None else None

    def repeatable(self, method: str) -> bool:
        """Whether a repeat of this method's attempts costs less than a loss."""
        pool = self._current.pools.get(method)
        return pool is None or pool.spec.repeatable

    def is_warm(self, method: str) -> bool:
        """Whether a worker for this method is there, or on its way."""
        pool = self._current.pools.get(method)
        return pool is None or pool.is_warm()

    def warm(self, method: str, fire_at: Micros) -> None:
        """Have a worker ready for this instant."""
        if (pool := self._current.pools.get(method)) is not None:
            pool.warm(max(0, fire_at - clock.now()) / SECOND)

    @property
    def queued(self) -> int:
        """How many claims wait: for a worker, or behind the attempt that one makes."""
        return max(0, self.claims.waiting() + self.claims.in_hand - self.running)

    @property
    def running(self) -> int:
        """How many attempts are being made."""
        return sum(pool.busy for generation in self._generations() for pool in generation.all_pools())

    @property
    def gathering(self) -> bool:
        """Whether there are endings; then `changed` is about to be called."""
        return bool(self._endings)

    def take_endings(self) -> list[Ending]:
        """What has ended since the last call; their claims stay known until `claims.forget`."""
        with self._endings_lock:
            endings, self._endings = self._endings, []
            return endings

    # ---- for the pools (pool.Owner)

    def cooled(self) -> None:
        """A pool's last worker has gone."""
        self._changed()

    def busy(self, pool: Pool) -> int:
        """How many attempts of its method run in other pools."""
        others = (other for generation in self._generations() for other in generation.all_pools())
        return sum(other.busy for other in others if other is not pool and other.spec.method == pool.spec.method)

    def enqueue(self, claims: Iterable[Claim]) -> None:
        """Claims for a pool that has been replaced meanwhile."""
        self._enqueue(claims)

    def give_back(self, claims: Iterable[Claim]) -> None:
        """The method went away, another class took it, or what runs takes too long for them to begin soon."""
        taken, now = self.claims.recall_these(claims), clock.now()
        with self._endings_lock:
            self._endings += [Ending(reminder, Verdict.RETURNED, None, now) for reminder in taken]
        self._changed()

    # ---- in the loop's thread

    def _generation(self, config: Config, registry: Registry, before: Mapping[str, Dropin]) -> Generation:
        describe = _describer(config)

        def make_pool(spec: MethodSpec, template: Template) -> Pool:
            self._loop.call(self._changed)  # when the pool is in use: who looks before that sleeps on
            limits = Limits.of(spec, config)
            return Pool(self._loop, self.claims, spec, limits, template, describe, self)

        return Generation(self._loop, config, registry, make_pool, before, self._only)

    def _generations(self) -> list[Generation]:
        return [self._current, *self._draining]

    def _each(self, do: Callable[[Generation], None]) -> None:
        for generation in self._generations():
            do(generation)

    def _switch(self, fresh: Generation) -> None:
        """Hand the old queues over; the old workers end with their last attempts."""
        old = self._current
        self._draining.append(old)  # before another is the current one: who counts attempts never misses one
        self._current = fresh
        self.registry.become(fresh.registry)
        # Should a drop-in of the old ones still be loading, it is nobody's business any more.
        fresh.registry, old.registry = self.registry, fresh.registry
        for pool in old.pools.values():
            self._enqueue(pool.take_queue())
        old.stop()
        self._close_drained()

    def _drained(self) -> None:
        """An attempt has ended, maybe in an old pool: its place is free for the new one's."""
        self._close_drained()
        self._current.forget_replaced()
        for pool in self._current.pools.values():
            pool.dispatch()

    def _close_drained(self) -> None:
        for generation in [generation for generation in self._draining if not generation.is_busy]:
            self._draining.remove(generation)
            generation.close()

    def _enqueue(self, claims: Iterable[Claim]) -> None:
        by_method: dict[str, list[Claim]] = {}
        for claim in claims:
            by_method.setdefault(claim.reminder.method, []).append(claim)
        for method, queue in by_method.items():
            pool = self._current.pools.get(method)
            # Whose attempts are not to be repeated gets none that a crash would have made again.
            back = [claim for claim in queue if pool is None or (claim.repeatable and not pool.repeatable)]
            if pool is not None:
                pool.enqueue(queue if not back else [claim for claim in queue if not claim.repeatable])
            if back:
                self.give_back(back)

    def done(self, ending: Ending) -> None:
        """An attempt has ended."""
        with self._endings_lock:
            self._endings.append(ending)
            gathered = len(self._endings)
        self.claims.in_hand -= 1
        # One transaction for many: while others run, an ending waits a moment for theirs. Not what is to be made anew.
        enough = self.claims.in_hand == 0 or gathered == _GATHER or ending.verdict is Verdict.RETURNED
        if enough or gathered == 1:
            self._gathered.cancel()
        if enough:
            self._changed()
        elif gathered == 1:
            patience = _GATHER_IN_BURST if self.claims.waiting() else _GATHER_TIME
            self._gathered = self._loop.after(patience, self._changed)
        if self._draining or self._current.replaced:
            self._loop.call(self._drained)

    # ---- waiting for the loop

    def _ask(self, function: Callable[[], T]) -> T:
        answer: Future[T] = Future()
        self._loop.call(lambda: _guarded(answer, lambda: answer.set_result(function())))
        return answer.result()

    def _await_idle(self, patience: float) -> bool:
        end = clock.monotonic() + patience
        while self._ask(lambda: any(generation.is_busy for generation in self._generations())):
            if clock.monotonic() >= end:
                return False
            time.sleep(_LOOK)
        return True


def _guarded(future: Future[T], function: Callable[[], None]) -> None:
    try:
        function()
    except Exception as error:
        future.set_exception(error)


def _describer(config: Config) -> Callable[[Reminder], dict[str, Any]]:
    """What a handler is told of a reminder."""

    def describe(reminder: Reminder) -> dict[str, Any]:
        return {
            "id": reminder.id,
            "when": format_instant(reminder.due, zone_or(reminder.tz, config.zone)),
            "message": reminder.message,
            "method": reminder.method,
            "to": reminder.to,
            "options": reminder.options,
            "attempt": reminder.attempts,
            "key": reminder.key,
        }

    return describe
