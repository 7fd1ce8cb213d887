"""One attempt without a daemon: checked as a request is and made by the same workers, but from no store into none."""

from __future__ import annotations

import io
import json
import os
import secrets
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tifftockd import clock
from tifftockd.api.body import read_object
from tifftockd.api.fields import read_fields
from tifftockd.config import Config
from tifftockd.errors import InvalidInput
from tifftockd.executor import Executor
from tifftockd.handlers.dropins import without_run_bit
from tifftockd.handlers.registry import Registry
from tifftockd.handlers.spec import MethodSpec
from tifftockd.reminder import Ending, Reminder, State, Verdict
from tifftockd.settling import Policy, settle

# Seconds that drop-ins are waited for: each has 10.
PATIENCE = 15.0

# More than any handler's deadline: a trial that fails would be tried again, whatever MAX_LATE and RETRIES say.
_MAX_LATE = 3650 * 86_400 * clock.SECOND


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended."""

    outcome: str  # "delivered", "failed" or "uncertain", as in the history
    transient: bool  # whether it failed, and the daemon would try again
    retry_after: float | None  # what its TransientError asks for, in seconds; None: the usual delay
    error: str | None  # why it was not delivered
    output: str  # what it printed, cut as the daemon cuts it; without the traceback
    traceback: str  # of what it raised, if that came through the drop-in's own file; else empty
    seconds: float | None  # how long it took; None if it did not begin


class Trial:
    """The handlers of a configuration from `with` on, until its end: then all their processes have ended, too."""

    def __init__(self, config: Config, only: str | None = None) -> None:
        """`only`: the name of the one drop-in to load; None: all."""
        self._config = config
        self._changed = threading.Event()
        self._executor = Executor(config, self._changed.set, only)
        self._umask = 0

    def __enter__(self) -> Self:
        # What the daemon's handlers make is nobody else's.
        self._umask = os.umask(0o077)
        self._executor.start()
        self.registry.wait(PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.stop(0)
        os.umask(self._umask)

    @property
    def registry(self) -> Registry:
        """The methods there are."""
        return self._executor.registry

    def find(self, method: str) -> MethodSpec:
        """The method, if a reminder would be accepted for it. InvalidInput says what to mend."""
        try:
            return self.registry.find(method, 0)
        except InvalidInput as error:
            hints = without_run_bit(self._config.handlers_dir, method)
            kind = error.kind
            if self.registry.get(method) is None and self.registry.failures():
                # Each of them was told when it failed.
                hints.append("it may be in a file above that could not be loaded")
                kind = "method_unavailable"
            raise InvalidInput("; ".join([error.message, *hints]), kind=kind) from None

    def attempt(self, spec: MethodSpec, message: str, to: str | None, options: dict[str, Any]) -> Result:
        """Run it, now, to its end or its deadline. InvalidInput, with the words of the API, for what that refuses."""
        fields = {"message": message, "to": to, "options": options}
        given = read_fields(read_object(io.BytesIO(json.dumps(fields).encode())))
        spec.check(given["to"], given["options"], given["message"])
        ending = self._run(spec.method, given)
        settlement = settle(ending, Policy(self._config.retry_delay))
        # Of a person's own code; what else there is of one, is in the output.
        trace = ending.trace if ending.trace and f'File "{spec.source}"' in ending.trace else ""
        return Result(
            outcome=str(settlement.outcome),
            transient=settlement.state is State.PENDING,
            retry_after=None if ending.retry_after is None else ending.retry_after / clock.SECOND,
            error=settlement.error,
            output=(ending.output or "").removesuffix(trace),
            traceback=trace,
            seconds=None if ending.started is None else (ending.finished - ending.started) / clock.SECOND,
        )

    def _run(self, method: str, given: dict[str, Any]) -> Ending:
        while True:
            reminder = _reminder(method, given["message"], given["to"], given["options"])
            self._executor.claims.hold([reminder])
            self._executor.claims.begin([reminder])
            while not (endings := self._executor.take_endings()):
                self._changed.wait()
                self._changed.clear()
            self._executor.claims.forget([reminder])
            # It has not begun if the clock was set back meanwhile, or somebody killed its worker before.
            if endings[0].verdict is not Verdict.RETURNED:
                return endings[0]


def _reminder(method: str, message: str, to: str | None, options: dict[str, Any]) -> Reminder:
    now = clock.now()
    return Reminder(
        id=0, due=now, written="now", fire_at=now, message=message, method=method, to=to, options=options, tz=None,
        max_late=_MAX_LATE, retries=1, state=State.FIRING, attempts=1, failures=0, interruptions=0,
        key=secrets.token_hex(16), owner=None, created=now, last_error=None,
    )  # fmt: skip
