"""A made-up IXML."""

from pathlib import Path

import pytest

from motorpool_sdk.testing.machine import FakeLibrary, compile_library

SOURCE = Path(__file__).parents[1] / "nvidia" / "fake_nvml.c"


@pytest.fixture(scope="session", name="compiled")
def make_compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of a CoreX of today."""
    return compile_library(SOURCE, tmp_path_factory.mktemp("ixml") / "libixml.so", "IXML")


@pytest.fixture(scope="session", name="old_compiled")
def make_old_compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of an old CoreX, without memory version 2 and health."""
    folder = tmp_path_factory.mktemp("old-ixml")
    return compile_library(SOURCE, folder / "libixml.so", "IXML", "OLD_DRIVER", without=["ixmlDeviceGetHealth"])


@pytest.fixture(name="ixml")
def make_ixml(tmp_path: Path, compiled: Path) -> FakeLibrary:
    """The library in a folder of the test's own."""
    return FakeLibrary(tmp_path / "ixml", compiled)
