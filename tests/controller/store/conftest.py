import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from motorpool_controller.store.database import Where, initialise, make_database
from motorpool_controller.store.store import Store


@pytest.fixture(params=["sqlite", "postgresql"], name="new_place")
def _new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Where]:
    """
    Gives places where a database may be made: each test runs on both kinds.
    """
    if request.param == "sqlite":
        numbers = itertools.count()
        return lambda: tmp_path / f"controller-{next(numbers)}.db"
    made: Callable[[], Where] = request.getfixturevalue("postgres").new
    return made


@pytest.fixture(name="place")
def _place(new_place: Callable[[], Where]) -> Where:
    return new_place()


@pytest.fixture(name="database")
def _database(place: Where) -> Where:
    engine = make_database(place)
    initialise(engine, "cluster-1")
    engine.dispose()
    return place


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    """
    A cluster's database on SQLite, for what is so there only.
    """
    path = tmp_path / "controller.db"
    engine = make_database(path)
    initialise(engine, "cluster-1")
    engine.dispose()
    return path


@pytest.fixture(name="store")
async def _store(database: Where) -> AsyncIterator[Store]:
    async with await Store.open(database) as store:
        yield store
