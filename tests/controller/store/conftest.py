from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from motorpool_controller.store.database import initialise, make_database
from motorpool_controller.store.store import Store


@pytest.fixture(name="database")
def _database(tmp_path: Path) -> Path:
    path = tmp_path / "controller.db"
    engine = make_database(path)
    initialise(engine, "cluster-1")
    engine.dispose()
    return path


@pytest.fixture(name="store")
async def _store(database: Path) -> AsyncIterator[Store]:
    async with await Store.open(database) as store:
        yield store
