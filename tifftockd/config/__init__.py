"""Settings: environment, credentials and one file of NAME=value, parsed once into a frozen Config.

SETTINGS is the table of them all. Names that are not in it are left to handlers, which find them in `os.environ`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any, NamedTuple

from tifftockd.clock import Micros
from tifftockd.config import places, slips, sources, values
from tifftockd.config.address import Address, parse_addresses
from tifftockd.config.networks import parse_networks
from tifftockd.config.places import fallback_folder, private_folder
from tifftockd.config.values import Unusable, parse_size
from tifftockd.errors import ConfigError
from tifftockd.when.echo import shown

__all__ = [
    "DEFAULT_SMTP_SECURITY",
    "HANDLERS_OWN",
    "HTTP_DENY",
    "KEY_ADVICE",
    "LONGEST_LATE",
    "LONGEST_TIMEOUT",
    "MAILGUN_API_URL",
    "MEMORY",
    "OUTPUT",
    "SETTINGS",
    "SMTP_SECURITY",
    "TWILIO_API_URL",
    "Address",
    "Config",
    "fallback_folder",
    "load_config",
    "parse_size",
    "private_folder",
]

# What to do where a key is wanting. Without double quotes, which a log line would escape: it is to be pasted.
KEY_ADVICE = "set API_KEY, for instance to what this prints: python3 -c 'import secrets; print(secrets.token_hex(32))'"

# The values of settings with these words in their names are never shown.
_SECRET = ("KEY", "TOKEN", "PASSWORD", "SECRET", "HEARTBEAT")
# What systemd meant for the daemon alone; a worker that saw it would be taken for the daemon, or keep its sockets.
_DAEMONS_OWN = ("NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY")
_DAEMONS_OWN_PREFIXES = ("LISTEN_", "WATCHDOG_")


# The bound of what a reminder may have, too: what a daemon lists, it takes.
LONGEST_LATE = "3650d"
# The bounds of what a handler's class may set, too.
LONGEST_TIMEOUT = "30d"
MEMORY = ("64M", "16T")
OUTPUT = ("0", "1M")

# How a connection to a mail server is protected; encrypted unless somebody says that it need not be.
SMTP_SECURITY = ("starttls", "tls", "none")
DEFAULT_SMTP_SECURITY = "starttls"
# Where a reminder's own URL may not lead, unless the operator says otherwise: a cloud tells its secrets there.
HTTP_DENY = "link-local"
MAILGUN_API_URL = "https://api.mailgun.net"
TWILIO_API_URL = "https://api.twilio.com"


class Setting(NamedTuple):
    """One row of SETTINGS."""

    name: str  # in the environment, and in the file
    field: str | None  # of Config; None: a handler's, which finds the text in its environment
    parse: Callable[[Any], object]  # raises Unusable
    default: str | Callable[[Mapping[str, str]], str] | None  # the text, or where the environment says that it is


SETTINGS = (
    # By hand a socket that only this user reaches, so that nothing need be set up; systemd hands one over.
    Setting("API_URL", "listen", parse_addresses, places.socket_address),
    # None is safe: without a key nothing listens on TCP.
    Setting("API_KEY", "api_keys", values.keys, ""),
    # One file, where the service manager and the XDG specification keep what must last.
    Setting("DATABASE_URL", "database_url", values.database, places.database_url),
    # Beside the settings: what is in there is as trusted as they are.
    Setting("HANDLERS_DIR", "handlers_dir", values.folder, places.handlers_dir),
    # A machine that was off for a night still tells; one that comes back after a week does not fire a hundred texts.
    Setting("MAX_LATE", "max_late", values.span(LONGEST_LATE), "24h"),
    # With the delay doubled each time, five attempts reach over 15 minutes: a restart of a mail server, not its move.
    Setting("RETRIES", "retries", values.number(0, 1000), "5"),
    Setting("RETRY_DELAY", "retry_delay", values.span("30d"), "30s"),
    # More than a slow mail server takes, less than a person waits.
    Setting("HANDLER_TIMEOUT", "handler_timeout", values.span(LONGEST_TIMEOUT), "60s"),
    # Handlers wait for the network most of the time; each attempt at once costs a process.
    Setting("HANDLER_CONCURRENCY", "handler_concurrency", values.number(1, 1024), "4"),
    # A day's backlog is gone in a minute, and no receiver is run down.
    Setting("CATCH_UP_RATE", "catch_up_rate", values.number(1, 100_000), "100"),
    # A month answers "did it go out?"; the count bounds the file whatever happens.
    Setting("HISTORY_DAYS", "history_days", values.number(1, 36_500), "30"),
    Setting("HISTORY_MAX", "history_max", values.number(1, 1_000_000_000), "1000000"),
    # Many times what Python maps with requests or twilio; a leak ends with one attempt.
    Setting("HANDLER_MEMORY", "handler_memory", values.size(*MEMORY), "512M"),
    # The end of a traceback.
    Setting("HANDLER_OUTPUT", "handler_output", values.size(*OUTPUT), "8K"),
    # A slow leak is cut off long before HANDLER_MEMORY, and a new worker costs a few milliseconds.
    Setting("HANDLER_RENEW", "handler_renew", values.number(1, 1_000_000_000), "1000"),
    # Nobody is told anything unless asked to.
    Setting("HEARTBEAT_URL", "heartbeat_url", values.optional(values.url), ""),
    # As everywhere in Unix: unset is the system's, empty is UTC.
    Setting("TZ", "zone", values.zone, None),
    # The handlers' own that are right or a slip: it shows at the start, and not at the first mail.
    # A lamp in the house is what many reminders are for; whoever shares the daemon denies more.
    Setting("HTTP_DENY", None, parse_networks, HTTP_DENY),
    Setting("SMTP_SECURITY", None, values.choice(*SMTP_SECURITY), DEFAULT_SMTP_SECURITY),
    # Empty: by the kind of security
    Setting("SMTP_PORT", None, values.optional(values.number(1, 65_535)), ""),
    Setting("MAILGUN_API_URL", None, values.url, MAILGUN_API_URL),
    Setting("TWILIO_API_URL", None, values.url, TWILIO_API_URL),
)
# The handlers' own that may be any text.
HANDLERS_OWN = (
    *("SMTP_HOST", "SMTP_USER", "SMTP_PASSWORD", "EMAIL_FROM", "EMAIL_TO"),
    *("MAILGUN_API_KEY", "MAILGUN_EMAIL_DOMAIN", "MAILGUN_EMAIL_FROM", "MAILGUN_EMAIL_TO"),
    *("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER_FROM", "TWILIO_PHONE_NUMBER_TO"),
    "API_REMIND_URL",
)


@dataclass(frozen=True)
class Config:
    """Every setting, checked. Spans are in microseconds, sizes in bytes."""

    env_file: Path | None  # the file that was read
    # What workers see: environment over credentials over file, less what systemd meant for the daemon
    environ: Mapping[str, str] = field(repr=False)
    listen: tuple[Address, ...]  # besides the sockets that were inherited
    api_keys: tuple[str, ...] = field(repr=False)
    database_url: str
    handlers_dir: Path
    max_late: Micros
    retries: int
    retry_delay: Micros
    handler_timeout: Micros
    handler_concurrency: int
    catch_up_rate: int
    history_days: int
    history_max: int
    handler_memory: int
    handler_output: int
    handler_renew: int
    heartbeat_url: str | None = field(repr=False)
    zone: tzinfo
    slips: tuple[str, ...]  # names in the file that look like a setting's, each with what may be meant

    @property
    def database_path(self) -> Path:
        """The file of the SQLite database, absolute."""
        return Path(self.database_url.removeprefix(values.SQLITE))


def load_config(environ: Mapping[str, str], env_file: Path | None = None, *, inherited: bool = False) -> Config:
    """Read and check all settings; `inherited`: sockets were handed over, so that none is needed by default.

    ConfigError names the file and line, or the setting, its value (if it is no secret) and what would be right.
    """
    found = sources.read(environ, env_file)
    parsed = {setting: _parse(setting, found, environ, inherited) for setting in SETTINGS}
    fields = {setting.field: value for setting, value in parsed.items() if setting.field}
    known = {*HANDLERS_OWN, *(setting.name for setting in SETTINGS)}
    doubtful = tuple(slips.find_slips(found.places, found.values.keys(), known))
    config = Config(env_file=found.file, environ=_for_workers(found.values), slips=doubtful, **fields)
    tcp = [address.text for address in config.listen if address.path is None]
    if tcp and not config.api_keys:
        raise ConfigError(f"{_place(found, 'API_URL')}API_URL is '{tcp[0]}': on TCP clients need a key; {KEY_ADVICE}")
    return config


def _place(found: sources.Found, name: str) -> str:
    return f"{found.places[name]}: " if name in found.places else ""


def _parse(setting: Setting, found: sources.Found, environ: Mapping[str, str], inherited: bool) -> Any:
    text = found.values.get(setting.name)
    place = _place(found, setting.name)
    origin = "is"
    # Empty is how an environment says "not set"; to TZ alone it means something.
    if text is None or (not text.strip() and setting.default is not None):
        origin = "is not set; its default is"
        if setting.name == "API_URL" and inherited:
            text = ""
        else:
            text = setting.default(environ) if callable(setting.default) else setting.default
    try:
        return setting.parse(text)
    except Unusable as error:
        value = error.value or text
        if value is None:
            raise ConfigError(f"{place}{setting.name} is not set, and {error}") from None
        if any(word in setting.name for word in _SECRET) or ("@" in value and not value.startswith("unix:")):
            raise ConfigError(f"{place}{setting.name} is set to something that is not shown here: {error}") from None
        raise ConfigError(f"{place}{setting.name} {origin} {shown(value)}: {error}") from None


def _for_workers(settings: Mapping[str, str]) -> Mapping[str, str]:
    # Empty means not set to handlers, too, and a space is empty.
    known = (*HANDLERS_OWN, *(setting.name for setting in SETTINGS if setting.default is not None))
    blank = {name for name in known if not settings.get(name, "").strip()}
    return {
        name: value
        for name, value in settings.items()
        if name not in blank and name not in _DAEMONS_OWN and not name.startswith(_DAEMONS_OWN_PREFIXES)
    }
