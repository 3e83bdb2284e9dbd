"""The one connection that writes. On PostgreSQL who sits there holds the lock by which one controller serves.

The lock is the session's: the server gives it back when the connection is gone, and not before it has ended whatever
was under way on it. So who has the lock again knows that nothing of an earlier connection is still being committed.
Who stands by has a connection, too, waits for the lock on it, and looks how long its holder has said nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, Row, text

from motorpool_controller.store.controllers import be_present
from motorpool_controller.store.database import name_of, told, write
from motorpool_controller.store.errors import DatabaseInUseError, DatabaseLostError, StoreError

LOCK = int.from_bytes(b"motorpol", "big")
"""Advisory locks are a database's own: any number that nobody else uses there."""
WAIT_SECONDS = 3.0
"""A controller that was killed is gone from its server in an instant, but not before its successor may ask."""
_ASK_AGAIN_SECONDS = 0.05
LISTEN_SECONDS = 0.8
"""How long the lock is waited for at a time: shorter than PostgreSQL's ``deadlock_timeout`` (1 s), after which it looks
for deadlocks, and may log each wait. A statement keeps vacuum from what was deleted since it began: it is to be short.
"""

# Silent is a session whose client says nothing: it asks nothing, or takes no answer. Unknown of another user's.
_HOLDERS = """
    SELECT a.pid, a.backend_start, a.application_name, host(a.client_addr) AS address,
      CASE WHEN a.state = 'active' AND a.wait_event_type IS DISTINCT FROM 'Client' THEN 0
           ELSE EXTRACT(EPOCH FROM clock_timestamp() - a.state_change) END AS silent_seconds
    FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (l.classid::bigint << 32) + l.objid::bigint = :lock
"""
_HOLDER = text(_HOLDERS)
_END_SILENT = text(f"""
    SELECT pg_terminate_backend(h.pid) FROM ({_HOLDERS}) AS h
    WHERE h.pid = :pid AND h.backend_start = :began AND h.silent_seconds > :lease_seconds
""")  # noqa: S608  # our own text
_TRY = text("SELECT pg_try_advisory_lock(:lock)")
_PATIENCE = text("SELECT set_config('lock_timeout', :lock_timeout, true), set_config('statement_timeout', '0', true)")
# The server logs every statement that fails, but none whose failure is taken in there.
_WAIT = text(f"""
    DO $$ BEGIN PERFORM pg_advisory_lock({LOCK}); EXCEPTION WHEN lock_not_available THEN NULL; END $$
""")
_SELF = text("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")


@dataclass(frozen=True, slots=True)
class Session:
    """A connection as the server knows it."""

    pid: int
    began: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who has the seat, for people, and for how long nothing was heard from there; None where that is not told."""

    session: Session
    name: str
    address: str
    silent_seconds: float | None

    def __str__(self) -> str:
        """Return it in words."""
        if not self.session.pid:
            return self.name
        return f"{self.name} ({self.address or 'local'}) since {self.session.began:%Y-%m-%d %H:%M:%S %Z}"


class Seat:
    """A database's writing connection, made when it is first wanted, and again after it was lost. Blocks.

    ``name`` is that of the controller, by which others know that it is there.
    """

    def __init__(self, engine: Engine, name: str = "") -> None:
        self.engine = engine
        self.remote = engine.dialect.name != "sqlite"
        """Whether the connection may go while the database stays."""
        self._name = name
        self._connection: Connection | None = None
        self._waiting: Connection | None = None
        self._session: Session | None = None

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

    def present(self) -> Connection:
        """Return the connection that there is, whether it has the seat or stands by."""
        return self._connection or self.waiting()

    def waiting(self) -> Connection:
        """Return the connection of one who stands by; raise a StoreError where there is none to be had."""
        if self._waiting is None:
            with told(self.engine, "reached"):
                self._waiting = self._made()
        return self._waiting

    def ask(self, wait_seconds: float = 0.0) -> Holder | None:
        """Ask for the seat once, and wait so long for it; return who has it, None where it is ours from now on.

        Who waits has it in the moment in which its holder leaves, or is gone.
        """
        connection = self.waiting()
        try:
            with told(self.engine, "reached"):
                with connection.begin():
                    if wait_seconds:
                        connection.execute(_PATIENCE, {"lock_timeout": f"{wait_seconds * 1_000:.0f}ms"})
                        connection.execute(_WAIT)
                    taken = connection.execute(_TRY, {"lock": LOCK}).scalar_one()
                    row = None if taken else connection.execute(_HOLDER, {"lock": LOCK}).one_or_none()
                if taken:
                    self._sit(connection)
                    self._connection, self._waiting = connection, None
                    return None
        except StoreError:
            self.leave()
            raise
        return _holder(row)

    def end_silent(self, holder: Holder, lease_seconds: float) -> bool:
        """End the session of a holder that has said nothing for longer than the lease; return whether it was ended."""
        values = {
            "lock": LOCK,
            "pid": holder.session.pid,
            "began": holder.session.began,
            "lease_seconds": lease_seconds,
        }
        with told(self.engine, "reached"), self.waiting().begin():
            return bool(self.waiting().execute(_END_SILENT, values).scalar_one_or_none())

    def leave(self) -> None:
        """Close the connection: the lock is free for the next one."""
        for connection in (self._connection, self._waiting):
            if connection is not None:
                connection.close()
        self._connection = self._waiting = None

    def _made(self) -> Connection:
        connection = write(self.engine)
        # Out of the pool: the lock would outlive what is handed back to it.
        connection.detach()
        try:
            if self._name:
                with connection.begin():
                    be_present(connection, self._name)
        except BaseException:
            connection.close()
            raise
        return connection

    def _taken(self) -> Connection:
        if not self.remote:
            return write(self.engine)
        connection = self._made()
        try:
            self._lock(connection)
            self._sit(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _sit(self, connection: Connection) -> None:
        with connection.begin():
            row = connection.execute(_SELF).one()
        self._session = Session(row.pid, row.backend_start)

    def _lock(self, connection: Connection) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            with connection.begin():
                if connection.execute(_TRY, {"lock": LOCK}).scalar_one():
                    return
                row = connection.execute(_HOLDER, {"lock": LOCK}).one_or_none()
                if row is not None and Session(row.pid, row.backend_start) == self._session:
                    # Our own connection, of which the server has not heard that it is gone.
                    connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": row.pid})
            # Who sat here, and finds another one, need not wait: that one has taken over.
            late = (
                row is not None and self._session is not None and Session(row.pid, row.backend_start) != self._session
            )
            if late or time.monotonic() >= deadline:
                raise DatabaseInUseError(
                    f"{name_of(self.engine)} is in use by another controller: {_holder(row)}; stop that one, or give "
                    "this one a database of its own"
                )
            time.sleep(_ASK_AGAIN_SECONDS)


def _holder(row: Row[tuple[object, ...]] | None) -> Holder:
    if row is None:
        # Gone between two questions.
        return Holder(
            session=Session(0, datetime.min.replace(tzinfo=UTC)), name="another one", address="", silent_seconds=None
        )
    silent = None if row.silent_seconds is None else float(row.silent_seconds)
    return Holder(
        session=Session(row.pid, row.backend_start),
        name=row.application_name,
        address=row.address or "",
        silent_seconds=silent,
    )
