"""The tables. Bodies are JSON of the domain's dataclasses; columns beside them are searched or limited."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _written() -> tuple[Column[int], Column[int]]:
    """Which change wrote the row, and which start of the controller."""
    return (
        Column("revision", BigInteger, nullable=False),
        Column("controller_epoch", BigInteger, nullable=False),
    )


meta = Table(
    "meta",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("cluster_id", String, nullable=False),
    Column("controller_epoch", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    # Changes up to this revision are no longer kept.
    Column("changes_since", BigInteger, nullable=False),
    # When it was restored, and when the backup was made: all that happened between is forgotten. Empty if it never was.
    Column("backup_time_microseconds", BigInteger, nullable=True),
    Column("restore_time_microseconds", BigInteger, nullable=True),
    CheckConstraint("id = 1", name="one_row"),
)

nodes = Table(
    "nodes",
    metadata,
    Column("name", String, primary_key=True),
    Column("uid", String, nullable=False, unique=True),
    *_written(),
    Column("body", Text, nullable=False),
)

deployments = Table(
    "deployments",
    metadata,
    Column("name", String, primary_key=True),
    Column("uid", String, nullable=False, unique=True),
    *_written(),
    Column("body", Text, nullable=False),
)

instances = Table(
    "instances",
    metadata,
    Column("name", String, primary_key=True),
    Column("uid", String, nullable=False, unique=True),
    Column("deployment", String, nullable=False),
    *_written(),
    Column("body", Text, nullable=False),
    Index(None, "deployment"),
)

profiles = Table(
    "profiles",
    metadata,
    Column("name", String, primary_key=True),  # the digest
    *_written(),
    Column("body", Text, nullable=False),
)

peaks = Table(
    "peaks",
    metadata,
    Column("name", String, primary_key=True),  # of the kind
    *_written(),
    Column("body", Text, nullable=False),
)

backends = Table(
    "backends",
    metadata,
    Column("name", String, primary_key=True),
    *_written(),
    Column("body", Text, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("name", String, primary_key=True),
    *_written(),
    Column("body", Text, nullable=False),
    Index(None, "revision"),
)

claims = Table(
    "claims",
    metadata,
    Column("instance", String, ForeignKey(instances.c.name, ondelete="CASCADE"), primary_key=True),
    Column("node", String, primary_key=True),
    Column("device", String, primary_key=True),  # empty for host memory
    Column("memory_bytes", BigInteger, nullable=False),
    *_written(),
    CheckConstraint("memory_bytes > 0", name="positive"),
    Index(None, "node", "device"),
)

changes = Table(
    "changes",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("deleted", Boolean, nullable=False),
    Column("controller_epoch", BigInteger, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("description", Text, nullable=False),
    Column("create_time_microseconds", BigInteger, nullable=False),
    Column("expire_time_microseconds", BigInteger),
    Column("uses_left", Integer),
    *_written(),
    CheckConstraint("uses_left >= 0", name="uses_left"),
)

# A node that lost the certificate it was given may ask again with the same token: its use is counted.
token_uses = Table(
    "token_uses",
    metadata,
    Column("token", String, ForeignKey(tokens.c.id, ondelete="CASCADE"), primary_key=True),
    Column("node_uid", String, primary_key=True),
    *_written(),
)

requests = Table(
    "requests",
    metadata,
    Column("request_id", String, primary_key=True),
    Column("method", String, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("time_microseconds", BigInteger, nullable=False),
    *_written(),
)

# The controllers of a PostgreSQL database: a row each, written when it starts and when it takes over. The one whose
# epoch is the cluster's leads; an epoch of 0 never did.
controllers = Table(
    "controllers",
    metadata,
    Column("name", String, primary_key=True),  # its first public endpoint
    *_written(),
    Column("body", Text, nullable=False),
)
