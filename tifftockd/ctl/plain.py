"""http.client without ssl, which few need: it goes to a Unix socket most of the time.

It imports ssl where there is one, and that takes as long as all else that it imports: so there is none meanwhile.
"""

import sys

_unknown = "ssl" not in sys.modules and "http.client" not in sys.modules
if _unknown:
    sys.modules["ssl"] = None  # type: ignore[assignment]
try:
    from http import client
finally:
    if _unknown:
        del sys.modules["ssl"]

__all__ = ["client"]
