"""What is sent: one reminder as a JSON object or as the fields of a form, or many as a JSON array."""

from __future__ import annotations

from typing import Any, Protocol

from tifftockd.api import form
from tifftockd.api.strict import check, from_json, is_suspect, malformed
from tifftockd.errors import InvalidInput, TooLarge

# One reminder: a message of 32 KiB, as long a recipient as anyone has, and options.
LARGEST = 65_536
# A form writes most characters of a message as three.
LARGEST_FORM = 3 * LARGEST
# Many, and so what the server lets through
LARGEST_ARRAY = 8 * 1024 * 1024

EXAMPLE = '{"in": "10m", "message": "tea is ready", "method": "log"}'
EXAMPLE_OF_CHANGE = '{"in": "10m"}'


class Stream(Protocol):
    """What is read of `wsgi.input`."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""


def read_object(stream: Stream, content_type: str = "", example: str = EXAMPLE) -> dict[str, Any]:
    """The JSON object, or the form's fields. curl says of everything that it is a form: JSON shows by its beginning.

    InvalidInput, which tells the example, or TooLarge.
    """
    is_form, wanted = form.is_type(content_type), f"object like {example}"
    data = _read(stream, LARGEST_FORM if is_form else LARGEST, wanted)
    if is_form and data.lstrip()[:1] not in (b"{", b"["):
        return form.read_form(data)
    if len(data) > LARGEST:
        raise _too_large(LARGEST)
    value = from_json(data, "the body", f"an {wanted}")
    if not isinstance(value, dict):
        raise malformed(f"the body is not a JSON object: send one like {example}")
    if is_suspect(data):
        _check(value)
    return value


def read_array(stream: Stream) -> list[dict[str, Any] | InvalidInput]:
    """The JSON array: each of its objects, or what is wrong with that one. InvalidInput or TooLarge."""
    wanted = f"array like [{EXAMPLE}]"
    data = _read(stream, LARGEST_ARRAY, wanted)
    value = from_json(data, "the body", f"an {wanted}")
    if not isinstance(value, list):
        raise malformed(f"the body is not a JSON array: send one like [{EXAMPLE}]")
    suspect = is_suspect(data, sum(isinstance(item, dict) for item in value))
    return [_item(item, suspect) for item in value]


def _item(item: Any, suspect: bool) -> dict[str, Any] | InvalidInput:
    if not isinstance(item, dict):
        return malformed(f"it is not a JSON object: send one like {EXAMPLE}")
    try:
        if suspect:
            _check(item)
    except InvalidInput as error:
        return error
    return item


def _check(fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        field = name if name.isprintable() else None
        check(name, field)
        check(value, field)


def _read(stream: Stream, largest: int, wanted: str) -> bytes:
    data = stream.read(largest + 1)
    if len(data) > largest:
        raise _too_large(largest)
    if not data.strip():
        raise malformed(f"the body is empty: send a JSON {wanted}")
    return data


def _too_large(largest: int) -> TooLarge:
    what = "one reminder" if largest < LARGEST_ARRAY else "many reminders"
    return TooLarge(f"the body is larger than the {largest} bytes that {what} may have")
