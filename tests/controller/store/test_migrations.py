"""Databases of earlier versions are brought to this one's tables, and the version before could still use them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import alembic.command
import alembic.config
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, create_engine, select

from motorpool_controller.domain.event import Severity
from motorpool_controller.store import schema
from motorpool_controller.store.database import MIGRATIONS, Where, engine_of, write
from motorpool_controller.store.store import Store
from motorpool_controller.store.tokens import StoredToken
from tests.controller.rows import NOW
from tests.controller.store.expand_contract import faults
from tests.controller.store.sql import sql

DATABASES = Path(__file__).with_name("databases")
DUMPS = sorted(DATABASES.glob("*.sql"))
SCRIPTS = sorted((MIGRATIONS / "versions").glob("revision_*.py"))
RELEASED = frozenset(
    re.findall(r"^## \[?(\d+\.\d+\.\d+)", (Path(__file__).parents[3] / "CHANGELOG.md").read_text(), re.MULTILINE)
)


def migrated(where: Where, revision: str) -> None:
    """
    Make the tables of an earlier version, by its migrations.
    """
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    if isinstance(where, Path):
        where.touch()
    engine = engine_of(where)
    with write(engine) as connection, connection.begin():
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, revision)
    engine.dispose()


def loaded(dump: Path, file: Path) -> Path:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(dump.read_text(encoding="utf-8"))
    return file


def poured(source: Path, target: Where) -> None:
    """
    Copy rows into another database of the same version.
    """
    origin, engine, tables = create_engine(f"sqlite:///{source}"), engine_of(target), MetaData()
    tables.reflect(origin)
    with origin.connect() as rows, write(engine) as connection, connection.begin():
        for table in tables.sorted_tables:
            found = [dict(row) for row in rows.execute(select(table)).mappings()]
            if table.name != "alembic_version":
                connection.execute(table.insert(), found)
    origin.dispose()
    engine.dispose()


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.stem)
async def test_an_older_database_keeps_what_it_holds(
    dump: Path, new_place: Callable[[], Where], tmp_path: Path
) -> None:
    """
    A database that an earlier version filled is brought to this one's tables, and everything in it is read back.
    """
    old = loaded(dump, tmp_path / "old.db")
    with closing(sqlite3.connect(old)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        counts = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}
    place = new_place()
    if isinstance(place, Path):
        old.rename(place)
    else:
        migrated(place, dump.stem)
        poured(old, place)

    async with await Store.open(place, clock=lambda: NOW) as store:
        view = store.view
        assert ("cluster-1", 2, 2) == (view.cluster_id, view.controller_epoch, view.revision)
        assert ("10.0.0.1", "7 ü") == (view.nodes["nodes/a"].address, view.nodes["nodes/a"].operator_labels["row"])
        assert ["deployments/d"] == list(view.deployments)
        placement = view.instances["instances/d-1"].placement
        assert placement is not None
        assert 1 << 40 == placement.members[0].claim.memory_bytes
        assert ["digest"] == list(view.profiles)
        assert [(Severity.WARNING, "it's told")] == [(event.severity, event.message) for event in view.events.values()]
        assert b"\xffanswer\0" == view.answers["id-1"].response
        assert counts["changes"] == len(list(view.changes_after(0)))
        assert (counts.get("peaks", 0), counts.get("backends", 0)) == (len(view.peaks), len(view.backends))
        assert store.tokens.was_used_for("join", "uid-b")
        assert store.tokens.get("join") == StoredToken(
            token_id="join",
            role="join",
            secret_hash=bytes(range(32)),
            description="for b",
            create_time=NOW,
            expire_time=NOW,
            uses_left=1,
        )
    assert all(counts.values())
    for name, count in counts.items():
        assert [(count,)] == sql(place, f"SELECT count(*) FROM {name}")


def test_every_version_has_a_kept_database_and_stays_as_it_was(tmp_path: Path) -> None:
    """
    There is a kept database of each migration, made by it: whoever changes one that was merged is told.
    """
    numbers = [
        script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions() if script.revision is not None
    ]
    assert sorted(numbers) == [dump.stem for dump in DUMPS]
    for dump in DUMPS:
        made = tmp_path / f"made-{dump.stem}.db"
        migrated(made, dump.stem)
        assert _tables(made) == _tables(loaded(dump, tmp_path / f"kept-{dump.stem}.db")), (
            f"{dump.stem} makes other tables than it did; add a migration instead of changing one"
        )


def _tables(file: Path) -> dict[str, list[str]]:
    query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    with closing(sqlite3.connect(file)) as connection:
        # SQLite writes added columns behind the last one, on its line.
        return {
            name: sorted(part.strip(" ,\t") for part in text.replace(",", ",\n").splitlines())
            for name, text in connection.execute(query)
        }


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_migrations_add_first_and_take_away_a_release_later(script: Path) -> None:
    """
    Each of ours either adds, or takes away what a version that was released no longer reads.
    """
    assert [] == faults(script.read_text(encoding="utf-8"), RELEASED)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("op.drop_column('nodes', 'uid')", "say which release stopped reading it"),
        ("op.rename_table('nodes', 'machines')", "say which release stopped reading it"),
        ("op.alter_column('nodes', 'uid', new_column_name='id')", "say which release stopped reading it"),
        ("with op.batch_alter_table('nodes') as batch: batch.drop_column('uid')", "say which release stopped reading"),
        ("op.execute('DROP TABLE nodes')", "and nothing else"),
        ("op.execute(statement)", "and nothing else"),
        ("op.add_column('nodes', sa.Column('x', sa.String, nullable=False))", "does not fill"),
        ("op.run_async(work)", "none of the operations"),
        ("op.create_table('t'); op.drop_table('nodes')\nstopped_reading = '0.1.0'", "two releases' work"),
        ("op.drop_table('nodes')\nstopped_reading = '0.2.0'", "was not released"),
        ("op.drop_table('nodes')\nstopped_reading = '0.1.0'", ""),
        ("op.add_column('nodes', sa.Column('x', sa.String, nullable=False, server_default=''))", ""),
        ("op.execute('UPDATE nodes SET x = 1')", ""),
    ],
)
def test_a_migration_that_would_break_the_version_before_is_refused(body: str, told: str) -> None:
    """
    Taking away or renaming needs a release that stopped reading it, and never goes with adding; the rest is allowed.
    """
    found = faults(f"def upgrade():\n    {body}\n", frozenset({"0.1.0"}))

    assert bool(told) == bool(found)
    assert told in " ".join(found)


def test_the_rule_knows_the_tables_there_are() -> None:
    """
    The kept databases of the last version have rows in every table that the code knows.
    """
    text = DUMPS[-1].read_text(encoding="utf-8")

    assert set(schema.metadata.tables) == set(re.findall(r'INSERT INTO "(\w+)"', text)) - {"alembic_version"}
