"""A made-up ROCm SMI."""

from pathlib import Path

import pytest

from motorpool_sdk.testing.machine import FakeLibrary, compile_library
from tests.plugins.accelerators.amd.cards import NEWER

SOURCE = Path(__file__).with_name("fake_rocm_smi.c")


@pytest.fixture(scope="session", name="compiled")
def make_compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of a ROCm of today."""
    return compile_library(SOURCE, tmp_path_factory.mktemp("rsmi") / "librocm_smi64.so.7")


@pytest.fixture(scope="session", name="old_compiled")
def make_old_compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of ROCm 4."""
    return compile_library(SOURCE, tmp_path_factory.mktemp("old-rsmi") / "librocm_smi64.so.5", without=NEWER)


@pytest.fixture(name="rsmi")
def make_rsmi(tmp_path: Path, compiled: Path) -> FakeLibrary:
    """The library in a folder of the test's own."""
    return FakeLibrary(tmp_path / "rsmi", compiled)
