"""The bare cost of an answer: bottle and waitress, set up as the daemon's are, with no store behind them.

A program of its own, as the daemon is: `python storeless.py SOCKET`.
"""

import itertools
import logging
import sys

import bottle
import waitress

from tifftockd import server

_ids = itertools.count(1)
app = bottle.Bottle()


@app.post("/remind")
def remind():
    """Read JSON, and answer with as much of it as the daemon does."""
    bottle.response.status = 201
    return bottle.request.json | {
        "id": next(_ids),
        "when": "2030-01-31T09:00:00.123456+01:00",
        "created": "2030-01-31T08:00:00.123456+01:00",
        "to": None,
        "options": {},
        "tz": None,
        "max_late": "24h",
        "state": "pending",
        "attempts": 0,
        "key": "0123456789abcdef0123456789abcdef",
        "owner": 1000,
        "retries": 5,
        "last_error": None,
    }


if __name__ == "__main__":
    # The daemon is silent about it, too.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    waitress.serve(
        app,
        unix_socket=sys.argv[1],
        threads=server.THREADS,
        connection_limit=200,
        asyncore_use_poll=True,
        clear_untrusted_proxy_headers=True,
        ident=None,
        _quiet=True,
    )
