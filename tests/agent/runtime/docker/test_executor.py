"""The Docker executor keeps the contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_agent.reconcile.assignment import Assignment
from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.supervisor import Supervisor
from tests.agent.runtime.conformance import ExecutorContract
from tests.agent.runtime.fakes import assignment, desired, until_state
from tests.docker_engine import DockerEngine


@pytest.mark.e2e
class TestDocker(ExecutorContract):
    """A container is known by its id."""

    executor = "docker"
    docker: DockerEngine

    @pytest.fixture(name="wish")
    def make_wish(self, tmp_path: Path, image: str) -> Callable[..., Assignment]:
        """
        Makes assignments that run in the image.
        """
        return lambda *given, **options: assignment(tmp_path, *given, image=image, **options)

    @pytest.fixture(autouse=True)
    def _keep(self, docker: DockerEngine) -> None:
        self.docker = docker

    async def test_memory_limit(self, supervisor: Supervisor, wish: Callable[..., Assignment]) -> None:
        """
        An engine that takes more host memory than the deployment claims is killed, and that is said.
        """
        supervisor.apply(desired(replace(wish(restart=False, eat="512"), memory_limit_bytes=64 << 20)))
        seen = await until_state(supervisor, State.ERROR)
        assert seen.last_failure is not None

        assert ("OUT_OF_MEMORY", True) == (seen.last_failure.reason, seen.last_failure.out_of_memory)
        assert "at its limit of 64 MiB of host memory; claim more with --memory" in seen.last_failure.message

    def engines(self, data_dir: Path, assignment_id: str = "a1") -> Mapping[str, int]:
        """Return running containers."""
        found = self.docker.containers(data_dir, assignment_id)
        return {one["Id"]: one["State"]["Pid"] for one in found if one["State"]["Running"]}
