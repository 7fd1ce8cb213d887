"""Imports libraries without what they import for uses that nobody makes of them here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


class _Unused(ModuleType):
    """Has all that is asked for, and none of it is of use."""

    def __getattr__(self, name: str) -> object:
        return object


@contextmanager
def leaving_out(*names: str, **parts: object) -> Iterator[None]:
    """Meanwhile whoever imports one of these modules, if it is not there yet, gets an empty one, with these parts.

    Afterwards an import gives the real one again. With what is left out so, the daemon's imports would take three
    fifths more time, and 14 MiB.
    """
    unused = {name: _Unused(name) for name in names if name not in sys.modules}
    for module in unused.values():
        vars(module).update(parts)
    sys.modules |= unused
    try:
        yield
    finally:
        for name in unused:
            del sys.modules[name]
