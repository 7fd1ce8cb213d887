"""Which status each exception is answered with, and the JSON that every error has."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from tifftockd.api.strict import to_json
from tifftockd.errors import (
    Firing,
    InvalidInput,
    KeyReused,
    MethodNotAllowed,
    Misfit,
    NotFound,
    TifftockError,
    TooLarge,
    Unauthorized,
    Unavailable,
)

# A class that is not here is answered as its nearest base is.
STATUS: dict[type[Exception], HTTPStatus] = {
    InvalidInput: HTTPStatus.BAD_REQUEST,
    Unauthorized: HTTPStatus.UNAUTHORIZED,
    NotFound: HTTPStatus.NOT_FOUND,
    MethodNotAllowed: HTTPStatus.METHOD_NOT_ALLOWED,
    Firing: HTTPStatus.CONFLICT,
    KeyReused: HTTPStatus.CONFLICT,
    Misfit: HTTPStatus.CONFLICT,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    TifftockError: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def status_of(error: TifftockError) -> int:
    """The HTTP status of an error."""
    return next(STATUS[cls].value for cls in type(error).__mro__ if cls in STATUS)


def headers_of(error: TifftockError) -> dict[str, str]:
    """The headers that belong to an error: RFC 9110, 10.2.3 and 11.6.1."""
    if isinstance(error, Unavailable):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    return {}


def error_body(
    message: str, kind: str, field: str | None = None, details: Mapping[str, object] = MappingProxyType({})
) -> bytes:
    """What a client gets to read of an error."""
    return to_json({"error": message, "kind": kind, "field": field, **details})
