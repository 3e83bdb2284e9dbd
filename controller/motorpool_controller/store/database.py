"""The database: its engine, its migrations, its first row."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import alembic.command
import alembic.config
import alembic.util
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import ConnectionPoolEntry

from motorpool_controller.store import schema
from motorpool_controller.store.errors import DatabaseTooNewError, NotInitialisedError, StoreError

BUSY_TIMEOUT_SECONDS = 10
_MIGRATIONS = Path(__file__).with_name("migrations")


def make_database(path: Path) -> Engine:
    """Return an engine on a new SQLite file with our tables and no cluster."""
    # Made here and not by SQLite, so that nobody else could ever read it: it holds API keys.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    return open_database(path)


def open_database(path: Path, *, migrate: bool = True) -> Engine:
    """Return an engine on the SQLite file of a cluster.

    Its tables are brought to this version's; without ``migrate``, beside a running controller, they must be.
    """
    if not path.exists():
        raise NotInitialisedError(
            f"there is no cluster in {path.parent} yet; make one with `motorpool-controller init`, or name another "
            "folder with --data-dir"
        )
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_SECONDS})
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    try:
        _migrate(engine, path, allowed=migrate)
    except BaseException:
        engine.dispose()
        raise
    return engine


def write(engine: Engine) -> Connection:
    """Return a connection whose transactions take the write lock at their start: none fails in its middle."""
    return engine.connect().execution_options(immediate=True)


def initialise(engine: Engine, cluster_id: str) -> None:
    """Write the cluster's first row. There must be none."""
    with write(engine) as connection, connection.begin():
        connection.execute(
            insert(schema.meta).values(id=1, cluster_id=cluster_id, controller_epoch=0, revision=0, changes_since=0)
        )


def cluster_id(engine: Engine) -> str:
    """Return the id of the cluster in this database."""
    with engine.connect() as connection:
        found = connection.execute(select(schema.meta.c.cluster_id)).scalar_one_or_none()
    if found is None:
        raise NotInitialisedError(
            f"there is no cluster in {engine.url.database} yet; make one with `motorpool-controller init`"
        )
    return str(found)


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


def _migrate(engine: Engine, path: Path, *, allowed: bool) -> None:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    head = ScriptDirectory.from_config(config).get_current_head()
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
            foreign = current is None and bool(inspect(connection).get_table_names())
    except DatabaseError as error:
        raise StoreError(f"{path} cannot be read: {error.orig}; restore it from a backup") from error
    if foreign:
        raise StoreError(f"{path} is not one of Motorpool's databases; give another --data-dir")
    if current == head:
        return
    if not allowed:
        raise StoreError(
            f"{path} is of another version of motorpool-controller (tables {current}, here {head}); use the command of "
            "that version, or restart the controller with this one"
        )
    with write(engine) as connection, connection.begin():
        config.attributes["connection"] = connection
        try:
            alembic.command.upgrade(config, "head")
        except alembic.util.CommandError as error:
            raise DatabaseTooNewError(
                f"{path} was written by a newer motorpool-controller ({error}); install that one or later"
            ) from error
