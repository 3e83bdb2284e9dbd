"""A node without an SGLang of its own."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_sglang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No SGLang that this machine may have is seen."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("MOTORPOOL_SGLANG", raising=False)
