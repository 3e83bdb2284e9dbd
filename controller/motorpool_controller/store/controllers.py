"""Who the controllers of a PostgreSQL database are, and which of them are there."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, insert, select, text, update

from motorpool_controller.domain.controllers import Controller, Standing
from motorpool_controller.store import schema
from motorpool_controller.store.codec import decode, encode
from motorpool_controller.store.database import told, write

FORGOTTEN_AFTER = timedelta(days=30)
"""A controller that is not there, and started last so long ago, is none any more: who takes over forgets it."""
_PRESENCE = int.from_bytes(b"mpcl", "big")
"""Each controller holds a shared advisory lock of this class while it is connected: the server knows who is there."""

_PRESENT = text("""
    SELECT l.objid::bigint AS number FROM pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid::bigint = :presence
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")
_BE_PRESENT = text("SELECT pg_advisory_lock_shared(:presence, :number)")
_TABLE = text("SELECT to_regclass('controllers') IS NOT NULL")


def be_present(connection: Connection, name: str) -> None:
    """Have the server know, for as long as this connection lasts, that a controller is there."""
    connection.execute(_BE_PRESENT, {"presence": _PRESENCE, "number": _number(name)})


def standings(connection: Connection) -> tuple[Standing, ...]:
    """Return all controllers by name; none where the tables are of a version that has no such table."""
    if not connection.execute(_TABLE).scalar_one():
        return ()
    here = {row.number for row in connection.execute(_PRESENT, {"presence": _PRESENCE})}
    epoch = connection.execute(select(schema.meta.c.controller_epoch)).scalar_one()
    rows = connection.execute(select(schema.controllers).order_by(schema.controllers.c.name))
    return tuple(
        Standing(
            controller=decode(row.body, Controller),
            leads=row.controller_epoch == epoch,
            present=_number(row.name) in here,
        )
        for row in rows
    )


def register(connection: Connection, controller: Controller) -> None:
    """Write down a controller that stands by. Where the tables are older, it is when it takes over."""
    if connection.execute(_TABLE).scalar_one():
        _put(connection, controller, epoch=0)


def leader_of(engine: Engine) -> Controller | None:
    """Return who leads now; None where nobody does who is there."""
    with told(engine), engine.connect() as connection:
        return next((each.controller for each in standings(connection) if each.leads and each.present), None)


def tell_trust(engine: Engine, name: str, authorities: Sequence[str], epoch: int) -> None:
    """Write down which authorities the leader of an epoch trusts now; nothing where another one leads."""
    table = schema.controllers
    mine = table.c.name == name, table.c.controller_epoch == epoch
    with told(engine, "written"), write(engine) as connection, connection.begin():
        body = connection.execute(select(table.c.body).where(*mine)).scalar_one_or_none()
        if body is not None:
            now = replace(decode(body, Controller), authorities=tuple(authorities))
            connection.execute(update(table).where(*mine).values(body=encode(now)))


def take_lead(connection: Connection, controller: Controller, now: datetime) -> None:
    """Write down who has the epoch that this transaction took, and forget who is gone for good."""
    epoch = connection.execute(select(schema.meta.c.controller_epoch)).scalar_one()
    _put(connection, replace(controller, lead_time=now), epoch=epoch)
    gone = [
        each.controller.name
        for each in standings(connection)
        if not (each.present or each.leads) and each.controller.start_time < now - FORGOTTEN_AFTER
    ]
    if gone:
        connection.execute(delete(schema.controllers).where(schema.controllers.c.name.in_(gone)))


def others_of(name: str, found: Sequence[Standing]) -> tuple[Standing, ...]:
    """Return those of the controllers that are there beside one."""
    return tuple(each for each in found if each.present and each.controller.name != name)


def _put(connection: Connection, controller: Controller, epoch: int) -> None:
    table = schema.controllers
    revision = connection.execute(select(schema.meta.c.revision)).scalar_one()
    values = {"controller_epoch": epoch, "revision": revision, "body": encode(controller)}
    changed = connection.execute(update(table).where(table.c.name == controller.name).values(**values))
    if not changed.rowcount:
        connection.execute(insert(table).values(name=controller.name, **values))


def _number(name: str) -> int:
    # A lock's number is a signed integer of 32 bits.
    return zlib.crc32(name.encode()) & 0x7FFFFFFF
