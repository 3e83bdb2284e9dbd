"""Runs migrations on the connection that ``store/database.py`` hands in; Alembic executes this file."""

from __future__ import annotations

from alembic import context

from motorpool_controller.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter a column; Alembic copies the table.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
