"""What handlers that call a service share: one HTTP request and its verdict, and error texts fit to be kept.

Error texts are stored, shown and logged. So they are printable, and what a server echoes of a secret is taken out.
requests and urllib3 are imported in the functions only: the daemon imports this module and must stay small.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
from collections.abc import Iterable
from datetime import UTC
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urljoin, urlsplit

from tifftockd import __version__, clock
from tifftockd.errors import HandlerError, PermanentError, TransientError
from tifftockd.handlers import egress

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter

# Seconds. The second is for each wait for bytes, so a server that drips its headers outlasts it; requests has no
# limit for the whole. The worker's deadline is that limit: it kills the process, which ends any wait.
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0

# How much of a failure's body goes into the error text, in bytes, and how long it is waited for, in seconds.
EXCERPT = 1024
EXCERPT_TIME = 2.0

# Answers after which the same request may succeed (RFC 9110, 15.5.9; RFC 8470, 5.2; RFC 6585, 4); so may any 5xx.
TRANSIENT = frozenset({408, 425, 429})

# What each request says of us, unless the caller does.
_HEADERS = {
    "User-Agent": f"tifftockd/{__version__}",
    # A compressed excerpt could not be read, and a small one may unfold to megabytes.
    "Accept-Encoding": "identity",
    "Accept": "*/*",
    "Connection": "keep-alive",
}

# A shorter "secret" would be found in ordinary words.
_SHORTEST_SECRET = 5
# Nor is a shorter part of a path, or of a header, likely to be one: "hooks" and "Bearer" stay readable.
SHORTEST_PART = 8


def deliver(
    method: str, url: str, *, trusted: bool, name: str | None = None, secrets: Iterable[str] = (), **content: Any
) -> None:
    """Send a request and judge the answer: return for 2xx, else raise what the contract of `remind` asks for.

    `trusted`: whether the operator chose the target. Then it is reached by the environment's proxies. For what a caller
    chose HTTP_DENY counts, and there is no proxy: it would connect in our place. `name` stands for the target in error
    texts, else the URL's origin; `secrets` are taken out of them, as is what is one in the URL. `content` is what
    requests takes: headers, params, data, auth.

    PermanentError for 3xx (never followed), other 4xx, what cannot be requested, and where HTTP_DENY forbids it;
    TransientError for 408, 425, 429, 5xx, without a connection, and where the certificate authorities cannot be read;
    HandlerError when the connection broke or fell silent after that, because then nobody knows.
    """
    import requests
    import urllib3

    with contextlib.ExitStack() as closing:
        try:
            # Without requests' Session. That would read a .netrc, which takes the place of a caller's Authorization or
            # adds to it what is the operator's, and a redirect's body to its end even if it is not to follow it. And
            # it takes a tenth of an attempt's time.
            request = requests.Request(method, url, **content).prepare()
            for header, value in _HEADERS.items():
                request.headers.setdefault(header, value)
            adapter, settings = _way(request.url or "", trusted=trusted)
            # After each attempt: a connection that is kept could be one that the server has closed meanwhile.
            closing.callback(adapter.close)
            response = adapter.send(request, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT), **settings)
            closing.callback(response.close)
        except (PermanentError, ValueError, requests.RequestException, urllib3.exceptions.HTTPError) as error:
            # `from None`: the libraries' own texts hold the URL with its query.
            raise _failure(error, name or origin(url)) from None
        if not 200 <= response.status_code < 300:
            # A service with a name has no token in its path, and what it says of that is of use.
            in_path = [] if name else _secrets_of_path(url)
            raise _judgement(response, name or origin(url), [*secrets_of(url), *in_path, *secrets])


def authorities(*, trusted: bool = False) -> str | bool:
    """The operator's own certificate authorities, or True for the usual ones: what requests calls `verify`.

    requests finds them by itself only where it trusts the environment as a whole.
    """
    return os.environ.get("REQUESTS_CA_BUNDLE") or (trusted and os.environ.get("CURL_CA_BUNDLE")) or True


def _way(url: str, *, trusted: bool) -> tuple[HTTPAdapter, dict[str, Any]]:
    """What sends a request to a URL, and what else its `send` is to know."""
    networks = None if trusted else egress.denied_networks(os.environ)
    proxies = _proxies(url) if trusted else {}
    if proxies or not url.startswith("https:"):
        return egress.adapter(networks), {"verify": authorities(trusted=trusted), "proxies": proxies}
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    given = authorities(trusted=trusted)
    path = DEFAULT_CA_BUNDLE_PATH if given is True else str(given)
    try:
        found = os.stat(path)
        # Any of these tells of another file in its place, also where all times are made alike.
        version = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        return egress.adapter(networks, (path, version)), {}
    except OSError as error:
        raise TransientError(f"the certificate authorities in {path} cannot be read: {error.strerror}") from None


def _proxies(url: str) -> dict[str, str]:
    """The environment's proxies for a URL, as requests finds them.

    It reads all of the environment twice for that, a tenth of an attempt's time, mostly to find none.
    """
    import requests

    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}
    return requests.utils.get_environ_proxies(url)


def never_connected(error: BaseException) -> bool:
    """Whether an exception of requests means that no byte of the request can have left."""
    import ssl

    import requests
    from urllib3.exceptions import NewConnectionError, SSLError
    from urllib3.util.ssl_match_hostname import CertificateError

    if isinstance(error, requests.ConnectTimeout):
        return True
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    # a proxy that could not be reached
    reason = getattr(reason, "original_error", reason)
    if isinstance(reason, SSLError):
        # Other TLS errors may come after the handshake, in the answer. urllib3 1.26 compares the name by itself.
        return bool(reason.args) and isinstance(reason.args[0], (ssl.SSLCertVerificationError, CertificateError))
    return isinstance(reason, NewConnectionError)


def explain(error: BaseException) -> str:
    """The cause of a failed exchange in a few words, without the URL that the libraries put into theirs."""
    import requests

    if isinstance(error, requests.ConnectTimeout):
        return "timed out"
    if isinstance(error, requests.Timeout):
        return f"no answer within {READ_TIMEOUT:g} s"
    cause = error
    # requests' own exceptions are OSErrors too
    while isinstance(cause, requests.RequestException) or not isinstance(cause, OSError):
        below = cause.__cause__ or cause.__context__
        if below is None:
            return type(cause).__name__
        cause = below
    return printable(cause.strerror or str(cause)) or type(cause).__name__


def retry_after(header: str | None) -> float | None:
    """The seconds that a Retry-After header asks for (RFC 9110, 10.2.3: seconds or a date), None if unreadable."""
    if header is None:
        return None
    text = header.strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(text)
        # A date without a zone is one of the obsolete forms, which are in GMT too.
        instant = clock.micros(date if date.tzinfo else date.replace(tzinfo=UTC))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(0.0, (instant - clock.now()) / clock.SECOND)


def printable(text: str) -> str:
    """Text on one line, without control characters, so that it can go into a log, a terminal or JSON."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def hide(text: str, secrets: Iterable[str]) -> str:
    """Take secrets out of a text, also as they appear in a URL or an Authorization header, in any case of letters."""
    forms = set()
    for secret in secrets:
        encoded = secret.encode(errors="replace")
        forms |= {secret, quote(encoded, safe=""), quote_plus(encoded), base64.b64encode(encoded).decode()}
    # The longest first: one may be a part of another.
    for form in sorted(forms, key=len, reverse=True):
        if len(form) >= _SHORTEST_SECRET:
            text = re.sub(re.escape(form), "[hidden]", text, flags=re.IGNORECASE)
    return text


def origin(url: str) -> str:
    """Scheme, host and port of a URL. The rest is kept out of error texts: tokens stand in paths too."""
    scheme, _, rest = url.partition("://")
    host = re.split(r"[/?#\\]", rest, maxsplit=1)[0].rpartition("@")[2]
    if not re.fullmatch(r"(?:\[[0-9A-Fa-f:.]*\]|[^:]*)(?::[0-9]*)?", host):
        # What stands in the place of the port may be a part of a password with a slash in it.
        host = host.partition(":")[0]
    return printable(f"{scheme}://{host}")


def secrets_of(url: str) -> list[str]:
    """What of a URL must not be shown: its user, password and query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return []
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    values = [value for _, value in parse_qsl(parts.query)]
    login = f"{unquote(user)}:{unquote(password)}"
    return [user, unquote(user), password, unquote(password), login, parts.query, *values]


def _secrets_of_path(url: str) -> list[str]:
    """A URL's path and the longer of its segments: many a webhook has its token there."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return []
    segments = [segment for segment in path.split("/") if len(segment) >= SHORTEST_PART]
    return [path, unquote(path), *segments, *map(unquote, segments)]


def _failure(error: Exception, name: str) -> HandlerError:
    """What it means that there is no answer."""
    if isinstance(error, PermanentError):
        return PermanentError(f"{name}: {error}")
    if isinstance(error, ValueError):
        return PermanentError(f"{name}: no request can be made for this URL ({type(error).__name__})")
    if never_connected(error):
        return TransientError(f"{name}: no connection: {explain(error)}")
    return HandlerError(f"{name}: {explain(error)}; whether the request was carried out is not known")


def _judgement(response: requests.Response, name: str, secrets: Iterable[str]) -> HandlerError:
    """What an answer other than 2xx means."""
    status = response.status_code
    # In what the server said only: the target's name, which may stand in a path too, stays readable.
    answered = f"{name} answered {status} {hide(printable(response.reason or ''), secrets)}".rstrip()
    if 300 <= status < 400:
        return PermanentError(f"{answered}: {_redirection(response, secrets)}")
    excerpt = hide(printable(_excerpt(response).decode(errors="replace")), secrets)
    text = f"{answered}: {excerpt}" if excerpt else answered
    if status in TRANSIENT or status >= 500:
        return TransientError(text, retry_after=retry_after(response.headers.get("Retry-After")))
    return PermanentError(text)


def _redirection(response: requests.Response, secrets: Iterable[str]) -> str:
    location = response.headers.get("Location")
    if not location:
        return "a redirect without a Location"
    try:
        parts = urlsplit(urljoin(response.url, location))
    except ValueError:
        return "a redirect to what is no URL"
    url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{hide(parts.path, secrets)}"
    return f"redirects are not followed; its Location is {printable(url)}"


def _excerpt(response: requests.Response) -> bytes:
    """The beginning of a body, as far as it comes in time. Never raises for it: the status has said enough."""
    import urllib3

    end = clock.monotonic() + EXCERPT_TIME
    data = bytearray()
    # There is none when the server has said that it will close the connection.
    sock = getattr(response.raw.connection, "sock", None)
    if sock is not None:
        sock.settimeout(EXCERPT_TIME)
    with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):
        while len(data) < EXCERPT and clock.monotonic() < end:
            # Byte by byte, because a longer read waits for all of its bytes, however slowly they drip in.
            byte = response.raw.read(1, decode_content=False)
            if not byte:
                break
            data += byte
    return bytes(data)
