"""When a database was restored, and how old the backup was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns that are empty in a database that was never restored."""
    op.add_column("meta", sa.Column("backup_time_microseconds", sa.BigInteger, nullable=True))
    op.add_column("meta", sa.Column("restore_time_microseconds", sa.BigInteger, nullable=True))
