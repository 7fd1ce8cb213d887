"""One attempt without a daemon: by the same workers with the same limits, but from no store and into none."""

from __future__ import annotations

import secrets
import threading
from types import TracebackType
from typing import Any, Self

from tifftockd import clock
from tifftockd.config import Config
from tifftockd.executor import Executor
from tifftockd.handlers.registry import Registry
from tifftockd.reminder import Ending, Reminder, State, Verdict

# More than any handler's deadline: a trial that fails would be tried again, whatever MAX_LATE and RETRIES say.
_MAX_LATE = 3650 * 86_400 * clock.SECOND


class Trial:
    """The handlers of a configuration from `with` on, until its end: then all their processes have ended, too."""

    def __init__(self, config: Config, patience: float) -> None:
        """`patience`: how long drop-ins may take to be loaded, in seconds."""
        self._patience = patience
        self._changed = threading.Event()
        self._executor = Executor(config, self._changed.set)

    def __enter__(self) -> Self:
        self._executor.start()
        self.registry.wait(self._patience)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.stop(0)

    @property
    def registry(self) -> Registry:
        """The methods there are."""
        return self._executor.registry

    def attempt(self, method: str, message: str, to: str | None, options: dict[str, Any]) -> Ending:
        """Run it, now, to its end or its deadline."""
        while True:
            reminder = _reminder(method, message, to, options)
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
