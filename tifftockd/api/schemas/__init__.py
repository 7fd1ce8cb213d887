"""What is sent and given, as JSON Schema (2020-12): the components of /openapi.json, which routes name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from tifftockd.api.schemas import given, sent
from tifftockd.api.schemas.given import KINDS
from tifftockd.api.schemas.parts import Schema, ref
from tifftockd.api.schemas.sent import EXAMPLES
from tifftockd.handlers.spec import MethodSpec

__all__ = ["EXAMPLES", "KINDS", "components", "ref"]


def components(specs: Sequence[MethodSpec], today: date) -> dict[str, Schema]:
    """All schemas by their names. `specs`: the methods that there are."""
    return sent.schemas([spec for spec in specs if spec.missing is None], today) | given.SCHEMAS
