"""What a route is made of, what it is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tifftockd.api.access import Access, Peer
from tifftockd.api.body import read_object, to_json
from tifftockd.clock import Micros
from tifftockd.config import Config
from tifftockd.handlers.registry import Registry
from tifftockd.scheduler import Scheduler
from tifftockd.store import Store


@dataclass(frozen=True, slots=True)
class Api:
    """What the routes work with. The settings are asked for anew by each request: a reload changes them."""

    store: Store
    scheduler: Scheduler
    registry: Registry
    config: Callable[[], Config]
    now: Callable[[], Micros]


@dataclass(frozen=True, slots=True)
class Request:
    """One request: who asks, with which parameters, under which settings, at which instant."""

    peer: Peer
    environ: Mapping[str, Any]
    query: Mapping[str, str]
    config: Config
    now: Micros

    def body(self) -> dict[str, Any]:
        """The JSON object that was sent. InvalidInput, TooLarge."""
        return read_object(self.environ["wsgi.input"])


@dataclass(frozen=True, slots=True)
class Answer:
    """A body of JSON and what goes with it; the status is the route's unless it says otherwise."""

    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None

    @classmethod
    def of(cls, value: object, headers: Mapping[str, str] | None = None, status: int | None = None) -> Answer:
        """An answer that says `value`."""
        return cls(to_json(value), headers or {}, status)


@dataclass(frozen=True, slots=True)
class Route:
    """A route: what it answers to, who may call it, which parameters it takes, what it does, the status of success.

    `handler` is called with the Api, the Request, and the path's id where there is one.
    """

    method: str
    path: str
    access: Access
    query: tuple[str, ...]
    gives: int
    handler: Callable[..., Answer]


def route(
    rule: str, *, access: Access, query: tuple[str, ...] = (), gives: int = 200
) -> Callable[[Callable[..., Answer]], Route]:
    """Make a function a route; `rule` is "METHOD /path"."""
    method, _, path = rule.partition(" ")

    def decorate(handler: Callable[..., Answer]) -> Route:
        return Route(method, path, access, query, gives, handler)

    return decorate
