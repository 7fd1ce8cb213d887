"""`log`: the message goes to the journal, or to standard error where there is none."""

from __future__ import annotations

from typing import Any

from tifftockd.errors import TransientError
from tifftockd.handlers import RemindProcess
from tifftockd.journal import put


class Log(RemindProcess):
    """One line with the message, which is the point of this method; `to` is a label of the user's own."""

    method = "log"
    options: Any = {}  # noqa: RUF012  none; an instance's are the reminder's

    def remind(self, message: str) -> None:
        """Write it. TransientError if it could not be, as on a full disk, or where nobody reads."""
        if not put("reminder", message=message, reminder=self.id, to=self.to):
            raise TransientError("neither the journal nor standard error has taken it")
