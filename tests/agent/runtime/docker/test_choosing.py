"""Whether a launch becomes a process or a container, and what a plugin has to say to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_agent.runtime import choosing, launching
from motorpool_agent.runtime.errors import LaunchError
from motorpool_sdk.accelerator import Exposure
from motorpool_sdk.backend import Launch, Probe, Version
from tests.agent.runtime.fakes import assignment

PROCESS = Version(version="1")
DOCKER = Version(version="1", executors=("docker",), image="backends:1")
EITHER = Version(version="1", executors=("process", "docker"), image="backends:1")
LAUNCH = Launch(argv=("--port", "1"), image="engine:1", readiness=Probe(path="/health"))


@pytest.mark.parametrize(
    ("version", "image", "expected"),
    [
        (PROCESS, "", ""),
        (EITHER, "", ""),
        (DOCKER, "", "backends:1"),
        (PROCESS, "engine:1", "engine:1"),
        (DOCKER, "engine:1", "engine:1"),
    ],
)
def test_image(tmp_path: Path, version: Version, image: str, expected: str) -> None:
    """
    A deployment's image wins; a version's own is for versions that run in a container only.
    """
    assert expected == choosing.image_of(version, assignment(tmp_path, image=image))


def test_container_without_an_image(tmp_path: Path) -> None:
    """
    A version that runs in a container only and names no image needs the deployment's.
    """
    with pytest.raises(LaunchError, match="deploy with --image"):
        choosing.image_of(replace(DOCKER, image=""), assignment(tmp_path))


@pytest.mark.parametrize(
    ("launch", "image", "said"),
    [
        (replace(LAUNCH, image=""), "engine:1", "runs its engine as a process only"),
        (LAUNCH, "", "was asked for 'a process'"),
        (LAUNCH, "engine:2", "was asked for 'engine:2'"),
    ],
)
def test_plugin_that_means_something_else(tmp_path: Path, launch: Launch, image: str, said: str) -> None:
    """
    A launch in another image than was asked for, or in none, is not executed.
    """
    with pytest.raises(LaunchError, match=said):
        launching.agree(assignment(tmp_path), launch, image)


def test_record_of_a_container(tmp_path: Path) -> None:
    """
    A container gets no variable and no folder of the agent's; its model, its devices and its limit it does.
    """
    wish = replace(assignment(tmp_path, image="engine:1"), env={"A": "b"}, memory_limit_bytes=5)
    exposure = Exposure(
        device_nodes=("/dev/acme0",),
        mounts={"/opt/acme": "/opt/acme"},
        container_runtime="acme",
        cdi_devices=("a=1",),
        renamed_nodes={"/dev/acme0": "/dev/acme"},
        groups=("44",),
        capabilities=("SYS_PTRACE",),
    )
    launch = replace(LAUNCH, entrypoint=("/serve",), secrets={"KEY": "s3cret"})
    container = launching.container(wish, launch, "engine:1", tmp_path / "model.gguf", [exposure])
    record = launching.record(
        wish,
        launch,
        executor="docker",
        directory=tmp_path / "a1",
        address="127.0.0.1",
        ports={"http": 1},
        container=container,
    )

    assert ("docker", "engine:1", ("/serve", "--port", "1")) == (
        record.executor,
        record.rendered.image,
        record.rendered.argv,
    )
    assert {"A": "b", "KEY": "s3cret"} == record.environment
    assert "" == record.working_directory
    assert {str(tmp_path): str(tmp_path)} == container.mounts
    assert ({"/opt/acme": "/opt/acme"}, {"/dev/acme0": "/dev/acme"}, ("44",), ("SYS_PTRACE",)) == (
        container.device_mounts,
        container.renamed_nodes,
        container.groups,
        container.capabilities,
    )
    assert (("/dev/acme0",), "acme", ("a=1",), 5) == (
        container.device_nodes,
        container.runtime,
        container.cdi_devices,
        container.memory_limit_bytes,
    )


def test_container_without_a_health_path(tmp_path: Path) -> None:
    """
    Docker accepts on a port before the engine does: without a path to ask there is no telling when it is ready.
    """
    launch = replace(LAUNCH, readiness=None)
    container = launching.container(assignment(tmp_path), launch, "engine:1", tmp_path / "model.gguf")

    with pytest.raises(LaunchError, match="no path to ask"):
        launching.record(
            assignment(tmp_path),
            launch,
            executor="docker",
            directory=tmp_path,
            address="127.0.0.1",
            ports={"http": 1},
            container=container,
        )
