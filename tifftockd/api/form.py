"""Fields as `curl -d name=value` sends them, made into those of JSON."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from tifftockd.api.strict import check, from_json, is_suspect, malformed
from tifftockd.errors import InvalidInput

TYPE = "application/x-www-form-urlencoded"
# A form's encoding turns the plus of an offset into a space, and who types one does not think of that.
_LOST_PLUS = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.,]+) ([0-9]{2}(?::?[0-9]{2})?)")
_MOST_FIELDS = 1000
# Fields that are a number, or a span in seconds, if they look like one
_NUMBER = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")
_NUMBERS = ("in", "max_late", "retries", "count")
# Empty: not given
_NULLABLE = ("to", "tz", "repeat", "until", "count")
_OPTION = "options."


def is_type(content_type: str) -> bool:
    """Whether a Content-Type is that of a form: curl's for everything."""
    return content_type.partition(";")[0].strip().lower() == TYPE


def mend_plus(text: str) -> str:
    """A time as it was meant, if the plus of its offset came as a space."""
    lost = _LOST_PLUS.fullmatch(text)
    return f"{lost[1]}+{lost[2]}" if lost else text


def read_form(data: bytes) -> dict[str, Any]:
    """The fields of a form. `options` is JSON, or each by its name: `options.subject=Bank`. InvalidInput."""
    try:
        text = data.strip().decode("utf-8")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise malformed("the form cannot be read: send name=value, joined by &, in UTF-8") from None
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if "\0" in name + value:
            raise malformed("the form holds a NUL character (%00), which is no text", name.partition("\0")[0])
        if name.startswith(_OPTION):
            options, name = fields.setdefault("options", {}), name.removeprefix(_OPTION)  # noqa: PLW2901
        else:
            options, value = fields, _value(name, value)  # noqa: PLW2901
        if not isinstance(options, dict):
            raise InvalidInput("'options' was given twice: send it once", field="options")
        if name in options:
            raise InvalidInput(f"{name[:64]!r} was given twice: send it once", field=name[:64])
        options[name] = value
    return fields


def _value(name: str, text: str) -> Any:
    if name in _NUMBERS and _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    if name in _NULLABLE and not text:
        return None
    if name in ("when", "until"):
        return mend_plus(text)
    return _options(text) if name == "options" else text


def _options(text: str) -> Any:
    data = text.encode("utf-8")
    value = from_json(data, "'options'", 'an object like {"subject": "Bank"}', "options")
    # The form is the first level, and has no bracket.
    if is_suspect(data, 0):
        check(value, "options")
    return value
