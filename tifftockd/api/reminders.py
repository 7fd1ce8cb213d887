"""/remind, /reminder/<id> and /reminders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tifftockd.api.access import member
from tifftockd.api.body import EXAMPLE_OF_CHANGE
from tifftockd.api.drafts import fitting, new_draft, revised_draft
from tifftockd.api.fields import read_fields
from tifftockd.api.once import KEY, read_once, replayed
from tifftockd.api.pages import gather
from tifftockd.api.patterns import ANY
from tifftockd.api.present import show_reminder
from tifftockd.api.query import MOST, link_to_next, number, read_choice, read_instant, read_number
from tifftockd.api.route import Answer, Api, Parameter, Request, route
from tifftockd.api.strict import to_json, to_json_array
from tifftockd.clock import Micros
from tifftockd.errors import InvalidInput, Replayed, SomeInvalid
from tifftockd.reminder import FINAL, Draft, Reminder, State
from tifftockd.store import ReminderQuery

# The place behind a reminder in the order of a list: its due instant and its id.
_PLACE = re.compile(r"(-?[0-9]{1,18})\.([0-9]{1,18})")
# What its method has a say in
_OF_METHOD = ("method", "to", "options", "message")

STATE = Parameter("state", {"enum": [*State, "all"]}, "Those in this state; without it, what is pending or firing.")
METHOD = Parameter("method", {"type": "string"}, "Those of this method.")
UID = number("owner", 0, 2**32 - 1, "Those that this uid has made, or with `me` who asks. Over TCP nobody has one.")
OWNER = UID._replace(schema={"anyOf": [{"const": "me"}, UID.schema]}, over_tcp=UID.schema)
DUE_BEFORE = Parameter(
    "due_before",
    {"type": "string", "anyOf": [{"pattern": pattern} for pattern in ANY]},
    "Those that are due before this time, which is written like `when`.",
)
LIMIT = number("limit", 1, MOST, f"So many at the most; without it {MOST}.")
AFTER = Parameter(
    "after", {"type": "string", "pattern": f"^{_PLACE.pattern}$"}, "Those behind this place, which a Link names."
)


@route(
    "POST /remind",
    access=member,
    headers=(KEY,),
    takes="NewReminder",
    gives={201: "Reminder"},
    says=("Location", "Idempotent-Replayed"),
    errors=(409,),
)
def create_reminder(api: Api, request: Request) -> Answer:
    """Take a reminder's fields, give the whole reminder, once it is on disk."""
    body = request.body()

    def answer(made: list[Reminder]) -> bytes:
        return to_json(_show(api, request, made[0]))

    try:
        once = read_once(api, request, "POST /remind", body, answer)
        reminder = api.scheduler.create(_draft(api, request, body), request.peer.uid, once)
    except Replayed as before:
        return replayed(before.answer, lambda shown: f"/reminder/{shown['id']}")
    return Answer(answer([reminder]), {"Location": f"/reminder/{reminder.id}"})


@route(
    "POST /reminders",
    access=member,
    headers=(KEY,),
    takes="NewReminders",
    gives={201: "Reminders", 400: "SomeInvalid"},
    says=("Idempotent-Replayed",),
    errors=(409,),
)
def create_reminders(api: Api, request: Request) -> Answer:
    """Take an array of up to 10,000 reminders, give all of them, once they are on disk. All are created, or none."""
    body = request.array()
    if len(body) > MOST:
        raise InvalidInput(f"there are {len(body)} reminders: send at most {MOST} at once", kind="too_many")

    def answer(made: list[Reminder]) -> bytes:
        return to_json_array(_show(api, request, reminder) for reminder in made)

    # Those that are wrong need not be told apart: where there is one, no answer is kept.
    right = [item if isinstance(item, dict) else None for item in body]
    try:
        once = read_once(api, request, "POST /reminders", right, answer)
        made = api.scheduler.create_all(_drafts(api, request, body), request.peer.uid, once)
    except Replayed as before:
        return replayed(before.answer)
    return Answer(answer(made))


def _draft(api: Api, request: Request, body: Mapping[str, Any]) -> Draft:
    given = read_fields(body)
    if "method" not in given:
        methods = ", ".join(spec.method for spec in api.registry.specs())
        raise InvalidInput(f"'method' is missing; there are: {methods}", field="method", kind="missing")
    draft = new_draft(given, request.config, request.now)
    api.registry.find(draft.method).check(draft.to, draft.options, draft.message)
    return draft


def _drafts(api: Api, request: Request, body: list[dict[str, Any] | InvalidInput]) -> list[Draft]:
    drafts, errors = [], []
    for index, item in enumerate(body):
        try:
            if isinstance(item, InvalidInput):
                raise item
            drafts.append(_draft(api, request, item))
        except InvalidInput as error:
            errors.append({"index": index, "error": error.message, "kind": error.kind, "field": error.field})
    if errors:
        raise SomeInvalid(f"{len(errors)} of {len(body)} reminders are wrong, so none was created", errors)
    return drafts


@route("GET /reminder/<id>", access=member, gives={200: "Reminder"}, errors=(404,))
def read_reminder(api: Api, request: Request, id_: int) -> Answer:
    """Give the whole reminder."""
    return Answer.of(_show(api, request, api.store.get(id_)))


@route("PATCH /reminder/<id>", access=member, takes="Change", gives={200: "Reminder"}, errors=(404, 409))
def change_reminder(api: Api, request: Request, id_: int) -> Answer:
    """Take the fields to change, give the whole reminder, once it is on disk."""
    given = read_fields(request.body(EXAMPLE_OF_CHANGE))
    # Here, as it may wait for drop-ins to be loaded, which the store's thread must not.
    if "method" in given:
        _check_alone(api, given)
    elif _is_judged(given, before := api.store.get(id_)):
        with fitting():
            api.registry.find(before.method)

    def revise(reminder: Reminder) -> Draft:
        # By the time of this turn: an occurrence that has fired since the request came must not come again.
        draft = revised_draft(reminder, given, request.config, api.now())
        spec = api.registry.get(draft.method) if _is_judged(given, reminder) else None
        if spec is not None:
            with fitting():
                spec.check(draft.to, draft.options, draft.message)
        return draft

    return Answer.of(_show(api, request, api.scheduler.change(id_, revise)))


def _is_judged(given: Mapping[str, Any], reminder: Reminder) -> bool:
    """Whether it has to fit its method as that is now: one that waits, and is only moved, need not."""
    return reminder.state in FINAL or not given.keys().isdisjoint(_OF_METHOD)


def _check_alone(api: Api, given: Mapping[str, Any]) -> None:
    """What is wrong with a change whatever the reminder is."""
    spec = api.registry.find(given["method"])
    if "to" in given:
        spec.check_to(given["to"])
    if "options" in given:
        spec.check_options(given["options"])


@route("DELETE /reminder/<id>", access=member, gives={204: None}, errors=(404, 409))
def cancel_reminder(api: Api, request: Request, id_: int) -> Answer:  # noqa: ARG001 every handler has the same arguments
    """Cancel it: once this is answered no attempt runs or will."""
    api.scheduler.cancel(id_)
    return Answer()


@route(
    "GET /reminders",
    access=member,
    query=(STATE, METHOD, OWNER, DUE_BEFORE, LIMIT, AFTER),
    gives={200: "Reminders"},
    says=("Link",),
)
def list_reminders(api: Api, request: Request) -> Answer:
    """Give an array of reminders, soonest first, and a Link to the rest."""
    query = request.query
    states, method, owner = _states(request), query.get("method"), _owner(request)
    due_before = read_instant(request, "due_before")
    limit = read_number(query, LIMIT) or MOST

    def read_on(after: tuple[Micros, int] | None, rows: int) -> tuple[list[Reminder], tuple[Micros, int] | None]:
        page = api.store.page(ReminderQuery(states, method, owner, due_before, after, rows))
        return page.reminders, page.after

    body, place = gather(
        read_on,
        lambda reminder: _show(api, request, reminder),
        lambda reminder: (reminder.due, reminder.id),
        _after(query.get("after")),
        limit,
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
        return read_number(request.query, UID, "" if request.peer.uid is None else ", or 'me'")
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


ROUTES = (create_reminder, create_reminders, read_reminder, change_reminder, cancel_reminder, list_reminders)
