"""The world outside the daemon, which notices what its methods do: a file, an HTTP receiver, a mail server."""

import contextlib

from tests.faults.history import Effect
from tests.servers import Answer, HttpServer, MailServer

# How late a receiver may notice what was sent to it, in microseconds: its threads share their interpreter.
_DELAY = 1_000_000

# One write(2) with O_APPEND for each effect, with the instant before it: it is there as a whole, or not at all.
MARK = '''
import os, signal, time
from tifftockd import PermanentError, RemindProcess, TransientError

class Mark(RemindProcess):
    """Leaves a line for each attempt; `options` say how long it takes before and after that, and how it ends."""
    method = "mark"

    def remind(self, message):
        time.sleep(self.options.get("before", 0))
        if self.options.get("end") == "transient":
            raise TransientError("surely not done")
        file = os.open(self.options["file"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(file, f"{time.time_ns() // 1000} {self.id} {self.attempt} {self.key} {message}\\n".encode())
        os.close(file)
        time.sleep(self.options.get("after", 0))
        match self.options.get("end"):
            case "permanent": raise PermanentError("never again")
            case "error": raise ValueError("broken")
            case "death": os.kill(os.getpid(), signal.SIGKILL)

class Once(Mark):
    method = "once"
    repeatable = False
'''

# So many answers of a receiver that is busy now and then are prepared.
_MANY = 100_000


class Outside:
    """Entered, the receivers listen; `settings` tell a daemon of them."""

    def __init__(self, folder):
        self.file = folder / "marks"
        self.ready = HttpServer(200)
        self.busy = HttpServer(*[Answer(503), Answer(200)] * _MANY)
        self.mail = MailServer()
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        for server in (self.ready, self.busy, self.mail):
            self._stack.enter_context(server)
        return self

    def __exit__(self, *error):
        return self._stack.__exit__(*error)

    @property
    def settings(self):
        return {
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(self.mail.port),
            "SMTP_SECURITY": "none",
            "EMAIL_FROM": "tock@example.org",
            "EMAIL_TO": "ann@example.org",
        }

    def effects(self):
        """All that has been noticed so far."""
        # A sender that is killed may leave half a request, which asks for nothing.
        received = [*self.ready.requests, *self.busy.requests]
        requests = [one for one in received if len(one.body) == int(one.headers["content-length"])]
        return [
            *marks(self.file),
            *(_effect(one.at, one.headers["idempotency-key"], one.json()["message"]) for one in requests),
            *(_effect(one.at, key_of(one), one.text.rstrip("\n")) for one in self.mail.mails),
        ]


def marks(file):
    """What the drop-in wrote to its file."""
    if not file.exists():
        return []
    lines = [line.split(" ", 4) for line in file.read_text().splitlines()]
    return [Effect(int(at), key, message, int(id_), int(attempt)) for at, id_, attempt, key, message in lines]


def key_of(mail):
    """The key in a mail's Message-ID."""
    return mail.message["Message-ID"].strip("<>").partition("@")[0]


def _effect(seconds, key, message):
    return Effect(round(seconds * 1_000_000), key, message, delay=_DELAY)
