from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Iterator[Path]:
    """
    A folder in memory, where there is one: what a kill leaves is the same there, and it is fast.
    """
    memory = Path("/dev/shm")  # a folder of its own below it
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Path(folder)
