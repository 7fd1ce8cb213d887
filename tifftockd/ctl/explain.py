"""Why a reminder has not fired, or why it fired when it did: sentences from what the API gives."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tifftockd import clock
from tifftockd.ctl import times
from tifftockd.ctl.facts import Facts
from tifftockd.ctl.text import count

# So many attempts are told one by one.
_TOLD = 5
# Later than this is worth a reason.
_NOTABLE = timedelta(seconds=1)
# Clocks that differ by less are not worth a word: a Date header has whole seconds, and an answer takes its time.
_CLOCK_SKEW = timedelta(seconds=5)
# Which of them it was is not kept with a reminder.
_WHY_NONE = (
    "the daemon or the machine was off or asleep then, its method could not be used, or it waited for its turn."
    " tifftockd logs each outage: journalctl TIFFTOCK_EVENT=outage."
)


def explain(facts: Facts, now: datetime) -> list[str]:
    """The sentences, most important first."""
    said: list[str] = []
    reminder = facts.reminder
    if reminder is None:
        said += _gone(facts, now)
    elif reminder["state"] == "pending":
        said += _pending(facts, reminder, now)
    elif reminder["state"] == "firing":
        said += _firing(facts, reminder, now)
    else:
        said += _kept(facts, reminder, now)
    if reminder is not None and reminder.get("repeat"):
        said += _repeating(facts, reminder)
    return said + _clocks(facts, now)


def _at(text: object, now: datetime) -> str:
    """Wed 2026-11-25 09:00 CET (in 11h 48min)."""
    return f"{times.local(text)} ({times.relative(text, now)})"


# ---- it waits


def _pending(facts: Facts, reminder: dict[str, Any], now: datetime) -> list[str]:
    due = times.read(reminder["when"])
    waits = due is None or due > now
    is_due = f"it {'is' if waits else 'was'} due {_at(reminder['when'], now)}"
    said = [f"Reminder {facts.id} is pending: {is_due}, by {reminder['method']}."]
    blocked = _blocked(facts, reminder)
    said += blocked
    if reminder["attempts"]:
        said += _retrying(facts, reminder, now)
    elif waits and not blocked:
        said.append("It has not fired because its time has not come; nothing is in its way.")
    elif not blocked:
        said.append(_overdue(facts, reminder))
    if not waits or blocked:
        said.append(_deadline(reminder, now))
    return said


def _blocked(facts: Facts, reminder: dict[str, Any]) -> list[str]:
    """What keeps it from firing, whatever its time."""
    said = []
    method, name = facts.method, reminder["method"]
    reload = "reload (systemctl reload tifftockd)"
    nothing = "Nothing fires now: the daemon's"
    if method is None:
        if facts.handlers["loading"]:
            said.append(f"It waits for the method {name}: the files of handlers are still being loaded.")
        else:
            said.append(f"It waits because there is no method {name} now: no file of handlers that was loaded has it.")
            said += [f"{one['file']} could not be loaded: {one['error']}." for one in facts.handlers["failures"]]
            said.append(f"When the method is back after a {reload}, it fires.")
    elif not method["available"]:
        said.append(f"It waits because the method {name} cannot be used: {method['reason']}; mend that, then {reload}.")
    if facts.health["scheduler"] != "alive":
        said.append(f"{nothing} scheduler is {facts.health['scheduler']}.")
    if facts.health["store"] != "ok":
        said.append(f"{nothing} last write failed: {facts.health['store']}.")
    if facts.clock is not None and clock.is_wrong(clock.micros(facts.clock)):
        shown = times.local(facts.clock.isoformat())
        said.append(f"{nothing} machine shows {shown}, which is plainly wrong.")
    return said


def _retrying(facts: Facts, reminder: dict[str, Any], now: datetime) -> list[str]:
    tried = [one for one in facts.history if one["attempt"]]
    failed = sum(one["outcome"] == "failed" for one in _of_this_arming(tried))
    said = []
    if tried and tried[0]["outcome"] == "interrupted":
        said.append(f"Attempt {reminder['attempts']} was cut off ({_why(tried[0])}), and is made again.")
    elif tried:
        said.append(
            f"Attempt {reminder['attempts']} failed {_at(tried[0]['finished'], now)}: {_why(tried[0])}."
            f" Retry {failed} of {reminder['retries']} is next."
        )
    upcoming = facts.health["next_due"]
    if upcoming is not None and facts.health["counts"].get("pending") == 1:
        said.append(f"It comes {_at(upcoming, now)}.")
    elif failed:
        said.append("It comes after RETRY_DELAY, doubled with each failure, or later if what failed asked for that.")
    return said


def _overdue(facts: Facts, reminder: dict[str, Any]) -> str:
    """It could fire, and does not yet."""
    method = facts.method
    if method is not None and facts.firing >= method["concurrency"]:
        before = count(facts.firing, "attempt")
        return f"It waits for its turn behind {before}: {reminder['method']} makes {method['concurrency']} at once."
    return "It is about to fire; after an outage what is overdue begins oldest first, so many a second (CATCH_UP_RATE)."


def _deadline(reminder: dict[str, Any], now: datetime) -> str:
    due, late = times.read(reminder["when"]), _span_of(reminder["max_late"])
    if due is None or late is None:
        return f"It may fire up to {reminder['max_late']} after it is due."
    try:
        last = (due + late).isoformat()
    except OverflowError:
        return f"It may fire up to {reminder['max_late']} after it is due."
    return f"It may start until {_at(last, now)}, {reminder['max_late']} after it is due; then it ends without."


def _span_of(text: str) -> timedelta | None:
    from tifftockd.errors import InvalidTime
    from tifftockd.when import parse_span

    try:
        return timedelta(microseconds=parse_span(text))
    except InvalidTime:
        return None


# ---- it runs


def _firing(facts: Facts, reminder: dict[str, Any], now: datetime) -> list[str]:
    most = f"; it may take {facts.method['timeout']} at the most" if facts.method else ""
    said = [
        f"Reminder {facts.id} is firing: attempt {reminder['attempts']} by {reminder['method']} is running{most}.",
        f"It was due {_at(reminder['when'], now)}.",
    ]
    return said + _earlier(_of_this_arming(facts.history, before=reminder), now)


# ---- it has ended, and is kept


def _kept(facts: Facts, reminder: dict[str, Any], now: datetime) -> list[str]:
    state = reminder["state"]
    means = {
        "failed": f"has failed after {count(reminder['attempts'], 'attempt')}",
        "missed": "was missed: no attempt was made",
        "uncertain": "is uncertain: it may have happened, and is not repeated",
    }.get(state, f"is {state}")
    said = [f"Reminder {facts.id} {means}. It was due {_at(reminder['when'], now)}, by {reminder['method']}."]
    if reminder["last_error"]:
        said.append(f"The reason: {reminder['last_error']}.")
    if state == "missed":
        in_time = _span_of(reminder["max_late"])
        said.append(f"None could be: {_WHY_NONE}" if in_time else "With a max_late of 0 none is ever early enough.")
    tried = _of_this_arming(facts.history)
    said += _earlier([one for one in tried if one["attempt"] and one["started"]], now)
    return [*said, f"It is kept: tifftockctl rearm {facts.id} fires it again, tifftockctl cancel {facts.id} drops it."]


# ---- it is gone


def _gone(facts: Facts, now: datetime) -> list[str]:
    last, *before = facts.history
    if last["outcome"] == "cancelled":
        said = [f"Reminder {facts.id} was cancelled {_at(last['finished'], now)}. It was due {_at(last['due'], now)}."]
    elif last["outcome"] == "delivered":
        said = [_delivered(facts.id, last, now), *_lateness(last, _of_this_arming(facts.history)[1:])]
    else:
        ended = f"ended {last['outcome']} {_at(last['finished'], now)}, and is no longer kept"
        said = [f"Reminder {facts.id} {ended}: {_why(last)}."]
    armed = [one for one in before if one["key"] == last["key"]]
    said += _earlier(armed, now)
    older = len({one["key"] for one in before} - {last["key"]})
    if older:
        said.append(f"Before that it came {count(older, 'time')}: tifftockctl history {facts.id} has them all.")
    return said


def _delivered(id_: int, entry: dict[str, Any], now: datetime) -> str:
    to = "" if entry["to"] is None else f" to {entry['to']}"
    nth = f" by attempt {entry['attempt']}" if entry["attempt"] > 1 else ""
    started = times.local(entry["started"], seconds=True)
    return (
        f"Reminder {id_} was delivered by {entry['method']}{to}{nth}: it was due {_at(entry['due'], now)},"
        f" and began {started}, {times.late(entry['late_ms'])} after that."
    )


def _lateness(entry: dict[str, Any], before: list[dict[str, Any]]) -> list[str]:
    """Why an attempt began when it did."""
    late = timedelta(milliseconds=max(0, min(entry["late_ms"] or 0, 1e12)))
    if late < _NOTABLE:
        return ["It was on time."]
    if before:
        first = before[-1]
        begin = times.late(first["late_ms"])
        tries = count(len(before) + 1, "attempt")
        return [f"It was late because it took {tries}; the first began {begin} after it was due."]
    return [f"No attempt was made before: {_WHY_NONE}"]


# ---- what they have in common


def _of_this_arming(history: list[dict[str, Any]], before: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The newest entries, as far as they have one key. `before`: those of this reminder's present key."""
    key = before.get("key") if before is not None else (history[0]["key"] if history else None)
    return [one for one in history if one["key"] == key]


def _earlier(entries: list[dict[str, Any]], now: datetime) -> list[str]:
    """Attempts, oldest first; many of them not one by one."""
    told = entries[:_TOLD]
    said = [
        f"Attempt {one['attempt']}, {_at(one['started'] or one['finished'], now)}: {one['outcome']}, {_why(one)}."
        for one in reversed(told)
    ]
    if len(entries) > len(told):
        said.insert(0, f"{count(len(entries) - len(told), 'attempt')} came before those.")
    return said


def _why(entry: dict[str, Any]) -> str:
    return str(entry["error"] or "no reason is known").rstrip(".")


def _repeating(facts: Facts, reminder: dict[str, Any]) -> list[str]:
    zone = f" in {reminder['tz']}" if reminder["tz"] else ""
    until = f", until {times.local(reminder['until'])}" if reminder.get("until") else ""
    number = reminder.get("count")
    left = f", {count(number, 'time')} more with the present one" if isinstance(number, int) else ""
    said = [f"It repeats: {reminder['repeat']}{zone}{until}{left}."]
    following = facts.occurrences[1:]
    if following:
        said.append(f"After the present one it comes {', '.join(map(times.local, following))}.")
    else:
        said.append("The present one is the last.")
    ended = [one for one in facts.history if one["key"] != reminder.get("key")]
    if ended:
        last = ended[0]
        said.append(
            f"The one before was due {times.local(last['due'])} and ended {last['outcome']},"
            f" {times.late(last['late_ms'])} late."
            if last["started"]
            else f"The one before was due {times.local(last['due'])} and ended {last['outcome']}: {_why(last)}."
        )
    return said


def _clocks(facts: Facts, now: datetime) -> list[str]:
    """Two machines, or one whose clock is being set."""
    if facts.clock is None or abs(facts.clock - now) < _CLOCK_SKEW:
        return []
    there = times.local(facts.clock.isoformat(), seconds=True)
    return [f"The daemon's clock shows {there}, this machine's {times.local(now.isoformat(), seconds=True)}."]
