"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of 0.1.0."""
    op.create_table(
        "meta",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("cluster_id", sa.String, nullable=False),
        sa.Column("controller_epoch", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("changes_since", sa.BigInteger, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_meta_one_row")),
        sa.PrimaryKeyConstraint("id", name="pk_meta"),
    )
    for table in ("nodes", "deployments"):
        op.create_table(
            table,
            sa.Column("name", sa.String, nullable=False),
            sa.Column("uid", sa.String, nullable=False),
            *_written(),
            sa.Column("body", sa.Text, nullable=False),
            sa.PrimaryKeyConstraint("name", name=f"pk_{table}"),
            sa.UniqueConstraint("uid", name=f"uq_{table}_uid"),
        )
    op.create_table(
        "instances",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("uid", sa.String, nullable=False),
        sa.Column("deployment", sa.String, nullable=False),
        *_written(),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_instances"),
        sa.UniqueConstraint("uid", name="uq_instances_uid"),
    )
    op.create_index("ix_instances_deployment", "instances", ["deployment"])
    for table in ("profiles", "events"):
        op.create_table(
            table,
            sa.Column("name", sa.String, nullable=False),
            *_written(),
            sa.Column("body", sa.Text, nullable=False),
            sa.PrimaryKeyConstraint("name", name=f"pk_{table}"),
        )
    op.create_index("ix_events_revision", "events", ["revision"])
    op.create_table(
        "claims",
        sa.Column("instance", sa.String, nullable=False),
        sa.Column("node", sa.String, nullable=False),
        sa.Column("device", sa.String, nullable=False),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False),
        *_written(),
        sa.CheckConstraint("memory_bytes > 0", name=op.f("ck_claims_positive")),
        sa.PrimaryKeyConstraint("instance", "node", "device", name="pk_claims"),
        sa.ForeignKeyConstraint(["instance"], ["instances.name"], name="fk_claims_instance", ondelete="CASCADE"),
    )
    op.create_index("ix_claims_node_device", "claims", ["node", "device"])
    op.create_table(
        "changes",
        sa.Column("revision", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("controller_epoch", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("revision", "kind", "name", name="pk_changes"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("create_time_microseconds", sa.BigInteger, nullable=False),
        sa.Column("expire_time_microseconds", sa.BigInteger),
        sa.Column("uses_left", sa.Integer),
        *_written(),
        sa.CheckConstraint("uses_left >= 0", name=op.f("ck_tokens_uses_left")),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
    )
    op.create_table(
        "token_uses",
        sa.Column("token", sa.String, nullable=False),
        sa.Column("node_uid", sa.String, nullable=False),
        *_written(),
        sa.PrimaryKeyConstraint("token", "node_uid", name="pk_token_uses"),
        sa.ForeignKeyConstraint(["token"], ["tokens.id"], name="fk_token_uses_token", ondelete="CASCADE"),
    )
    op.create_table(
        "requests",
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("method", sa.String, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
        sa.Column("time_microseconds", sa.BigInteger, nullable=False),
        *_written(),
        sa.PrimaryKeyConstraint("request_id", name="pk_requests"),
    )


def _written() -> tuple[sa.Column[int], sa.Column[int]]:
    return (
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("controller_epoch", sa.BigInteger, nullable=False),
    )
