"""Reminders, history, methods and the daemon's health, for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tifftockd.ctl import times
from tifftockd.ctl.screen import Screen
from tifftockd.ctl.table import Cell, Column, print_pairs, print_table
from tifftockd.ctl.text import count, harmless

_REPEATING = ("repeat", "until", "count", "catch_up", "overlap", "snoozed_from")


def print_reminder_line(screen: Screen, reminder: dict[str, Any], now: datetime) -> None:
    """One that was just made or changed: 7  Wed 2026-11-25 09:00 CET  in 11h 48min  email  call the dentist."""
    screen.line("  ".join(harmless(part) for part in _line_parts(reminder, now)))


def _line_parts(reminder: dict[str, Any], now: datetime) -> list[str]:
    repeat = reminder.get("repeat")
    return [
        str(reminder["id"]),
        times.local(reminder["when"]),
        times.relative(reminder["when"], now),
        *([f"repeats {repeat}"] if repeat else []),
        reminder["method"],
        reminder["message"],
    ]


def print_reminders(screen: Screen, reminders: Sequence[dict[str, Any]], now: datetime) -> None:
    """A table. What is the same for all, because it is usual, has no column."""
    seconds = times.with_seconds(one["when"] for one in reminders)
    states = any(one["state"] != "pending" for one in reminders)
    repeats = any(one.get("repeat") for one in reminders)
    errors = any(one["last_error"] for one in reminders)
    columns = [
        Column("ID", right=True),
        Column("WHEN"),
        Column("IN"),
        *([Column("STATE")] if states else []),
        *([Column("REPEATS", flexible=True)] if repeats else []),
        Column("METHOD"),
        Column("MESSAGE", flexible=True),
        *([Column("WHY", flexible=True)] if errors else []),
    ]
    rows = [
        [
            Cell(str(one["id"])),
            Cell(times.local(one["when"], seconds=seconds)),
            Cell(times.relative(one["when"], now).removeprefix("in "), one["state"]),
            *([Cell(one["state"], one["state"])] if states else []),
            *([Cell(str(one.get("repeat") or ""))] if repeats else []),
            Cell(one["method"]),
            Cell(one["message"]),
            *([Cell(one["last_error"] or "", "dim")] if errors else []),
        ]
        for one in reminders
    ]
    print_table(screen, columns, rows)


def print_reminder(screen: Screen, one: dict[str, Any], now: datetime) -> None:
    """All of one."""
    others = {name: one[name] for name in _REPEATING if one.get(name) is not None}
    if not one.get("repeat"):
        others = {name: value for name, value in others.items() if name == "snoozed_from"}
    if "until" in others:
        others["until"] = times.local(others["until"])
    print_pairs(
        screen,
        [
            ("id", str(one["id"])),
            ("when", f"{times.local(one['when'])}, {times.relative(one['when'], now)}"),
            *((name.replace("_", " "), str(value)) for name, value in others.items()),
            ("state", Cell(one["state"], one["state"])),
            ("method", one["method"]),
            *([("to", one["to"])] if one["to"] is not None else []),
            *([("options", json.dumps(one["options"], ensure_ascii=False))] if one["options"] else []),
            *([("zone", one["tz"])] if one["tz"] is not None else []),
            ("max late", one["max_late"]),
            ("attempts", f"{one['attempts']}, and up to {one['retries']} after a failure"),
            *([("last error", one["last_error"])] if one["last_error"] else []),
            *([("owner", f"uid {one['owner']}")] if isinstance(one.get("owner"), int) else []),
            ("created", f"{times.local(one['created'])}, {times.relative(one['created'], now)}"),
            ("message", one["message"]),
        ],
    )


def print_entries(screen: Screen, entries: Sequence[dict[str, Any]], *, of_one: bool) -> None:
    """A table of attempts, and of ends without one: `of_one` reminder, else of all."""
    seconds = times.with_seconds(time for one in entries for time in (one["due"], one["started"]))
    errors = any(one["error"] for one in entries)
    outputs = any(one["output"] for one in entries)
    columns = [
        Column("ATTEMPT" if of_one else "REMINDER", right=True),
        Column("DUE"),
        *([Column("STARTED")] if of_one else []),
        Column("LATE", right=True),
        Column("OUTCOME"),
        *([] if of_one else [Column("METHOD"), Column("MESSAGE", flexible=True)]),
        *([Column("WHY", flexible=True)] if errors else []),
        *([Column("OUTPUT", flexible=True)] if outputs else []),
    ]
    rows = [
        [
            Cell(str(one["attempt"] if of_one else one["reminder"])),
            Cell(times.local(one["due"], seconds=seconds)),
            *([Cell(times.local(one["started"], seconds=seconds, since=one["due"]))] if of_one else []),
            Cell(times.late(one["late_ms"])),
            Cell(one["outcome"], one["outcome"]),
            *([] if of_one else [Cell(one["method"]), Cell(one["message"])]),
            *([Cell(one["error"] or "")] if errors else []),
            *([Cell((one["output"] or "").rstrip("\n"))] if outputs else []),
        ]
        for one in entries
    ]
    print_table(screen, columns, rows)


def print_entry(screen: Screen, one: dict[str, Any]) -> None:
    """All of one attempt."""
    started, finished = times.read(one["started"]), times.read(one["finished"])
    took = None if started is None or finished is None else (finished - started).total_seconds() * 1000
    print_pairs(
        screen,
        [
            ("reminder", str(one["reminder"])),
            ("method", one["method"] + ("" if one["to"] is None else f", to {one['to']}")),
            ("outcome", Cell(one["outcome"], one["outcome"])),
            ("started", times.local(one["started"], seconds=True)),
            ("late", times.late(one["late_ms"])),
            ("took", times.late(took)),
            *([("error", one["error"])] if one["error"] else []),
            *([("output", one["output"])] if one["output"] else []),
        ],
    )


def print_handlers(screen: Screen, given: dict[str, Any]) -> None:
    """The methods, then why some of them, and some files, cannot be used: all of it, as it is to be mended."""
    columns = [Column("METHOD"), Column("STATE"), Column("TO"), Column("OPTIONS", flexible=True), Column("FROM")]
    rows = []
    for one in given["methods"]:
        state = "ready" if one["available"] else "unavailable"
        options = "any" if one["options"] is None else ", ".join(one["options"]) or "none"
        needs = "needed" if one["needs_to"] else "optional"
        rows.append([Cell(one["method"]), Cell(state, state), Cell(needs), Cell(options), Cell(one["source"])])
    print_table(screen, columns, rows)
    missing = [(one["method"], one["reason"]) for one in given["methods"] if not one["available"]]
    for name, reason in (*missing, *((one["file"], one["error"]) for one in given["failures"])):
        screen.line(harmless(f"{name}: {reason}"))
    if given["loading"]:
        screen.note("files of handlers are still being loaded")


def print_health(screen: Screen, health: dict[str, Any], where: str, now: datetime) -> None:
    """The daemon's state."""
    counts = dict(health["counts"])
    kept = counts.pop("history", 0)
    waiting = ", ".join(f"{number} {state}" for state, number in counts.items() if number) or "none"
    due = health["next_due"]
    print_pairs(
        screen,
        [
            ("tifftockd", Cell(health["status"], health["status"])),
            ("version", health["version"]),
            ("address", where),
            ("scheduler", health["scheduler"]),
            ("store", health["store"]),
            ("reminders", waiting),
            ("history", count(kept, "line")),
            ("next", "nothing" if due is None else f"{times.local(due)}, {times.relative(due, now)}"),
        ],
    )


def print_occurrences(screen: Screen, occurrences: Sequence[str], now: datetime) -> None:
    """The times of a reminder."""
    seconds = times.with_seconds(occurrences)
    print_table(
        screen,
        [Column("WHEN"), Column("IN")],
        [[times.local(one, seconds=seconds), times.relative(one, now).removeprefix("in ")] for one in occurrences],
    )
