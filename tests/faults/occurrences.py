"""What is promised of each occurrence of a reminder that repeats, and where what was seen contradicts it.

Every expression lists the seconds of the minute that its step divides, so that any reader knows its occurrences: no
part of the daemon is asked what is right.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from tests.faults.history import instant

SECOND = 1_000_000
_MADE = {"delivered", "failed", "interrupted", "uncertain"}
# How long a start may take until the daemon watches.
_START = 5 * SECOND


@dataclass
class Request:
    """One request about a reminder, and its answer: without a status nobody knows whether it was done."""

    kind: str
    sent: int
    answered: int | None = None
    status: int | None = None
    shown: dict | None = None

    @property
    def possible(self):
        return self.status is None or self.status < 300 or self.status >= 500


@dataclass
class Rhythm:
    """A reminder as it was created, what was asked of it later, and what was seen of it."""

    created: dict
    step: int
    body: dict
    requests: list[Request] = field(default_factory=list)
    entries: list[dict] = field(default_factory=list)
    effects: list = field(default_factory=list)
    stored: dict | None = None

    @property
    def id(self):
        return self.created["id"]

    @property
    def goes_on(self):
        """Whether there is an occurrence to come, or being attempted."""
        return self.stored is not None and self.stored["state"] in ("pending", "firing")

    @property
    def first(self):
        return instant(self.created["when"])

    @property
    def changed(self):
        return [one for one in self.requests if one.kind in ("snooze", "change") and one.possible]

    @property
    def moved(self):
        """The instants that a request has put in the place of an occurrence."""
        return {at for one in self.changed if one.shown and not self.listed(at := instant(one.shown["when"]))}

    @property
    def unknown(self):
        """Whether it may have been moved to an instant that no answer tells."""
        return any(one.shown is None for one in self.changed)

    @property
    def max_late(self):
        return self.body["max_late"] * SECOND

    def listed(self, at):
        return at % (self.step * SECOND) == 0

    def between(self, after, before):
        """The first occurrence between these, both excluded, or None."""
        step = self.step * SECOND
        at = (after // step + 1) * step
        return at if at < before else None

    @property
    def by_due(self):
        """Due instants, in their order, and the entries of each."""
        found = defaultdict(list)
        for one in self.entries:
            found[one["due"]].append(one)
        return dict(found)

    @property
    def made(self):
        """The attempts that may have begun."""
        return [one for one in self.entries if one["outcome"] in _MADE]

    @property
    def cancelled(self):
        return bool(self.entries) and self.entries[-1]["outcome"] == "cancelled"


def check(rhythm, starts):
    """Every sentence that says what is not as promised."""
    for rule in RULES:
        for text in rule(rhythm, starts):
            yield f"{rule.__name__.replace('_', ' ')}: {text}"


def forgotten(rhythms, since):
    """What was due from then on and is still to be attempted, although others of its method were that came later."""
    begun = defaultdict(list)
    for rhythm in rhythms:
        first = [one for one in rhythm.made if one["started"] is not None and one["attempt"] == 1]
        begun[rhythm.body["method"]] += [(one["started"], one["due"]) for one in first]
    for rhythm in rhythms:
        if not rhythm.goes_on:
            continue
        if rhythm.stored["state"] == "firing":
            yield f"reminder {rhythm.id}: it is firing after the daemon has stopped"
        at = rhythm.stored["fire_at"]
        armed = max([at, *(one["finished"] for one in rhythm.entries)])
        later = [due for started, due in begun[rhythm.body["method"]] if due > armed and started > armed + SECOND]
        if at >= since and later:
            yield f"reminder {rhythm.id}: it waits since {armed}, and what was due at {later} was attempted"


def every_occurrence_is_told(rhythm, _starts):
    """From the first one on none is left out, none comes that is not listed, and none comes back."""
    if rhythm.unknown:
        return
    moved = rhythm.moved
    # What has ended shows the last one that was armed, and may be cancelled all the same.
    dues = [one["due"] for one in rhythm.entries if one["outcome"] != "cancelled"]
    if dues != sorted(dues):
        yield f"they are not in their order: {dues}"
    dues = sorted({*dues})
    if rhythm.goes_on and not (dues and dues[-1] >= rhythm.stored["due"]):
        dues.append(rhythm.stored["due"])
    for due in dues:
        if due not in moved and not rhythm.listed(due):
            yield f"{due} is none of its occurrences, nor where one was moved to"
    if dues and dues[0] != rhythm.first and dues[0] not in moved:
        yield f"the first was {rhythm.first}, and told is {dues[0]}"
    for one, other in pairwise(dues):
        if other not in moved and (between := rhythm.between(one, other)):
            yield f"{between} is left out between {one} and {other}"


def it_ends_when_it_was_to(rhythm, _starts):
    """By `count`, by `until`, or cancelled, and not before."""
    dues, stored = sorted(rhythm.by_due), rhythm.stored
    until = rhythm.body.get("until")
    until = until and int(until[1:]) * SECOND
    if until and any(due > until and due not in rhythm.moved for due in dues) and not rhythm.unknown:
        yield f"it went on until {dues[-1]}, and was to until {until}"
    if rhythm.changed:
        return
    count = rhythm.body.get("count")
    if count and len(dues) > count:
        yield f"{len(dues)} occurrences, and {count} were to be"
    if rhythm.goes_on:
        ended = sum(due < stored["due"] for due in dues)
        if count and ended + stored["count"] != count:
            yield f"{stored['count']} are left after {ended} of {count}"
    elif not rhythm.cancelled:
        by_count = count and len(dues) == count
        by_until = until and (dues[-1] if dues else rhythm.first - 1) + rhythm.step * SECOND > until
        if not by_count and not by_until:
            yield f"it has ended after {len(dues)} of {count}, at {dues and dues[-1]}, until {until}"
        last = rhythm.entries[-1]["outcome"] if rhythm.entries else "lost"
        if (stored is None) != (last == "delivered") and last != "missed":
            yield f"the last ended {last}, and stored is {stored and stored['state']}"


def attempts_are_counted(rhythm, _starts):
    """Under each key from 1 on, and each key is of one occurrence."""
    numbers, due_of, keys_of = Counter(), {}, defaultdict(set)
    for one in rhythm.made:
        before = numbers[one["key"]]
        # An entry without a start may end what was attempted before.
        if one["attempt"] != before + 1 and (one["started"] is not None or one["attempt"] != before):
            yield f"attempt {one['attempt']} follows {before} under the key {one['key']}"
        numbers[one["key"]] = one["attempt"]
        keys_of[one["due"]].add(one["key"])
        if due_of.setdefault(one["key"], one["due"]) != one["due"]:
            yield f"the key {one['key']} stands for {due_of[one['key']]} and {one['due']}"
    for due, keys in keys_of.items():
        if len(keys) > 1 and not rhythm.changed:
            yield f"{due} has the keys {sorted(keys)}"
    failed = Counter(one["key"] for one in rhythm.made if one["outcome"] == "failed" and one["started"] is not None)
    for key, times in failed.items():
        if times > rhythm.body["retries"] + 1:
            yield f"{times} attempts failed under the key {key}, and {rhythm.body['retries']} retries were to be"


def attempts_are_in_time(rhythm, _starts):
    """One after another, none early or too late."""
    made = [one for one in rhythm.entries if one["started"] is not None]
    for one, other in pairwise(made):
        if other["started"] < one["finished"]:
            yield f"attempt {other['id']} began before {one['id']} ended"
    for one in made:
        late = one["started"] - one["due"]
        if not 0 <= late <= rhythm.max_late:
            yield f"attempt {one['attempt']} of {one['due']} began {late} µs after it was due"


def effects_are_explained(rhythm, _starts):
    """Each by its attempt, of which a delivered one has one."""
    seen = Counter((effect.key, effect.attempt) for effect in rhythm.effects)
    made = {(one["key"], one["attempt"]): one for one in rhythm.made}
    going = (rhythm.stored["key"], rhythm.stored["attempts"]) if rhythm.goes_on else None
    for pair, times in seen.items():
        if times > 1:
            yield f"attempt {pair} had {times} effects"
        if pair not in made and pair != going:
            yield f"no attempt explains that of {pair}"
    for pair, one in made.items():
        if one["outcome"] == "delivered" and pair not in seen:
            yield f"{one['due']} is called delivered, and had no effect"


def never_silently_twice(rhythm, _starts):
    ended = {}
    for one in rhythm.made:
        if one["key"] in ended:
            yield f"{one['outcome']} follows {ended[one['key']]} under the key {one['key']}"
        if one["outcome"] in ("delivered", "uncertain"):
            ended[one["key"]] = one["outcome"]
    for due, times in Counter(one["due"] for one in rhythm.made if one["outcome"] == "delivered").items():
        if times > 1:
            yield f"{due} was delivered {times} times"
    if rhythm.body["method"] == "once":
        for key, times in Counter(effect.key for effect in rhythm.effects).items():
            if times > 1:
                yield f"the key {key} had {times} effects"


def what_is_in_doubt_has_a_reason(rhythm, _starts):
    """What must not be repeated ends so when its worker died; else nothing does before it was cut off five times."""
    in_a_row = Counter()
    for one in rhythm.made:
        died = "worker" in (one["error"] or "") and one["started"] is not None
        if rhythm.body["method"] == "once":
            if one["outcome"] == "interrupted" or (one["outcome"] == "failed" and died):
                yield f"{one['due']} ended {one['outcome']}: {one['error']}"
        elif one["outcome"] == "uncertain" and one["started"] is not None and in_a_row[one["key"]] < 4:
            yield f"{one['due']} is called uncertain after {in_a_row[one['key']]} interruptions"
        in_a_row[one["key"]] = in_a_row[one["key"]] + 1 if one["outcome"] == "interrupted" else 0


def what_is_cancelled_never_fires(rhythm, _starts):
    for one in rhythm.requests:
        if one.kind == "cancel" and one.status == 204:
            if not rhythm.cancelled:
                yield "DELETE was answered with 204, and its history does not end with cancelled"
            if any(effect.at > one.answered for effect in rhythm.effects):
                yield "it had an effect after DELETE was answered with 204"


def what_is_missed_has_a_reason(rhythm, starts):
    """Too late, or another one stands for it, or it is not to be caught up, or it overlapped."""
    catch_up, skips = rhythm.body["catch_up"], rhythm.body["overlap"] == "skip"
    dues = sorted([*rhythm.by_due, *([rhythm.stored["due"]] if rhythm.stored else [])])
    for missed in rhythm.entries:
        if missed["outcome"] != "missed" or rhythm.unknown:
            continue
        due, finished = missed["due"], missed["finished"]
        if due > finished:
            yield f"{due} is missed before it was due, at {finished}"
        if any(one["due"] == due for one in rhythm.made) and not rhythm.changed:
            yield f"{due} is missed, and was attempted"
        too_late = due + rhythm.max_late < finished
        replaced = any(due < later <= finished for later in dues)
        if rhythm.changed:  # it may have been moved since
            replaced = rhythm.between(due, finished) is not None
        unwatched = any(due < start + _START and start <= finished for start in starts)
        overlapped = skips and any(one["due"] < due <= one["finished"] for one in rhythm.made)
        right = too_late or overlapped or (catch_up != "all" and replaced) or (catch_up == "none" and unwatched)
        if not right:
            yield f"{due} is missed at {finished}, for no reason (catch_up {catch_up}): {missed['error']}"


def what_is_not_to_be_caught_up_is_not(rhythm, starts):
    if rhythm.body["catch_up"] == "none" and not rhythm.changed:
        for one in rhythm.entries:
            if one["started"] is not None and one["attempt"] == 1:
                since = max(start for start in starts if start <= one["started"])
                if one["due"] < since:
                    yield f"{one['due']} was attempted by a daemon that was started at {since}"


def what_overlaps_is_skipped(rhythm, starts):
    if rhythm.body["overlap"] != "skip" or rhythm.changed:
        return
    made = [[one for one in entries if one["started"] is not None] for entries in rhythm.by_due.values()]
    for before, after in pairwise(filter(None, made)):
        began, ended, due = before[0]["started"], before[-1]["finished"], after[0]["due"]
        same = not any(began < start <= after[0]["started"] for start in starts)
        if same and began < due < ended:
            yield f"{due} was attempted, and was due between {began} and {ended}"


RULES = (
    every_occurrence_is_told,
    it_ends_when_it_was_to,
    attempts_are_counted,
    attempts_are_in_time,
    effects_are_explained,
    never_silently_twice,
    what_is_in_doubt_has_a_reason,
    what_is_cancelled_never_fires,
    what_is_missed_has_a_reason,
    what_is_not_to_be_caught_up_is_not,
    what_overlaps_is_skipped,
)
