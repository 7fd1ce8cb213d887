"""What is asked often finds its rows by the index that was made for it, however many reminders there are."""

import sqlite3
from collections import defaultdict

import pytest

from tifftockd.reminder import State
from tifftockd.store import sql
from tifftockd.store.schema import MIGRATIONS

INDEXES = {
    "UPCOMING": (sql.UPCOMING, {"reminder_next": 3}),
    "DUE": (sql.DUE, {"reminder_next": 1}),
    "EXPIRED": (sql.EXPIRED, {"reminder_latest": 1}),
    "NEXT_LATEST": (sql.NEXT_LATEST, {"reminder_latest": 1}),
    "FIRING": (sql.FIRING, {"reminder_list": 1}),
    "page": (sql.page(frozenset(State)), {"reminder_list": len(State)}),
    "ONE": (sql.ONE, {"INTEGER PRIMARY KEY": 1}),
    "MANY": (sql.MANY, {"INTEGER PRIMARY KEY": 1}),
    "HISTORY_OF_REMINDER": (sql.HISTORY_OF_REMINDER, {"history_reminder": 1}),
    "CLEAN_FINAL": (sql.CLEAN_FINAL, {"reminder_ended": 1}),
    "OLDEST_FINAL": (sql.OLDEST_FINAL, {"reminder_ended": 1}),
}


@pytest.fixture(scope="module")
def database():
    connection = sqlite3.connect(":memory:")
    for script in MIGRATIONS:
        connection.executescript(script)
    yield connection
    connection.close()


@pytest.mark.parametrize("name", INDEXES)
def test_a_statement_uses_its_index(database, name):
    statement, indexes = INDEXES[name]
    anything = defaultdict(lambda: 1, ids="[]")
    plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", anything)]
    for index, times in indexes.items():
        assert sum(index in step for step in plan) >= times, plan
