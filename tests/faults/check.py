"""Whether a database stands by what clients were told, judged by what they noted (life.py) and what handlers did.

Two moments: `settled`, when a daemon has started again and done what it had to do, and `as_found`, when nobody has
touched the database since the machine lost its power.
"""

import json
import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.faults import recording

# What a violation is counted as
KINDS = LOST, DOUBLED, EARLY, DELETED, CORRUPT, SLOW, WRONG = (
    "lost", "doubled", "early", "deleted", "corrupt", "slow", "wrong",
)  # fmt: skip
# Outcomes after which another attempt explains itself
BEFORE_ANOTHER = {"failed", "interrupted"}
# Outcomes with which a reminder leaves the store; with the others it is kept
DROPPED = {"delivered", "cancelled"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STATES = ("pending", "firing", "failed", "uncertain", "missed")


@dataclass(frozen=True)
class Violation:
    kind: str
    text: str


@dataclass
class Promise:
    """A reminder as a client knows it: what was acknowledged, and what was asked and never answered."""

    body: dict  # as it was last answered
    ends: tuple
    cancelled: float | None = None  # when 204 came
    maybe: dict = field(default_factory=dict)  # fields of a change without an answer
    cleaned: bool = False  # it may have been cleaned away, as it had ended before that was allowed


@dataclass
class Known:
    promises: dict[int, Promise] = field(default_factory=dict)
    seen: list = field(default_factory=list)  # outcomes that were read: (id, key, attempt, outcome)
    keys: dict[str, dict] = field(default_factory=dict)  # each arming that was acknowledged
    kept: int | None = None  # so many entries and final reminders are kept, the older ones cleaned away
    effects: list = field(default_factory=list)
    once: set = field(default_factory=set)  # what was sent with a key, and answered since: messages that none shares

    @classmethod
    def of(cls, events):
        known = cls()
        asked = {}
        for event in events:
            match event["event"]:
                case "asked":
                    asked[event["number"]] = event
                case "answered":
                    known._answered(asked.pop(event["number"]), event)
                case "once":
                    sent = event["body"]
                    known.once |= {body["message"] for body in (sent if isinstance(sent, list) else [sent])}
                case "saw":
                    known.seen.append((event["id"], event["key"], event["attempt"], event["outcome"]))
                case "cleaning":
                    known.kept = event["most"]
                    for promise in known.promises.values():
                        promise.cleaned = promise.ends != ("waits",) or promise.cancelled is not None
                case "effect":
                    known.effects.append(event)
        for event in asked.values():
            known._unanswered(event)
        return known

    def _answered(self, asked, event):
        ends, answer, id_ = tuple(asked["ends"]), event["answer"], asked["id"]
        if ends == ("cancelled",):
            self.promises[id_].cancelled = event["at"]
            return
        # A change of one that may have been cleaned away shows that it has not been.
        self.promises[answer["id"]] = Promise(answer, ends)
        self.keys[answer["key"]] = answer

    def _unanswered(self, asked):
        promise = self.promises.get(asked["id"])
        if promise is not None:
            promise.ends += tuple(asked["ends"])
            promise.maybe = asked["body"] or {}


def events_in(file):
    """What handlers noted."""
    return [json.loads(call.data) for call in recording.read(file) if call.kind == "mark"] if file.exists() else []


@dataclass
class Found:
    """What is in the database."""

    damage: str | None
    reminders: dict = field(default_factory=dict)
    history: list = field(default_factory=list)
    tally: dict = field(default_factory=dict)

    @classmethod
    def read(cls, path):
        database = sqlite3.connect(path, isolation_level=None)
        database.row_factory = sqlite3.Row
        try:
            problems = [row[0] for row in database.execute("PRAGMA integrity_check")]
            if problems != ["ok"]:
                return cls("; ".join(problems[:3]))
            return cls(
                None,
                {row["id"]: dict(row) for row in database.execute("SELECT * FROM reminder")},
                [dict(row) for row in database.execute("SELECT * FROM history ORDER BY id")],
                dict(database.execute("SELECT name, n FROM tally").fetchall()),
            )
        except sqlite3.Error as error:
            return cls(str(error))
        finally:
            database.close()

    def entries(self, key):
        return [entry for entry in self.history if entry["key"] == key]


def settled(known, found):
    """Violations after a restart, when everything that was due has ended."""
    if found.damage:
        return [Violation(CORRUPT, found.damage)]
    return [
        *_counts(found),
        *_cleaning(known, found),
        *_seen(known, found),
        *_ends(known, found),
        *_delivered(known, found),
        *_attempts(known, found),
        *_once(known, found),
        *_repeating(known, found, 1),
    ]


def repeats(known, found):
    """Effects that came again, for the reason that the history gives."""
    interrupted = {(entry["key"], entry["attempt"]) for entry in found.history if entry["outcome"] == "interrupted"}
    return sum((effect["key"], effect["attempt"]) in interrupted for effect in known.effects)


def as_found(known, found):
    """Violations when nothing has run since: what was acknowledged is there, and what has had an effect is claimed."""
    if found.damage:
        return [Violation(CORRUPT, found.damage)]
    return [
        *_counts(found),
        *_cleaning(known, found),
        *_seen(known, found),
        *_ends(known, found, ("waits", "firing")),
        *_delivered(known, found),
        *_claimed(known, found),
        *_repeating(known, found, 0),
    ]


# ---- what has to hold


def _counts(found):
    """The tally is what there is."""
    counted = {state: sum(row["state"] == state for row in found.reminders.values()) for state in STATES}
    counted["history"] = len(found.history)
    told = {name: found.tally.get(name) for name in counted}
    if told != counted:
        yield Violation(WRONG, f"the tally says {told}, and there are {counted}")


def _cleaning(known, found):
    """History goes from its oldest end, final reminders likewise, and no further than they may."""
    ids = [entry["id"] for entry in found.history]
    if ids and ids != list(range(ids[0], ids[0] + len(ids))):
        yield Violation(LOST, f"history has gaps: {ids}")
    if ids and ids[0] > 1 and (known.kept is None or len(ids) < known.kept):
        yield Violation(LOST, f"history begins at {ids[0]} and has {len(ids)} entries left; to keep: {known.kept}")
    final = sum(row["ended"] is not None for row in found.reminders.values())
    gone = [id_ for id_, promise in known.promises.items() if promise.cleaned and id_ not in found.reminders]
    if final < (known.kept or 0) and any(known.promises[id_].ends == ("failed",) for id_ in gone):
        yield Violation(LOST, f"of {gone} some were final, and of those only {final} are left; to keep: {known.kept}")


def _first(found):
    """The oldest entry's id: what came before it has been cleaned away."""
    return found.history[0]["id"] if found.history else 1


def _seen(known, found):
    """An outcome that a client has read is not taken back."""
    there = {(entry["id"], entry["key"], entry["attempt"], entry["outcome"]) for entry in found.history}
    for one in known.seen:
        if one not in there and one[0] >= _first(found):
            yield Violation(LOST, f"{one} was seen, and is not in the history")


def _end(found, id_):
    """How a reminder stands, in the words of life.py; None: it is gone, and not because that was its end."""
    row = found.reminders.get(id_)
    if row is not None:
        return "waits" if row["state"] == "pending" else row["state"]
    outcomes = [entry["outcome"] for entry in found.history if entry["reminder"] == id_]
    return outcomes[-1] if outcomes and outcomes[-1] in DROPPED else None


def _ends(known, found, on_the_way=()):
    """`on_the_way`: states that are none of the ends, and still all right."""
    for id_, promise in known.promises.items():
        end = _end(found, id_)
        if end is None:
            if not promise.cleaned:
                yield Violation(LOST, f"reminder {id_} was acknowledged, and is gone")
        elif promise.cancelled is not None:
            if end != "cancelled":
                yield Violation(DELETED, f"reminder {id_} was deleted, and is {end}")
        elif end not in promise.ends + on_the_way:
            yield Violation(WRONG, f"reminder {id_} is {end}; possible are {promise.ends}")
        elif set(promise.ends) == {end} == {"waits"}:
            yield from _says(promise, found.reminders[id_])


def _says(promise, row):
    """A pending reminder has the fields that were acknowledged, or those of the change that was not answered."""
    for name in ("message", "method"):
        if row[name] not in (promise.body[name], promise.maybe.get(name)):
            yield Violation(LOST, f"reminder {row['id']} has {name} {row[name]!r:.40}, not {promise.body[name]!r:.40}")
    # What repeats moves on: _repeating.
    if "in" not in promise.maybe and not promise.body["repeat"] and row["due"] != _micros(promise.body["when"]):
        yield Violation(LOST, f"reminder {row['id']} is due at {row['due']}, not {promise.body['when']}")


def _delivered(known, found):
    """What is said to have happened has happened."""
    made = {(effect["key"], effect["attempt"]) for effect in known.effects}
    for entry in found.history:
        if entry["outcome"] == "delivered" and (entry["key"], entry["attempt"]) not in made:
            yield Violation(LOST, f"reminder {entry['reminder']} is said to be delivered, and had no effect")


def _attempts(known, found):
    """Nothing early, nothing after its deletion, and no second effect that the history does not explain."""
    made = {}
    for effect in known.effects:
        made.setdefault(effect["key"], []).append(effect)
        arming, promise = known.keys.get(effect["key"]), known.promises.get(effect["id"])
        # A change to an earlier time may have been carried out without an answer.
        moved = promise is not None and "in" in promise.maybe
        if arming is not None and not moved and effect["at"] * 1_000_000 < _micros(arming["when"]) - 1:
            yield Violation(EARLY, f"reminder {effect['id']} had its effect at {effect['at']}, before {arming['when']}")
        if promise is not None and promise.cancelled is not None and effect["at"] > promise.cancelled:
            yield Violation(DELETED, f"reminder {effect['id']} had an effect after it was deleted")
    for key, effects in made.items():
        outcomes = {entry["attempt"]: entry["outcome"] for entry in found.entries(key)}
        numbers = [effect["attempt"] for effect in effects]
        promise = known.promises.get(effects[0]["id"])
        ended = promise is not None and (promise.cleaned or promise.body["repeat"])
        may_be_gone = _first(found) > 1 and ended
        if len(set(numbers)) < len(numbers):
            yield Violation(DOUBLED, f"key {key}: the attempts {numbers} had effects")
        for attempt in numbers:
            outcome = outcomes.get(attempt)
            if outcome is None and not may_be_gone:
                yield Violation(DOUBLED, f"key {key}: attempt {attempt} had an effect, and history does not know it")
            if outcome is not None and attempt < max(numbers) and outcome not in BEFORE_ANOTHER:
                yield Violation(DOUBLED, f"key {key}: attempt {attempt} was {outcome}, and there was another")


def _once(known, found):
    """What was sent again with its Idempotency-Key, until there was an answer, is there once."""
    messages = [row["message"] for row in found.reminders.values()]
    for message in known.once:
        if messages.count(message) != 1:
            kind = DOUBLED if message in messages else LOST
            yield Violation(kind, f"there are {messages.count(message)} reminders '{message}' of one request")


def _repeating(known, found, least):
    """One that was made to fire once has moved on with its outcome: not before, not later, not twice.

    `least`: so often at the least, if a client knows that it was made to.
    """
    for id_, promise in known.promises.items():
        row = found.reminders.get(id_)
        if row is None or not row["repeat"]:
            continue
        done = [entry for entry in found.history if entry["reminder"] == id_ and entry["outcome"] == "delivered"]
        fired = promise.body["count"] - row["count"]
        year = (_EPOCH + timedelta(microseconds=row["created"])).year
        new_year = (datetime(year + 1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
        made_to = promise.body["when"] != datetime(year + 1, 1, 1, tzinfo=UTC).isoformat()
        # The history may have been cleaned.
        told = known.kept is not None or fired == len(done)
        if fired > 1 or not told or any(row["key"] == entry["key"] for entry in done):
            yield Violation(DOUBLED, f"reminder {id_} counts {fired} occurrences, and history has {len(done)}")
        if made_to and fired < least:
            yield Violation(LOST, f"reminder {id_} did not fire when it was snoozed")
        if fired and row["due"] != new_year:
            yield Violation(LOST, f"reminder {id_} has fired, and is due at {row['due']}, not at {new_year}")


def _claimed(known, found):
    """An effect belongs to an attempt that is on the disk, or after the next start it would be repeated silently."""
    for effect in known.effects:
        row = found.reminders.get(effect["id"])
        if row is not None and row["key"] == effect["key"] and row["attempts"] >= effect["attempt"]:
            continue
        if any(entry["attempt"] >= effect["attempt"] for entry in found.entries(effect["key"])):
            continue
        promise = known.promises.get(effect["id"])
        # Its arming may be over: cleaned away, changed or deleted since.
        over = promise is not None and (promise.cleaned or promise.cancelled or promise.body["key"] != effect["key"])
        # What repeats has moved on in the transaction that wrote its outcome, which may have been cleaned away since.
        over = over or (row is not None and row["repeat"] and row["key"] != effect["key"])
        if not over:
            text = f"reminder {effect['id']}: attempt {effect['attempt']} had an effect, and is not on the disk"
            yield Violation(DOUBLED, text)


def _micros(text):
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)
