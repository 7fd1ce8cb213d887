"""Names in a file of settings that are none, and look as if one had been meant."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches

# How alike two names are, as difflib counts: RETRYS and RETRIES are, SMTP_TO and SMTP_PORT are not.
_ALIKE = 0.76


def find_slips(places: Mapping[str, str], given: Collection[str], known: set[str]) -> Iterator[str]:
    """A sentence for each. `places`: where the names stand; `given`: all names that are set.

    Others are left to handlers. So is one beside the setting that it is like: then both are meant.
    """
    for name in (name for name in places if name not in known):
        likely = [other for other in known.difference(given) if other[:1] == name[:1]]
        for meant in get_close_matches(name, likely, n=1, cutoff=_ALIKE):
            yield f"{places[name]}: there is no setting {name}; is {meant} meant?"
