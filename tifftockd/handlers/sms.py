"""`sms`: a text message by Twilio. A second text costs more than a lost one, so what is not known is not repeated."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tifftockd.config import TWILIO_API_URL
from tifftockd.errors import HandlerError, PermanentError, TransientError
from tifftockd.handlers import RemindProcess, outbound

if TYPE_CHECKING:
    import requests


class Sms(RemindProcess):
    """Create one Twilio message from TWILIO_PHONE_NUMBER_FROM to `to` or TWILIO_PHONE_NUMBER_TO."""

    method = "sms"
    repeatable = False
    options: Any = {}  # noqa: RUF012  none; an instance's are the reminder's
    settings = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER_FROM")
    _to_pattern: ClassVar[str | None] = r"(?:(?:whatsapp|rcs):)?\+?[(]?[0-9][0-9 ().-]{2,30}|messenger:[0-9A-Za-z._-]+"
    _to_hint: ClassVar[str | None] = "it must be a phone number like +49 170 1234567, or like whatsapp:+491701234567"

    @classmethod
    def prepare(cls) -> None:
        """Import twilio, its module for messages included (it loads them late)."""
        from twilio.rest import Client

        _ = Client("AC", "none").messages

    @classmethod
    def requires_to(cls, env: Mapping[str, str]) -> bool:
        """Without TWILIO_PHONE_NUMBER_TO each reminder has to say where to."""
        return not env.get("TWILIO_PHONE_NUMBER_TO")

    def remind(self, message: str) -> None:
        """Hand the message to Twilio, once."""
        from twilio.http.http_client import TwilioHttpClient
        from twilio.rest import Client

        env = os.environ
        lacking = type(self).missing(env)
        if lacking:
            raise PermanentError(lacking)
        to = self.to or env.get("TWILIO_PHONE_NUMBER_TO")
        if not to:
            raise PermanentError("no recipient: the reminder has no 'to', and TWILIO_PHONE_NUMBER_TO is not set")
        answers: list[requests.Response] = []

        # requests calls it as soon as the headers are there. The status then decides, not the exceptions of a
        # library that also raises for a body it cannot read.
        def note(response: requests.Response, *_args: object, **_kwargs: object) -> None:
            answers.append(response)

        # No retries of its own, which is twilio's default: after a broken connection they could send twice.
        http_client = TwilioHttpClient(timeout=outbound.READ_TIMEOUT, request_hooks={"response": note})
        http_client.session.verify = outbound.authorities()
        client = Client(env["TWILIO_ACCOUNT_SID"], env["TWILIO_AUTH_TOKEN"], http_client=http_client)
        client.api.base_url = env.get("TWILIO_API_URL") or TWILIO_API_URL
        try:
            client.messages.create(body=message, from_=env["TWILIO_PHONE_NUMBER_FROM"], to=_dialled(to))
        except Exception as error:  # noqa: BLE001  judged below, and raised again in the terms of the contract
            secrets = [env["TWILIO_AUTH_TOKEN"], f"{env['TWILIO_ACCOUNT_SID']}:{env['TWILIO_AUTH_TOKEN']}"]
            # `from None`: the libraries' own texts hold URLs.
            failure = _judge(error, answers[-1] if answers else None, secrets)
            if failure is not None:
                raise failure from None
        finally:
            http_client.session.close()


def _judge(error: Exception, response: requests.Response | None, secrets: list[str]) -> HandlerError | None:
    """What an exception of twilio means; None: Twilio has taken the message all the same."""
    if response is None:
        if outbound.never_connected(error):
            return TransientError(f"Twilio: no connection: {outbound.explain(error)}")
        # The request may have arrived, and its answer been lost.
        return HandlerError(f"Twilio: {outbound.explain(error)}; whether the message was taken is not known")
    status = response.status_code
    if 200 <= status < 300:
        return None
    # Not str(error): on a terminal that is a picture in colours, with the account in it.
    said = getattr(error, "msg", None) or getattr(error, "detail", None) or getattr(error, "title", None) or ""
    code = getattr(error, "code", None)
    text = f"Twilio answered {status}" + (f" (error {code})" if code and code != status else "")
    text = outbound.hide(outbound.printable(f"{text}: {said}")[: outbound.EXCERPT], secrets).rstrip(": ")
    if status in outbound.TRANSIENT:
        return TransientError(text, retry_after=outbound.retry_after(response.headers.get("Retry-After")))
    if status < 500:
        return PermanentError(text)
    # A gateway that gives up (502, 504) and a server that fails at the end of its work (500) may have sent it.
    return HandlerError(f"{text}; whether the message was taken is not known")


def _dialled(to: str) -> str:
    """A number as E.164 wants it: people write spaces, brackets and dashes."""
    return to if to.startswith("messenger:") else re.sub(r"[ ().-]", "", to)
