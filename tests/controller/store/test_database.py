import sqlite3
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from motorpool_controller.store import schema
from motorpool_controller.store.database import cluster_id, make_database, open_database
from motorpool_controller.store.errors import DatabaseTooNewError, NotInitialisedError, StoreError


def test_migrations_make_the_tables_of_the_schema(database: Path) -> None:
    """
    A database that went through every migration from nothing has exactly the tables that the code knows.
    """
    engine = open_database(database)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "render_as_batch": True}
        )
        differences = compare_metadata(context, schema.metadata)
    engine.dispose()
    wanted = create_engine(f"sqlite:///{database.parent}/wanted.db")
    schema.metadata.create_all(wanted)
    wanted.dispose()

    assert [] == differences
    assert _constraints(database.parent / "wanted.db") == _constraints(database)


def test_an_older_database_keeps_what_it_holds(tmp_path: Path) -> None:
    """
    One as 0.1.0 made it is brought to this version's tables, and every row of it stays.
    """
    path = tmp_path / "controller.db"
    make_database(path).dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE backends")
        connection.execute("DROP TABLE peaks")
        connection.execute("ALTER TABLE meta DROP COLUMN backup_time_microseconds")
        connection.execute("ALTER TABLE meta DROP COLUMN restore_time_microseconds")
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        connection.execute("INSERT INTO meta VALUES (1, 'cluster-1', 7, 99, 0)")
        connection.execute("INSERT INTO profiles VALUES ('digest', 98, 7, '{}')")
    connection.close()

    engine = open_database(path)
    with engine.connect() as opened:
        kept = opened.exec_driver_sql("SELECT name, revision FROM profiles").fetchall()
        added = opened.exec_driver_sql("SELECT count(*) FROM backends").scalar()
    cluster = cluster_id(engine)
    engine.dispose()

    assert ([("digest", 98)], 0, "cluster-1") == (kept, added, cluster)


def _constraints(path: Path) -> dict[str, list[str]]:
    """What autogeneration does not compare: the very text of each table and index, line by line."""
    query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'alembic_version'"
    connection = sqlite3.connect(path)
    rows = connection.execute(query).fetchall()
    connection.close()
    # SQLite writes added columns behind the last one, on its line.
    lines = {name: sql.replace(",", ",\n").splitlines() for name, sql in rows}
    return {name: sorted(filter(None, (line.strip(" ,\t") for line in of))) for name, of in lines.items()}


def test_database_is_durable_and_private(database: Path) -> None:
    """
    Every connection syncs each commit, checks foreign keys and uses the write-ahead log; the file is its owner's.
    """
    engine = open_database(database)
    with engine.connect() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("synchronous", "foreign_keys", "journal_mode", "busy_timeout")
        ]
    engine.dispose()

    assert [2, 1, "wal", 10_000] == pragmas
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


def test_missing_database_is_not_made_by_opening(tmp_path: Path) -> None:
    """
    Opening where nothing is tells to run init, and leaves no file behind.
    """
    with pytest.raises(NotInitialisedError, match="motorpool-controller init"):
        open_database(tmp_path / "controller.db")

    assert [] == list(tmp_path.iterdir())


def test_database_without_a_cluster_says_so(tmp_path: Path) -> None:
    """
    A database whose first row was never written is no cluster.
    """
    engine = make_database(tmp_path / "controller.db")
    with pytest.raises(NotInitialisedError, match="no cluster"):
        cluster_id(engine)
    engine.dispose()


def test_database_of_a_newer_version_is_left_alone(database: Path) -> None:
    """
    Tables of a later migration are neither used nor touched; the message says which command is needed.
    """
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    with pytest.raises(DatabaseTooNewError, match="written by a newer motorpool-controller"):
        open_database(database)


def test_running_controllers_database_is_not_migrated_beneath_it(database: Path) -> None:
    """
    A command beside the controller refuses tables of another version instead of changing them.
    """
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.close()

    with pytest.raises(StoreError, match="is of another version"):
        open_database(database, migrate=False)


@pytest.mark.parametrize(
    "content", [b"this is no database, but it is long enough to be one\n" * 100, b"SQLite format 3\0"]
)
def test_file_that_is_no_database_is_said_to_be_none(database: Path, content: bytes) -> None:
    """
    A damaged file gives one clear error with its name.
    """
    database.write_bytes(content)

    with pytest.raises(StoreError, match=r"controller\.db cannot be read"):
        open_database(database)


def test_foreign_database_is_left_alone(tmp_path: Path) -> None:
    """
    Another program's SQLite file is refused, not filled with our tables.
    """
    path = tmp_path / "controller.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()

    with pytest.raises(StoreError, match="not one of Motorpool's"):
        open_database(path)
