"""`email`: by SMTP when SMTP_HOST and EMAIL_FROM are set, else by Mailgun."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from tifftockd import clock
from tifftockd.config import DEFAULT_SMTP_SECURITY, MAILGUN_API_URL, SMTP_SECURITY
from tifftockd.errors import HandlerError, PermanentError, TransientError
from tifftockd.handlers import RemindProcess, outbound
from tifftockd.handlers.content import fault_of_line

if TYPE_CHECKING:
    import smtplib
    from email.message import EmailMessage

SMTP_SETTINGS = ("SMTP_HOST", "EMAIL_FROM")
MAILGUN_SETTINGS = ("MAILGUN_API_KEY", "MAILGUN_EMAIL_DOMAIN", "MAILGUN_EMAIL_FROM")

# RFC 6409, RFC 8314, RFC 5321
PORTS = dict(zip(SMTP_SECURITY, (587, 465, 25), strict=True))

# Seconds for each wait for the server; the worker's deadline ends one that drips.
TIMEOUT = 30.0
# The mail has been taken by then: no deadline may pass while a server forgets to say goodbye.
QUIT_TIMEOUT = 2.0

SUBJECT_LENGTH = 78  # what RFC 5322, 2.1.1, likes a line to be
# Without what begins a comment, a group, a quote or a literal in RFC 5322: whom the mail goes to is who was checked.
_PART = r'[^\s,;:<>@()"\\\[\]\x00-\x1f\x7f-\x9f]+'
_ADDRESS = rf"{_PART}@(?:{_PART}|\[[0-9A-Za-z.:]+\])"


class Email(RemindProcess):
    """One mail with the message as its text, to `to` or to the default recipient of the settings.

    There are no attachments: a caller must not mail out what the daemon can read.
    """

    method = "email"
    options: Any = {"subject": "line", "html": str}  # noqa: RUF012  an instance's are the reminder's
    _to_pattern: ClassVar[str | None] = rf"{_ADDRESS}(?: *, *{_ADDRESS})*"
    _to_hint: ClassVar[str | None] = "it must be an address like ann@example.org, or several separated by commas"

    @classmethod
    def prepare(cls) -> None:
        """Import what the way that the settings choose will need."""
        smtp = ("email.message", "email.policy", "email.utils", "smtplib", "ssl")
        for name in smtp if _by_smtp(os.environ) else ("requests",):
            importlib.import_module(name)

    @classmethod
    def missing(cls, env: Mapping[str, str]) -> str | None:
        """One of the two ways has to be complete, and what it is told has to make sense."""
        if _by_smtp(env):
            return _smtp_fault(env)
        lacking_mailgun = [name for name in MAILGUN_SETTINGS if not env.get(name)]
        if not lacking_mailgun:
            return None
        lacking_smtp = [name for name in SMTP_SETTINGS if not env.get(name)]
        return f"set {_listed(lacking_smtp)}, or {_listed(lacking_mailgun)}"

    @classmethod
    def requires_to(cls, env: Mapping[str, str]) -> bool:
        """Without a default recipient for the chosen way each reminder has to say where to."""
        return not env.get(_default_recipient(env))

    def remind(self, message: str) -> None:
        """Hand the mail to the server. A repeat has the same Message-ID, by which it can be told from a second mail."""
        env = os.environ
        lacking = type(self).missing(env)
        if lacking:
            raise PermanentError(lacking)
        to = self.to or env.get(_default_recipient(env))
        if not to:
            raise PermanentError(f"no recipient: the reminder has no 'to', and {_default_recipient(env)} is not set")
        subject = self.options.get("subject") or default_subject(message)
        for name, text in (("to", to), ("options.subject", subject)):
            # A line break would begin a header of the caller's own.
            fault = fault_of_line(text)
            if fault:
                raise PermanentError(f"{name}: {fault}")
        if _by_smtp(env):
            self._send_by_smtp(env, to, subject, message)
        else:
            self._send_by_mailgun(env, to, subject, message)

    # ---- Mailgun

    def _send_by_mailgun(self, env: Mapping[str, str], to: str, subject: str, message: str) -> None:
        base = (env.get("MAILGUN_API_URL") or MAILGUN_API_URL).rstrip("/")
        url = f"{base}/v3/{quote(env['MAILGUN_EMAIL_DOMAIN'], safe='')}/messages"
        key, sender = env["MAILGUN_API_KEY"], env["MAILGUN_EMAIL_FROM"]
        form = {"from": sender, "to": to, "subject": subject, "text": message}
        if self.options.get("html"):
            form["html"] = self.options["html"]
        if self.key:
            form["h:Message-Id"] = self._message_id(sender)
        secrets = [key, f"api:{key}"]
        # The operator's own target: a proxy of the environment is meant for it.
        outbound.deliver("POST", url, trusted=True, name="Mailgun", secrets=secrets, data=form, auth=("api", key))

    # ---- SMTP

    def _send_by_smtp(self, env: Mapping[str, str], to: str, subject: str, message: str) -> None:
        import smtplib
        from email.utils import getaddresses

        sender = _address(env["EMAIL_FROM"])
        recipients = [address for _, address in getaddresses([to]) if address]
        if not recipients:
            raise PermanentError("no recipient: there is no address in 'to'")
        international = not "".join([sender, *recipients]).isascii()
        content = self._content(env["EMAIL_FROM"], to, subject, message, international=international)
        try:
            with contextlib.closing(_connect(env)) as smtp:
                _login(smtp, env)
                refused = _name_recipients(smtp, sender, recipients, international=international)
                _hand_over(smtp, content)
                with contextlib.suppress(OSError):
                    if smtp.sock is not None:
                        smtp.sock.settimeout(QUIT_TIMEOUT)
                    smtp.quit()
        except smtplib.SMTPResponseException as error:
            raise _refusal(env, error.smtp_code, error.smtp_error) from None
        except smtplib.SMTPServerDisconnected as error:
            raise TransientError(f"{_server(env)}: {outbound.printable(str(error))}") from None
        except smtplib.SMTPException as error:
            # Something that the server does not offer: AUTH, SMTPUTF8.
            raise PermanentError(f"{_server(env)}: {outbound.printable(str(error))}") from None
        except OSError as error:
            raise TransientError(f"{_server(env)}: no connection: {outbound.printable(str(error))}") from None
        except ValueError as error:
            # UnicodeError holds what it could not encode, a password for one.
            raise PermanentError(
                f"{_server(env)}: host, login or address is unusable: {type(error).__name__}"
            ) from None
        if refused:
            # Not transient, whatever the codes say: a repeat would reach those who have the mail a second time.
            told = "; ".join(f"{address} ({_reply(env, *answer)})" for address, answer in refused.items())
            raise PermanentError(f"sent to {len(recipients) - len(refused)} of {len(recipients)}; refused: {told}")

    def _content(self, sender: str, to: str, subject: str, message: str, *, international: bool) -> bytes:
        """The mail as it goes over the wire. PermanentError if a header or the text cannot be written."""
        import email.policy
        from email.message import EmailMessage
        from email.utils import format_datetime

        # 7bit: the text is encoded where it must be, so that every server can take it.
        policy = email.policy.SMTP.clone(cte_type="7bit", utf8=international)
        mail: EmailMessage = EmailMessage(policy)
        try:
            mail["From"] = sender
            mail["To"] = to
            mail["Subject"] = subject
            mail["Date"] = format_datetime(clock.moment(clock.now()))
            if self.key:
                mail["Message-ID"] = self._message_id(sender)
            # RFC 3834: no holiday notices, please
            mail["Auto-Submitted"] = "auto-generated"
            mail.set_content(message)
            if self.options.get("html"):
                # RFC 2046, 5.1.4: the last part is the one to be shown where it can be.
                mail.add_alternative(self.options["html"], subtype="html")
            return mail.as_bytes()
        except (ValueError, LookupError) as error:
            raise PermanentError(f"the mail cannot be written: {type(error).__name__}") from None

    def _message_id(self, sender: str) -> str:
        return f"<{self.key}@{_address(sender).rpartition('@')[2]}>"


def default_subject(message: str) -> str:
    """The first line that says something, cut to a subject's length."""
    lines = (outbound.printable(line) for line in message.splitlines())
    line = next((line for line in lines if line), "Reminder")
    if len(line) <= SUBJECT_LENGTH:
        return line
    cut = line[: SUBJECT_LENGTH - 1]
    # At the last word, unless that would leave next to nothing.
    head = cut.rpartition(" ")[0]
    return (head if len(head) > SUBJECT_LENGTH // 2 else cut).rstrip() + "…"


# ---- settings


def _by_smtp(env: Mapping[str, str]) -> bool:
    return all(env.get(name) for name in SMTP_SETTINGS)


def _default_recipient(env: Mapping[str, str]) -> str:
    return "EMAIL_TO" if _by_smtp(env) else "MAILGUN_EMAIL_TO"


def _security(env: Mapping[str, str]) -> str:
    return env.get("SMTP_SECURITY") or DEFAULT_SMTP_SECURITY


def _port(env: Mapping[str, str]) -> int:
    return int(env.get("SMTP_PORT") or PORTS[_security(env)])


def _server(env: Mapping[str, str]) -> str:
    return f"SMTP server {outbound.printable(env['SMTP_HOST'])}:{_port(env)}"


def _smtp_fault(env: Mapping[str, str]) -> str | None:
    """What is wrong with the settings for SMTP, or None."""
    for name, other in (("SMTP_USER", "SMTP_PASSWORD"), ("SMTP_PASSWORD", "SMTP_USER")):
        if env.get(other) and not env.get(name):
            return f"set {name} too, or neither it nor {other}"
    sender = env["EMAIL_FROM"]
    if not re.fullmatch(_ADDRESS, _address(sender)) or not sender.isprintable():
        return f"EMAIL_FROM is {sender!r}; it must be an address like tifftock@example.org"
    return None


def _address(text: str) -> str:
    """The bare address of "Ann <ann@example.org>"."""
    bracketed = re.search(r"<([^<>]*)>\s*$", text)
    return (bracketed[1] if bracketed else text).strip()


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


# ---- the steps of one SMTP session


def _connect(env: Mapping[str, str]) -> smtplib.SMTP:
    """A connection that is as secure as the settings want it."""
    import smtplib
    import ssl

    security = _security(env)
    if security == "tls":
        return smtplib.SMTP_SSL(env["SMTP_HOST"], _port(env), timeout=TIMEOUT, context=ssl.create_default_context())
    smtp = smtplib.SMTP(env["SMTP_HOST"], _port(env), timeout=TIMEOUT)
    if security != "none":
        try:
            # smtplib's own context would accept any certificate.
            smtp.starttls(context=ssl.create_default_context())
        except BaseException as error:
            smtp.close()
            if isinstance(error, smtplib.SMTPNotSupportedError):
                raise PermanentError(
                    f"{_server(env)} offers no STARTTLS: set SMTP_SECURITY=tls if it is encrypted from the start,"
                    " or SMTP_SECURITY=none if nobody else can listen on the way to it"
                ) from None
            raise
    return smtp


def _login(smtp: smtplib.SMTP, env: Mapping[str, str]) -> None:
    smtp.ehlo_or_helo_if_needed()
    if env.get("SMTP_USER"):
        smtp.login(env["SMTP_USER"], env["SMTP_PASSWORD"])


def _name_recipients(
    smtp: smtplib.SMTP, sender: str, recipients: list[str], *, international: bool
) -> dict[str, tuple[int, bytes]]:
    """Give sender and recipients; those refused come back with the server's answers, if at least one is accepted."""
    import smtplib

    code, answer = smtp.mail(sender, ["SMTPUTF8"] if international else [])
    if code != 250:
        raise smtplib.SMTPSenderRefused(code, answer, sender)
    refused: dict[str, tuple[int, bytes]] = {}
    for recipient in recipients:
        code, answer = smtp.rcpt(recipient)
        if code not in (250, 251):
            refused[recipient] = code, answer
    if len(refused) == len(recipients):
        # If one of them may be accepted later, all are tried again.
        code, answer = min(refused.values())
        raise smtplib.SMTPResponseException(code, b"%s (%s)" % (answer, ", ".join(refused).encode()))
    return refused


def _hand_over(smtp: smtplib.SMTP, content: bytes) -> None:
    """Send the mail itself; from here on a broken connection leaves open whether the server has it."""
    import smtplib

    try:
        code, answer = smtp.data(content)
    except smtplib.SMTPResponseException:
        raise
    except OSError as error:
        reason = outbound.printable(str(error))
        raise HandlerError(f"lost contact after DATA: {reason}; whether the mail was taken is not known") from None
    if code != 250:
        raise smtplib.SMTPDataError(code, answer)


def _refusal(env: Mapping[str, str], code: int, answer: bytes | str) -> HandlerError:
    """RFC 5321, 4.2.1: 4yz may succeed later, 5yz will not. What is no answer at all may be another one next time."""
    text = f"{_server(env)} answered {_reply(env, code, answer)}"
    return PermanentError(text) if 500 <= code < 600 else TransientError(text)


def _reply(env: Mapping[str, str], code: int, answer: bytes | str) -> str:
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    user, password = env.get("SMTP_USER", ""), env.get("SMTP_PASSWORD", "")
    text = outbound.printable(f"{code} {text}")[: outbound.EXCERPT]
    return outbound.hide(text, [password, f"\0{user}\0{password}"] if password else [])
