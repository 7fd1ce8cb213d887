"""The built-in methods: where each class is. Importing one here loads nothing heavy; `prepare` does, in a template."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from tifftockd.handlers import RemindProcess
from tifftockd.handlers.spec import BUILT_IN, MethodSpec, describe

MODULES = {
    "api": "tifftockd.handlers.api",
    "email": "tifftockd.handlers.email",
    "log": "tifftockd.handlers.log",
    "notify": "tifftockd.handlers.notify",
    "sms": "tifftockd.handlers.sms",
}


def builtin_specs(env: Mapping[str, str]) -> list[MethodSpec]:
    """What the built-in classes declare, with these settings."""
    return [describe(_class(module), BUILT_IN, env) for module in MODULES.values()]


def _class(module: str) -> type[RemindProcess]:
    loaded = importlib.import_module(module)
    return next(
        value
        for value in vars(loaded).values()
        if isinstance(value, type) and issubclass(value, RemindProcess) and value.__module__ == module
    )
