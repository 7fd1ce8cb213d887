"""How bad input is shown in the message that refuses it."""

from __future__ import annotations

import reprlib

# The longest text that is looked at: more than any time, span or zone that means something.
LONGEST = 100

_short = reprlib.Repr()
_short.maxstring = LONGEST


def shown(text: str) -> str:
    """`text` in quotes, on one line, with what cannot be printed escaped, and shortened in its middle."""
    return _short.repr(text)
