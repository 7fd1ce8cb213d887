"""Databases of earlier releases: what was in them is there, and goes on.

`schema-N.db` is a database as the release with schema N left it when it was killed in the middle of an attempt.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.daemon import wait_until
from tifftockd.store.schema import VERSION

# The files' own time goes by, and what ended in it is not to be cleaned away.
KEPT = {"HISTORY_DAYS": "36500", "TZ": "Europe/Berlin"}


@pytest.fixture
def migrated(daemon):
    daemon.settings |= KEPT
    daemon.database.parent.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("schema-2.db"), daemon.database)
    return daemon.start()


def test_everything_of_schema_2_is_there_and_goes_on(migrated):
    shown = {one["id"]: one for one in migrated.get("/reminders?state=all")}
    assert {id_: (one["state"], one["message"]) for id_, one in shown.items() if id_ != 11} == {
        1: ("pending", "new passport \N{HOT BEVERAGE}"),
        2: ("pending", "changed"),
        5: ("failed", "failed"),
        6: ("pending", "retried later"),
        7: ("uncertain", "uncertain"),
        8: ("pending", "one of two, 1"),
        9: ("pending", "one of two, 2"),
        10: ("missed", "missed"),
    }
    passport = {name: shown[1][name] for name in ("when", "tz", "max_late", "retries", "repeat", "snoozed_from")}
    assert passport == {
        "when": "2039-01-31T03:00:00.500000-05:00", "tz": "America/New_York", "max_late": "168h", "retries": 10,
        "repeat": None, "snoozed_from": None,
    }  # fmt: skip
    assert shown[2]["when"] == "2039-02-02T10:00:00+01:00"
    history = {(one["reminder"], one["outcome"]) for one in migrated.get("/history")}
    assert history >= {
        (3, "cancelled"), (4, "delivered"), (5, "failed"), (6, "failed"), (7, "uncertain"), (10, "missed"),
        (11, "interrupted"),
    }  # fmt: skip
    counts = migrated.get("/health")["counts"]
    assert counts["failed"] + counts["uncertain"] + counts["missed"] + counts["pending"] + counts["firing"] == len(
        shown
    )
    # An id is never used again, and an old reminder can do what is new.
    assert migrated.remind()["id"] == 12
    changed = migrated.request("PATCH", "/reminder/2", {"repeat": "daily", "count": 3})
    assert (changed.status, changed.json["repeat"]) == (200, "daily")
    back = migrated.request("POST", "/reminder/4/snooze", {"in": 0})
    assert (back.status, back.json["snoozed_from"]) == (201, 4)
    wait_until(lambda: migrated.state(back.json) is None, "its delivery")
    with closing(sqlite3.connect(migrated.database)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
