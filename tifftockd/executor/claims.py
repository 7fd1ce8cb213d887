"""Claims that are not settled yet, and the one lock that decides who has them.

A claim is held (its commit is still under way), then queued, then handed to a worker. Until it is handed over it can
be recalled: by DELETE, PATCH, a step of the clock, or the daemon's end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence

from tifftockd.reminder import Recalled, Reminder


class Claim:
    """One attempt to be made."""

    def __init__(self, reminder: Reminder, *, repeatable: bool = False) -> None:
        """`repeatable`: whether a crash would have it made again, as the store has it written down."""
        self.reminder = reminder
        self.repeatable = repeatable
        self.held = True
        self.queued = False
        self.recalled = False
        self.handed = False


class Claims:
    """All claims by the reminder's id."""

    def __init__(self, enqueue: Callable[[Iterable[Claim]], None], changed: Callable[[], None] = lambda: None) -> None:
        """`enqueue` is called, without the lock, with claims that may be handed out from now on.

        `changed` is called when one was taken back for good: its place is another's.
        """
        self.lock = threading.Lock()
        self._claims: dict[int, Claim] = {}
        self._enqueue = enqueue
        self._changed = changed
        self.in_hand = 0  # handed over, and not ended yet

    def waiting(self) -> int:
        """How many have no worker yet."""
        with self.lock:
            return sum(not claim.handed for claim in self._claims.values())

    def ids(self) -> set[int]:
        """The reminders that are claimed."""
        with self.lock:
            return set(self._claims)

    def hand_over(self, claim: Claim) -> None:
        """With the lock: from now on it cannot be recalled, and will have an ending."""
        claim.queued, claim.handed = False, True
        self.in_hand += 1

    def hold(self, reminders: Sequence[Reminder], repeatable: Collection[str] = ()) -> Callable[[], None]:
        """On the writer's thread, inside the transaction that claims them. Returns how to undo that.

        `repeatable`: the methods whose attempts a crash would have made again.
        """
        replaced = []  # what ended or was recalled in the same batch, whose undoing comes after this
        with self.lock:
            for reminder in reminders:
                if claim := self._claims.get(reminder.id):
                    replaced.append(claim)
                self._claims[reminder.id] = Claim(reminder, repeatable=reminder.method in repeatable)

        def undo() -> None:
            self.forget(reminders)
            with self.lock:
                for claim in replaced:
                    self._claims.setdefault(claim.reminder.id, claim)

        return undo

    def begin(self, reminders: Sequence[Reminder]) -> None:
        """Their transaction is committed: hand them out."""
        with self.lock:
            claims = [claim for reminder in reminders if (claim := self._claims.get(reminder.id))]
            for claim in claims:
                claim.held = False
            ready = [claim for claim in claims if not claim.recalled and not claim.queued]
            for claim in ready:
                claim.queued = True
        self._enqueue(ready)

    def recall(self, id_: int) -> Recalled | None:
        """Take a claim back unless a worker has it; None when it is too late."""
        with self.lock:
            claim = self._claims.get(id_)
            if claim is None or claim.handed:
                return None
            if claim.recalled:
                # It is being given back already, whatever becomes of this request.
                return Recalled(undo=lambda: None, done=lambda: None)
            claim.recalled = True
        return Recalled(undo=lambda: self._restore(claim), done=lambda: self._give_up(claim))

    def recall_all(self, unless: Callable[[Reminder], bool] = lambda reminder: False) -> list[Reminder]:
        """Take back every claim that is queued, but for those that `unless` spares."""
        with self.lock:
            claims = [claim for claim in self._claims.values() if not (claim.handed or claim.held or claim.recalled)]
            taken = [claim for claim in claims if not unless(claim.reminder)]
            for claim in taken:
                claim.recalled = True
        return [claim.reminder for claim in taken]

    def recall_these(self, claims: Iterable[Claim]) -> list[Reminder]:
        """Take back claims that are in no queue any more; without those that somebody else has taken back."""
        taken = []
        with self.lock:
            for claim in claims:
                claim.queued = False
                if not claim.recalled:
                    claim.recalled = True
                    taken.append(claim.reminder)
        return taken

    def forget(self, reminders: Iterable[Reminder]) -> None:
        """They are settled, or were never committed. A later claim of the same reminder stays."""
        with self.lock:
            for reminder in reminders:
                claim = self._claims.get(reminder.id)
                if claim is not None and claim.reminder is reminder:
                    del self._claims[reminder.id]

    def _give_up(self, claim: Claim) -> None:
        self.forget([claim.reminder])
        self._changed()

    def _restore(self, claim: Claim) -> None:
        with self.lock:
            claim.recalled = False
            if claim.held or claim.queued:
                return
            claim.queued = True
        self._enqueue([claim])
