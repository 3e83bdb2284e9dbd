from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controller.catalog.asking import Asker
from tests.hub.server import LocalHub


@pytest.fixture(name="asker")
def _asker(hub: LocalHub, tmp_path: Path) -> Iterator[Asker]:
    asker = Asker(hub, tmp_path / "catalog")
    yield asker
    asker.close()
