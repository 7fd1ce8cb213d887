"""What is asked often finds its rows by the index that was made for it, however many reminders there are."""

import sqlite3
from collections import defaultdict

import pytest

from tifftockd.reminder import State
from tifftockd.store import sql
from tifftockd.store.schema import MIGRATIONS

ALL = frozenset(State)
INDEXES = {
    "UPCOMING": (sql.UPCOMING, {"reminder_next": 4}),
    "DUE": (sql.DUE, {"reminder_next": 1}),
    "EXPIRED": (sql.EXPIRED, {"reminder_latest": 1}),
    "NEXT_LATEST": (sql.NEXT_LATEST, {"reminder_latest": 1}),
    "FIRING": (sql.FIRING, {"reminder_list": 1}),
    "page": (sql.page(ALL, frozenset(), None), {"reminder_list": len(State)}),
    "page by method": (sql.page(ALL, frozenset({"method"}), "method"), {"reminder_method": len(State) - 1}),
    "page by owner": (sql.page(ALL, frozenset({"owner", "method"}), "owner"), {"reminder_owner": len(State) - 1}),
    "ONE": (sql.ONE, {"INTEGER PRIMARY KEY": 1}),
    "MANY": (sql.MANY, {"INTEGER PRIMARY KEY": 1}),
    "history": (sql.history(frozenset(), None), {"INTEGER PRIMARY KEY": 1}),
    "history by reminder": (sql.history(frozenset({"reminder"}), "reminder"), {"history_reminder": 1}),
    "history by outcome": (sql.history(frozenset({"outcome"}), "outcome"), {"history_outcome": 1}),
    **{f"FEW {column}": (statement, {f"_{column}": 1}) for column, statement in sql.FEW.items()},
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
