"""The one connection that writes. On PostgreSQL who sits there holds the lock by which one controller serves.

The lock is the session's: the server gives it back when the connection is gone, and not before it has ended whatever
was under way on it. So who has the lock again knows that nothing of an earlier connection is still being committed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from motorpool_controller.store.database import name_of, told, write
from motorpool_controller.store.errors import DatabaseInUseError, DatabaseLostError, StoreError

LOCK = int.from_bytes(b"motorpol", "big")
"""Advisory locks are a database's own: any number that nobody else uses there."""
WAIT_SECONDS = 3.0
"""A controller that was killed is gone from its server in an instant, but not before its successor may ask."""
_ASK_AGAIN_SECONDS = 0.05

_HOLDER = text("""
    SELECT a.pid, a.backend_start, a.application_name, host(a.client_addr) AS address
    FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (l.classid::bigint << 32) + l.objid::bigint = :lock
""")
_SELF = text("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")


@dataclass(frozen=True, slots=True)
class _Session:
    """A connection as the server knows it."""

    pid: int
    began: datetime


class Seat:
    """A database's writing connection, made when it is first wanted, and again after it was lost. Blocks."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.remote = engine.dialect.name != "sqlite"
        """Whether the connection may go while the database stays."""
        self._connection: Connection | None = None
        self._session: _Session | None = None

    def connection(self) -> Connection:
        """Return the connection; raise a DatabaseInUseError, or a DatabaseLostError where there is none to be had."""
        if self._connection is None:
            try:
                with told(self.engine, "reached"):
                    self._connection = self._taken()
            except StoreError as error:
                if not self.remote or isinstance(error, DatabaseInUseError | DatabaseLostError):
                    raise
                raise DatabaseLostError(str(error)) from error
        return self._connection

    def leave(self) -> None:
        """Close the connection: the lock is free for the next one."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def _taken(self) -> Connection:
        connection = write(self.engine)
        if not self.remote:
            return connection
        # Out of the pool: the lock would outlive what is handed back to it.
        connection.detach()
        try:
            self._lock(connection)
            with connection.begin():
                row = connection.execute(_SELF).one()
                self._session = _Session(row.pid, row.backend_start)
        except BaseException:
            connection.close()
            raise
        return connection

    def _lock(self, connection: Connection) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            with connection.begin():
                if connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}).scalar_one():
                    return
                holder = connection.execute(_HOLDER, {"lock": LOCK}).one_or_none()
                if holder is not None and _Session(holder.pid, holder.backend_start) == self._session:
                    # Our own connection, of which the server has not heard that it is gone.
                    connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": holder.pid})
            if time.monotonic() >= deadline:
                who = "another one" if holder is None else f"{holder.application_name} ({holder.address or 'local'})"
                since = "" if holder is None else f" since {holder.backend_start:%Y-%m-%d %H:%M:%S %Z}"
                raise DatabaseInUseError(
                    f"{name_of(self.engine)} is in use by another controller: {who}{since}; stop that one, or give "
                    "this one a database of its own"
                )
            time.sleep(_ASK_AGAIN_SECONDS)
