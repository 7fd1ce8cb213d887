"""Which methods there are: what the API asks before it accepts a reminder, and the scheduler before it claims one."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from tifftockd import clock
from tifftockd.errors import HandlersLoading, InvalidInput
from tifftockd.handlers.spec import MethodSpec

# Callers that wait for a drop-in at once. Each has one of the threads that answer, and others want one, too.
_WAITING = 4


class Registry:
    """The methods of the present handlers. Every thread may ask; the executor fills it."""

    def __init__(self, specs: Sequence[MethodSpec], loading: bool) -> None:
        """`loading`: whether drop-ins are still to come."""
        self._changed = threading.Condition()
        self._specs = {spec.method: spec for spec in specs}
        self._failures: dict[str, list[str]] = {}
        self._loading = loading
        self._waiting = 0

    def add(self, specs: Sequence[MethodSpec]) -> None:
        """A drop-in has been loaded. Its methods take the place of built-in ones of the same name."""
        with self._changed:
            self._specs = self._specs | {spec.method: spec for spec in specs}
            self._changed.notify_all()

    def fail(self, file: str, reason: str) -> None:
        """A drop-in, or a part of it, cannot be used."""
        with self._changed:
            reasons = self._failures.setdefault(file, [])
            if reason not in reasons:
                reasons.append(reason)

    def mend(self, file: str) -> None:
        """What was wrong with a drop-in is so no more."""
        with self._changed:
            self._failures.pop(file, None)

    def loaded(self) -> None:
        """There are no more drop-ins to come."""
        with self._changed:
            self._loading = False
            self._changed.notify_all()

    def become(self, other: Registry) -> None:
        """After a reload: all that the other one knows, at once."""
        with self._changed:
            self._specs = other._specs
            self._failures = {file: list(reasons) for file, reasons in other._failures.items()}
            self._loading = other._loading
            self._changed.notify_all()

    @property
    def loading(self) -> bool:
        """Whether drop-ins are still being loaded."""
        return self._loading

    def wait(self, patience: float) -> bool:
        """Wait until all drop-ins have been loaded, for so many seconds at the most."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._loading, patience)

    def get(self, method: str) -> MethodSpec | None:
        """The method, usable or not; None if there is none."""
        return self._specs.get(method)

    def specs(self) -> list[MethodSpec]:
        """All methods, by name."""
        specs = self._specs  # it is never changed, only replaced
        return [specs[method] for method in sorted(specs)]

    def failures(self) -> list[tuple[str, str]]:
        """Drop-ins that cannot be used, or not with all their methods, with each reason."""
        with self._changed:
            return [(file, reason) for file in sorted(self._failures) for reason in self._failures[file]]

    def find(self, method: str, patience: float = 10.0) -> MethodSpec:
        """The method, if a reminder can be accepted for it.

        While drop-ins are loading, an unknown name is waited for, up to `patience` seconds, but not where enough others
        wait: HandlersLoading. InvalidInput names the setting that is missing, or lists the methods there are.
        """
        spec = self._specs.get(method) or self._await(method, clock.monotonic() + patience)
        if spec is None:
            known = ", ".join(sorted(self._specs))
            raise InvalidInput(
                f"there is no method '{method[:64]}'; there are: {known}", field="method", kind="unknown_method"
            )
        if spec.missing is not None:
            raise InvalidInput(
                f"method {method} cannot be used: {spec.missing}", field="method", kind="method_unavailable"
            )
        return spec

    def _await(self, method: str, end: float) -> MethodSpec | None:
        with self._changed:
            self._waiting += 1
            try:
                while (spec := self._specs.get(method)) is None and self._loading:
                    if self._waiting > _WAITING or not self._changed.wait(end - clock.monotonic()):
                        raise HandlersLoading("drop-ins are still being loaded; try again", field="method")
                return spec
            finally:
                self._waiting -= 1

    def why_not(self, method: str) -> str | None:
        """Why pending reminders of a method have to wait, or None when they do not."""
        spec = self._specs.get(method)
        if spec is None:
            return f"method {method} is {'still being loaded' if self._loading else 'not loaded'}"
        return f"method {method} cannot be used: {spec.missing}" if spec.missing else None
