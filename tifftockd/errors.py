"""Every exception of tifftockd, each with the `kind` that clients can rely on.

The HTTP status that belongs to each stands in one table, `tifftockd.api.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


class TifftockError(Exception):
    """The base of all that tifftockd raises on purpose. The message says what is wrong and what would be right."""

    kind = "internal"
    # What a client gets beside the message.
    details: Mapping[str, object] = MappingProxyType({})

    def __init__(self, message: str, *, field: str | None = None, kind: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        if kind is not None:
            self.kind = kind


# ---- what a request can get wrong


class InvalidInput(TifftockError):
    """A field, a parameter or a body that cannot be accepted; `field` names it where there is one."""

    kind = "invalid"


class InvalidTime(InvalidInput):
    """A time, a span or a zone that cannot be read, or that lies outside what can be kept."""

    kind = "invalid_time"


class NotFound(TifftockError):
    """No such reminder, or no such page."""

    kind = "not_found"


class MethodNotAllowed(TifftockError):
    """The route exists, the HTTP method does not."""

    kind = "method_not_allowed"


class Unauthorized(TifftockError):
    """A TCP request without a valid key."""

    kind = "unauthorized"


class TooLarge(TifftockError):
    """A body, a line or a header above its limit."""

    kind = "too_large"


class SomeInvalid(InvalidInput):
    """Some of many: `errors` has an index, an error, a kind and a field for each of them."""

    kind = "some_invalid"

    def __init__(self, message: str, errors: list[dict[str, object]]) -> None:
        super().__init__(message)
        self.details = {"errors": errors}


class Replayed(TifftockError):
    """What was asked for has been done before: `answer` is what was said then."""

    kind = "replayed"

    def __init__(self, answer: bytes) -> None:
        super().__init__("this request has been answered before")
        self.answer = answer


class KeyReused(TifftockError):
    """An Idempotency-Key that came with another request before."""

    kind = "key_reused"


class Misfit(TifftockError):
    """A change that does not fit the reminder as it is: its method takes no such recipient or option."""

    kind = "misfit"


class Firing(TifftockError):
    """The reminder's attempt is running: it can be neither cancelled nor changed until that has ended."""

    kind = "firing"

    def __init__(self, message: str, *, repeats: bool) -> None:
        """`repeats`: whether the reminder does."""
        super().__init__(message)
        self.repeats = repeats


# ---- what is the server's


class Unavailable(TifftockError):
    """Something that a later request may find mended; `retry_after` is in whole seconds."""

    kind = "unavailable"
    retry_after = 1


class StoreUnavailable(Unavailable):
    """The store cannot take or give what was asked."""

    kind = "store_unavailable"


class Overloaded(StoreUnavailable):
    """There is more to do than is done in a second."""

    kind = "overloaded"


class HandlersLoading(Unavailable):
    """The method may belong to a drop-in that is still being loaded."""

    kind = "handlers_loading"


class ClockWrong(Unavailable):
    """The machine's clock is plainly wrong, so a relative or local time cannot be read."""

    kind = "clock_wrong"
    retry_after = 10


# ---- what stops the daemon


class ConfigError(TifftockError):
    """A setting that cannot be used; the message names setting, value and fix. Exit code 78 (EX_CONFIG)."""

    kind = "config"


class StoreError(TifftockError):
    """The database cannot be opened: newer than this release, damaged, or held by another daemon.

    `exit_code`: of sysexits.h; 74 (EX_IOERR) unless it is something that a person has to set right (78; 65,
    EX_DATAERR, if the database is damaged) or that ends by itself (75, EX_TEMPFAIL).
    """

    kind = "store"

    def __init__(self, message: str, *, exit_code: int = 74) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ListenError(TifftockError):
    """An address cannot be listened on; the message says who has it or what to do."""

    kind = "listen"


class LoadError(TifftockError):
    """A drop-in that cannot be loaded; the message is shown in the journal, in /handlers and by --check."""

    kind = "load"


# ---- what a handler says (public: `from tifftockd import PermanentError, TransientError`)


class HandlerError(Exception):
    """What a handler raises to say how its attempt failed."""


class PermanentError(HandlerError):
    """A repeat is useless: the reminder ends `failed` at once."""


class TransientError(HandlerError):
    """Surely not done, and a later attempt may succeed.

    `retry_after`: the least number of seconds until then (RFC 9110, 10.2.3), or None for the usual delay.
    """

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
