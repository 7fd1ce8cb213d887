"""The parameters of a list: each once, each known, each checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from tifftockd.api.drafts import read_when
from tifftockd.api.fields import Kind, choice
from tifftockd.api.form import mend_plus
from tifftockd.api.route import Parameter, Request
from tifftockd.clock import Micros
from tifftockd.errors import InvalidInput

MOST = 10_000
LAST_ID = 2**63 - 1

_NUMBER = re.compile(r"[0-9]{1,19}")


def number(name: str, least: int, most: int, means: str) -> Parameter:
    """A parameter that is a whole number."""
    return Parameter(name, {"type": "integer", "minimum": least, "maximum": most}, means)


def read_query(text: str, known: tuple[Parameter, ...]) -> dict[str, str]:
    """The parameters in a query string. InvalidInput for one that is unknown, or comes twice."""
    if not text:
        return {}
    try:
        raw = text.encode("latin-1").decode("utf-8")
        pairs = parse_qsl(raw, keep_blank_values=True, errors="strict")
    except ValueError:
        raise InvalidInput("the query string is not UTF-8", kind="malformed") from None
    names = [parameter.name for parameter in known]
    query: dict[str, str] = {}
    for name, value in pairs:
        if name not in names:
            shown = ", ".join(names) or "none"
            raise InvalidInput(
                f"there is no parameter {name[:64]!r} here; known: {shown}", field=name[:64], kind="unknown_field"
            )
        if name in query:
            raise InvalidInput(f"the parameter {name!r} was given twice", field=name)
        query[name] = value
    return query


def read_number(query: Mapping[str, str], parameter: Parameter, or_: str = "") -> int | None:
    """A whole number within the parameter's bounds, or None where it was not given. `or_`: what else it may be."""
    text = query.get(parameter.name)
    if text is None:
        return None
    least, most = parameter.schema["minimum"], parameter.schema["maximum"]
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise InvalidInput(
            f"{parameter.name!r} must be a whole number from {least} to {most}{or_}", field=parameter.name
        )
    return int(text)


def read_choice(query: Mapping[str, str], name: str, kinds: type[Kind]) -> Kind | None:
    """One of an enum's values, or None where it was not given."""
    text = query.get(name)
    if text is None:
        return None
    return choice(name, text, kinds)


def read_instant(request: Request, name: str) -> Micros | None:
    """An instant in any form of `when`, in the server's zone where it has no offset; None where it was not given.

    InvalidTime; ClockWrong if it depends on a clock that is wrong.
    """
    text = request.query.get(name)
    if text is None:
        return None
    return read_when(mend_plus(text), request.config.zone, request.now, name)


def link_to_next(path: str, query: Mapping[str, str], place: Mapping[str, object]) -> dict[str, str]:
    """The header that leads to the next page (RFC 8288), with all else as it was asked for."""
    return {"Link": f'<{path}?{urlencode({**query, **place})}>; rel="next"'}
