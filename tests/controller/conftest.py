from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.controller.running import Running, running
from tests.hub.server import LocalHub


@pytest.fixture(name="listeners")
async def _listeners(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as listeners:
        yield listeners


@pytest.fixture(name="hub")
def _hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MODELSCOPE_API_TOKEN", "MODELSCOPE_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with LocalHub() as hub:
        yield hub
