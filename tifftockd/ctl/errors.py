"""What tifftockctl ends with: each failure with its exit code (sysexits.h where that has one)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from tifftockd.errors import TifftockError

EX_REFUSED = 1  # the daemon said no, or what was tried did not work
EX_USAGE = 2  # the command line, as argparse has it
EX_NOT_FOUND = 4  # no such reminder; of systemctl(1)
EX_DATAERR = os.EX_DATAERR  # 65: lines of a file that cannot be imported
EX_NOINPUT = os.EX_NOINPUT  # 66: a file that cannot be read
EX_UNAVAILABLE = os.EX_UNAVAILABLE  # 69: nobody listens, or does not answer
EX_IOERR = os.EX_IOERR  # 74: what was to be shown cannot be written
EX_TEMPFAIL = os.EX_TEMPFAIL  # 75: the daemon cannot do it now, or it has not ended yet
EX_PROTOCOL = os.EX_PROTOCOL  # 76: what answers is not tifftockd
EX_NOPERM = os.EX_NOPERM  # 77: no right to use the socket, or no valid key
EX_INTERRUPTED = 130  # Ctrl-C
EX_PIPE = 141  # nobody reads the output any more, as in `| head`

_CODES = {
    HTTPStatus.UNAUTHORIZED: EX_NOPERM,
    HTTPStatus.FORBIDDEN: EX_NOPERM,
    HTTPStatus.NOT_FOUND: EX_NOT_FOUND,
    HTTPStatus.SERVICE_UNAVAILABLE: EX_TEMPFAIL,
}


class Failure(TifftockError):
    """Something did not work; the message is for people, and says what would be right. `code`: the exit code."""

    def __init__(self, message: str, code: int = EX_REFUSED) -> None:
        super().__init__(message)
        self.code = code


class Usage(Failure):
    """The command line is wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(message, EX_USAGE)


class NoAnswer(Failure):
    """Nobody listens, or answers.

    `sent`: whether the request may have been carried out. `lost`: whether the connection was, so that another may do.
    """

    def __init__(self, message: str, *, sent: bool = False, lost: bool = False) -> None:
        super().__init__(message, EX_UNAVAILABLE)
        self.sent = sent
        self.lost = lost


class Refused(Failure):
    """The daemon's own no: its HTTP status, and the JSON that every error of the API has."""

    def __init__(self, status: int, said: Mapping[str, Any], retry_after: str | None = None) -> None:
        super().__init__(str(said.get("error")), _CODES.get(HTTPStatus(status), EX_REFUSED))
        self.status = status
        self.kind = str(said.get("kind"))
        self.said = said
        self.retry_after = retry_after
