"""`notify`: any of the services that Apprise knows by their URLs. Apprise is optional, and imported in workers only."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from tifftockd.errors import HandlerError, PermanentError, TransientError
from tifftockd.handlers import RemindProcess, egress, outbound
from tifftockd.handlers.watch import watched

# Settings by whose rest `to` can name an Apprise URL. NOTIFY_SOCKET, systemd's, never comes to a handler.
PREFIX = "NOTIFY_"
_NAME = r"[A-Za-z0-9_]+"
_URL = r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\x00-\x1f\x7f-\x9f]+"

# What Apprise's services log of an answer that they did not like.
_STATUS = re.compile(r"\berror=([1-5][0-9]{2})\b")
# The last lines of its log that are told.
_LINES = 3


class Notify(RemindProcess):
    """Hand the message to the service of one Apprise URL.

    A failure is tried again, though of several recipients in one URL some may have got it: Apprise does not say which,
    and a notification that comes twice costs less than one that never comes.
    """

    method = "notify"
    options: Any = {  # noqa: RUF012  an instance's are the reminder's
        "title": "line",
        "type": ("info", "success", "warning", "failure"),
    }
    needs_to = True

    @classmethod
    def prepare(cls) -> None:
        """Import Apprise with all its services, which it looks for when it is first given a URL."""
        import apprise

        apprise.Apprise.instantiate("json://localhost")

    @classmethod
    def missing(cls, env: Mapping[str, str]) -> str | None:  # noqa: ARG003  no setting is needed
        """Apprise has to be installed. It is looked for and not imported: the daemon must stay small."""
        found = importlib.util.find_spec("apprise")
        if found is None or found.origin is None:
            return "Apprise is not installed: pip install apprise beside tifftockd, or on Debian apt install apprise"
        return None

    @classmethod
    def _to_rule(cls, env: Mapping[str, str]) -> tuple[str | None, str | None]:
        """A URL, or one of the names there are."""
        return "|".join([_URL, *(f"(?i:{re.escape(name)})" for name in _names(env))]), _hint(env)

    def remind(self, message: str) -> None:
        """Let Apprise send it. What failed is judged by its log, and by whether it reached anybody."""
        lacking = type(self).missing(os.environ)
        if lacking:
            raise PermanentError(lacking)
        url, trusted = self._target(os.environ)
        networks = () if trusted else egress.denied_networks(os.environ)
        title, kind = self.options.get("title", ""), self.options.get("type", "info")
        with _listening() as said, watched(networks) as traffic:
            service, done = _send(url, message, title, kind, trusted=trusted)
        if done:
            return
        text = f"{service}: {_told(said, url)}"
        if done is None:
            raise PermanentError(text)
        if traffic.denied and not traffic.failed:
            raise PermanentError(f"{service}: {egress.Denied(traffic.denied)}")
        if not traffic.reached:
            raise TransientError(text)
        raise _judge(text, [int(status) for line in said for status in _STATUS.findall(line)])

    def _target(self, env: Mapping[str, str]) -> tuple[str, bool]:
        """The URL, and whether it is the operator's own."""
        to = self.to or ""
        if re.fullmatch(_URL, to):
            return to, False
        url = _names(env).get(to.lower())
        if url is None:
            raise PermanentError(f"'to' does not fit: {_hint(env)}")
        return url, True


def _told(said: list[str], url: str) -> str:
    """The end of Apprise's log without what may be secret; Apprise itself only shortens URLs."""
    lines = [re.sub(r"[\w.+-]+://\S+", "[hidden]", outbound.printable(line)).rstrip(".") for line in said[-_LINES:]]
    return outbound.hide("; ".join(lines), _secrets(url))[: outbound.EXCERPT] or "Apprise does not say why"


def _judge(text: str, statuses: list[int]) -> HandlerError:
    """What a failure means after something was sent: by the answers, where Apprise has logged any."""
    if not statuses:
        return HandlerError(f"{text}; whether it was taken is not known")
    if all(300 <= status < 500 and status not in outbound.TRANSIENT for status in statuses):
        return PermanentError(text)
    return TransientError(text)


# ---- settings


def _names(env: Mapping[str, str]) -> dict[str, str]:
    """The names that `to` can be, in lower case, with their URLs."""
    found: dict[str, str] = {}
    for setting in _settings(env):
        url = env[setting].strip()
        if re.fullmatch(_URL, url):
            found.setdefault(setting.removeprefix(PREFIX).lower(), url)
    return found


def _settings(env: Mapping[str, str]) -> list[str]:
    return [name for name in sorted(env) if re.fullmatch(PREFIX + _NAME, name) and env[name].strip()]


def _hint(env: Mapping[str, str]) -> str:
    """What would be right; a URL of the settings is not repeated, as it may hold a token."""
    names = _names(env)
    there = f"one of the names {', '.join(names)}" if names else f"a name, of which none is set ({PREFIX}FAMILY=...)"
    wrong = [name for name in _settings(env) if not re.fullmatch(_URL, env[name].strip())]
    hint = f"it must be an Apprise URL like ntfy://example.org/topic, or {there}"
    return f"{hint}; {' and '.join(wrong)} cannot be used, being no such URL" if wrong else hint


def _secrets(url: str) -> list[str]:
    """Every part of an Apprise URL: any of them may be a token, even where others have a host."""
    parts = {url, *re.split(r"[/:@?&=#]+", url.partition("://")[2])}
    return [*outbound.secrets_of(url), *parts, *map(unquote, parts)]


# ---- Apprise


def _send(url: str, message: str, title: str, kind: str, *, trusted: bool) -> tuple[str, bool | None]:
    """The name of the service, and whether it has taken the message; None: Apprise cannot use this URL."""
    import apprise

    service = "Apprise"
    try:
        with contextlib.nullcontext() if trusted else _on_its_own():
            asset = _asset()
            plugin = apprise.Apprise.instantiate(url, asset=asset)
            if plugin is None:
                return service, None
            service = f"Apprise ({plugin.service_name})"
            sender = apprise.Apprise(asset=asset)
            sender.add(plugin)
            done = sender.notify(body=message, title=title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT)
            return service, bool(done)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  one of its many services; the text may hold the URL
        logging.getLogger("apprise").warning("%s", type(error).__name__)
        return service, False


def _asset() -> Any:
    """How Apprise is to work: in this thread alone, so that the worker can be used again, and making no files."""
    import apprise

    wanted = {"async_mode": False, "service_timeout": 0, "pgp_autogen": False, "pem_autogen": False}
    # Those of them that this version knows; any other name is an error.
    names = {*dir(apprise.AppriseAsset), *inspect.signature(apprise.AppriseAsset).parameters}
    known = {name: value for name, value in wanted.items() if name in names}
    return apprise.AppriseAsset(app_id="tifftockd", app_desc="tifftockd", **known)


@contextlib.contextmanager
def _on_its_own() -> Iterator[None]:
    """Keep from a caller's URL what is the operator's: proxies, which would connect in our place, logins, and files.

    Some services take a file, to be sent as a template or read as a key, and a caller must not send out what the daemon
    can read.
    """
    import apprise

    kept = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy") or name == "NETRC"}
    files = type(apprise.AppriseAttachment.instantiate("file:///dev/null"))
    location = files.location
    for name in kept:
        del os.environ[name]
    os.environ["NETRC"] = os.devnull
    files.location = apprise.ContentLocation.INACCESSIBLE
    try:
        yield
    finally:
        files.location = location
        del os.environ["NETRC"]
        os.environ.update(kept)


class _Lines(logging.Handler):
    """Keeps what Apprise warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line."""
        if record.name.partition(".")[0] == "apprise":
            self.lines.append(record.getMessage())


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    """What Apprise logs meanwhile. Without a handler it would go to standard error, and be kept with its secrets."""
    handler = _Lines()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield handler.lines
    finally:
        root.removeHandler(handler)
