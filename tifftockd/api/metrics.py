"""/metrics: for Prometheus."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from tifftockd import __version__
from tifftockd.api.access import member
from tifftockd.api.route import TEXT, Answer, Api, Request, route
from tifftockd.clock import SECOND, Micros
from tifftockd.metrics import CONTENT_TYPE, Family, Sample, render
from tifftockd.reminder import State


@route("GET /metrics", access=member, gives={200: TEXT})
def read_metrics(api: Api, request: Request) -> Answer:  # noqa: ARG001 every handler has the same arguments
    """Give counts and times in Prometheus' text format."""
    return Answer(render(_families(api)), content_type=CONTENT_TYPE)


def _families(api: Api) -> Iterator[Family]:
    measured = api.store.measured()
    summary = measured.summary
    yield Family(
        "tifftock_outcomes_total",
        "counter",
        "How attempts, and reminders without one, have ended since the start.",
        [
            Sample(count, {"method": method, "outcome": outcome})
            for (method, outcome), count in sorted(measured.outcomes.items())
        ],
    )
    yield Family(
        "tifftock_lateness_seconds",
        "histogram",
        "From the due instant to the start of the first attempt.",
        measured.lateness,
    )
    yield Family(
        "tifftock_reminders",
        "gauge",
        "Reminders in the store.",
        [Sample(summary.counts[state], {"state": state}) for state in State],
    )
    yield _gauge("tifftock_history_entries", "Entries of history in the store.", summary.counts["history"])
    yield Family(
        "tifftock_next_due_timestamp_seconds",
        "gauge",
        "When the next attempt is due; not there when none is.",
        [] if summary.next_due is None else [_instant(summary.next_due)],
    )
    yield _gauge("tifftock_attempts_queued", "Reminders that are due and wait for a worker.", api.scheduler.queued)
    yield _gauge("tifftock_attempts_running", "Attempts that are being made.", api.scheduler.running)
    yield _gauge("tifftock_scheduler_alive", "0: nothing fires.", int(api.scheduler.condition != "dead"))
    yield _gauge("tifftock_store_queue", "Requests that wait for the store.", measured.waiting)
    yield _gauge("tifftock_store_fault", "1: the last write failed.", int(summary.fault is not None))
    yield Family(
        "tifftock_store_commit_seconds",
        "histogram",
        "How long the disk took for a commit.",
        measured.commits,
    )
    yield Family(
        "tifftock_build_info",
        "gauge",
        "1, with the versions as labels.",
        [Sample(1, {"version": __version__, "python": platform.python_version()})],
    )
    yield Family("process_start_time_seconds", "gauge", "When the daemon was started.", [_instant(api.started)])


def _gauge(name: str, told: str, value: float) -> Family:
    return Family(name, "gauge", told, [Sample(value)])


def _instant(instant: Micros) -> Sample:
    return Sample(instant / SECOND)


ROUTES = (read_metrics,)
