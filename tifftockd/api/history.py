"""/history."""

from __future__ import annotations

from tifftockd.api.access import member
from tifftockd.api.pages import gather
from tifftockd.api.present import show_entry
from tifftockd.api.query import LAST_ID, MOST, link_to_next, number, read_choice, read_number
from tifftockd.api.route import Answer, Api, Parameter, Request, route
from tifftockd.reminder import Entry, Outcome
from tifftockd.store import HistoryQuery

REMINDER = number("reminder", 1, LAST_ID, "Those of this reminder.")
OUTCOME = Parameter("outcome", {"enum": [*Outcome]}, "Those that ended so.")
LIMIT = number("limit", 1, MOST, "So many at the most; without it 100.")
BEFORE = number("before", 1, LAST_ID, "Those that are older than this entry, which a Link names.")


@route(
    "GET /history",
    access=member,
    query=(REMINDER, OUTCOME, LIMIT, BEFORE),
    gives={200: "History"},
    says=("Link",),
)
def list_history(api: Api, request: Request) -> Answer:
    """Give an array of entries, newest first, and a Link to the rest."""
    query = request.query
    reminder = read_number(query, REMINDER)
    outcome = read_choice(query, "outcome", Outcome)
    limit = read_number(query, LIMIT) or 100

    def read_on(before: int | None, rows: int) -> tuple[list[Entry], int | None]:
        page = api.store.history(HistoryQuery(reminder, outcome, before, rows))
        return page.entries, page.before

    body, place = gather(
        read_on,
        lambda entry: show_entry(entry, request.config),
        lambda entry: entry.id,
        read_number(query, BEFORE),
        limit,
    )
    return Answer(body, {} if place is None else link_to_next("/history", query, {"before": place}))


ROUTES = (list_history,)
