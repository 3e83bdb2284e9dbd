"""A made-up DCMI."""

from pathlib import Path

import pytest

from motorpool_sdk.testing.machine import FakeLibrary, compile_library
from tests.plugins.accelerators.ascend.board import NEWER

SOURCE = Path(__file__).with_name("fake_dcmi.c")


@pytest.fixture(scope="session", name="compiled")
def make_compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of a driver of today."""
    return compile_library(SOURCE, tmp_path_factory.mktemp("dcmi") / "libdcmi.so")


@pytest.fixture(scope="session", name="old_compiled")
def make_old_compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of an old driver."""
    return compile_library(SOURCE, tmp_path_factory.mktemp("old-dcmi") / "libdcmi.so", without=NEWER)


@pytest.fixture(name="dcmi")
def make_dcmi(tmp_path: Path, compiled: Path) -> FakeLibrary:
    """The library in a folder of the test's own."""
    return FakeLibrary(tmp_path / "dcmi", compiled)
