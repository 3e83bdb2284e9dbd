"""How many connections a controller has, and how long one waits for one."""

from __future__ import annotations

from typing import TypedDict

READERS = 4
"""Reads of the database at once. What is asked often stands in the view."""


class _Pool(TypedDict):
    pool_size: int
    max_overflow: int
    pool_timeout: float
    hide_parameters: bool


POOL: _Pool = {
    # One more: a command beside a controller writes through the pool, too.
    "pool_size": READERS + 1,
    "max_overflow": 0,
    "pool_timeout": 10.0,
    # Rows hold keys, and errors are logged.
    "hide_parameters": True,
}
