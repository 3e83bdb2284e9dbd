"""Tokens as they are stored. Read from the database every time: the ``token`` commands write there too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, Row, delete, insert, select

from motorpool_controller.domain.errors import NotFoundError
from motorpool_controller.store import schema
from motorpool_controller.store.codec import microseconds, time_of
from motorpool_controller.store.database import told, write

# Databases bound what one statement may name.
_IDS_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredToken:
    """A token: who it is, not what it says. ``role`` is join, reader, operator or admin."""

    token_id: str
    role: str
    secret_hash: bytes
    description: str
    create_time: datetime
    expire_time: datetime | None = None
    uses_left: int | None = None


class TokenTable:
    """The tokens of a database. Every method blocks; call it in a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, token: StoredToken) -> None:
        """Store a new token."""
        with told(self._engine, "written"), write(self._engine) as connection, connection.begin():
            meta = connection.execute(select(schema.meta)).one()
            connection.execute(
                insert(schema.tokens).values(
                    id=token.token_id,
                    role=token.role,
                    hash=token.secret_hash,
                    description=token.description,
                    create_time_microseconds=microseconds(token.create_time),
                    expire_time_microseconds=microseconds(token.expire_time) if token.expire_time else None,
                    uses_left=token.uses_left,
                    revision=meta.revision,
                    controller_epoch=meta.controller_epoch,
                )
            )

    def get(self, token_id: str) -> StoredToken | None:
        """Return a token, or None."""
        with told(self._engine), self._engine.connect() as connection:
            row = connection.execute(select(schema.tokens).where(schema.tokens.c.id == token_id)).one_or_none()
        return None if row is None else _token(row)

    def among(self, token_ids: Sequence[str]) -> dict[str, StoredToken]:
        """Return those of these tokens that there are, by id."""
        found: dict[str, StoredToken] = {}
        with told(self._engine), self._engine.connect() as connection:
            for start in range(0, len(token_ids), _IDS_AT_ONCE):
                some = token_ids[start : start + _IDS_AT_ONCE]
                rows = connection.execute(select(schema.tokens).where(schema.tokens.c.id.in_(some)))
                found.update((row.id, _token(row)) for row in rows)
        return found

    def list(self) -> list[StoredToken]:
        """Return all tokens by id."""
        with told(self._engine), self._engine.connect() as connection:
            # Sorted here: each database has an order of its own.
            return sorted(map(_token, connection.execute(select(schema.tokens))), key=lambda token: token.token_id)

    def delete(self, token_id: str) -> None:
        """Revoke a token."""
        with told(self._engine, "written"), write(self._engine) as connection, connection.begin():
            found = connection.execute(delete(schema.tokens).where(schema.tokens.c.id == token_id))
        if found.rowcount == 0:
            raise unknown_token(token_id)

    def was_used_for(self, token_id: str, node_uid: str) -> bool:
        """Return whether a use of the token was counted for the node."""
        uses = schema.token_uses
        query = select(uses.c.token).where(uses.c.token == token_id, uses.c.node_uid == node_uid)
        with told(self._engine), self._engine.connect() as connection:
            return connection.execute(query).one_or_none() is not None


def unknown_token(token_id: str) -> NotFoundError:
    """Return the error of a token that there is not."""
    return NotFoundError(
        "NOT_FOUND", f"tokens/{token_id} does not exist; `motorpool-controller token list` shows those that do"
    )


def _token(row: Row[tuple[object, ...]]) -> StoredToken:
    return StoredToken(
        token_id=row.id,
        role=row.role,
        secret_hash=row.hash,
        description=row.description,
        create_time=time_of(row.create_time_microseconds),
        expire_time=None if row.expire_time_microseconds is None else time_of(row.expire_time_microseconds),
        uses_left=row.uses_left,
    )
