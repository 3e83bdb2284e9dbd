"""An instance over two nodes in containers of a real Docker Engine: network, shared memory, ports, kill and restart.

Both agents are on this machine, whose network their containers share. The engine is a stand-in, and computes nothing
without the other member (`gang_engine.py`): what is held to its words here is what containers are given.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from motorpool import v1
from tests.docker_engine import DockerEngine
from tests.e2e import gang_engine
from tests.e2e.fleet import Fleet, wait_for
from tests.e2e.installation import installation
from tests.models.tiny_llama import make_tiny_llama

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(name="fleet")
def make_fleet(tmp_path: Path, engines: Path, docker: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """
    A controller and two agents, each of which offers vLLM for processors; their containers are removed with them.
    """
    made = installation(tmp_path / "vllm", vllm="0.32.0+cpu", torch="2.13.0+cpu")
    monkeypatch.setenv("MOTORPOOL_VLLM", str(made))
    fleet = Fleet(tmp_path, engines)
    try:
        fleet.start_controller()
        for node in "ab":
            fleet.start_agent(node)
        yield fleet
    finally:
        fleet.close()
        for node in "ab":
            docker.remove_all(tmp_path / node)


def containers(fleet: Fleet, docker: DockerEngine) -> dict[str, dict[str, Any]]:
    """Return each node's one container."""
    found = {node: docker.containers(fleet.folder / node) for node in "ab"}
    return {node: one for node, ones in found.items() for one in ones}


def runs(fleet: Fleet, generation: int) -> v1.Instance:
    """Return the instance once it runs in this generation."""

    def found() -> v1.Instance | None:
        wanted = (v1.INSTANCE_STATE_RUNNING, generation)
        return next((each for each in fleet.instances("pair") if (each.state, each.generation) == wanted), None)

    try:
        return wait_for(f"generation {generation} to run", found, 120)
    except BaseException:
        print(fleet.instances("pair"), *(agent.tail() for agent in fleet.agents.values()))
        raise


def ask(fleet: Fleet) -> str:
    """Return what both members together make of a word."""
    credentials = fleet.credentials("pair")
    answer = httpx.post(
        f"{credentials.endpoints[0]}/v1/completions",
        headers={"Authorization": f"Bearer {credentials.api_key}"},
        json={"model": "pair", "prompt": "together"},
        timeout=30,
        trust_env=False,
    )
    text: str = answer.raise_for_status().json()["choices"][0]["text"]
    return text


@pytest.mark.promise("P1")
def test_members_in_containers_meet_and_fail_and_return_as_a_whole(
    fleet: Fleet, docker: DockerEngine, tmp_path: Path
) -> None:
    """
    They answer together; a killed agent adopts its member; a killed container takes all down, is named, and all return.
    """
    model = tmp_path / "models" / "tiny-llama"
    make_tiny_llama(model)
    image = docker.python_image(Path(gang_engine.__file__))
    command = docker.client.inspect_image(image)["Config"]["Entrypoint"]
    parameters = ["--tensor-parallel-size", "2", "--nnodes", "2"]
    fleet.deploy("pair", model, backend="vllm", image=image, command=command, parameters=parameters)
    first = runs(fleet, 1)

    assert ["docker", "docker"] == [member.launch.executor for member in first.members]
    before = containers(fleet, docker)
    assert {"a", "b"} == set(before)
    for one in before.values():
        assert "host" == one["HostConfig"]["NetworkMode"]
        assert one["HostConfig"]["ShmSize"] > gang_engine.SHARED_BYTES
    assert "TOGETHER" == ask(fleet)
    [master] = [port.number for port in first.members[0].ports if port.port_name == "master"]
    joined = fleet.command("motorpool", "logs", first.name, "--node", "b").stdout
    assert f"joined 127.0.0.1:{master}" in joined
    assert f"wrote {gang_engine.SHARED_BYTES} bytes" in fleet.command("motorpool", "logs", first.name).stdout

    fleet.agents["b"].kill()
    fleet.start_agent("b")
    wait_for("the member to be adopted", lambda: runs(fleet, 1).members[1].adopted)
    assert before["b"]["Id"] == containers(fleet, docker)["b"]["Id"]
    assert "TOGETHER" == ask(fleet)

    docker.client.kill(before["b"]["Id"])
    again = runs(fleet, 2)

    assert again.last_failure.message.startswith("nodes/b (rank 1): ")
    assert 137 == (again.last_failure.exit_code or 128 + again.last_failure.signal)
    after = containers(fleet, docker)
    assert {one["Id"] for one in before.values()}.isdisjoint(one["Id"] for one in after.values())
    assert "TOGETHER" == ask(fleet)

    fleet.delete("pair")
    assert {} == containers(fleet, docker)
