"""What handlers write down: a line for each attempt, of tifftockd and of the peers alike."""

from collections import Counter

from tests.daemon import wait_until
from tifftockd import clock

# The file and the instant are all that an attempt is about, so that what is measured lies outside.
HANDLER = """
import os, time
from tifftockd import RemindProcess

NOTES = os.open({notes!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

class Noop(RemindProcess):
    def remind(self, message):
        now = time.time_ns() // 1000
        os.write(NOTES, f"{{message}} {{now}}\\n".encode())
"""
# The message of an attempt that only warms up
WARMING = "0"


class Notes:
    def __init__(self, path):
        self.path = path

    def give(self, daemon):
        """Let a daemon have the method `noop`, warm: its template is loaded and a worker has made an attempt."""
        daemon.dropin("noop.py", HANDLER.format(notes=str(self.path)))
        daemon.reload()
        daemon.outcome(daemon.remind(method="noop", message=WARMING))

    def begun(self):
        """Pairs of a message and the instant in microseconds at which its handler began; warming left out."""
        if not self.path.exists():
            return []
        whole, _, _ = self.path.read_text().rpartition("\n")
        pairs = [line.split() for line in whole.splitlines()]
        return [(message, int(began)) for message, began in pairs if message != WARMING]

    def wait(self, count, patience):
        """Until so many attempts have begun."""
        wait_until(lambda: len(self.begun()) >= count, f"the last of {count} attempts", patience)

    def late(self):
        """Milliseconds from due to begun, where the message is the due instant in microseconds."""
        return [(began - int(due)) / 1000 for due, began in self.begun()]

    def lost_and_repeated(self, count):
        """How many of so many messages have not begun, and how many attempts were one too many."""
        seen = Counter(message for message, _ in self.begun())
        return count - len(seen), seen.total() - len(seen)


def message_at(instant):
    """`when` for the API."""
    return f"@{instant // clock.SECOND}.{instant % clock.SECOND:06}"
