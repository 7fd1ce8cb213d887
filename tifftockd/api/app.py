"""All routes as one WSGI application."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from tifftockd.api import history, metrics, openapi, reminders, repeats, status
from tifftockd.api.access import PEER, STRANGER, Peer, member
from tifftockd.api.errors import error_body, headers_of, status_of
from tifftockd.api.query import LAST_ID, read_query
from tifftockd.api.route import Answer, Api, Request, Route
from tifftockd.clock import Micros
from tifftockd.config import Config
from tifftockd.errors import InvalidInput, MethodNotAllowed, NotFound, TifftockError
from tifftockd.handlers.registry import Registry
from tifftockd.imports import leaving_out
from tifftockd.scheduler import Scheduler
from tifftockd.store import Store

# Of a whole HTTP client, TLS included, bottle wants the names of the statuses.
with leaving_out("http.client", responses={status: status.phrase for status in HTTPStatus}):
    import bottle

__all__ = ["ROUTES", "make_app"]

ROUTES: tuple[Route, ...] = (
    *reminders.ROUTES,
    *repeats.ROUTES,
    *history.ROUTES,
    *status.ROUTES,
    *metrics.ROUTES,
    *openapi.ROUTES,
)

# Of what a 64-bit rowid can be, one spelling each; bottle's <id:int> takes the digits of all scripts, and -1.
_ID = re.compile(r"[1-9][0-9]{0,18}")

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def make_app(
    *,
    store: Store,
    scheduler: Scheduler,
    registry: Registry,
    config: Callable[[], Config],
    now: Callable[[], Micros],
) -> WSGIApplication:
    """The WSGI application. What it raises, apart from errors of its own, is the server's to catch and to log."""
    api = Api(store, scheduler, registry, config, now, started=now(), routes=ROUTES)
    app = bottle.Bottle()
    app.catchall = False
    app.uninstall(True)  # plugins, which would look at each answer: those here are bytes already
    app.add_hook("before_request", _check_path)
    app.default_error_handler = lambda error: _refuse(api, error)
    for route in ROUTES:
        app.route(route.path, route.method, _callback(api, route))
    return app  # type: ignore[no-any-return]  # bottle ships no types


def _callback(api: Api, route: Route) -> Callable[..., bytes]:
    success = next(iter(route.gives))

    def callback(**path: str) -> bytes:
        try:
            answer = _call(api, route, path, bottle.request.environ)
        except TifftockError as error:
            answer = _answer_to(error)
        _fill(bottle.response, answer, success)
        return answer.body

    return callback


def _call(api: Api, route: Route, path: Mapping[str, str], environ: Mapping[str, Any]) -> Answer:
    config = api.config()
    peer: Peer = environ.get(PEER, STRANGER)
    route.access(peer, environ, config.api_keys)
    ids = [_read_id(text) for text in path.values()]
    query = read_query(environ.get("QUERY_STRING", ""), route.query)
    return route.handler(api, Request(peer, environ, query, config, api.now()), *ids)


def _read_id(text: str) -> int:
    if _ID.fullmatch(text) and int(text) <= LAST_ID:
        return int(text)
    raise NotFound(f"there is no reminder {text[:64]!r}: an id is a whole number")


def _check_path() -> None:
    # bottle 0.13 drops bytes that are no UTF-8 from the path, and so would find a route that was not asked for.
    try:
        path = bottle.request.environ["bottle.raw_path"].encode("latin-1").decode("utf-8")
    except UnicodeError:
        path = "\0"
    if "\0" in path:
        raise bottle.HTTPError(400)


def _refuse(api: Api, error: bottle.HTTPError) -> bottle.HTTPResponse:
    """What never reaches a route; without a key a stranger does not even learn that."""
    environ = bottle.request.environ
    try:
        member(environ.get(PEER, STRANGER), environ, api.config().api_keys)
        if environ["REQUEST_METHOD"] == "OPTIONS" and environ["PATH_INFO"] == "*":
            # Of the server as a whole: RFC 9110, 9.3.7
            return bottle.HTTPResponse("", 204)
        if environ["REQUEST_METHOD"] == "OPTIONS" and error.status_code == 405:
            return bottle.HTTPResponse("", 204, {"Allow": _allowed(error)})
        raise _translated(error, environ)
    except TifftockError as ours:
        answer = _answer_to(ours)
        response = bottle.HTTPResponse(answer.body)
        _fill(response, answer)
        if isinstance(ours, MethodNotAllowed):
            response.set_header("Allow", _allowed(error))
        return response


def _translated(error: bottle.HTTPError, environ: Mapping[str, Any]) -> TifftockError:
    if error.status_code == 404:
        paths = ", ".join(dict.fromkeys(route.path for route in ROUTES))
        return NotFound(f"there is nothing at {environ['PATH_INFO'][:64]!r}; there are: {paths}")
    if error.status_code == 405:
        method = environ["REQUEST_METHOD"][:16]
        return MethodNotAllowed(f"{method} is not possible here; this path takes: {_allowed(error)}")
    return InvalidInput("the path is not UTF-8, or holds a NUL", kind="malformed")


def _allowed(error: bottle.HTTPError) -> str:
    allowed = set(str(error.get_header("Allow")).split(","))
    return ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set()) | {"OPTIONS"}))


def _fill(response: bottle.BaseResponse, answer: Answer, success: int = 200) -> None:
    response.status = answer.status or success
    for name, value in answer.headers.items():
        response.set_header(name, value)
    if answer.body:
        response.content_type = answer.content_type


def _answer_to(error: TifftockError) -> Answer:
    body = error_body(error.message, error.kind, error.field, error.details)
    return Answer(body, headers_of(error), status_of(error))
