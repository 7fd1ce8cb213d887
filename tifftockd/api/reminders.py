"""/remind, /reminder/<id> and /reminders."""

from __future__ import annotations

import re
from typing import Any

from tifftockd.api.access import member
from tifftockd.api.fields import new_draft, read_fields, revised_draft
from tifftockd.api.pages import gather
from tifftockd.api.present import show_reminder
from tifftockd.api.query import MOST, link_to_next, read_choice, read_instant, read_number
from tifftockd.api.route import Answer, Api, Request, route
from tifftockd.clock import Micros
from tifftockd.errors import InvalidInput
from tifftockd.reminder import Draft, Reminder, State
from tifftockd.store import ReminderQuery

# The place behind a reminder in the order of a list: its due instant and its id.
_PLACE = re.compile(r"(-?[0-9]{1,18})\.([0-9]{1,18})")


@route("POST /remind", access=member, gives=201)
def create(api: Api, request: Request) -> Answer:
    """Take a reminder's fields, give the whole reminder, once it is on disk."""
    given = read_fields(request.body())
    if "method" not in given:
        methods = ", ".join(spec.method for spec in api.registry.specs())
        raise InvalidInput(f"'method' is missing; there are: {methods}", field="method", kind="missing")
    draft = new_draft(given, request.config, request.now)
    api.registry.find(draft.method).check(draft.to, draft.options, draft.message)
    reminder = api.scheduler.create(draft, request.peer.uid)
    return Answer.of(_show(api, request, reminder), {"Location": f"/reminder/{reminder.id}"})


@route("GET /reminder/<id>", access=member)
def read(api: Api, request: Request, id_: int) -> Answer:
    """Give the whole reminder."""
    return Answer.of(_show(api, request, api.store.get(id_)))


@route("PATCH /reminder/<id>", access=member)
def change(api: Api, request: Request, id_: int) -> Answer:
    """Take the fields to change, give the whole reminder, once it is on disk."""
    given = read_fields(request.body())
    # Here, as it may wait for drop-ins to be loaded, which the store's thread must not.
    api.registry.find(given.get("method") or api.store.get(id_).method)

    def revise(reminder: Reminder) -> Draft:
        draft = revised_draft(reminder, given, request.config, request.now)
        spec = api.registry.get(draft.method)
        if spec is not None:
            spec.check(draft.to, draft.options, draft.message)
        return draft

    return Answer.of(_show(api, request, api.scheduler.change(id_, revise)))


@route("DELETE /reminder/<id>", access=member, gives=204)
def cancel(api: Api, request: Request, id_: int) -> Answer:  # noqa: ARG001 every handler has the same arguments
    """Cancel it: once this is answered no attempt runs or will."""
    api.scheduler.cancel(id_)
    return Answer()


@route("GET /reminders", access=member, query=("state", "method", "owner", "due_before", "limit", "after"))
def find(api: Api, request: Request) -> Answer:
    """Give an array of reminders, soonest first, and a Link to the rest."""
    query = request.query
    states, method, owner = _states(request), query.get("method"), _owner(request)
    due_before = read_instant(request, "due_before")

    def read_on(after: tuple[Micros, int] | None) -> tuple[list[Reminder], tuple[Micros, int] | None]:
        page = api.store.page(ReminderQuery(states, method, owner, due_before, after))
        return page.reminders, page.after

    body, place = gather(
        read_on,
        lambda reminder: _show(api, request, reminder),
        lambda reminder: (reminder.due, reminder.id),
        _after(query.get("after")),
        read_number(query, "limit", 1, MOST) or MOST,
    )
    if place is None:
        return Answer(body)
    return Answer(body, link_to_next("/reminders", query, {"after": f"{place[0]}.{place[1]}"}))


def _show(api: Api, request: Request, reminder: Reminder) -> dict[str, Any]:
    return show_reminder(reminder, request.config, api.registry.why_not)


def _states(request: Request) -> frozenset[State]:
    if request.query.get("state") == "all":
        return frozenset(State)
    try:
        state = read_choice(request.query, "state", State)
    except InvalidInput as error:
        raise InvalidInput(f"{error.message}, or all", field=error.field) from None
    return frozenset({State.PENDING, State.FIRING} if state is None else {state})


def _owner(request: Request) -> int | None:
    if request.query.get("owner") != "me":
        return read_number(request.query, "owner", 0, 2**32 - 1)
    if request.peer.uid is None:
        raise InvalidInput("'owner' cannot be 'me' here: over TCP nobody has a uid, so send one", field="owner")
    return request.peer.uid


def _after(text: str | None) -> tuple[Micros, int] | None:
    if text is None:
        return None
    match = _PLACE.fullmatch(text)
    if match is None:
        raise InvalidInput("'after' must be as the Link of the page before has it", field="after")
    return int(match[1]), int(match[2])


ROUTES = (create, read, change, cancel, find)
