"""/handlers and /health."""

from __future__ import annotations

from typing import Any

from tifftockd import __version__
from tifftockd.api.access import member
from tifftockd.api.route import Answer, Api, Request, route
from tifftockd.config import Config
from tifftockd.errors import StoreUnavailable
from tifftockd.handlers.spec import MethodSpec
from tifftockd.store import Summary
from tifftockd.when import format_instant, format_span


@route("GET /handlers", access=member, gives={200: "Handlers"})
def list_handlers(api: Api, request: Request) -> Answer:
    """Give the methods, what each needs and accepts, and the drop-ins that could not be loaded."""
    registry = api.registry
    return Answer.of(
        {
            "methods": [_show_method(spec, request.config) for spec in registry.specs()],
            "failures": [{"file": file, "error": reason} for file, reason in registry.failures()],
            "loading": registry.loading,
        }
    )


def _show_method(spec: MethodSpec, config: Config) -> dict[str, Any]:
    return {
        "method": spec.method,
        "source": spec.source,
        "available": spec.missing is None,
        "reason": spec.missing,
        "options": spec.options,
        "needs_to": spec.needs_to,
        "repeatable": spec.repeatable,
        "timeout": format_span(config.handler_timeout if spec.timeout is None else spec.timeout),
        "concurrency": config.handler_concurrency if spec.concurrency is None else spec.concurrency,
    }


@route("GET /health", access=member, gives={200: "Health", 503: "Health"})
def read_health(api: Api, request: Request) -> Answer:
    """Say whether all is well: 200, or 503 when the scheduler is dead or the last write failed."""
    try:
        summary = api.store.summary()
    except StoreUnavailable as error:
        summary = Summary({}, None, None, error.message)
    scheduler = api.scheduler.condition
    well = scheduler != "dead" and summary.fault is None
    return Answer.of(
        {
            "status": "ok" if well else "failing",
            "version": __version__,
            "scheduler": scheduler,
            "store": summary.fault or "ok",
            "next_due": None if summary.next_due is None else format_instant(summary.next_due, request.config.zone),
            "counts": dict(summary.counts),
        },
        status=200 if well else 503,
    )


ROUTES = (list_handlers, read_health)
