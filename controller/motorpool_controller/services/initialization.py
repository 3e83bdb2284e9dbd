"""Makes a cluster: its authority, its database, its first token. All of it stands at the end, or nothing."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from motorpool_controller.config import Settings
from motorpool_controller.security.authorities import ROTATION_FILE
from motorpool_controller.security.authority import Authority, ca_file, sync_folder, write_new
from motorpool_controller.services.roles import Role
from motorpool_controller.services.tokens import make_token
from motorpool_controller.store.database import (
    cluster_id,
    cluster_of,
    initialise,
    make_database,
    name_of,
    open_database,
)
from motorpool_controller.store.errors import StoreError
from motorpool_controller.store.restoration import database_at_rest, replace_rows
from motorpool_controller.store.store import utc_now
from motorpool_controller.store.tokens import TokenTable

DATABASE = "controller.db"
FILES = (ROTATION_FILE, "ca-key.pem", "ca.pem", "client.toml", DATABASE)
"""What a cluster is made of, the first only while its authority is rotated.

The database is moved last, its rows to PostgreSQL: where it is, there is a cluster.
"""


@dataclass(frozen=True, slots=True)
class NewCluster:
    """A cluster just made. ``fingerprint`` is its authority's, lower-case hex SHA-256: what others know it by."""

    cluster_id: str
    client_file: Path
    fingerprint: str


def initialise_data_dir(settings: Settings) -> NewCluster:
    """Make a cluster in the data directory; refuse where there is one, or a part of one."""
    directory = settings.data_dir
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        staging, complete = directory / ".init", directory / ".init-complete"
        if not complete.exists():
            _refuse_leftovers(settings)
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(mode=0o700)
            _make(settings, staging)
            staging.rename(complete)
        # From here on a crash is made good by the next `init`.
        for name in FILES:
            if (complete / name).exists():
                _put(settings, complete / name)
        complete.rmdir()
        sync_folder(directory)
    except OSError as error:
        raise StoreError(
            f"{directory} cannot be used: {error.strerror or error}; make it writable for this user, or give another "
            "folder with --data-dir"
        ) from error
    engine = open_database(settings.database, migrate=False)
    try:
        cluster = cluster_id(engine)
        return NewCluster(cluster, directory / "client.toml", Authority.load(directory, cluster).fingerprint)
    finally:
        engine.dispose()


def _refuse_leftovers(settings: Settings) -> None:
    directory = settings.data_dir
    found = [name for name in FILES if (directory / name).exists()]
    if DATABASE in found:
        raise StoreError(
            f"{directory} holds a cluster already, and nothing of it was changed; start it with `motorpool-controller "
            "run`, or give another folder with --data-dir"
        )
    if found:
        raise StoreError(
            f"{directory} holds {', '.join(found)} but no controller.db, and nothing was changed; restore the database "
            "from a backup, or move these files away to make a new cluster"
        )
    if not isinstance(settings.database, Path):
        with database_at_rest(settings.database) as connection:
            refuse_other(connection, None)


def _put(settings: Settings, file: Path) -> None:
    """Move a file of a cluster to its place."""
    where = settings.database
    if file.name != DATABASE or isinstance(where, Path):
        file.rename(settings.data_dir / file.name)
        return
    with database_at_rest(where) as connection:
        refuse_other(connection, file)
        replace_rows(connection, file)
    file.unlink()


def refuse_other(connection: Connection, file: Path | None) -> None:
    """Raise a StoreError where a PostgreSQL database holds another cluster than the one in a file."""
    with connection.begin():
        found = cluster_of(connection)
    if found is None:
        return
    if file is not None:
        engine = open_database(file)
        own = cluster_id(engine)
        engine.dispose()
        if own == found:
            return
    raise StoreError(
        f"{name_of(connection.engine)} holds cluster {found} already, and nothing of it was changed; start it with "
        "`motorpool-controller run`, join it as one more controller with `motorpool-controller init --authority`, or "
        "name another database"
    )


def _make(settings: Settings, staging: Path) -> None:
    now = utc_now()
    cluster = str(uuid.uuid4())
    authority = Authority.create(staging, cluster, now)
    engine = make_database(staging / DATABASE)
    try:
        initialise(engine, cluster)
        token, text = make_token(
            Role.ADMIN,
            "made by init for client.toml",
            None,
            None,
            now=now,
            ca_fingerprint=authority.fingerprint,
        )
        TokenTable(engine).add(token)
    finally:
        engine.dispose()
    # JSON's strings are TOML's.
    lines = [
        "# For `motorpool`, and for any other client: where the controller is, how to know it, who you are.",
        f"server = {json.dumps(_server(settings))}",
        # Beside this file, so that both can be carried to another machine.
        f"ca_file = {json.dumps(ca_file(settings.data_dir).name)}",
        f"token = {json.dumps(text)}",
        "",
    ]
    write_new(staging / "client.toml", "\n".join(lines).encode(), 0o600)


def _server(settings: Settings) -> str:
    host = settings.listen.host
    if settings.advertise:
        host = settings.advertise[0]
    elif settings.listen.wildcard:
        host = "127.0.0.1"
    return str(type(settings.listen)(host, settings.listen.port))
