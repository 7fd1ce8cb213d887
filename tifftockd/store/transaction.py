"""What a request of the store works with: statements in the transaction that it shares with others."""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Callable
from functools import cache
from typing import Any

from tifftockd import journal
from tifftockd.store.library import Dialect, TextClause

# How many rows one statement inserts, while there are so many: few kinds, which SQLite's module keeps compiled, and one
# row for what is left.
_AT_ONCE = 64, 8, 1


class Transaction:
    """What a request works with."""

    def __init__(self, cursor: sqlite3.Cursor, dialect: Dialect) -> None:
        self._cursor = cursor
        self._dialect = dialect
        self._undo: list[Callable[[], None]] = []
        self._after: list[Callable[[], None]] = []

    def execute(self, sql: TextClause, parameters: dict[str, Any] | None = None) -> sqlite3.Cursor:
        """One statement. What it gives is to be read before the next one."""
        return self._cursor.execute(_compiled(sql, self._dialect), parameters or {})

    def insert(self, table: str, row: dict[str, Any]) -> int:
        """A new row, its values by the names of their columns; its id."""
        cursor = self._cursor.execute(_insert(table, tuple(row), 1), tuple(row.values()))
        return cursor.lastrowid  # type: ignore[return-value]  # None only before the first INSERT

    def execute_each(self, sql: TextClause, parameters: list[dict[str, Any]]) -> None:
        """One statement once for each of these."""
        self._cursor.executemany(_compiled(sql, self._dialect), parameters)

    def insert_each(self, table: str, rows: list[dict[str, Any]]) -> None:
        """Such rows, all of the same columns: several at a time, which takes SQLite less than half the time."""
        names, start = tuple(rows[0]), 0
        values = operator.itemgetter(*names)
        for count in _AT_ONCE:
            while len(rows) - start >= count:
                some = rows[start : start + count]
                self._cursor.execute(_insert(table, names, count), [value for row in some for value in values(row)])
                start += count

    def value(self, sql: TextClause, parameters: dict[str, Any] | None = None) -> Any:
        """The first column of the first row; None if there is none."""
        row = self.execute(sql, parameters).fetchone()
        return None if row is None else row[0]

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Call `undo` on the writer's thread should this request not be committed after all."""
        self._undo.append(undo)

    def on_commit(self, after: Callable[[], None]) -> None:
        """Call `after` on the writer's thread once this request is committed, also when nobody waits for it."""
        self._after.append(after)

    def undone(self) -> None:
        """Call what was registered, last first."""
        while self._undo:
            self._undo.pop()()

    def committed(self) -> None:
        """Call what was registered, in its order."""
        for after in self._after:
            try:
                after()
            except Exception as error:
                journal.event("store-request-failed", journal.ERR, message=type(error).__name__)


@cache
def _compiled(sql: TextClause, dialect: Dialect) -> str:
    """What SQLAlchemy makes of a statement for the driver: once, as it takes ten times what SQLite then does."""
    return str(sql.compile(dialect=dialect))


@cache
def _insert(table: str, names: tuple[str, ...], count: int) -> str:
    """The INSERT of so many rows."""
    rows = ", ".join([f"({', '.join('?' * len(names))})"] * count)
    # OR FAIL, or SQLite would keep copies of the pages, to take this one statement back: when it fails, so does all of
    # its transaction.
    return f"INSERT OR FAIL INTO {table} ({', '.join(names)}) VALUES {rows}"
