"""What a route is made of, what it is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tifftockd.api.access import Access, Peer
from tifftockd.api.body import EXAMPLE, read_array, read_object
from tifftockd.api.strict import to_json
from tifftockd.clock import Micros
from tifftockd.config import Config
from tifftockd.errors import InvalidInput
from tifftockd.handlers.registry import Registry
from tifftockd.scheduler import Scheduler
from tifftockd.store import Store

JSON = "application/json"
# For `gives`: no schema
TEXT = "text"


class Api(NamedTuple):
    """What the routes work with. The settings are asked for anew by each request: a reload changes them."""

    store: Store
    scheduler: Scheduler
    registry: Registry
    config: Callable[[], Config]
    now: Callable[[], Micros]
    started: Micros
    routes: tuple[Route, ...]


class Request(NamedTuple):
    """One request: who asks, with which parameters, under which settings, at which instant."""

    peer: Peer
    environ: Mapping[str, Any]
    query: Mapping[str, str]
    config: Config
    now: Micros

    def body(self, example: str = EXAMPLE) -> dict[str, Any]:
        """The fields of one reminder that were sent. InvalidInput, which tells the example, TooLarge."""
        return read_object(self.environ["wsgi.input"], self.environ.get("CONTENT_TYPE", ""), example)

    def array(self) -> list[dict[str, Any] | InvalidInput]:
        """The fields of each reminder that was sent, or what is wrong with that one. InvalidInput, TooLarge."""
        return read_array(self.environ["wsgi.input"])


class Answer(NamedTuple):
    """A body and what goes with it; the status is the route's unless it says otherwise."""

    body: bytes = b""
    headers: Mapping[str, str] = {}
    status: int | None = None
    content_type: str = JSON

    @classmethod
    def of(cls, value: object, status: int | None = None) -> Answer:
        """An answer that says `value`."""
        return cls(to_json(value), status=status)


class Parameter(NamedTuple):
    """A parameter of the query, or a header: what it may be (JSON Schema), and what it means."""

    name: str
    schema: Mapping[str, Any]
    means: str
    over_tcp: Mapping[str, Any] | None = None  # the schema there, where it is another


class Route(NamedTuple):
    """A route, and all that there is to say about it: what it answers to, who may call it, what it takes and gives.

    `takes` and `gives` are names in tifftockd.api.schemas; the first of `gives` is success. `errors` are the statuses
    of its own: those that any request may be answered with are in tifftockd.api.openapi. `handler` is called with the
    Api, the Request, and the path's id where there is one; its name and its docstring are the operation's.
    """

    method: str
    path: str
    access: Access
    query: tuple[Parameter, ...]
    headers: tuple[Parameter, ...]
    takes: str | None
    gives: Mapping[int, str | None]
    says: tuple[str, ...]
    errors: tuple[int, ...]
    handler: Callable[..., Answer]


def route(  # noqa: PLR0913 one for each thing that there is to say
    rule: str,
    *,
    access: Access,
    query: tuple[Parameter, ...] = (),
    headers: tuple[Parameter, ...] = (),
    takes: str | None = None,
    gives: Mapping[int, str | None],
    says: tuple[str, ...] = (),
    errors: tuple[int, ...] = (),
) -> Callable[[Callable[..., Answer]], Route]:
    """Make a function a route; `rule` is "METHOD /path"."""
    method, _, path = rule.partition(" ")

    def decorate(handler: Callable[..., Answer]) -> Route:
        return Route(method, path, access, query, headers, takes, gives, says, errors, handler)

    return decorate
