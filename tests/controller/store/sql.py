"""Statements beside the store, as an operator's own tool would send them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from motorpool_controller.config import PostgresUrl
from motorpool_controller.store.database import Where, engine_of


def sql(where: Where, *statements: str) -> list[tuple[Any, ...]]:
    """Carry out statements, and return the rows of the last one."""
    engine = engine_of(where)
    rows: list[tuple[Any, ...]] = []
    with engine.connect() as connection, connection.begin():
        for statement in statements:
            result = connection.exec_driver_sql(statement)
            rows = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


def as_text(where: Where) -> str:
    """Return a database as an argument of a process."""
    return str(where) if isinstance(where, Path) else where.url


def of_text(text: str) -> Where:
    """Return the database of an argument."""
    return PostgresUrl(text) if "://" in text else Path(text)
