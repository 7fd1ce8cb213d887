"""A sign of life for a service elsewhere that notices its silence: a URL, fetched every minute by a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from tifftockd import clock, journal
from tifftockd.config import Config
from tifftockd.executor.claims import Claim, Claims
from tifftockd.executor.loop import Loop
from tifftockd.executor.pool import Pool
from tifftockd.executor.processes import Template
from tifftockd.executor.starter import Limits
from tifftockd.handlers.heartbeat import Heartbeat
from tifftockd.handlers.spec import BUILT_IN, describe
from tifftockd.reminder import Ending, Reminder, State, Verdict
from tifftockd.threads import make_thread

MODULE = "tifftockd.handlers.heartbeat"
# Seconds between two: what services of this kind take for the least.
EVERY = 60.0


class Heart:
    """The worker that fetches HEARTBEAT_URL. It happens in the loop's thread."""

    def __init__(self, loop: Loop, config: Config, template: Template) -> None:
        spec = describe(Heartbeat, BUILT_IN, config.environ)
        self._claims = Claims(self._enqueue)
        self.pool = Pool(loop, self._claims, spec, Limits.of(spec, config), template, lambda _: _TOLD, self)
        self._beating = False
        self._failing = False

    def beat(self) -> None:
        """Fetch it once, unless the last time still goes on."""
        if self._beating:
            return
        self._beating = True
        reminder = _reminder()
        self._claims.hold([reminder])
        self._claims.begin([reminder])
        # The worker stays for the next.
        self.pool.warm(EVERY)

    # ---- for the pool (pool.Owner)

    def done(self, ending: Ending) -> None:
        """Say in the log when it begins to fail, and when that is over."""
        self._claims.forget([ending.reminder])
        self._beating = False
        failing = ending.verdict is not Verdict.DELIVERED
        if failing and not self._failing:
            journal.event("heartbeat-failed", journal.WARNING, message=ending.error or str(ending.verdict))
        elif self._failing and not failing:
            journal.event("heartbeat-recovered")
        self._failing = failing

    def cooled(self) -> None:
        """The next beat starts another worker."""

    def busy(self, pool: Pool) -> int:  # noqa: ARG002  there is no other
        """How many others run."""
        return 0

    def enqueue(self, claims: Iterable[Claim]) -> None:
        """The pool has been closed; there will be another."""

    def give_back(self, claims: Iterable[Claim]) -> None:
        """One alone never waits for others."""

    def _enqueue(self, claims: Iterable[Claim]) -> None:
        self.pool.enqueue(claims)


class Pulse:
    """The thread that calls `beat` every minute while `well` says so. It runs only where it is wanted."""

    def __init__(self, well: Callable[[], bool], beat: Callable[[], None], every: float = EVERY) -> None:
        self._well = well
        self._beat = beat
        self._every = every
        self._stopping = threading.Event()
        self._thread = make_thread("heartbeat", self._run)

    def start(self) -> None:
        """Begin, with the first beat; a second call does nothing."""
        if self._thread.ident is None:
            self._thread.start()

    def stop(self) -> None:
        """End; not waited for, as it may be in the middle of a probe."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._well() and not self._stopping.is_set():
                self._beat()
            self._stopping.wait(self._every)


# What a handler is told.
_TOLD = {"id": 0, "when": "", "message": "", "method": "heartbeat", "to": None, "options": {}, "attempt": 1, "key": ""}


def _reminder() -> Reminder:
    """One that was never stored, as workers know nothing else."""
    now = clock.now()
    return Reminder(
        id=0, due=now, written="", fire_at=now, message="", method="heartbeat", to=None, options={}, tz=None,
        max_late=60 * clock.SECOND, retries=0, state=State.FIRING, attempts=1, failures=0, interruptions=0, key="",
        owner=None, created=now, last_error=None,
    )  # fmt: skip
