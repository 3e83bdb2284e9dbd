import stat
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect

from motorpool_controller.config import ConfigError, PostgresUrl
from motorpool_controller.store import schema
from motorpool_controller.store.database import Where, cluster_id, engine_of, make_database, open_database
from motorpool_controller.store.errors import DatabaseTooNewError, NotInitialisedError, StoreError
from motorpool_controller.store.postgresql import _parameters
from motorpool_controller.store.store import Store
from tests.controller.store.sql import sql
from tests.postgresql import GUARDED, USER, PostgresServer


def test_migrations_make_the_tables_of_the_schema(database: Where, new_place: Callable[[], Where]) -> None:
    """
    A database that went through every migration from nothing has exactly the tables that the code knows.
    """
    engine = open_database(database)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "render_as_batch": True}
        )
        differences = compare_metadata(context, schema.metadata)
    made = _shape(engine)
    engine.dispose()
    wanted = engine_of(_touched(new_place()))
    schema.metadata.create_all(wanted)
    known = _shape(wanted)
    wanted.dispose()

    assert [] == differences
    assert known == {name: table for name, table in made.items() if name != "alembic_version"}
    assert len(known) == len(schema.metadata.tables)


def _touched(place: Where) -> Where:
    if isinstance(place, Path):
        place.touch()
    return place


def _shape(engine: Engine) -> dict[str, list[str]]:
    """
    Return all that a database says of its tables: columns, keys, limits, indexes; what they are called, too.
    """
    found = inspect(engine)
    return {
        name: sorted(
            [
                *(
                    f"column {column['name']} {column['type']!r} {column['nullable']} {column.get('default')}"
                    for column in found.get_columns(name)
                ),
                f"primary key {found.get_pk_constraint(name)}",
                *(f"unique {each}" for each in found.get_unique_constraints(name)),
                *(f"check {each}" for each in found.get_check_constraints(name)),
                *(f"foreign key {each}" for each in found.get_foreign_keys(name)),
                *(f"index {each}" for each in found.get_indexes(name)),
            ]
        )
        for name in found.get_table_names()
    }


def test_file_is_durable_and_private(file: Path) -> None:
    """
    Every connection syncs each commit, checks foreign keys and uses the write-ahead log; the file is its owner's.
    """
    engine = open_database(file)
    with engine.connect() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("synchronous", "foreign_keys", "journal_mode", "busy_timeout")
        ]
    engine.dispose()

    assert [2, 1, "wal", 10_000] == pragmas
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_server_syncs_our_commits_whatever_its_default(postgres: PostgresServer) -> None:
    """
    A PostgreSQL database whose commits do not wait for the disk waits for ours; one that waits for more still does.
    """
    settings = []
    for default in ("off", "remote_apply"):
        where = postgres.new()
        name = where.url.rpartition("/")[2]
        sql(where, f"ALTER DATABASE {name} SET synchronous_commit = '{default}'")
        settings += sql(where, "SHOW synchronous_commit")

    assert [("on",), ("remote_apply",)] == settings


def test_missing_database_is_not_made_by_opening(tmp_path: Path) -> None:
    """
    Opening where nothing is tells to run init, and leaves no file behind.
    """
    with pytest.raises(NotInitialisedError, match="motorpool-controller init"):
        open_database(tmp_path / "controller.db")

    assert [] == list(tmp_path.iterdir())


def test_empty_server_database_is_not_filled_by_opening(postgres: PostgresServer) -> None:
    """
    Opening a PostgreSQL database in which nothing is tells to run init, and makes no table there.
    """
    where = postgres.new()
    for migrate in (True, False):
        with pytest.raises(NotInitialisedError, match=r"no cluster in postgresql://.*motorpool-controller init"):
            open_database(where, migrate=migrate)

    assert [(0,)] == sql(where, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")


def test_database_without_a_cluster_says_so(place: Where) -> None:
    """
    A database whose first row was never written is no cluster.
    """
    engine = make_database(place)
    with pytest.raises(NotInitialisedError, match="no cluster"):
        cluster_id(engine)
    engine.dispose()


def test_database_of_a_newer_version_is_left_alone(database: Where) -> None:
    """
    Tables of a later migration are neither used nor touched; the message says which command is needed.
    """
    sql(database, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(DatabaseTooNewError, match="written by a newer motorpool-controller"):
        open_database(database)


def test_running_controllers_database_is_not_migrated_beneath_it(database: Where) -> None:
    """
    A command beside the controller refuses tables of another version instead of changing them.
    """
    sql(database, "UPDATE alembic_version SET version_num = '0000'")

    with pytest.raises(StoreError, match="is of another version"):
        open_database(database, migrate=False)


@pytest.mark.parametrize(
    "content", [b"this is no database, but it is long enough to be one\n" * 100, b"SQLite format 3\0"]
)
def test_file_that_is_no_database_is_said_to_be_none(file: Path, content: bytes) -> None:
    """
    A damaged file gives one clear error with its name.
    """
    file.write_bytes(content)

    with pytest.raises(StoreError, match=r"controller\.db cannot be read"):
        open_database(file)


def test_foreign_database_is_left_alone(place: Where) -> None:
    """
    Another program's database is refused, not filled with our tables.
    """
    sql(_touched(place), "CREATE TABLE theirs (x INTEGER)")

    with pytest.raises(StoreError, match="not one of Motorpool's"):
        open_database(place)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cr%2Fet@127.0.0.1:1/d",
        "postgresql://u@127.0.0.1:1/d?password=s3cr/et",
        "postgresql://u:s3cr/et@127.0.0.1:1/d",
        "postgresql://u:s3cr/et@[/d",
    ],
)
async def test_no_error_shows_a_password(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    Wherever a URL has its password, and be it one that cannot be read: no message, log line or text of ours has it.
    """
    with pytest.raises((ConfigError, StoreError)) as caught:
        await Store.open(PostgresUrl(url))
    told = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(PostgresUrl(url))

    assert "s3cr" not in told
    assert "127.0.0.1:1" in str(caught.value) or "libpq" in str(caught.value)


async def test_server_that_asks_for_a_password_gets_it(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    From the URL, from its own file, or from libpq's: the server lets us in; with a wrong one it does not, and nobody
    learns either.
    """
    plain = postgres.new()
    name = plain.url.rpartition("/")[2]
    sql(
        plain,
        f"DROP ROLE IF EXISTS {GUARDED}",
        f"CREATE ROLE {GUARDED} LOGIN PASSWORD 's3cr/et'",
        f"ALTER DATABASE {name} OWNER TO {GUARDED}",
    )
    host = f"127.0.0.1:{postgres.port}/{name}"
    file, passfile = tmp_path / "password", tmp_path / "pgpass"
    file.write_text("s3cr/et\n")
    passfile.write_text(f"127.0.0.1:{postgres.port}:*:{GUARDED}:s3cr/et\n")
    passfile.chmod(0o600)
    who = [
        sql(PostgresUrl(f"postgresql://{GUARDED}:s3cr%2Fet@{host}"), "SELECT current_user"),
        sql(PostgresUrl(f"postgresql://{GUARDED}@{host}", file), "SELECT current_user"),
    ]
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    who.append(sql(PostgresUrl(f"postgresql://{GUARDED}@{host}"), "SELECT current_user"))
    wrong = PostgresUrl(f"postgresql://{GUARDED}:wr0ng@{host}")
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        await Store.open(wrong)
    sql(plain, f"ALTER DATABASE {name} OWNER TO {USER}", f"DROP ROLE {GUARDED}")

    assert [[(GUARDED,)]] * 3 == who
    assert "wr0ng" not in "".join(traceback.format_exception(caught.value))


def test_password_may_stand_in_a_file(tmp_path: Path) -> None:
    """
    The file's line is the password; an empty or missing file is told by its name.
    """
    file = tmp_path / "password"
    with pytest.raises(ConfigError, match="password cannot be read"):
        engine_of(PostgresUrl("postgresql://u@127.0.0.1/d", file))
    file.write_text("\n")
    with pytest.raises(ConfigError, match="password is empty"):
        engine_of(PostgresUrl("postgresql://u@127.0.0.1/d", file))
    file.write_text("from the file\n")

    assert _parameters(PostgresUrl("postgresql://u:other@127.0.0.1/d", file))["password"] == "from the file"
