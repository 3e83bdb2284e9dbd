"""The database: its engine, its migrations, its first row. Either a file of ours or PostgreSQL, with one schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import alembic.command
import alembic.config
import alembic.util
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, insert, inspect, select
from sqlalchemy.exc import DatabaseError, DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from motorpool_controller.config import PostgresUrl
from motorpool_controller.store import schema
from motorpool_controller.store.errors import (
    DatabaseLostError,
    DatabaseTooNewError,
    NotInitialisedError,
    StoreBusyError,
    StoreError,
)
from motorpool_controller.store.postgresql import postgresql_engine
from motorpool_controller.store.sqlite import make_file, sqlite_engine

Where = Path | PostgresUrl
MIGRATIONS = Path(__file__).with_name("migrations")
_READ_ONLY, _SHUTTING_DOWN = "25006", "57P"
"""PostgreSQL's codes: it became a standby; its administrator ends it."""


def make_database(where: Where) -> Engine:
    """Return an engine on a new SQLite file, or on an empty PostgreSQL database, with our tables and no cluster."""
    if isinstance(where, Path):
        make_file(where)
    return _opened(engine_of(where), migrate=True, make=True)


def open_database(where: Where, *, migrate: bool = True) -> Engine:
    """Return an engine on the database of a cluster.

    Its tables are brought to this version's; without ``migrate``, beside a running controller, they must be.
    """
    return _opened(engine_of(where), migrate=migrate, make=False)


def _opened(engine: Engine, *, migrate: bool, make: bool) -> Engine:
    try:
        with told(engine), write(engine) if migrate else engine.connect() as connection:
            bring_up_to_date(connection, migrate=migrate, make=make)
    except BaseException:
        engine.dispose()
        raise
    return engine


def engine_of(where: Where) -> Engine:
    """Return an engine on a database as it is; raise a NotInitialisedError where there is no file."""
    return sqlite_engine(where) if isinstance(where, Path) else postgresql_engine(where)


def name_of(engine: Engine) -> str:
    """Return how people are told of a database: a file's path, or a URL without its password."""
    if engine.dialect.name == "sqlite":
        return str(engine.url.database)
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=True)


def write(engine: Engine) -> Connection:
    """Return a connection whose transactions take the write lock at their start: none fails in its middle."""
    return engine.connect().execution_options(immediate=True)


@contextmanager
def told(engine: Engine, what: str = "read") -> Iterator[None]:
    """Tell what the database does not do, in the words of a StoreError. No words hold a row, nor a password."""
    try:
        yield
    except NoConnectionError as error:
        raise StoreBusyError(f"{name_of(engine)} answers too slowly: every connection is in use; try again") from error
    except DBAPIError as error:
        cause = " ".join(str(error.orig).split())
        kind = DatabaseLostError if is_lost(error) else StoreError
        raise kind(
            f"{name_of(engine)} cannot be {what}: {cause}; nothing was changed, and the same call may be made again "
            "once that is mended"
        ) from error


def is_lost(error: DBAPIError) -> bool:
    """Whether a connection is of no more use: it is gone, or its server takes no writes any more."""
    code = getattr(error.orig, "sqlstate", None) or ""
    return error.connection_invalidated or code == _READ_ONLY or code.startswith(_SHUTTING_DOWN)


def initialise(engine: Engine, cluster_id: str) -> None:
    """Write the cluster's first row. There must be none."""
    with write(engine) as connection, connection.begin():
        connection.execute(
            insert(schema.meta).values(id=1, cluster_id=cluster_id, controller_epoch=0, revision=0, changes_since=0)
        )


def cluster_id(engine: Engine) -> str:
    """Return the id of the cluster in this database."""
    with told(engine), engine.connect() as connection:
        found = cluster_of(connection)
    if found is None:
        raise NotInitialisedError(
            f"there is no cluster in {name_of(engine)} yet; make one with `motorpool-controller init`"
        )
    return found


def cluster_of(connection: Connection) -> str | None:
    """Return the id of the cluster whose tables these are; None where there is none."""
    found = connection.execute(select(schema.meta.c.cluster_id)).scalar_one_or_none()
    return None if found is None else str(found)


def cluster_there(where: Where) -> str:
    """Return the id of the cluster in a database, whose tables may be older than this version's.

    Raise a StoreError where there is none, or a newer version wrote it.
    """
    engine = engine_of(where)
    try:
        with told(engine), engine.connect() as connection:
            scripts, current, head = _versions(connection, make=False)
            if current != head and current not in {each.revision for each in scripts.walk_revisions()}:
                raise _too_new(name_of(engine), f"tables {current}")
        return cluster_id(engine)
    finally:
        engine.dispose()


def bring_up_to_date(connection: Connection, *, migrate: bool = True, make: bool = False) -> None:
    """Bring the tables to this version's, in one transaction; where there are none, only to ``make`` them."""
    name = name_of(connection.engine)
    _, current, head = _versions(connection, make=make)
    if current == head:
        return
    if not migrate:
        raise StoreError(
            f"{name} is of another version of motorpool-controller (tables {current}, here {head}); use the command of "
            "that version, or restart the controller with this one"
        )
    config = _config()
    with connection.begin():
        config.attributes["connection"] = connection
        try:
            alembic.command.upgrade(config, "head")
        except alembic.util.CommandError as error:
            raise _too_new(name, str(error)) from error


def _config() -> alembic.config.Config:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _versions(connection: Connection, *, make: bool) -> tuple[ScriptDirectory, str | None, str | None]:
    """Return the migrations, the tables' version, and this one's; raise a StoreError where the tables are not ours."""
    name = name_of(connection.engine)
    scripts = ScriptDirectory.from_config(_config())
    try:
        with connection.begin():
            current = MigrationContext.configure(connection).get_current_revision()
            tables = inspect(connection).get_table_names()
    except DatabaseError as error:
        if connection.dialect.name != "sqlite":
            raise
        raise StoreError(f"{name} cannot be read: {error.orig}; restore it from a backup") from error
    if current is None and tables:
        raise StoreError(
            f"{name} is not one of Motorpool's databases; give another --data-dir, or another database of its own"
        )
    if current is None and not make:
        raise NotInitialisedError(f"there is no cluster in {name} yet; make one with `motorpool-controller init`")
    return scripts, current, scripts.get_current_head()


def _too_new(name: str, why: str) -> DatabaseTooNewError:
    return DatabaseTooNewError(f"{name} was written by a newer motorpool-controller ({why}); install that one or later")
