"""Images are pulled when they are not there, and it is said how far that came, or why it did not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker import errors as docker_errors

from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.supervisor import Supervisor
from tests.agent.runtime.docker.registry import Registry
from tests.agent.runtime.fakes import assignment, desired, tombstone, until, until_gone, until_state
from tests.docker_engine import DockerEngine

pytestmark = pytest.mark.e2e


@pytest.fixture(name="registry")
def make_registry(docker: DockerEngine) -> Iterator[Registry]:
    """
    A registry with one image, removed from the Docker Engine afterwards.
    """
    with Registry(os.urandom(8 << 20)) as registry:
        yield registry
        registry.gate.set()
        with contextlib.suppress(docker_errors.ImageNotFound):
            docker.client.remove_image(registry.image, force=True)


async def test_pull_is_told_in_bytes(supervisor: Supervisor, registry: Registry, tmp_path: Path) -> None:
    """
    While an image is pulled the instance is downloading, with the bytes done and the bytes in all.
    """
    supervisor.apply(desired(assignment(tmp_path, image=registry.image, restart=False)))
    await until(lambda: supervisor.observed()["a1"].progress_bytes)
    seen = supervisor.observed()["a1"]
    registry.gate.set()
    # There is no program in it: the launch fails, after the pull.
    failed = await until_state(supervisor, State.ERROR)

    assert State.DOWNLOADING is seen.state
    assert registry.image in seen.message
    assert registry.layer_bytes == seen.progress_total_bytes
    assert 0 < (seen.progress_bytes or 0) < registry.layer_bytes
    assert (None, None) == (failed.progress_bytes, failed.progress_total_bytes)
    assert failed.last_failure is not None
    assert "EXEC_FAILED" == failed.last_failure.reason


async def test_pull_is_given_up(supervisor: Supervisor, registry: Registry, tmp_path: Path) -> None:
    """
    A tombstone during a pull removes the instance at once.
    """
    supervisor.apply(desired(assignment(tmp_path, image=registry.image)))
    await until_state(supervisor, State.DOWNLOADING)
    supervisor.apply(desired(tombstones=[tombstone()]))
    await until_gone(supervisor)


@pytest.mark.parametrize(
    ("image", "reason", "said"),
    [
        ("127.0.0.1:1/engine:1", "IMAGE_PULL_FAILED", "could not be pulled"),
        ("Not-An-Image", "IMAGE_INVALID", "correct the deployment"),
    ],
)
async def test_image_that_cannot_be_had(
    supervisor: Supervisor, tmp_path: Path, image: str, reason: str, said: str
) -> None:
    """
    An image that no registry gives, or that is no image's name, is an error with the reason and what to do.
    """
    supervisor.apply(desired(assignment(tmp_path, image=image, restart=False)))
    seen = await until_state(supervisor, State.ERROR)
    assert seen.last_failure is not None

    assert reason == seen.last_failure.reason
    assert said in seen.last_failure.message


async def test_image_that_the_registry_does_not_know(
    supervisor: Supervisor, registry: Registry, tmp_path: Path
) -> None:
    """
    An image that its registry does not have is an error that says how to bring it.
    """
    image = registry.image.replace("engine:1", "other:1")
    supervisor.apply(desired(assignment(tmp_path, image=image, restart=False)))
    seen = await until_state(supervisor, State.ERROR)
    assert seen.last_failure is not None

    assert image in seen.last_failure.message
    assert "docker load" in seen.last_failure.message
