"""Reads the whole database into a view, and takes the next epoch."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Connection, Engine, Table, delete, select, update

from motorpool_controller.domain.controllers import Controller
from motorpool_controller.domain.declarations import DeclaredBackend
from motorpool_controller.domain.event import Event
from motorpool_controller.domain.fleet import Node, Profile
from motorpool_controller.domain.peak import Peak
from motorpool_controller.domain.workload import Deployment, Instance
from motorpool_controller.store import schema
from motorpool_controller.store.codec import decode, microseconds, time_of
from motorpool_controller.store.controllers import standings, take_lead
from motorpool_controller.store.database import bring_up_to_date, cluster_id, told
from motorpool_controller.store.pending import Change
from motorpool_controller.store.requests import KEPT
from motorpool_controller.store.restoration import restoration
from motorpool_controller.store.rows import StoredAnswer
from motorpool_controller.store.seat import Seat
from motorpool_controller.store.sharing import Sharing
from motorpool_controller.store.view import View


def take_over(seat: Seat, now: datetime, me: Controller | None = None) -> View:
    """Take the next epoch, which fences every earlier controller, and return what is committed.

    In the same transaction it is written down who has it: ``me``, where the database may have several controllers.
    """
    connection = seat.connection()
    with told(seat.engine):
        bring_up_to_date(connection)
    cluster_id(seat.engine)
    with told(seat.engine), connection.begin():
        connection.execute(update(schema.meta).values(controller_epoch=schema.meta.c.controller_epoch + 1))
        if me is not None and seat.remote:
            take_lead(connection, me, now)
        connection.execute(
            delete(schema.requests).where(schema.requests.c.time_microseconds < microseconds(now - KEPT))
        )
        meta = connection.execute(select(schema.meta)).one()
        sharing = Sharing()
        nodes = [sharing.node(decode(body, Node)) for _, body in _bodies(connection, schema.nodes)]
        profiles = {name: decode(body, Profile) for name, body in _bodies(connection, schema.profiles)}
        # Earlier versions kept every profile that there ever was.
        used = {digest for node in nodes for digest in node.profiles.values()}
        for digest in profiles.keys() - used:
            del profiles[digest]
            connection.execute(delete(schema.profiles).where(schema.profiles.c.name == digest))
        view = View(meta.cluster_id, meta.controller_epoch, meta.revision, meta.changes_since)
        view.restoration = restoration(connection)
        view.standings = standings(connection) if seat.remote else ()
        view.fill(
            nodes=nodes,
            deployments=[decode(body, Deployment) for _, body in _bodies(connection, schema.deployments)],
            instances=[sharing.instance(decode(body, Instance)) for _, body in _bodies(connection, schema.instances)],
            profiles=profiles,
            peaks={name: decode(body, Peak) for name, body in _bodies(connection, schema.peaks)},
            backends=[decode(body, DeclaredBackend) for _, body in _bodies(connection, schema.backends)],
            events=[decode(body, Event) for _, body in _bodies(connection, schema.events)],
            answers=_answers(connection),
            changes=_changes(connection),
        )
    return view


def wishes(engine: Engine) -> tuple[list[DeclaredBackend], list[Node], list[Deployment]]:
    """Return declared backends, nodes and deployments by name as they are committed, beside a controller or without."""
    cluster_id(engine)
    with told(engine), engine.connect() as connection, connection.begin():
        backends = [decode(body, DeclaredBackend) for _, body in _bodies(connection, schema.backends)]
        nodes = [decode(body, Node) for _, body in _bodies(connection, schema.nodes)]
        deployments = [decode(body, Deployment) for _, body in _bodies(connection, schema.deployments)]
    return (
        sorted(backends, key=lambda row: row.name),
        sorted(nodes, key=lambda row: row.name),
        sorted(deployments, key=lambda row: row.name),
    )


def _bodies(connection: Connection, table: Table) -> Iterator[tuple[str, str]]:
    for row in connection.execute(select(table.c.name, table.c.body).order_by(table.c.revision, table.c.name)):
        yield row.name, row.body


def _answers(connection: Connection) -> Iterator[StoredAnswer]:
    for row in connection.execute(select(schema.requests).order_by(schema.requests.c.time_microseconds)):
        yield StoredAnswer(row.request_id, row.method, row.digest, row.response, time_of(row.time_microseconds))


def _changes(connection: Connection) -> Iterator[Change]:
    # By kind and name within a revision: any order is as good as another there.
    table = schema.changes
    for row in connection.execute(select(table).order_by(table.c.revision, table.c.kind, table.c.name)):
        yield Change(row.revision, row.kind, row.name, row.deleted)
