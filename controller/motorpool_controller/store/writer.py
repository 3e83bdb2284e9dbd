"""Puts a batch into the database, all of it or nothing. Runs in the store's one writer thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from sqlalchemy import Connection, Table, bindparam, delete, insert, select, update

from motorpool_controller.domain.controllers import Standing
from motorpool_controller.domain.declarations import DeclaredBackend
from motorpool_controller.domain.errors import UnauthenticatedError
from motorpool_controller.domain.event import Event
from motorpool_controller.domain.fleet import Node, Profile
from motorpool_controller.domain.peak import Peak
from motorpool_controller.domain.workload import Deployment, Instance
from motorpool_controller.store import schema
from motorpool_controller.store.codec import Body, encode, microseconds
from motorpool_controller.store.controllers import standings
from motorpool_controller.store.database import name_of, told
from motorpool_controller.store.errors import DatabaseInUseError, DatabaseLostError, FencedError, OutcomeUnknownError
from motorpool_controller.store.pending import Pending, TokenUse
from motorpool_controller.store.rows import StoredAnswer
from motorpool_controller.store.seat import Seat

V = TypeVar("V")
Values = dict[str, object]


class Writer:
    """Writes batches under one epoch; refuses once another controller took the next one."""

    def __init__(self, seat: Seat, controller_epoch: int) -> None:
        self._seat = seat
        self._name = name_of(seat.engine)
        self._epoch = controller_epoch
        self.standings: tuple[Standing, ...] = ()
        """The controllers of the database, as of the last look."""

    @property
    def remote(self) -> bool:
        """Whether the connection may go while the database stays."""
        return self._seat.remote

    def write(self, pending: Pending, existing: Mapping[str, frozenset[str]]) -> None:
        """Commit a batch. ``existing`` names, for each table, those of its rows that are there already.

        A full disk, a lock held too long, a file that is gone: the world's faults are told to every caller.
        """
        connection, committing = self._seat.connection(), False
        try:
            with told(self._seat.engine, "written"), connection.begin():
                self._put_batch(connection, pending, existing)
                committing = True
        except DatabaseLostError as error:
            self._seat.leave()
            if committing:
                raise OutcomeUnknownError(
                    f"{self._name} was lost while this was committed, so that it may have been carried out or not: "
                    "make the same call again, with the same request_id"
                ) from error
            raise

    def look(self) -> int:
        """Return the revision that is committed, over a new connection where the last one went.

        Raise a FencedError where another controller has taken the database over since, a DatabaseLostError where there
        is no connection.
        """
        try:
            connection = self._seat.connection()
            with told(self._seat.engine), connection.begin():
                found = connection.execute(select(schema.meta)).one_or_none()
                present = standings(connection) if self.remote else ()
                # The same one while nothing changed: who tells of changes compares.
                self.standings = present if present != self.standings else self.standings
        except DatabaseInUseError as error:
            raise FencedError(str(error)) from error
        except DatabaseLostError:
            self._seat.leave()
            raise
        if found is None or found.controller_epoch != self._epoch:
            raise self._fenced()
        return int(found.revision)

    def close(self) -> None:
        """Let another controller write."""
        self._seat.leave()

    def _put_batch(self, connection: Connection, pending: Pending, existing: Mapping[str, frozenset[str]]) -> None:
        self._advance(connection, pending)
        written: Values = {"revision": pending.revision, "controller_epoch": self._epoch}
        for use in pending.token_uses:
            _use_token(connection, use, written)
        self._put(connection, schema.profiles, pending.profiles, existing, self._profile(pending))
        self._put(connection, schema.backends, pending.backends, existing, self._plain)
        self._put(connection, schema.nodes, pending.nodes, existing, self._named)
        self._put(connection, schema.deployments, pending.deployments, existing, self._named)
        self._put(connection, schema.instances, pending.instances, existing, self._instance)
        self._put_claims(connection, pending.instances, existing)
        self._put(connection, schema.peaks, pending.peaks, existing, self._measured(pending))
        self._put(connection, schema.events, pending.events, existing, self._plain)
        self._put(connection, schema.requests, pending.answers, existing, self._answer(pending))
        if pending.changes:
            connection.execute(
                insert(schema.changes),
                [
                    {
                        "revision": change.revision,
                        "kind": change.kind,
                        "name": change.name,
                        "deleted": change.deleted,
                        "controller_epoch": self._epoch,
                    }
                    for change in pending.changes
                ],
            )
        if pending.changes_since is not None:
            connection.execute(delete(schema.changes).where(schema.changes.c.revision <= pending.changes_since))

    def _advance(self, connection: Connection, pending: Pending) -> None:
        values: Values = {"revision": pending.revision}
        if pending.changes_since is not None:
            values["changes_since"] = pending.changes_since
        found = connection.execute(
            update(schema.meta).where(schema.meta.c.controller_epoch == self._epoch).values(**values)
        )
        if found.rowcount != 1:
            raise self._fenced()

    def _fenced(self) -> FencedError:
        return FencedError(
            f"another motorpool-controller opened {self._name} after this one (epoch {self._epoch}), which writes "
            "nothing any more; let one of them run, and restart that one"
        )

    def _put(
        self,
        connection: Connection,
        table: Table,
        rows: Mapping[str, V | None],
        existing: Mapping[str, frozenset[str]],
        values: Callable[[str, V], Values],
    ) -> None:
        known = existing[table.name]
        key = table.primary_key.columns[0]
        removed = [{"key": name} for name, row in rows.items() if row is None and name in known]
        changed = [
            {"key": name, **values(name, row)} for name, row in rows.items() if row is not None and name in known
        ]
        added = [
            {key.name: name, **values(name, row)} for name, row in rows.items() if row is not None and name not in known
        ]
        # Removed first: a name that is free again may come back with another uid.
        if removed:
            connection.execute(delete(table).where(key == bindparam("key")), removed)
        if changed:
            connection.execute(update(table).where(key == bindparam("key")), changed)
        if added:
            connection.execute(insert(table), added)

    def _put_claims(
        self,
        connection: Connection,
        instances: Mapping[str, Instance | None],
        existing: Mapping[str, frozenset[str]],
    ) -> None:
        stale = [
            {"key": name}
            for name, row in instances.items()
            # Those of removed instances went with them.
            if row is not None and name in existing["instances"]
        ]
        if stale:
            connection.execute(delete(schema.claims).where(schema.claims.c.instance == bindparam("key")), stale)
        held = list(claims_of(row for row in instances.values() if row is not None))
        if held:
            connection.execute(insert(schema.claims), [{**claim, "controller_epoch": self._epoch} for claim in held])

    def _named(self, _name: str, row: Node | Deployment) -> Values:
        return {"uid": row.uid, **self._body(row, row.revision)}

    def _instance(self, _name: str, row: Instance) -> Values:
        return {"uid": row.uid, "deployment": row.deployment, **self._body(row, row.revision)}

    def _plain(self, _name: str, row: Event | DeclaredBackend) -> Values:
        return self._body(row, row.revision)

    def _profile(self, pending: Pending) -> Callable[[str, Profile], Values]:
        return lambda _name, row: self._body(row, pending.revision)

    def _measured(self, pending: Pending) -> Callable[[str, Peak], Values]:
        return lambda _name, row: self._body(row, pending.revision)

    def _answer(self, pending: Pending) -> Callable[[str, StoredAnswer], Values]:
        return lambda _name, row: {
            "method": row.method,
            "digest": row.digest,
            "response": row.response,
            "time_microseconds": microseconds(row.time),
            "revision": pending.revision,
            "controller_epoch": self._epoch,
        }

    def _body(self, row: Body, revision: int) -> Values:
        return {"body": encode(row), "revision": revision, "controller_epoch": self._epoch}


def claims_of(instances: Iterable[Instance]) -> Iterable[Values]:
    """Return the rows of ``claims`` that instances' placements hold; what claims nothing has no row."""
    for instance in instances:
        if instance.placement is None:
            continue
        held: dict[tuple[str, str], int] = {}
        for member in instance.placement.members:
            parts = [("", member.claim.memory_bytes)]
            parts.extend((claim.device_id, claim.memory_bytes) for claim in member.claim.devices)
            for device, memory_bytes in parts:
                held[member.node, device] = held.get((member.node, device), 0) + memory_bytes
        for (node, device), memory_bytes in held.items():
            if memory_bytes > 0:
                yield {
                    "instance": instance.name,
                    "node": node,
                    "device": device,
                    "memory_bytes": memory_bytes,
                    "revision": instance.revision,
                }


def _use_token(connection: Connection, use: TokenUse, written: Values) -> None:
    tokens = schema.tokens
    left = connection.execute(
        select(tokens.c.uses_left, tokens.c.role).where(tokens.c.id == use.token_id)
    ).one_or_none()
    if left is None:
        raise UnauthenticatedError(
            "TOKEN_INVALID",
            "this join token was revoked; make another with `motorpool-controller token join`",
        )
    if left.uses_left == 0:
        raise UnauthenticatedError(
            "TOKEN_USED_UP",
            "this join token was used as often as it allows; make one with `motorpool-controller token join`",
        )
    if left.uses_left is not None:
        connection.execute(
            update(tokens).where(tokens.c.id == use.token_id).values(uses_left=left.uses_left - 1, **written)
        )
    connection.execute(insert(schema.token_uses).values(token=use.token_id, node_uid=use.node_uid, **written))
