"""The daemon's end of one worker: sends it attempts, takes its answers, keeps what it prints."""

from __future__ import annotations

import json
import math
import os
import select
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import NoneType
from typing import Any, Protocol

from tifftockd import clock, threads
from tifftockd.clock import SECOND, Micros
from tifftockd.executor.claims import Claim
from tifftockd.executor.loop import Loop, Timer
from tifftockd.executor.output import Output, clean
from tifftockd.reminder import Ending, Verdict
from tifftockd.worker import jobs

_READ_BYTES = 65_536
# The longest answer: an error's text of 2,000 characters and its traceback's 3,000, each escaped, and little else.
_ANSWER_BYTES = 65_536
# What a worker may say of an attempt; that it was interrupted is the daemon's to judge.
_ANSWERS = {str(verdict): verdict for verdict in Verdict if verdict is not Verdict.INTERRUPTED}


class WorkerEnd:
    """One worker process, as the daemon sees it. All of it happens in the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        stream: socket.socket,
        output: int,
        permits: int,
        keep: int,
        timeout: Micros,
        pool: PoolCallbacks,
    ) -> None:
        """`stream`, `output` and `permits` (an eventfd, see `jobs`) are its own from now on."""
        self._loop = loop
        self._stream = stream
        self._output = output
        self._permits = permits
        self._kept = Output(keep)
        self._timeout = timeout
        self._pool = pool
        self._received = b""
        self._unsent = b""
        self._waiting = False
        self._due = 0.0  # when the attempt may begin, by the monotonic clock
        self._deadline = 0.0
        self._timer: Timer | None = None
        self._handed: Micros = 0
        self._begun = False  # whether the attempt has been sent
        self._by_permit = False  # whether it was behind another
        self.job = 0  # the number of the attempt, the first being 1, which the answer repeats
        self._doomed: str | None = None
        self._verdict = Verdict.BROKEN
        self.tag = 0
        self.pid = 0
        self.claims: deque[Claim] = deque()  # the attempt that it makes, and those behind it
        self.starting = True
        self._ending = False  # after this attempt
        self.idle_since = 0.0
        stream.setblocking(False)
        os.set_blocking(output, False)
        loop.watch(stream.fileno(), self._stream_ready)
        loop.watch(output, lambda _events: self._drain_output(once=True))

    def begin(self, attempts: Sequence[tuple[Claim, dict[str, Any]]], now: Micros) -> None:
        """Hand attempts over, to be made one after the other; with each, what the handler is to know."""
        self.claims.extend(claim for claim, _ in attempts)
        self.job += 1
        self._begun = self._by_permit = False
        self._handed = now
        self._expect(now)
        if self._timer is None:
            self._timer = self._loop.after(self._deadline - clock.monotonic(), self._check_deadline)
        many = len(attempts) > 1
        if many:
            os.eventfd_write(self._permits, len(attempts) - 1)
        self._unsent = b"".join(
            jobs.pack(
                {
                    "job": self.job + place,
                    "behind": place > 0,
                    "more": place + 1 < len(attempts),
                    "leave": threads.gathered_on() if many and place == 0 else None,
                    "reminder": told,
                    "fire_at": claim.reminder.fire_at,
                    "latest": claim.reminder.latest,
                }
            )
            for place, (claim, told) in enumerate(attempts)
        )
        self._send()

    def _expect(self, now: Micros) -> None:
        """When the first of its attempts may begin, and has to have ended."""
        ahead = max(0, self.claims[0].reminder.fire_at - now)
        self._due = clock.monotonic() + ahead / SECOND
        self._deadline = self._due + self._timeout / SECOND

    @property
    def lasting(self) -> float:
        """For how many seconds it has been making its attempt; below 0 before its instant."""
        return clock.monotonic() - self._due

    def relieve(self, seconds: float) -> None:
        """Has an attempt taken longer than that, others are to make those behind it."""
        if self.lasting > seconds:
            self._take_back(keep=1)

    def catch_up(self) -> None:
        """Take what it has answered and nobody has read yet.

        Before that, what it has not begun: who kills it afterwards costs no other attempt than the one that it makes.
        """
        self._take_back(keep=1)
        self._receive()

    def close(self) -> None:
        """Let it end, and forget it."""
        for descriptor in (self._stream.fileno(), self._output):
            self._loop.forget(descriptor)
        self._stream.close()
        os.close(self._output)
        os.close(self._permits)
        if self._timer is not None:
            self._timer.cancel()

    def doom(self, reason: str, verdict: Verdict = Verdict.BROKEN) -> None:
        """Have it killed; what it was doing ends with this reason."""
        if self._doomed is None:
            self._take_back(keep=1)
            self._doomed, self._verdict = reason, verdict
            self._pool.kill(self)

    def died(self, how: str) -> None:
        """It is dead: take what it still answered, or judge the attempt that it leaves behind."""
        self._receive()
        self._take_back_all()
        if self.claims:
            self._drain_output()
            if not self._begun:
                self._verdict = Verdict.RETURNED
        while self.claims:  # more than one, if a handler took permits
            self._end(self._verdict, self._doomed or f"the worker {how} during the attempt")
        self.close()

    def _take_back_all(self) -> None:
        """All that the worker has not begun, as it begins nothing any more."""
        self._take_back(keep=0 if self._by_permit else 1)

    def _take_back(self, keep: int) -> None:
        """All but so many of its attempts, as far as their permits are there. It ends when it misses them."""
        with suppress(BlockingIOError):
            for _ in range(len(self.claims) - keep):
                os.eventfd_read(self._permits)
                self._ending = True
                self._pool.ended(Ending(self.claims.pop().reminder, Verdict.RETURNED, None, clock.now()))

    def _stream_ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._send()
        if events & ~select.EPOLLOUT:
            self._receive()

    def _send(self) -> None:
        try:
            sent = self._stream.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._unsent = b""  # it has died: that is told by its template
            return
        self._begun = self._begun or sent > 0
        self._unsent = self._unsent[sent:]
        if bool(self._unsent) != self._waiting:
            self._waiting = not self._waiting
            events = select.EPOLLIN | select.EPOLLOUT if self._waiting else select.EPOLLIN
            self._loop.watch(self._stream.fileno(), self._stream_ready, events)

    def _receive(self) -> None:
        while True:
            try:
                data = self._stream.recv(_READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                # Its end is closed. The death itself is told by its template, with the reason.
                self._loop.forget(self._stream.fileno())
                return
            *lines, self._received = (self._received + data).split(b"\n")
            for line in lines:
                self._answered(line)
            if len(self._received) > _ANSWER_BYTES:
                self.doom("the handler wrote to its worker's own descriptor")
                return
            if len(data) < _READ_BYTES:
                return

    def _answered(self, line: bytes) -> None:
        if self._doomed is not None:
            return
        try:
            answer: dict[str, Any] = json.loads(line.decode())
            if self.starting:
                self.pid = int(answer["pid"])
                self.starting = False
                self._pool.became_idle(self)
                return
            if answer["job"] != self.job:
                return  # somebody that the handler has left behind answers for an attempt that has ended
            verdict, started = _ANSWERS[answer["verdict"]], answer["started"]
            if not self.claims or not isinstance(started, (int, NoneType)):
                raise ValueError("not an answer")
            error, trace, wait = answer.get("error"), answer.get("trace"), answer.get("retry_after")
            finished = answer.get("finished")
            if answer.get("printed", True):
                self._drain_output()
            wait, last = _span(wait), bool(answer.get("last"))
            if not self._may_be(verdict, self.claims[0]):
                raise ValueError("it was not so")
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
            self.doom("the handler wrote to its worker's own descriptor")
            return
        self._end(verdict, _text(error), started, wait, _text(trace), finished)
        if answer.get("spoiled"):
            self._pool.spoiled()
        self._go_on(last)

    def _go_on(self, last: bool) -> None:
        """With the attempt behind the one that has ended, if there is one and that was not the last."""
        if self.claims:
            self.job += 1
            self._by_permit = True
            self._expect(clock.now())
            if last:
                self._take_back_all()
        if not self.claims:
            self._pool.became_idle(self, last=last or self._ending)

    def _may_be(self, verdict: Verdict, claim: Claim) -> bool:
        """Whether an attempt can not have been begun: a handler could say so to be run again, uncounted."""
        if verdict is Verdict.RETURNED:
            return clock.now() < claim.reminder.fire_at
        return verdict is not Verdict.TOO_LATE or clock.now() > claim.reminder.latest

    def _end(
        self,
        verdict: Verdict,
        error: str | None,
        started: Micros | None = None,
        retry_after: Micros | None = None,
        trace: str | None = None,
        told: object = None,
    ) -> None:
        claim = self.claims.popleft()
        now, fire_at = clock.now(), claim.reminder.fire_at
        # The clock may have been set back meanwhile: nothing has ended before it was due and handed over.
        finished = max(now, self._handed, fire_at)
        if isinstance(told, int):  # what is behind it has begun since
            finished = min(max(told, self._handed, fire_at), finished)
        if started is not None:
            # Whatever the worker says: neither before its time nor after its end.
            started = min(max(started, fire_at), finished)
        if started is None and verdict in (Verdict.BROKEN, Verdict.INTERRUPTED):
            # By both clocks: one that was set back since must not make what has begun look as if it had not.
            if now < fire_at and clock.monotonic() < self._due:
                verdict = Verdict.RETURNED
            else:
                started = max(self._handed, fire_at)
        output, repeatable = self._kept.take(), self._pool.repeatable
        self._pool.ended(
            Ending(claim.reminder, verdict, started, finished, error, output, retry_after, repeatable, trace)
        )
        self._handed = finished  # what is behind it

    def _drain_output(self, once: bool = False) -> None:
        with suppress(BlockingIOError):
            while data := os.read(self._output, _READ_BYTES):
                self._kept.add(data)
                if once:
                    return
            self._loop.forget(self._output)  # nobody can write to it any more

    def _check_deadline(self) -> None:
        # One timer a worker, looked at again when it rings: most attempts end long before.
        self._timer = None
        if self.claims and clock.monotonic() >= self._deadline:
            self.catch_up()
        if not self.claims or self._timer is not None:
            return
        left = self._deadline - clock.monotonic()
        if left > 0:
            self._timer = self._loop.after(left, self._check_deadline)
        else:
            self.doom(f"it passed its deadline of {self._pool.timeout_text}")


class PoolCallbacks(Protocol):
    """What a worker's end tells its pool."""

    timeout_text: str
    repeatable: bool

    def became_idle(self, worker: WorkerEnd, last: bool = False) -> None:
        """It can take an attempt; with `last`, it ends instead."""

    def ended(self, ending: Ending) -> None:
        """An attempt has ended."""

    def spoiled(self) -> None:
        """The attempt that has just ended has changed something for those after it in its process."""

    def kill(self, worker: WorkerEnd) -> None:
        """It is to be killed with all that it started."""


def _text(value: object) -> str | None:
    return clean(str(value)) if value is not None else None


def _span(seconds: object) -> Micros | None:
    if isinstance(seconds, (int, float)) and math.isfinite(seconds) and 0 <= seconds < 10**9:
        return round(seconds * SECOND)
    return None
