"""/openapi.json: the contract, made of the routes themselves (https://spec.openapis.org/oas/v3.1.1.html)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from tifftockd import __version__, clock, metrics
from tifftockd.api.access import member
from tifftockd.api.form import TYPE as FORM
from tifftockd.api.query import LAST_ID
from tifftockd.api.route import JSON, TEXT, Answer, Api, Parameter, Request, Route, route
from tifftockd.api.schemas import EXAMPLES, components, ref

# What any request may be answered with: a parameter or a line of it is wrong, there is no key, it is too large, there
# is a fault of our own, or no store; RFC 9112 asks for the other two.
_ANY = (400, 401, 413, 431, 500, 501, 503, 505)

_HEADERS: dict[str, dict[str, Any]] = {
    "Location": {
        "required": True,
        "description": "Where it is.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Link": {"description": 'With rel="next": the rest of the list, if there is more.', "schema": {"type": "string"}},
    "Idempotent-Replayed": {"description": "It was answered before.", "schema": {"const": "true"}},
    "Retry-After": {"required": True, "description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
    "WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}},
}
_OF_ERRORS = {401: ("WWW-Authenticate",), 503: ("Retry-After",)}

_ABOUT = """\
Make something happen at an exact time, and never lose it.

On the daemon's Unix socket its owner, group and mode decide who may call; on TCP each request needs a key.
HEAD is answered wherever GET is, and OPTIONS everywhere. What is not described here does not exist: an unknown path is
a 404, another method a 405, an unknown parameter or field a 400, each with an Error.
"""


@route("GET /openapi.json", access=member, gives={200: "Document"})
def read_openapi(api: Api, request: Request) -> Answer:
    """Give this document: the API of this daemon, with the methods that it has."""
    return Answer.of(_document(api, request))


def _document(api: Api, request: Request) -> dict[str, Any]:
    today = clock.moment(request.now).date()
    paths: dict[str, dict[str, Any]] = {}
    for one in api.routes:
        item = paths.setdefault(one.path.replace("<id>", "{id}"), {})
        item[one.method.lower()] = _operation(one, over_tcp=request.peer.tcp)
    return {
        "openapi": "3.1.1",
        "info": {"title": "tifftockd", "version": __version__, "description": _ABOUT, "license": {"name": "MIT"}},
        "servers": [{"url": "/"}],
        "security": [{"key": []}, {"bearer": []}] if request.peer.tcp else [],
        "paths": paths,
        "components": {
            "schemas": components(api.registry.specs(), today),
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(one: Route, *, over_tcp: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": one.handler.__name__, "summary": one.handler.__doc__}
    parameters = [_parameter(parameter, "query", over_tcp=over_tcp) for parameter in one.query]
    parameters += [_parameter(parameter, "header", over_tcp=over_tcp) for parameter in one.headers]
    if "<id>" in one.path:
        id_ = {"type": "integer", "minimum": 1, "maximum": LAST_ID}
        parameters.append({"name": "id", "in": "path", "required": True, "schema": id_})
    if parameters:
        operation["parameters"] = parameters
    if one.takes is not None:
        operation["requestBody"] = {"required": True, "content": _taken(one.takes)}
    given = {status: _response(status, name, _said(one, status)) for status, name in one.gives.items()}
    errors = {status: _response(status, "Error", _OF_ERRORS.get(status, ())) for status in (*_ANY, *one.errors)}
    operation["responses"] = {str(status): response for status, response in sorted((errors | given).items())}
    return operation


def _said(one: Route, status: int) -> tuple[str, ...]:
    """The headers of a success; only what is new says where it is."""
    return tuple(name for name in one.says if status < 300 and (name != "Location" or status == 201))


def _parameter(parameter: Parameter, place: str, *, over_tcp: bool) -> dict[str, Any]:
    schema = parameter.over_tcp if over_tcp and parameter.over_tcp is not None else parameter.schema
    return {"name": parameter.name, "in": place, "description": parameter.means, "schema": dict(schema)}


def _taken(name: str) -> dict[str, Any]:
    """What is sent: as JSON, and one reminder also as a form."""
    said = {JSON: {"schema": ref(name), "examples": EXAMPLES[name]}}
    if f"{name}Form" in EXAMPLES:
        said[FORM] = {"schema": ref(f"{name}Form"), "examples": EXAMPLES[f"{name}Form"]}
    return said


def _response(status: int, name: str | None, headers: tuple[str, ...]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if headers:
        response["headers"] = {header: _HEADERS[header] for header in headers}
    if name == TEXT:
        response["content"] = {metrics.CONTENT_TYPE: {"schema": {"type": "string"}}}
    elif name is not None:
        response["content"] = {JSON: {"schema": ref(name)}}
    return response


ROUTES = (read_openapi,)
