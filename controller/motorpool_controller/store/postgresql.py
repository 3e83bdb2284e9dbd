"""PostgreSQL: the database of an operator who has one already, and of several controllers."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import URL, Engine, create_engine

from motorpool_controller.config import ConfigError, PostgresUrl
from motorpool_controller.store.pool import POOL

if TYPE_CHECKING:
    import psycopg

LOCK_TIMEOUT_SECONDS = 10
"""As long as SQLite waits for a lock that somebody else's transaction holds."""
_ON_THE_SERVER = {
    "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
    "idle_in_transaction_session_timeout": "60s",
    # A controller whose machine went dark gives its lock up within half a minute, not within two hours.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_HERE = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    # Of several hosts the one that can be written.
    "target_session_attrs": "read-write",
}
_NAME_BYTES = 63


def postgresql_engine(where: PostgresUrl) -> Engine:
    """Return an engine on a database; nothing is connected yet. Raise a ConfigError where the URL makes no sense."""
    given = _parameters(where)
    shown = URL.create(
        "postgresql+psycopg",
        username=given.get("user"),
        host=given.get("host") or None,
        port=int(port) if (port := given.get("port", "")).isdigit() else None,
        database=given.get("dbname") or given.get("user"),
    )
    options = " ".join([given.pop("options", ""), *(f"-c {name}={value}" for name, value in _ON_THE_SERVER.items())])
    parameters = {**_HERE, "application_name": application_name(), **given, "options": options.strip()}
    # libpq reads the parameters, not SQLAlchemy: it knows all of them. A connection that went is told from a good one.
    return create_engine(shown, creator=_connecting(parameters), pool_pre_ping=True, **POOL)


def application_name() -> str:
    """Return how this process is known to the server, and to who asks it who holds the lock."""
    return f"motorpool-controller {os.getpid()} on {socket.gethostname()}"[:_NAME_BYTES]


def _connecting(parameters: dict[str, str]) -> Callable[[], psycopg.Connection]:
    import psycopg  # noqa: PLC0415  # an extra: see below

    def connect() -> psycopg.Connection:
        connection = psycopg.connect(**parameters)  # type: ignore[arg-type]  # whatever libpq knows
        # An answer to a caller promises that the change is on disk (P8), whatever the server's default.
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        connection.commit()
        return connection

    return connect


def _parameters(where: PostgresUrl) -> dict[str, str]:
    try:
        import psycopg  # noqa: PLC0415  # an extra: a controller with a file of its own needs no driver
    except ImportError as error:
        raise ConfigError(
            "the setting database names a PostgreSQL database, whose driver is not installed; "
            "pip install 'motorpool-controller[postgresql]'"
        ) from error
    try:
        found = psycopg.conninfo.conninfo_to_dict(where.url)
    except psycopg.ProgrammingError:
        found = {}
    parameters = {name: str(value) for name, value in found.items() if value is not None}
    # A password with a / that is not escaped makes its first half the port, and its second one the name.
    if not parameters or "@" in parameters.get("dbname", "") or re.search(r"[^\d,]", parameters.get("port", "")):
        # Without a cause: it would quote the URL, password and all.
        raise ConfigError(
            "the setting database is no URL that PostgreSQL's libpq reads; write postgresql://USER@HOST:5432/NAME, "
            "with % escapes for what is special in URLs"
        )
    if where.password_file is not None:
        parameters["password"] = _password(where)
    return parameters


def _password(where: PostgresUrl) -> str:
    try:
        text = where.password_file.read_text(encoding="utf-8") if where.password_file else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"database_password_file {where.password_file} cannot be read: {error}") from error
    if not (password := text.strip("\r\n")):
        raise ConfigError(f"database_password_file {where.password_file} is empty; write the password into it")
    return password
