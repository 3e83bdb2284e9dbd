"""A made-up fork of ROCm SMI."""

from pathlib import Path

import pytest

from motorpool_sdk.testing.machine import FakeLibrary, compile_library
from tests.plugins.accelerators.hygon.cards import LACKS

SOURCE = Path(__file__).parents[1] / "amd" / "fake_rocm_smi.c"


@pytest.fixture(scope="session", name="compiled")
def make_compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of Hygon's driver."""
    return compile_library(SOURCE, tmp_path_factory.mktemp("hygon") / "librocm_smi64.so.2", without=LACKS)


@pytest.fixture(name="rsmi")
def make_rsmi(tmp_path: Path, compiled: Path) -> FakeLibrary:
    """The library in a folder of the test's own."""
    return FakeLibrary(tmp_path / "rsmi", compiled)
