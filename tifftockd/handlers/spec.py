"""What a handler's class declares, as data that can be sent from a template process to the daemon."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from tifftockd.clock import Micros
from tifftockd.config import LONGEST_TIMEOUT, MEMORY, OUTPUT, parse_size
from tifftockd.errors import InvalidInput, InvalidTime, LoadError
from tifftockd.handlers import RemindProcess
from tifftockd.handlers.content import KINDS
from tifftockd.when import parse_span

# The source of a method that is no drop-in's.
BUILT_IN = "built-in"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")

# JSON's types by the names that /handlers shows.
TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "list": list,
    "dict": dict,
    "any": object,
}


class MethodSpec(NamedTuple):
    """A method, as the daemon knows it. `None` stands for the general setting."""

    method: str
    source: str  # "built-in", or the drop-in's file
    options: dict[str, Any] | None  # {"name": a key of TYPES or KINDS, or a list of allowed strings}; None: anything
    needs_to: bool
    to_pattern: str | None
    to_hint: str | None
    timeout: Micros | None
    concurrency: int | None
    repeatable: bool
    memory: int | None  # bytes
    output: int | None  # bytes
    renew: int | None  # attempts
    missing: str | None  # why it cannot be used, or None

    def check(self, to: str | None, options: dict[str, Any], message: str = "") -> None:
        """Raise InvalidInput unless a reminder may say this to the method."""
        self.check_to(to)
        self.check_options(options, message)

    def check_to(self, to: str | None) -> None:
        """The recipient. InvalidInput."""
        if self.needs_to and not to:
            raise InvalidInput(f"method {self.method} needs a recipient: set 'to'", field="to", kind="missing")
        if to is not None and self.to_pattern is not None and not re.fullmatch(self.to_pattern, to):
            hint = self.to_hint or f"it must match {self.to_pattern}"
            raise InvalidInput(f"'to' does not fit method {self.method}: {hint}", field="to")

    def check_options(self, options: dict[str, Any], message: str = "") -> None:
        """Its options. InvalidInput."""
        if self.options is None:
            return
        for name, value in options.items():
            self._check_option(name, value, message)

    def _check_option(self, name: str, value: object, message: str) -> None:
        assert self.options is not None
        if name not in self.options:
            known = ", ".join(sorted(self.options)) or "none"
            raise InvalidInput(
                f"method {self.method} has no option '{name}'; it accepts: {known}",
                field=f"options.{name}",
                kind="unknown_field",
            )
        wanted, kind = self.options[name], None
        if isinstance(wanted, list):
            fits, must = value in wanted, f"one of {', '.join(wanted)}"
        else:
            kind = KINDS.get(wanted)
            if kind is not None:
                wanted = kind.type
            # bool is an int to Python, not to JSON
            fits = isinstance(value, TYPES[wanted]) and (wanted in ("bool", "any") or not isinstance(value, bool))
            must = f"of type {wanted}"
        if not fits:
            raise InvalidInput(f"option '{name}' of method {self.method} must be {must}", field=f"options.{name}")
        fault = kind and kind.fault(value, message)
        if fault:
            raise InvalidInput(f"option '{name}' of method {self.method}: {fault}", field=f"options.{name}")


def method_name(cls: type[RemindProcess]) -> str:
    """The name that a class is registered under. LoadError if reminders could not use it."""
    name = getattr(cls, "method", None)
    if name is None:
        name = cls.__name__.removesuffix("RemindProcess").lower()
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise LoadError(f"{cls.__name__}.method is {name!r}; it must match {NAME.pattern}, like 'lamp'")
    return name


def describe(cls: type[RemindProcess], source: str, env: Mapping[str, str]) -> MethodSpec:
    """Read what a class declares. LoadError names the attribute that is wrong and what would be right."""
    method = method_name(cls)
    pattern, hint = cls._to_rule(env)
    # The daemon itself matches it, and a pattern without end would hold it up: only built-in ones are trusted.
    pattern = _text(cls, "_to_pattern", pattern) if source == BUILT_IN else None
    if pattern is not None:
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise LoadError(f"{cls.__name__}._to_pattern is not a regular expression: {error}") from None
    # What `missing` and `requires_to` go by
    _names(cls, "settings")
    _flag(cls, "needs_to")
    return MethodSpec(
        method=method,
        source=source,
        options=_options(cls),
        needs_to=bool(cls.requires_to(env)),
        to_pattern=pattern,
        to_hint=_text(cls, "_to_hint", hint),
        timeout=_span(cls, "timeout"),
        concurrency=_count(cls, "concurrency", 1024),
        repeatable=_flag(cls, "repeatable"),
        memory=_size(cls, "memory", *MEMORY),
        output=_size(cls, "output", *OUTPUT),
        renew=_count(cls, "renew", 1_000_000_000),
        missing=cls.missing(env),
    )


def _options(cls: type[RemindProcess]) -> dict[str, Any] | None:
    declared = cls.options
    if declared is None:
        return None
    if not isinstance(declared, Mapping):
        raise LoadError(f"{cls.__name__}.options must be a dict like {{'subject': str}}")
    names: dict[Any, str] = {kind: name for name, kind in TYPES.items()} | {float: "float"}
    result: dict[str, Any] = {}
    for name, wanted in declared.items():
        if isinstance(wanted, type) and wanted in names:
            result[str(name)] = names[wanted]
        elif isinstance(wanted, str) and wanted in KINDS:
            result[str(name)] = wanted
        elif isinstance(wanted, (tuple, list)) and wanted and all(isinstance(value, str) for value in wanted):
            result[str(name)] = list(wanted)
        else:
            raise LoadError(
                f"{cls.__name__}.options[{name!r}] must be one of str, int, float, bool, list, dict, object, 'line',"
                " or a tuple of allowed strings"
            )
    return result


def _text(cls: type[RemindProcess], name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise LoadError(f"{cls.__name__}.{name} must be a string, not {type(value).__name__}")
    return value


def _flag(cls: type[RemindProcess], name: str) -> bool:
    value = getattr(cls, name)
    if not isinstance(value, bool):
        raise LoadError(f"{cls.__name__}.{name} is {value!r:.100}; it must be True or False")
    return value


def _names(cls: type[RemindProcess], name: str) -> None:
    value = getattr(cls, name)
    # A string would be taken for the names of its letters.
    if not isinstance(value, (tuple, list)) or not all(isinstance(one, str) and one for one in value):
        raise LoadError(f'{cls.__name__}.{name} is {value!r:.100}; it must be a tuple of names like ("LAMP_KEY",)')


def _span(cls: type[RemindProcess], name: str) -> Micros | None:
    value = getattr(cls, name)
    if value is None:
        return None
    try:
        span = parse_span(value)
    except InvalidTime as error:
        raise LoadError(f"{cls.__name__}.{name}: {error}") from None
    if span <= 0:
        raise LoadError(f"{cls.__name__}.{name} must be longer than nothing, like '60s'")
    if span > parse_span(LONGEST_TIMEOUT):
        raise LoadError(f"{cls.__name__}.{name} must be at most {LONGEST_TIMEOUT}")
    return span


def _size(cls: type[RemindProcess], name: str, least: str, most: str) -> int | None:
    value = getattr(cls, name)
    if value is None:
        return None
    try:
        size = parse_size(value)
    except InvalidInput as error:
        raise LoadError(f"{cls.__name__}.{name}: {error}") from None
    if not parse_size(least) <= size <= parse_size(most):
        raise LoadError(f"{cls.__name__}.{name} is {value!r}; it must be from {least} to {most}")
    return size


def _count(cls: type[RemindProcess], name: str, most: int) -> int | None:
    value = getattr(cls, name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise LoadError(f"{cls.__name__}.{name} is {value!r}; it must be a whole number from 1 to {most}")
    return value
