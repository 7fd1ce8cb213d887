"""/history."""

from __future__ import annotations

from tifftockd.api.access import member
from tifftockd.api.pages import gather
from tifftockd.api.present import show_entry
from tifftockd.api.query import MOST, link_to_next, read_choice, read_number
from tifftockd.api.route import Answer, Api, Request, route
from tifftockd.reminder import Entry, Outcome
from tifftockd.store import HistoryQuery

_LAST_ID = 2**63 - 1


@route("GET /history", access=member, query=("reminder", "outcome", "limit", "before"))
def find(api: Api, request: Request) -> Answer:
    """Give an array of entries, newest first, and a Link to the rest."""
    query = request.query
    reminder = read_number(query, "reminder", 1, _LAST_ID)
    outcome = read_choice(query, "outcome", Outcome)

    def read_on(before: int | None) -> tuple[list[Entry], int | None]:
        page = api.store.history(HistoryQuery(reminder, outcome, before))
        return page.entries, page.before

    body, place = gather(
        read_on,
        lambda entry: show_entry(entry, request.config),
        lambda entry: entry.id,
        read_number(query, "before", 1, _LAST_ID),
        read_number(query, "limit", 1, MOST) or 100,
    )
    return Answer(body, {} if place is None else link_to_next("/history", query, {"before": place}))


ROUTES = (find,)
