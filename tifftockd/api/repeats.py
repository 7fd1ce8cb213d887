"""What is asked of a reminder's time: when it comes back, and to be left alone for a while."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import tzinfo
from itertools import dropwhile, islice
from typing import Any

from tifftockd.api.access import member
from tifftockd.api.body import EXAMPLE_OF_CHANGE
from tifftockd.api.drafts import draft_again, fitting, snoozed_draft
from tifftockd.api.fields import FIELDS
from tifftockd.api.once import KEY, read_once, replayed
from tifftockd.api.present import show_reminder
from tifftockd.api.query import number, read_number
from tifftockd.api.route import Answer, Api, Request, route
from tifftockd.api.strict import to_json
from tifftockd.clock import Micros
from tifftockd.errors import InvalidInput, Misfit, NotFound, Replayed
from tifftockd.reminder import FINAL, CatchUp, Draft, Entry, Occurrence, Outcome, Reminder
from tifftockd.settling import following
from tifftockd.store import HistoryQuery
from tifftockd.when import format_instant, zone_or

_USUAL = 10
# Occurrences of one with a count that are looked through at the most.
_MOST_COUNTED = 20_000
N = number("n", 1, 1000, f"So many at the most; without it {_USUAL}.")


@route("GET /reminder/<id>/occurrences", access=member, query=(N,), gives={200: "Occurrences"}, errors=(404, 409))
def list_occurrences(api: Api, request: Request, id_: int) -> Answer:
    """Give an array of the instants at which it is due, the present one first, and of those behind it what may fire."""
    reminder = api.store.get(id_)
    zone = zone_or(reminder.tz, request.config.zone)
    most = read_number(request.query, N) or _USUAL
    try:
        rest = [one.due for one in islice(_behind(reminder, zone, request.now), most - 1)]
    except ValueError as error:
        raise Misfit(f"its 'repeat' cannot be read any more: {error}; send another", field="repeat") from None
    return Answer.of([format_instant(due, zone) for due in (reminder.due, *rest)])


def _behind(reminder: Reminder, zone: tzinfo, now: Micros) -> Iterator[Occurrence]:
    """What comes behind the present occurrence. Of what is overdue, as that is, only what is caught up one by one."""
    if reminder.repeat is None or reminder.state in FINAL:
        return iter(())
    if reminder.repeat.catch_up is CatchUp.ALL:
        return following(reminder, zone, reminder.due)
    if reminder.repeat.count is None:
        return following(reminder, zone, max(reminder.due, now))
    counted = islice(following(reminder, zone, reminder.due), _MOST_COUNTED)
    return dropwhile(lambda one: one.due <= now, counted)


@route(
    "POST /reminder/<id>/snooze",
    access=member,
    headers=(KEY,),
    takes="Snooze",
    gives={200: "Reminder", 201: "Reminder"},
    says=("Location", "Idempotent-Replayed"),
    errors=(404, 409),
)
def snooze_reminder(api: Api, request: Request, id_: int) -> Answer:
    """Take a span, and make it due so long from now; one that was delivered comes back as a new one."""
    body = request.body(EXAMPLE_OF_CHANGE)

    def answer(made: list[Reminder]) -> bytes:
        return to_json(show_reminder(made[0], request.config, api.registry.why_not))

    def revise(reminder: Reminder) -> Draft:
        if reminder.state in FINAL:  # it is armed anew
            with fitting():
                spec = api.registry.find(reminder.method, 0)
                spec.check(reminder.to, reminder.options, reminder.message)
        return snoozed_draft(reminder, span, api.now())  # it may have waited for an attempt's end

    try:
        once = read_once(api, request, f"POST /reminder/{id_}/snooze", body, answer)
        span = _read_span(body)
        try:
            return Answer(answer([api.scheduler.change(id_, revise, once)]))
        except NotFound:
            draft = _draft_again(api, request, id_, span)
        made = api.scheduler.create(draft, request.peer.uid, once)
    except Replayed as before:
        return _again(before.answer, id_)
    return Answer(answer([made]), {"Location": f"/reminder/{made.id}"}, 201)


def _again(answer: bytes, id_: int) -> Answer:
    """The answer that was given before: of a new one, if it is about another."""
    made = json.loads(answer)["id"]
    if made == id_:
        return replayed(answer)
    return replayed(answer, lambda shown: f"/reminder/{shown['id']}")._replace(status=201)


def _read_span(body: Mapping[str, Any]) -> Micros:
    for name in body:
        if name != "in":
            raise InvalidInput(
                f"there is no field {name[:64]!r} here; known: in", field=name[:64], kind="unknown_field"
            )
    if "in" not in body:
        raise InvalidInput("'in' is missing: send a span like 10m", field="in", kind="missing")
    span: Micros = FIELDS["in"]("in", body["in"])
    return span


def _draft_again(api: Api, request: Request, id_: int, span: Micros) -> Draft:
    draft = draft_again(_last(api, id_), span, request.config, api.now())
    with fitting():
        api.registry.find(draft.method).check(draft.to, draft.options, draft.message)
    return draft


def _last(api: Api, id_: int) -> Entry:
    """How a reminder ended that was delivered; NotFound for any other."""
    entries = api.store.history(HistoryQuery(reminder=id_)).entries
    if not entries:
        raise NotFound(f"reminder {id_} not found")
    # The last occurrences of what repeats may have been skipped.
    last = next((entry for entry in entries if entry.outcome is not Outcome.MISSED), entries[0])
    if last.outcome is not Outcome.DELIVERED:
        raise NotFound(f"reminder {id_} is gone, and was not delivered but {last.outcome}: create a new one")
    return last


ROUTES = (list_occurrences, snooze_reminder)
