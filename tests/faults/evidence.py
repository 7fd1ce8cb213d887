"""Puts together what a history says of each reminder, and which attempt explains which effect."""

import bisect
import math
from collections import defaultdict
from dataclasses import dataclass, field

from tests.faults.history import Kind, Shown

# The outcomes of an attempt that was begun, where its entry also has a start.
ATTEMPTED = {"delivered", "failed", "interrupted", "uncertain"}


@dataclass
class Life:
    """All that is known of one reminder."""

    id: int
    once: frozenset[str]  # the methods that must not be repeated
    collected: int
    ends: dict[int, float]  # by an operation's identity: when it can have been done at the latest
    creates: list = field(default_factory=list)  # more than one is wrong
    operations: list = field(default_factory=list)  # all others that name it
    effects: list = field(default_factory=list)
    entries: list = field(default_factory=list)
    stored: Shown | None = None
    explained: dict = field(default_factory=dict)  # the effects of each attempt, by its entry's id
    unexplained: list = field(default_factory=list)

    @property
    def writes(self):
        """What may have set its message, by that."""
        patches = [one for one in self.operations if one.kind is Kind.PATCH]
        return {write.message: write for write in [*self.creates, *patches]}

    @property
    def superseding(self):
        """What certainly replaced or cancelled what was there."""
        return [one for one in self.operations if one.done and one.kind in (Kind.PATCH, Kind.CANCEL)]

    @property
    def sights(self):
        """How it looked, and since when it can have looked so at the earliest."""
        return [(one.sent, one.shown) for one in [*self.creates, *self.operations] if one.shown is not None]

    @property
    def attempts(self):
        return [entry for entry in self.entries if entry.outcome in ATTEMPTED and entry.started is not None]

    @property
    def pairs(self):
        """Every key with every message that was seen beside it."""
        seen = [*self.entries, *self.effects, *(shown for _, shown in self.sights)]
        return {(one.key, one.message) for one in [*seen, self.stored] if one is not None}

    def end(self, operation):
        return self.ends[id(operation)]

    def before(self, one, other):
        """Whether one was certainly done, if at all, before the other."""
        return self.end(one) < other.sent


class Lives:
    """The lives of a history's reminders by their ids, and what belongs to none."""

    def __init__(self, history):
        self._ends = {id(one): _end(one, history.downs) for one in history.operations}
        self._history = history
        self.by_id = {}
        self.homeless = []  # effects of which nobody knows the reminder
        self.homes = defaultdict(set)  # the reminders under which a create's message has been seen
        self._writers = {one.message: one for one in history.operations if one.message is not None}
        self._find_homes()
        for one in history.operations:
            if one.reminder is not None:
                self._life(one.reminder).operations.append(one)
        for entry in sorted(history.entries, key=lambda entry: entry.id):
            self._life(entry.reminder).entries.append(entry)
        for shown in history.stored:
            self._life(shown.id).stored = shown
        for effect in sorted(history.effects, key=lambda effect: effect.at):
            self._place(effect)

    def _life(self, id_):
        if id_ not in self.by_id:
            self.by_id[id_] = Life(id_, self._history.once, self._history.collected, self._ends)
        return self.by_id[id_]

    def _find_homes(self):
        """Whatever shows a create's message tells which reminder it made, also where its answer is missing."""
        history = self._history
        seen = [(entry.reminder, entry.message) for entry in history.entries]
        seen += [(effect.reminder, effect.message) for effect in history.effects if effect.reminder is not None]
        seen += [(one.shown.id, one.shown.message) for one in history.operations if one.shown is not None]
        seen += [(shown.id, shown.message) for shown in history.stored]
        for id_, message in seen:
            writer = self._writers.get(message)
            if writer is not None and writer.kind is Kind.CREATE:
                self.homes[message].add(id_)
        for message, ids in self.homes.items():
            for id_ in ids:
                self._life(id_).creates.append(self._writers[message])

    def _place(self, effect):
        id_ = effect.reminder
        if id_ is None and (writer := self._writers.get(effect.message)) is not None:
            id_ = writer.reminder if writer.kind is Kind.PATCH else min(self.homes[effect.message], default=None)
        if id_ is None:
            self.homeless.append(effect)
            return
        life = self._life(id_)
        life.effects.append(effect)
        _explain(life, effect)


def _end(operation, downs):
    """When it can have been done at the latest: at its answer, or when the daemon that had it was dead."""
    place = bisect.bisect_right(downs, operation.sent)
    down = downs[place] if place < len(downs) else math.inf
    return down if operation.answered is None else min(down, operation.answered)


def _explain(life, effect):
    fitting = [
        entry
        for entry in life.attempts
        if (entry.key, entry.message) == (effect.key, effect.message)
        and effect.attempt in (None, entry.attempt)
        and entry.started <= effect.at <= entry.finished + effect.delay
    ]
    if not fitting:
        life.unexplained.append(effect)
        return
    # What may have been noticed late may also lie within the time of the next attempt: then it is of that one, unless
    # that one has an effect already.
    likely = min(fitting, key=lambda entry: (len(life.explained.get(entry.id, ())), effect.at > entry.finished))
    life.explained.setdefault(likely.id, []).append(effect)
