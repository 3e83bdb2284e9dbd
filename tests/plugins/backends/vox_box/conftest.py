"""A node without a vox-box of its own."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_vox_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No vox-box that this machine may have is seen."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("MOTORPOOL_VOX_BOX", raising=False)
