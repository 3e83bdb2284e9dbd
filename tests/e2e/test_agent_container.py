"""The agent itself in a container, from an image without a registry: engines are containers beside it."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from motorpool import v1
from motorpool_llama_cpp import launcher
from tests.docker_engine import DockerEngine
from tests.e2e.chat import Questioner
from tests.e2e.fleet import Fleet, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

MEMBERS = (
    "motorpool",
    "motorpool-agent",
    "motorpool-formats",
    "motorpool-llama-cpp",
    "motorpool-sdk",
    "motorpool-telemetry",
)


def closure(*names: str) -> dict[str, Distribution]:
    """Return distributions with all that they need here, by name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    left = [(name, "") for name in names]
    while left:
        name, extra = left.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        for needed in map(Requirement, found[name].requires or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                left += [(canonicalize_name(needed.name), each) for each in ("", *needed.extras)]
    return found


@pytest.fixture(scope="session", name="agent_image")
def make_agent_image(docker: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """
    An image of the agent, with llama.cpp's plugin and all that both need, from what is installed here.
    """
    site = tmp_path_factory.mktemp("image") / "site"
    purelib = Path(sysconfig.get_path("purelib"))
    for name, dist in closure("motorpool-agent", "motorpool-llama-cpp").items():
        for file in dist.files or ():
            source = purelib / file
            if ".." in file.parts or source.suffix in {".pth", ".pyc"} or not source.is_file():
                continue
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, site / file)
        if name in MEMBERS:  # installed in place
            module = sys.modules.get(name.replace("-", "_")) or __import__(name.replace("-", "_"))
            assert module.__file__ is not None
            folder = Path(module.__file__).parent
            shutil.copytree(
                folder, site / folder.name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
            )
    program = tmp_path_factory.mktemp("program") / "agent_main.py"
    program.write_text("from motorpool_agent.main import main\n\nmain()\n", encoding="utf-8")
    return docker.python_image(program, [site], {"PYTHONPATH": "/app/site"})


@pytest.fixture(scope="session", name="engine_image")
def make_engine_image(docker: DockerEngine, engines: Path) -> str:
    """
    An image of llama.cpp's server under llama-server's option names.
    """
    [package] = engines.glob("llama_cpp/*/lib/python*/site-packages/xllamacpp")
    return docker.python_image(Path(launcher.__file__), [package, *package.parent.glob("xllamacpp.libs")])


class Contained:
    """An agent's container, as the fleet holds a process."""

    def __init__(self, docker: DockerEngine, image: str, fleet: Fleet, model: Path, options: list[str]) -> None:
        self._docker = docker
        address = docker.client.base_url.replace("http+docker://localhost", os.environ.get("DOCKER_HOST", ""))
        socket = urlsplit(address or "unix:///var/run/docker.sock").path or "/var/run/docker.sock"
        binds = {str(fleet.folder / "a"): "rw", str(model.parent): "ro", socket: "rw"}
        made = docker.client.create_container(
            image,
            command=["run", *options],
            environment={"DOCKER_HOST": f"unix://{socket}", "HOME": "/tmp"},  # the container's own
            host_config=docker.client.create_host_config(
                network_mode="host",
                pid_mode="host",
                binds={path: {"bind": path, "mode": mode} for path, mode in binds.items()},
            ),
        )
        self.id: str = made["Id"]
        docker.client.start(self.id)

    def running(self) -> bool:
        return bool(self._docker.client.inspect_container(self.id)["State"]["Running"])

    def tail(self) -> str:
        return str(self._docker.client.logs(self.id, tail=40).decode(errors="replace"))

    def kill(self) -> None:
        """End it at once, and its container."""
        self._docker.client.remove_container(self.id, force=True)

    terminate = kill


@pytest.fixture(name="fleet")
def make_fleet(tmp_path: Path, engines: Path, docker: DockerEngine) -> Iterator[Fleet]:
    """
    A controller that answers, and no agents yet; containers are removed with it.
    """
    fleet = Fleet(tmp_path, engines)
    try:
        fleet.start_controller()
        yield fleet
    finally:
        fleet.close()
        docker.remove_all(tmp_path / "a")


@pytest.mark.promise("P1")
def test_an_agent_in_a_container_has_engines_beside_it(
    fleet: Fleet, tiny_model: Path, docker: DockerEngine, agent_image: str, engine_image: str
) -> None:
    """
    It joins and serves; its engine answers on while its container is removed, and the next one adopts it.
    """

    def start() -> Contained:
        fleet.agents["a"] = contained = Contained(docker, agent_image, fleet, tiny_model, options)  # type: ignore[assignment]  # held as one
        fleet.wait_ready()
        return contained

    options = [*fleet.run_options("a"), "--token", fleet.join_token()]
    (fleet.folder / "a" / "engines").unlink()
    agent = start()
    fleet.deploy("tiny", tiny_model, image=engine_image)
    before = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    with Questioner(fleet.credentials("tiny")) as questioner:
        questioner.wait_for_more(5, "before anything happens")
        agent.kill()
        questioner.wait_for_more(5, "without an agent")
        agent = start()
        # The node is known again a moment before what it runs is.
        wait_for("the engine to be adopted", lambda: fleet.instances("tiny")[0].adopted)
        after = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
        questioner.wait_for_more(5, "with another agent")
    engines = docker.containers(fleet.folder / "a")
    fleet.delete("tiny")

    assert [] == questioner.failures
    assert 1 == len(engines)
    assert (before.pid, before.pid_start_ticks, 0, True) == (
        after.pid,
        after.pid_start_ticks,
        after.restart_count,
        after.adopted,
    )
    assert "docker" == after.launch.executor
    agent.kill()
    del fleet.agents["a"]
