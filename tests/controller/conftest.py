from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.controller.running import Running, running


@pytest.fixture(name="listeners")
async def _listeners(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as listeners:
        yield listeners
