"""http.client without TLS, which the API does not speak.

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
