"""One client of a daemon whose disk refuses now and then, and what it may expect, step by step."""

import os
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.daemon import Daemon, wait_until
from tests.faults.clients import NotSentError, ask
from tests.faults.contradictions import check
from tests.faults.history import Kind, Operation, Recorder, now
from tests.faults.kills import collect, drain, integrity
from tests.faults.outside import MARK, marks
from tests.faults.processes import kill_all

SECOND = 1_000_000
MONTH = 30 * 86_400
# Seconds within which all must be well again when the disk is.
RECOVERY = 10
# Seconds that the daemon is left alone with its fault, and what it may do in each of them: processor time in seconds,
# how often its threads may wake, and how often the disk may refuse.
_ALONE = 1.5
_BUSY, _WAKES, _CALLS = 0.2, 150, 10


@dataclass
class Use:
    """One client and the daemon it uses. Whatever is not as it should be becomes a line of `complaints`."""

    daemon: Daemon
    waiting: frozenset[int]  # reminders that are there at the start; nothing else of before is looked at
    place: Path | None = None  # of the database, where the daemon's own path to it is not this process's
    complaints: list[str] = field(default_factory=list)
    refused: int = 0  # requests that the store could not take

    def __post_init__(self):
        self._recorder = Recorder()
        self._numbers = count(1)
        self._file = self.daemon.folder / "marks"
        self.daemon.dropin("mark.py", MARK)

    def complain(self, what):
        if what not in self.complaints:
            self.complaints.append(what)

    # ---- requests

    def create(self, seconds, method="mark", retries=0, **options):
        due = {"options": {"file": str(self._file)} | options, "method": method, "retries": retries}
        return self._write(Kind.CREATE, "POST", "/remind", None, self._when(seconds) | due)

    def change(self, reminder, seconds):
        return self._write(Kind.PATCH, "PATCH", f"/reminder/{reminder.id}", reminder.id, self._when(seconds))

    def cancel(self, reminder):
        return self._ask(Operation(Kind.CANCEL, now(), reminder=reminder.id), "DELETE", f"/reminder/{reminder.id}")

    def look(self, reminder):
        return self._ask(Operation(Kind.READ, now(), reminder=reminder.id), "GET", f"/reminder/{reminder.id}")

    def _when(self, seconds):
        due = now() + round(seconds * SECOND)
        return {"when": f"@{due // SECOND}.{due % SECOND:06}", "max_late": 86_400}

    def _write(self, kind, method, path, reminder, body):
        message = f"{kind}-{next(self._numbers)}"
        due = int(body["when"].replace(".", "").removeprefix("@"))
        operation = Operation(
            kind, now(), reminder=reminder, message=message, due=due, max_late=body["max_late"] * SECOND
        )
        return self._ask(operation, method, path, body | {"message": message})

    def _ask(self, operation, method, path, body=None):
        """The reminder that the answer shows; None where it shows none."""
        try:
            seen, answer = ask(self.daemon, operation, method, path, body)
        except NotSentError:
            self.complain("nobody listens")
            return None
        self._recorder.add(seen)
        if answer is None:
            self.complain(f"{method} was not answered")
        elif answer.status == 503:
            self.refused += 1
            self._check_refusal(method, answer)
        elif answer.status not in (200, 201, 204, 404, 409):
            self.complain(f"{method} was answered with {answer.status}: {answer.text}")
        return seen.shown

    def _check_refusal(self, method, answer):
        try:
            well = answer.json["kind"] == "store_unavailable" and answer.json["error"] and answer.headers["Retry-After"]
        except (ValueError, KeyError):
            well = False
        if not well:
            self.complain(f"{method} was refused with {answer.text!r}")

    # ---- steps

    def start(self):
        """Start it. False when the disk's error has stopped the start, which has to say so."""
        (self.daemon.folder / "log").unlink(missing_ok=True)
        self.daemon.start(wait=False)
        wait_until(lambda: self.daemon.process.poll() is not None or self._serves(), "the start, or its end")
        code = self.daemon.process.poll()
        log = self.daemon.log_text()
        if code is not None and (code != os.EX_IOERR or "Traceback" in log or not log.strip()):
            self.complain(f"the start ended with {code}: {log[-500:]!r}")
        return code is None

    def _serves(self):
        """It has started, or does so as far as its disk lets it: then it answers, and says what is wrong."""
        try:
            return self._listens() or self.daemon.request("GET", "/health").status == 503
        except OSError:
            return False

    def _listens(self):
        return " listening " in self.daemon.log_text()

    def work(self):
        """A bit of everything that writes."""
        far = self.create(MONTH)
        gone = self.create(MONTH)
        self.create(0.1)
        self.create(0.1, method="once")
        failing = self.create(0, retries=1, end="error")
        if gone:
            self.cancel(gone)
        if far:
            self.change(far, 0.2)
        if failing:
            self._until_failed(failing)
            self.change(failing, 0)

    def _until_failed(self, reminder):
        end = time.monotonic() + 3
        while time.monotonic() < end and (seen := self.look(reminder)) is not None and seen.state != "failed":
            time.sleep(0.02)

    def bear(self, calls=lambda: 0):
        """While the disk refuses: what can be read is read, all else is refused, and the daemon rests.

        `calls()`: how often the disk has refused so far, if anybody counts.
        """
        before = self.refused
        self.create(0.1)
        if self.refused == before:
            self.complain("a create was accepted while the disk refuses")
        self._expect_health(503, "while the disk refuses")
        one = [f"/reminder/{min(self.waiting)}"] if self.waiting else []
        for path in ("/reminders?limit=5", "/history?limit=5", "/handlers", *one):
            if (status := self.daemon.request("GET", path).status) != 200:
                self.complain(f"GET {path} was answered with {status} while only writing fails")
        before, began = (_processor(self.daemon), _wakes(self.daemon), calls()), time.monotonic()
        time.sleep(_ALONE)
        seconds = time.monotonic() - began
        after = (_processor(self.daemon), _wakes(self.daemon), calls())
        rates = [(new - old) / seconds for old, new in zip(before, after, strict=True)]
        if any(rate > most for rate, most in zip(rates, (_BUSY, _WAKES, _CALLS), strict=True)):
            self.complain("left alone it had {:.2f} s of processor, {:.0f} wakes, {:.0f} calls a second".format(*rates))
        self._expect_health(503, "while the disk refuses")

    def _expect_health(self, status, when):
        answer = self.daemon.request("GET", "/health")
        well = answer.status == status and answer.json["scheduler"] == "alive"
        if not well or (answer.json["store"] == "ok") != (status == 200):
            self.complain(f"{when} /health says {answer.status} {answer.text}")

    def _is_well(self):
        return self.daemon.request("GET", "/health").status == 200

    def recover(self, calls=lambda: 0):
        """The fault is over: seconds until all is well, and then nothing is refused any more. `calls`: as above."""
        began = time.monotonic()
        try:
            wait_until(lambda: self._listens() and self._is_well(), "its health", RECOVERY)
        except (AssertionError, OSError) as error:
            self.complain(f"it did not recover: {error!r}")
        seconds = time.monotonic() - began
        refused, failed = self.refused, calls()
        self.work()
        # Unless it comes only now: when a call is made is not quite the same in each run.
        if self.refused > refused and calls() == failed:
            self.complain("requests are refused when the fault is over")
        return seconds

    def crash(self):
        """SIGKILL to all of it."""
        kill_all(self.daemon)
        self._recorder.down()

    def stop(self):
        """SIGTERM."""
        code, log = self.daemon.stop(), self.daemon.log_text()
        if code != 0 or "Traceback" in log:
            self.complain(f"it stopped with {code}: {log[-500:]!r}")
        self._recorder.down()

    def end(self):
        """Stop it, and judge all that was seen."""
        drain(self.daemon)
        history = self._recorder.history()
        collect(self.daemon, history)
        self.stop()
        if lost := self.waiting - {one.id for one in history.stored}:
            self.complain(f"the reminders {sorted(lost)} are lost")
        last = max(self.waiting, default=0)
        history.entries = [one for one in history.entries if one.reminder > last]
        history.stored = [one for one in history.stored if one.id > last]
        history.effects = marks(self._file)
        self.complaints += map(str, check(history))
        if (found := integrity(self.place or self.daemon.database)) != "ok":
            self.complain(f"the database: {found}")


def _processor(daemon):
    """Seconds of processor time that the daemon has used."""
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wakes(daemon):
    """How often its threads have been given a processor."""
    statuses = [file.read_text() for file in Path(f"/proc/{daemon.process.pid}/task").glob("*/status")]
    lines = [line for status in statuses for line in status.splitlines() if "ctxt_switches" in line]
    return sum(int(line.split()[1]) for line in lines)
