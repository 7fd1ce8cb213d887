"""What the daemon fetches every minute while it is well. No method of reminders: the daemon alone runs it."""

from __future__ import annotations

import os
from typing import Any

from tifftockd.handlers import RemindProcess, outbound


class Heartbeat(RemindProcess):
    """GET HEARTBEAT_URL. What comes back is not looked at, as long as it is a 2xx."""

    method = "heartbeat"
    options: Any = {}  # noqa: RUF012  none; an instance's are the reminder's
    # Before the next one is due
    timeout = "30s"
    concurrency = 1

    @classmethod
    def prepare(cls) -> None:
        """Import requests."""
        import requests  # noqa: F401

    def remind(self, message: str) -> None:  # noqa: ARG002  there is none
        """Make the request."""
        # The operator's own URL, so by the operator's own proxy.
        outbound.deliver("GET", os.environ["HEARTBEAT_URL"], trusted=True)
