"""What each command does: ask, then show. A command that few use imports what it needs itself."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote, urlencode

from tifftockd import clock
from tifftockd.ctl import shapes, show, times
from tifftockd.ctl.address import find_address, find_key
from tifftockd.ctl.client import Client
from tifftockd.ctl.errors import EX_REFUSED, EX_TEMPFAIL, Failure, Refused, Usage
from tifftockd.ctl.screen import Screen
from tifftockd.ctl.text import harmless

# Seconds between two looks at whether an attempt has ended: at first often, then less.
_SHORTEST_LOOK, _LONGEST_LOOK = 0.01, 0.5
# Of a longer list the rest follows in another table.
_IN_A_TABLE = 10_000

Command = Callable[[argparse.Namespace, Screen, Client], int]


def run(options: argparse.Namespace, screen: Screen, environ: Mapping[str, str]) -> int:
    """Run the command and return its exit code. Failure."""
    address = find_address(options.url, environ)
    with Client(address, find_key(options.key_file, environ)) as client:
        try:
            return COMMANDS[options.command](options, screen, client)
        except Refused as refused:
            if refused.kind == "unknown_field" and refused.said.get("field") in ("repeat", "until", "count"):
                raise Failure("this daemon knows no repeating reminders: it is older than this tifftockctl") from None
            raise


def new_key() -> str:
    """An Idempotency-Key of a request: sent again, it is not carried out twice."""
    return os.urandom(16).hex()


# ---- reading


def _list(options: argparse.Namespace, screen: Screen, client: Client) -> int:
    asked = {"state": options.state, "method": options.method, "owner": options.owner, "due_before": options.before}
    query = {name: value for name, value in asked.items() if value is not None}
    if options.limit is not None:
        query["limit"] = str(min(options.limit, 10_000))
    path = f"/reminders?{urlencode(query, quote_via=quote)}" if query else "/reminders"
    items = client.items(path, options.limit)
    if screen.as_json:
        for item in items:
            screen.json(item)
        return 0
    count = 0
    for some in _tables(shapes.check(client, item, shapes.REMINDER) for item in items):
        count += len(some)
        show.print_reminders(screen, some, times.now())
    if not count:
        screen.note("there are none" if query else "nothing is coming; tifftockctl list --state all shows what is kept")
    return 0


def _tables(items: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Those that are shown in one table: its columns are known when all of them are, and nobody waits for a million."""
    while some := list(islice(items, _IN_A_TABLE)):
        yield some


def _show(options: argparse.Namespace, screen: Screen, client: Client) -> int:
    found = shapes.reminder(client, options.id)
    if screen.as_json:
        screen.json(found)
    else:
        show.print_reminder(screen, found, times.now())
    return 0


def _history(options: argparse.Namespace, screen: Screen, client: Client) -> int:
    limit = options.limit or (100 if options.id is None else None)
    asked = {"reminder": options.id, "outcome": options.outcome, "limit": min(limit or 1000, 1000)}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    items = client.items(f"/history?{query}", limit)
    if screen.as_json:
        count = 0
        for count, item in enumerate(items, 1):  # noqa: B007 it is looked at below
            screen.json(item)
    else:
        count = 0
        for some in _tables(shapes.check(client, item, shapes.ENTRY) for item in items):
            count += len(some)
            show.print_entries(screen, some, of_one=options.id is not None)
    if not count:
        screen.note(_why_no_history(options, client))
    return 0


def _why_no_history(options: argparse.Namespace, client: Client) -> str:
    if options.id is None or options.outcome is not None:
        return "there are no such lines of history"
    waiting = shapes.reminder(client, options.id)
    return f"nothing has come of reminder {options.id} yet: it is due {times.relative(waiting['when'], times.now())}"


def _explain(options: argparse.Namespace, screen: Screen, client: Client) -> int:
    from textwrap import wrap

    from tifftockd.ctl.explain import explain
    from tifftockd.ctl.facts import gather

    facts = gather(client, options.id)
    sentences = explain(facts, times.now())
    if screen.as_json:
        screen.json({"reminder": options.id, "explanation": sentences})
    else:
        for sentence in sentences:
            for line in wrap(harmless(sentence), screen.width or sys.maxsize):
                screen.line(line)
    return 0


def _next(options: argparse.Namespace, screen: Screen, client: Client) -> int:
    found = client.get(f"/reminder/{options.id}/occurrences?n={options.limit or 10}")
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise client.stranger("a list of times was expected")
    if screen.as_json:
        for one in found:
            screen.json(one)
    else:
        show.print_occurrences(screen, found, times.now())
    return 0


def _handlers(options: argparse.Namespace, screen: Screen, client: Client) -> int:  # noqa: ARG001 all have the same
    found = shapes.handlers(client)
    if screen.as_json:
        for method in found["methods"]:
            screen.json(method)
        for failure in found["failures"]:
            screen.json(failure)
    else:
        show.print_handlers(screen, found)
    return 0


def _status(options: argparse.Namespace, screen: Screen, client: Client) -> int:  # noqa: ARG001 all have the same
    found = shapes.health(client)
    if screen.as_json:
        screen.json(found)
    else:
        show.print_health(screen, found, client.address.text, times.now())
    return 0 if found["status"] == "ok" else EX_REFUSED


# ---- changing


def _made(screen: Screen, client: Client, value: Any) -> int:
    """Show a reminder that was made or changed."""
    made = shapes.check(client, value, shapes.REMINDER)
    if screen.as_json:
        screen.json(made)
    else:
        show.print_reminder_line(screen, made, times.now())
    return 0


def _remind(options: argparse.Namespace, screen: Screen, client: Client) -> int:
    from tifftockd.ctl.fields import new_reminder

    fields = new_reminder(options)
    if "method" not in fields:
        raise Usage(f"say by which method: --email ADDRESS, --sms NUMBER or --method NAME; {_usable(client)}")
    return _made(screen, client, _create(client, fields, options.option))


def _create(client: Client, fields: dict[str, Any], typed: Sequence[str]) -> Any:
    """A new reminder; `typed` are its options. Failure."""
    from tifftockd.ctl.fields import as_text

    try:
        return client.ask("POST", "/remind", fields, new_key()).value
    except Refused as refused:
        right = as_text(typed, str(refused.said.get("field")))
        if right is None or not refused.message.endswith("must be of type str"):
            raise
        raise Failure(f"{refused.message}: write --option {right}", refused.code) from None


def _usable(client: Client) -> str:
    """The methods that can be named. One is never guessed: it might say it where nobody looks."""
    ready = [one["method"] for one in shapes.handlers(client)["methods"] if one["available"]]
    return f"ready are {', '.join(ready)}" if ready else "none is ready: tifftockctl handlers says why"


def _snooze(options: argparse.Namespace, screen: Screen, client: Client) -> int:
    from tifftockd.ctl.fields import read_when

    span = read_when(options.span).get("in")
    if span is None:
        raise Usage(f"{options.span} is no span: write one like 10min or 1h 30min")
    return _made(screen, client, client.ask("POST", f"/reminder/{options.id}/snooze", {"in": span}, new_key()).value)


def _cancel(options: argparse.Namespace, screen: Screen, client: Client) -> int:
    """Each of them, also when one cannot be."""
    failures = []
    for id_ in dict.fromkeys(options.ids):
        try:
            client.ask("DELETE", f"/reminder/{id_}")
        except Refused as refused:
            failures.append(Failure(f"{id_}: {refused.message}", refused.code))
            continue
        # What it was, from the line of history that the cancelling has written
        entries = shapes.history(client, id_, 1)
        if screen.as_json:
            for entry in entries:
                screen.json(entry)
        else:
            said = [entries[0]["method"], entries[0]["message"]] if entries else []
            screen.line("  ".join(harmless(part) for part in (str(id_), "cancelled", *said)))
    for failure in failures[:-1]:
        screen.note(failure.message)
    if failures:
        raise failures[-1]
    return 0


def _rearm(options: argparse.Namespace, screen: Screen, client: Client) -> int:
    from tifftockd.ctl.fields import read_when

    fields = {} if options.when is None else read_when(options.when)
    if not fields:
        found = shapes.reminder(client, options.id)
        if found["state"] not in {*shapes.FINAL, "firing"}:  # which the daemon refuses in its own words
            due = times.relative(found["when"], times.now())
            again = "snooze {} 1s" if found.get("repeat") else "rearm {} now"
            how = f"to fire it at once: tifftockctl {again.format(options.id)}"
            raise Failure(f"reminder {options.id} is {found['state']} as it is, due {due}; {how}")
    return _made(screen, client, client.ask("PATCH", f"/reminder/{options.id}", fields).value)


def _try(options: argparse.Namespace, screen: Screen, client: Client) -> int:
    from tifftockd.ctl.fields import read_message, read_options

    fields = {"in": 0, "retries": 0, "method": options.method, "message": read_message(options.message)}
    if options.to is not None:
        fields["to"] = options.to
    if options.option:
        fields["options"] = read_options(options.option)
    made = shapes.check(client, _create(client, fields, options.option), shapes.REMINDER)
    entry = _wait(client, made["id"], options.timeout)
    if screen.as_json:
        screen.json(entry)
    else:
        show.print_entry(screen, entry)
    if entry["outcome"] == "delivered":
        return 0
    screen.note(
        f"reminder {made['id']} is kept: tifftockctl rearm {made['id']} fires it again, cancel {made['id']} drops it"
    )
    return EX_REFUSED


def _wait(client: Client, id_: int, seconds: float) -> dict[str, Any]:
    """The end of a reminder that was just made. Failure after so many seconds."""
    end = clock.monotonic() + seconds
    pause = _SHORTEST_LOOK
    while True:
        # One that was interrupted is tried again.
        entries = [one for one in shapes.history(client, id_, 1) if one["outcome"] != "interrupted"]
        if entries:
            return entries[0]
        if clock.monotonic() + pause > end:
            raise Failure(
                f"reminder {id_} has not ended within {seconds} s: tifftockctl explain {id_} says why", EX_TEMPFAIL
            )
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_LOOK)


def _import(options: argparse.Namespace, screen: Screen, client: Client) -> int:
    from tifftockd.ctl.importing import import_file

    return import_file(options, screen, client)


COMMANDS: dict[str, Command] = {
    "list": _list,
    "remind": _remind,
    "show": _show,
    "explain": _explain,
    "history": _history,
    "next": _next,
    "snooze": _snooze,
    "cancel": _cancel,
    "rearm": _rearm,
    "try": _try,
    "import": _import,
    "handlers": _handlers,
    "status": _status,
}
