"""A database copied while it is in use, and one that goes on from a copy though time went on without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, delete, insert, select, update

from motorpool_controller.config import PostgresUrl
from motorpool_controller.store import schema
from motorpool_controller.store.codec import microseconds, time_of
from motorpool_controller.store.database import (
    Where,
    bring_up_to_date,
    engine_of,
    make_database,
    open_database,
    told,
    write,
)
from motorpool_controller.store.seat import Seat
from motorpool_controller.store.sqlite import copy_file

_ROWS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Restoration:
    """A database's last restoration: what happened between the two times is not known in it."""

    backup_time: datetime
    restore_time: datetime


def copy_database(source: Where, target: Path) -> None:
    """Copy a database as it is at one moment, also beside a running controller, into a SQLite file that must not exist.

    So that a backup of one kind of database is restored into the other: their tables are the same.
    """
    if isinstance(source, Path):
        copy_file(source, target)
        return
    engine = open_database(source, migrate=False)
    try:
        with told(engine), engine.connect().execution_options(isolation_level="REPEATABLE READ") as origin:
            copied = make_database(target)
            with origin.begin(), write(copied) as copy, copy.begin():
                _pour(origin, copy)
            copied.dispose()
    finally:
        engine.dispose()


@contextmanager
def database_at_rest(where: PostgresUrl) -> Iterator[Connection]:
    """Give the writing connection of a database, with our tables, which no controller serves from meanwhile."""
    seat = Seat(engine_of(where))
    try:
        connection = seat.connection()
        with told(seat.engine):
            bring_up_to_date(connection, make=True)
            yield connection
    finally:
        seat.leave()
        seat.engine.dispose()


def replace_rows(connection: Connection, source: Path) -> None:
    """Put the rows of a SQLite file in the place of a database's, all of them or none."""
    engine = open_database(source)
    try:
        with engine.connect() as origin, origin.begin(), connection.begin():
            for table in reversed(schema.metadata.sorted_tables):
                connection.execute(delete(table))
            _pour(origin, connection)
    finally:
        engine.dispose()


def _pour(source: Connection, target: Connection) -> None:
    """Copy all rows of one database into the empty tables of another."""
    for table in schema.metadata.sorted_tables:
        rows = source.execution_options(yield_per=_ROWS_AT_ONCE).execute(select(table)).mappings()
        for part in rows.partitions():
            target.execute(insert(table), [dict(row) for row in part])


def begin_anew(engine: Engine, backup_time: datetime, now: datetime) -> None:
    """Have a restored database go on beyond all that was ever said of it.

    Epochs and revisions that were given away after the backup are not known. Both count from 1, one a start and some
    a second at the most, so that the seconds and microseconds since 1970 are beyond them: agents take what they are
    told as newer than what they were told last, and who resumes a watch is told to list again.
    """
    epoch, revision = int(now.timestamp()), microseconds(now)
    with write(engine) as connection, connection.begin():
        meta = connection.execute(select(schema.meta)).one()
        revision = max(revision, meta.revision + 1)
        connection.execute(delete(schema.changes))
        connection.execute(
            update(schema.meta).values(
                controller_epoch=max(epoch, meta.controller_epoch + 1),
                revision=revision,
                changes_since=revision,
                backup_time_microseconds=microseconds(backup_time),
                restore_time_microseconds=microseconds(now),
            )
        )


def restoration(connection: Connection) -> Restoration | None:
    """Return the database's last restoration, if there was one."""
    meta = connection.execute(select(schema.meta)).one()
    if meta.restore_time_microseconds is None:
        return None
    return Restoration(time_of(meta.backup_time_microseconds), time_of(meta.restore_time_microseconds))
