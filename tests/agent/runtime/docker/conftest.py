"""What the tests of containers share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.runtime.fakes import ENGINE
from tests.docker_engine import DockerEngine


@pytest.fixture(scope="session", name="image")
def make_image(docker: DockerEngine) -> str:
    """
    An image that runs the tests' engine.
    """
    return docker.python_image(ENGINE)


@pytest.fixture(name="data_dir")
def make_data_dir(tmp_path: Path, docker: DockerEngine) -> Iterator[Path]:
    """
    A data directory; containers of its agents are removed after the test.
    """
    data_dir = tmp_path / "data"
    yield data_dir
    docker.remove_all(data_dir)
