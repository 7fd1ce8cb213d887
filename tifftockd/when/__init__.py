"""What people write for a time, a span or a zone, read exactly and refused clearly; and written back.

Everything unreadable is an InvalidTime, whatever was put in: these functions are fed by strangers.
"""

from tifftockd.when.spans import format_span, parse_span
from tifftockd.when.times import format_instant, from_local, is_absolute, offset_change, parse_when
from tifftockd.when.zones import find_zone, server_zone, zone_names, zone_or

__all__ = [
    "find_zone",
    "format_instant",
    "format_span",
    "from_local",
    "is_absolute",
    "offset_change",
    "parse_span",
    "parse_when",
    "server_zone",
    "zone_names",
    "zone_or",
]
