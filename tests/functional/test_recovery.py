"""After SIGKILL with a backlog: the oldest first, at the set rate, while all else goes on."""

import sqlite3
import time
from contextlib import closing

from tests.daemon import wait_until
from tests.functional.test_firing import lines

RATE = 40
HOUR = 3600


def test_a_backlog_is_begun_oldest_first_at_the_set_rate_and_keeps_nobody_waiting(daemon, tmp_path):
    daemon.settings |= {"CATCH_UP_RATE": str(RATE), "HANDLER_CONCURRENCY": "1"}
    daemon.start()
    note = tmp_path / "note"
    options = {"file": str(note)}
    # The later ones are created first, so that the order is not that of their ids.
    last = time.time() + HOUR
    made = [daemon.remind(method="note", when=f"@{last - n / 1000:.3f}", options=options) for n in range(200)]
    daemon.kill()
    with closing(sqlite3.connect(daemon.database)) as database, database:
        # As if the daemon had been down for that hour.
        passed = "due = due - :span, fire_at = fire_at - :span, latest = latest - :span"
        database.execute(f"UPDATE reminder SET {passed}", {"span": HOUR * 1_000_000})
    began = time.time()
    daemon.start()
    for _ in range(3):
        fresh = daemon.remind(method="note", options=options)
        assert daemon.request("GET", "/health").status == 200
        assert daemon.get("/reminders?limit=10")
    wait_until(lambda: len(lines(note)) == 203, "the backlog")
    tried = [(id_, at) for id_, _, _, at, _ in lines(note)]
    assert [id_ for id_, _ in tried if id_ <= made[-1]["id"]] == [one["id"] for one in reversed(made)]
    assert tried[-1][0] <= made[-1]["id"], "what becomes due now does not wait for the backlog"
    # A slow machine may be later than the rate allows, but never sooner: two are begun at once, and one is saved up.
    backlog = [at for id_, at in tried if id_ <= made[-1]["id"]]
    for number, at in enumerate(backlog):
        assert number + 1 <= RATE * (at - began) + 3, f"{number + 1} had begun after {at - began:.2f} s"
    assert {entry["outcome"] for entry in daemon.get("/history?limit=1000")} == {"delivered"}
    assert daemon.history(fresh)[0]["attempt"] == 1
