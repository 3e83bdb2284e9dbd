"""A made-up NVML, and the plugin on top of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.plugins.accelerators.nvidia.machine import FakeNvml, NvidiaProcess, compile_nvml

StartPlugin = Callable[..., NvidiaProcess]


@pytest.fixture(scope="session", name="library")
def make_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of a driver of today."""
    return compile_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="session", name="old_library")
def make_old_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of an old driver, which lacks many functions."""
    return compile_nvml(tmp_path_factory.mktemp("old-nvml"), "OLD_DRIVER")


@pytest.fixture(name="nvml")
def make_nvml(tmp_path: Path, library: Path) -> FakeNvml:
    """The library in a folder of the test's own."""
    return FakeNvml(tmp_path / "nvml", library)


@pytest.fixture(name="start")
def make_start() -> Iterator[StartPlugin]:
    """Start the plugin on libraries in these folders."""
    started: list[NvidiaProcess] = []

    def start(*folders: Path) -> NvidiaProcess:
        started.append(NvidiaProcess(*folders))
        return started[-1]

    yield start
    for process in started:
        process.end()
