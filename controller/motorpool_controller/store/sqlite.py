"""SQLite: one file in the data directory, the default."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from motorpool_controller.store.errors import NotInitialisedError, StoreError
from motorpool_controller.store.pool import POOL

BUSY_TIMEOUT_SECONDS = 10


def make_file(path: Path) -> None:
    """Make an empty file; there must be none."""
    # Made here and not by SQLite, so that nobody else could ever read it: it holds API keys.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def sqlite_engine(path: Path) -> Engine:
    """Return an engine on a file that is there."""
    if not path.exists():
        raise NotInitialisedError(
            f"there is no cluster in {path.parent} yet; make one with `motorpool-controller init`, or name another "
            "folder with --data-dir"
        )
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, **POOL)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def copy_file(source: Path, target: Path) -> None:
    """Copy a database as it is at one moment, also beside a running controller, into a file that must not exist.

    SQLite's own backup: it takes what is committed, the write-ahead log included, and writers go on meanwhile.
    """
    make_file(target)
    try:
        with closing(sqlite3.connect(source)) as origin, closing(sqlite3.connect(target)) as copy:
            origin.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, and nothing beside it
            (found,) = copy.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"{source} cannot be copied: {error}; nothing was backed up") from error
    if found != "ok":
        raise StoreError(f"{source} is damaged: {found}; nothing was backed up")


def _configure(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    # The driver's own idea of when a transaction begins knows no BEGIN IMMEDIATE; ours begin in _begin.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        # An answer to a caller promises that the change is on disk (P8).
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
    finally:
        cursor.close()


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
