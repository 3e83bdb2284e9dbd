"""A database copied while it is in use, and one that goes on from a copy though time went on without it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, delete, select, update

from motorpool_controller.store import schema
from motorpool_controller.store.codec import microseconds, time_of
from motorpool_controller.store.database import write
from motorpool_controller.store.errors import StoreError


@dataclass(frozen=True, slots=True)
class Restoration:
    """A database's last restoration: what happened between the two times is not known in it."""

    backup_time: datetime
    restore_time: datetime


def copy_database(source: Path, target: Path) -> None:
    """Copy a database as it is at one moment, also beside a running controller, into a file that must not exist.

    SQLite's own backup: it takes what is committed, the write-ahead log included, and writers go on meanwhile.
    """
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(sqlite3.connect(source)) as origin, closing(sqlite3.connect(target)) as copy:
            origin.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, and nothing beside it
            (found,) = copy.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"{source} cannot be copied: {error}; nothing was backed up") from error
    if found != "ok":
        raise StoreError(f"{source} is damaged: {found}; nothing was backed up")


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
