"""Finds where a history contradicts what docs/promises.md says. An answer that did not come allows both, and no more.

Only what must have been so is used: an operation was done between its request and its answer or, without an answer,
between its request and the next instant at which no process of the daemon lived. One is before another when its whole
interval is. A rule is a function on the life of one reminder that tells each contradiction as a sentence.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise

from tests.faults.evidence import ATTEMPTED, Lives
from tests.faults.history import Kind

# The reminder is in the store no more, or is kept there as it ended.
DROPPED = {"delivered", "cancelled"}
KEPT = {"failed", "uncertain", "missed"}
# The end of an arming: under the same key only a cancellation may follow.
LAST = {"delivered", "uncertain", "missed", "cancelled"}
# An attempt that is cut off so often in a row is not made again.
MOST_INTERRUPTIONS = 5


@dataclass(frozen=True)
class Contradiction:
    rule: str
    reminder: int | None
    text: str

    def __str__(self):
        return f"{self.rule}: reminder {self.reminder}: {self.text}"


def check(history):
    """Every contradiction that is in the history."""
    lives = Lives(history)
    found = [
        Contradiction(_name(rule), life.id, text)
        for life in lives.by_id.values()
        for rule in RULES
        for text in rule(life)
    ]
    for rule in COMMON_RULES:
        found += [Contradiction(_name(rule), id_, text) for id_, text in rule(history, lives)]
    return found


def _name(rule):
    return rule.__name__.replace("_", " ")


# ---- the rules for all together


def effects_have_a_reminder(_history, lives):
    for effect in lives.homeless:
        yield None, f"nothing is known of the reminder of {effect}"


def one_request_one_reminder(_history, lives):
    for message, ids in lives.homes.items():
        if len(ids) > 1:
            yield min(ids), f"{message!r} has made the reminders {sorted(ids)}"


def no_key_is_shared(_history, lives):
    owners = defaultdict(set)
    for life in lives.by_id.values():
        for key, _ in life.pairs:
            owners[key].add(life.id)
    for key, ids in owners.items():
        if len(ids) > 1:
            yield min(ids), f"the reminders {sorted(ids)} share the key {key}"


def what_was_shown_stays(history, _lives):
    """What a client was shown of the history is on disk."""
    last = {entry.id: entry for entry in history.entries}
    for one in history.operations:
        for entry in one.entries:
            if last.get(entry.id) != entry:
                yield entry.reminder, f"{entry} was shown, and now there is {last.get(entry.id)}"


# ---- the rules for one reminder


def accepted_is_kept(life):
    """Promise 1: what was accepted is stored, or its history says that it was delivered or cancelled."""
    last = life.entries[-1].outcome if life.entries else None
    known = life.entries or any(create.done for create in life.creates)
    if life.stored is None and known and last not in DROPPED:
        yield f"it was accepted, is not stored, and its history ends with {last}"
    if life.stored is not None and last in DROPPED:
        yield f"it is stored, and was {last}"
    if life.stored is not None and life.stored.state in KEPT and last != life.stored.state:
        yield f"its state is {life.stored.state}, and its history ends with {last}"
    if any(entry.outcome in DROPPED for entry in life.entries[:-1]):
        yield "its history goes on after it was delivered or cancelled"


def nothing_stays_undone(life):
    """The history is collected when all that was due has had the time to end."""
    if life.stored is None:
        return
    if life.stored.state == "firing":
        yield "it is still firing"
    if life.stored.state == "pending" and life.stored.due <= life.collected:
        yield f"it was due at {life.stored.due} and is still pending at {life.collected}"


def one_id_one_reminder(life):
    """Ids are never used again."""
    if len(life.creates) > 1:
        yield f"two requests were given this id: {sorted(one.message for one in life.creates)}"


def known_messages(life):
    """Whatever shows a message comes from a request that may have been done, not before it was sent."""
    sights = [("an entry", entry.message, entry.finished) for entry in life.entries]
    sights += [("an effect", effect.message, effect.at) for effect in life.effects]
    sights += [("an answer", shown.message, life.collected) for _, shown in life.sights]
    if life.stored is not None:
        sights.append(("the store", life.stored.message, life.collected))
    for what, message, at in sights:
        write = life.writes.get(message)
        if write is None:
            yield f"{what} shows {message!r}, which nobody asked of it"
        elif not write.possible:
            yield f"{what} shows {message!r}, which was refused with {write.status}"
        elif at < write.sent:
            yield f"{what} shows {message!r} before that was sent"


def answers_say_what_was_asked(life):
    """The answer to a create or a PATCH shows what it asked for, about to be attempted for the first time."""
    for write in life.writes.values():
        if not write.done or write.shown is None:
            continue
        if write.shown.message != write.message or write.due not in (None, write.shown.due):
            yield f"{write.message!r} for {write.due} was answered with {write.shown}"
        if (write.shown.state, write.shown.attempts) != ("pending", 0):
            yield f"{write.message!r} was answered as {write.shown.state} after {write.shown.attempts} attempts"


def never_early(life):
    """Promise 2. Where no time was asked for, the due instant is the one that the history shows."""
    for entry in life.entries:
        write = life.writes.get(entry.message)
        if write is not None and write.due not in (None, entry.due):
            yield f"{entry.message!r} was to be due at {write.due}, and its entry says {entry.due}"
        if write is not None and write.due is None and not _may_be_due(life, write, entry.due):
            yield f"{entry.message!r} set no time, and its entry says {entry.due}"
        if entry.started is not None and entry.started < entry.due:
            yield f"attempt {entry.attempt} of {entry.message!r} began {entry.due - entry.started} µs early"
    for effect in life.effects:
        write = life.writes.get(effect.message)
        if write is not None and write.due is not None and effect.at < write.due:
            yield f"{effect.message!r} had its effect {write.due - effect.at} µs early"


def _may_be_due(life, write, due):
    """A PATCH without a time leaves the one that was there, or means now when the reminder had ended."""
    if write.sent <= due <= life.end(write):
        return True
    others = [other for other in life.writes.values() if other is not write and not life.before(write, other)]
    return any(due == other.due or (other.due is None and other.sent <= due <= life.end(other)) for other in others)


def deleted_never_fires(life):
    """Promise 8: once 204 is answered no attempt runs or will, and the history says `cancelled`."""
    cancels = [one for one in life.operations if one.kind is Kind.CANCEL]
    done = [one for one in cancels if one.done]
    entries = [entry for entry in life.entries if entry.outcome == "cancelled"]
    if len(done) > 1:
        yield f"DELETE was answered with 204 {len(done)} times"
    if done and not (life.entries and life.entries[-1].outcome == "cancelled"):
        yield "DELETE was answered with 204, and its history does not end with cancelled"
    if len(entries) > 1 or (entries and not any(one.possible for one in cancels)):
        yield f"its history says cancelled {len(entries)} times, after {len(cancels)} DELETEs"
    for one in done:
        yield from _activity_after(life, one.answered, "DELETE was answered with 204")


def _activity_after(life, instant, what, messages=None):
    for effect in life.effects:
        if effect.at - effect.delay > instant and (messages is None or effect.message in messages):
            yield f"{what} at {instant}, and {effect.message!r} had an effect at {effect.at}"
    for entry in life.attempts:
        if entry.started > instant and (messages is None or entry.message in messages):
            yield f"{what} at {instant}, and an attempt of {entry.message!r} began at {entry.started}"


def patches_hold(life):
    """What was answered to a PATCH replaces whatever was certainly there before it: no older message is seen again."""
    last = life.stored.message if life.stored else life.entries[-1].message if life.entries else None
    for change in life.superseding:
        older = {message for message, write in life.writes.items() if life.before(write, change)}
        if not older:
            continue
        if change.kind is Kind.PATCH:
            what = f"PATCH {change.message!r} was answered"
            yield from _activity_after(life, change.answered, what, older)
            if last in older:
                yield f"{what}, and in the end there is the older {last!r}"
        for at, shown in life.sights:
            if at > change.answered and shown.message in older:
                yield f"{change.kind} was answered at {change.answered}, and {shown.message!r} was shown later"


def not_found_is_gone(life):
    """404 for a reminder that was there means that it has been delivered or cancelled: nothing of it comes later."""
    # Nobody asks for an id that no answer has told.
    for one in life.operations:
        if one.status != 404:
            continue
        if life.stored is not None:
            yield f"{one.kind} was answered with 404, and it is stored"
        yield from _activity_after(life, one.answered, "404 was answered")
        if life.entries and life.entries[-1].finished > one.answered:
            yield f"404 was answered at {one.answered}, before it ended"
        if any(at > one.answered for at, _ in life.sights):
            yield f"404 was answered at {one.answered}, and it was found later"


def keys_tell_armings_apart(life):
    """One key for every attempt of an arming, and another for another arming; attempts are counted from 1."""
    of_message = defaultdict(set)
    for key, message in life.pairs:
        of_message[message].add(key)
    for message, keys in of_message.items():
        if len(keys) > 1:
            yield f"{message!r} went out under the keys {sorted(keys)}"
    attempted = defaultdict(list)
    for entry in life.attempts:
        attempted[entry.key].append(entry)
    for key, entries in attempted.items():
        if len({entry.message for entry in entries}) > 1:
            yield f"the key {key} stands for {sorted({entry.message for entry in entries})}"
        yield from _miscounted(life, key)
        for one, other in pairwise(entries):
            if other.started < one.finished:
                yield f"attempt {other.attempt} under the key {key} began before attempt {one.attempt} ended"
        yield from _rearmed_under(life, key, entries[0].message)


def _miscounted(life, key):
    last = 0
    for entry in life.entries:
        if entry.key != key:
            continue
        # An entry without a start may end what was never attempted, or an attempt for which no worker could be had.
        if entry.attempt != last + 1 and (entry.started is not None or entry.attempt != last):
            yield f"attempt {entry.attempt} follows attempt {last} under the key {key}"
        last = entry.attempt


def _rearmed_under(life, key, message):
    """After an attempt a PATCH must have drawn a new key."""
    write = life.writes.get(message)
    for change in life.superseding:
        later = change.shown is not None and change.message != message and write and life.before(write, change)
        if later and change.shown.key == key:
            yield f"PATCH {change.message!r} came after an attempt of {message!r}, and kept its key {key}"


def effects_are_explained(life):
    """Promise 3: an effect has its attempt in the history, an attempt has one effect, a delivered one exactly one."""
    for effect in life.unexplained:
        yield f"no attempt explains {effect}"
    for entry in life.attempts:
        effects = life.explained.get(entry.id, [])
        if len(effects) > 1:
            yield f"attempt {entry.attempt} of {entry.message!r} had {len(effects)} effects"
        if entry.outcome == "delivered" and not effects:
            yield f"attempt {entry.attempt} of {entry.message!r} is called delivered, and nobody has seen it"


def never_silently_twice(life):
    """Promise 3: under one key nothing follows delivered, uncertain or missed, but for its cancellation."""
    ended = {}
    for entry in life.entries:
        if entry.key in ended and entry.outcome != "cancelled":
            yield f"{entry.outcome} follows {ended[entry.key]} under the key {entry.key}"
        if entry.outcome in LAST:
            ended[entry.key] = entry.outcome


def what_must_not_be_repeated_is_not(life):
    """Promise 3: with `repeatable = False` one effect at the most, and cut off it ends uncertain."""
    effects = Counter(effect.key for effect in life.effects)
    for entry in life.entries:
        if entry.method not in life.once:
            continue
        if entry.outcome == "interrupted":
            yield f"attempt {entry.attempt} of {entry.message!r} is called interrupted, and will be repeated"
        if effects[entry.key] > 1:
            yield f"the key {entry.key} had {effects[entry.key]} effects"


def uncertain_has_a_reason(life):
    """Promise 3: what may be repeated ends uncertain after 5 interruptions in a row, or interrupted and too late."""
    in_a_row = Counter()
    for entry in life.entries:
        unexpected = entry.started is not None and entry.method not in life.once
        if entry.outcome == "uncertain" and unexpected and in_a_row[entry.key] < MOST_INTERRUPTIONS - 1:
            yield f"it is called uncertain after {in_a_row[entry.key]} interruptions"
        in_a_row[entry.key] = in_a_row[entry.key] + 1 if entry.outcome == "interrupted" else 0


def nothing_starts_too_late(life):
    """Promise 4: no attempt starts after due plus max_late, and none is missed before."""
    for entry in life.entries:
        write = life.writes.get(entry.message)
        if write is None or write.max_late is None:
            continue
        latest = entry.due + write.max_late
        if entry.outcome in ATTEMPTED and entry.started is not None and entry.started > latest:
            yield f"attempt {entry.attempt} of {entry.message!r} began {entry.started - latest} µs too late"
        if entry.outcome == "missed" and entry.finished <= latest:
            yield f"{entry.message!r} is called missed at {entry.finished}, and had time until {latest}"
        if entry.outcome == "missed" and any(effect.key == entry.key for effect in life.effects):
            yield f"{entry.message!r} is called missed, and had an effect"


RULES = (
    accepted_is_kept,
    nothing_stays_undone,
    one_id_one_reminder,
    known_messages,
    answers_say_what_was_asked,
    never_early,
    deleted_never_fires,
    patches_hold,
    not_found_is_gone,
    keys_tell_armings_apart,
    effects_are_explained,
    never_silently_twice,
    what_must_not_be_repeated_is_not,
    uncertain_has_a_reason,
    nothing_starts_too_late,
)

COMMON_RULES = (effects_have_a_reminder, one_request_one_reminder, no_key_is_shared, what_was_shown_stays)
