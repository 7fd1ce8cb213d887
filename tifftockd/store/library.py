"""dataset and SQLAlchemy, as the store imports them."""

from __future__ import annotations

from tifftockd.imports import leaving_out

# For changes of tables, PostgreSQL, drivers that wait in a loop, and plugins. SQLAlchemy asks of each error whether it
# is one of asyncio's two.
with leaving_out(
    "alembic.migration",
    "alembic.operations",
    "asyncio",
    "importlib.metadata",
    "sqlalchemy.dialects.postgresql",
    TimeoutError=TimeoutError,
    CancelledError=type("CancelledError", (BaseException,), {}),
):
    import dataset
    import sqlalchemy.dialects.sqlite  # noqa: F401 else the first connection imports it, with asyncio
    from sqlalchemy import Connection, Dialect, event, text
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError
    from sqlalchemy.sql.expression import TextClause

__all__ = ["Connection", "DBAPIError", "Dialect", "SQLAlchemyError", "TextClause", "dataset", "event", "text"]
