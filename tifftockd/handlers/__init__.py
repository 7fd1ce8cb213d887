"""Handlers: the class that every method derives from, what it declares as data, and one module per built-in.

Handlers run in worker processes only (tifftockd.worker). The daemon reads what the built-in classes declare and
never makes an instance of one; of drop-ins it gets the same facts as data from their template process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar


class RemindProcess(ABC):
    """One attempt of one reminder: `remind` is called once, in a worker process.

    It returns when the thing is done (what it returns is ignored), raises `PermanentError` when a repeat is
    useless, and anything else when a later attempt may succeed. Settings are in `os.environ`.
    """

    # The name that reminders use; without it the class's own, in lower case and without "RemindProcess".
    method: ClassVar[str]
    # The deadline of an attempt (a span: "90s", "5min"), and the attempts at once; None: the general setting.
    timeout: ClassVar[str | float | None] = None
    concurrency: ClassVar[int | None] = None
    # False: a repeat costs more than a loss. Then only its own TransientError is retried.
    repeatable: ClassVar[bool] = True
    # What `options` may hold: {"name": type}, {"name": ("allowed", "values")}, or {"name": "line"} for a string without
    # line breaks and other control characters; None: anything.
    # An instance's `options` are the reminder's own.
    options: Any = None
    # Whether a reminder must name its `to`.
    needs_to: ClassVar[bool] = False
    # Of a built-in method: a regular expression (all of `to` must match), and what to tell who does not meet it.
    _to_pattern: ClassVar[str | None] = None
    _to_hint: ClassVar[str | None] = None
    # Names of settings without which the method is unavailable.
    settings: ClassVar[tuple[str, ...]] = ()
    # A worker's memory ("512M"), how much of an attempt's output is kept ("8K"), attempts until it is renewed;
    # None: the general setting.
    memory: ClassVar[str | int | None] = None
    output: ClassVar[str | int | None] = None
    renew: ClassVar[int | None] = None

    def __init__(self, reminder: Mapping[str, Any]) -> None:
        """Take what the reminder says: TiffTock's `id`, `when` and `message`, and all that came since."""
        self.id: int = reminder["id"]
        self.when: str = reminder["when"]
        self.message: str = reminder["message"]
        self.to: str | None = reminder.get("to")
        self.options: Any = reminder.get("options") or {}
        self.attempt: int = reminder.get("attempt", 1)
        self.key: str = reminder.get("key", "")

    @abstractmethod
    def remind(self, message: str) -> object:
        """Do it."""

    @classmethod
    def prepare(cls) -> None:
        """Import what is heavy. Called once in the method's template process, before any worker is forked."""

    @classmethod
    def missing(cls, env: Mapping[str, str]) -> str | None:
        """Which settings are wanting, in a sentence, or None when the method can be used."""
        wanting = [name for name in cls.settings if not env.get(name)]
        return f"{' and '.join(wanting)} not set" if wanting else None

    @classmethod
    def _to_rule(cls, env: Mapping[str, str]) -> tuple[str | None, str | None]:
        """`_to_pattern` and `_to_hint`, with these settings."""
        return cls._to_pattern, cls._to_hint

    @classmethod
    def requires_to(cls, env: Mapping[str, str]) -> bool:
        """Whether a reminder must name its `to`, with these settings."""
        return cls.needs_to
