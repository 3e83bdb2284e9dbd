"""vLLM over two nodes: two agents in two network namespaces, one model, half of its tensors on each."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from motorpool import v1
from tests.e2e.chat import ask
from tests.e2e.fleet import engines_below, wait_for
from tests.e2e.networks import NetworkFleet, may_make_networks, network
from tests.e2e.vllm_engine import COMMAND, FOLDER
from tests.models.tiny_llama import make_tiny_llama

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.needs("ip", "nsenter"),
    pytest.mark.engine("vllm"),
    may_make_networks,
]

ENGINE = ("--max-model-len", "512", "--enforce-eager", "--dtype", "float32")
START_SECONDS = 400.0


@pytest.fixture(name="fleet")
def make_fleet(tmp_path: Path, engines: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NetworkFleet]:
    """
    A controller on the host and two agents, each in a network of its own, all on one bridge; both have vLLM.
    """
    monkeypatch.setenv("MOTORPOOL_VLLM", str(FOLDER))
    with network("a", "b") as net:
        fleet = NetworkFleet(tmp_path, engines, net)
        try:
            fleet.start_controller()
            fleet.start_agent("a")
            fleet.start_agent("b")
            yield fleet
        finally:
            fleet.close()


@pytest.fixture(name="model")
def make_model(tmp_path: Path) -> Path:
    """
    A random model whose heads two can share.
    """
    path = tmp_path / "models" / "tiny-llama"
    make_tiny_llama(path)
    return path


def deploy(fleet: NetworkFleet, model: Path) -> None:
    """Deploy a model over two nodes, as a user does."""
    fleet.command(
        *("motorpool", "deploy", "pair", "--backend", "vllm", "--model", str(model)),
        *("--", "--tensor-parallel-size", "2", "--nnodes", "2", *ENGINE),
    )


def runs(fleet: NetworkFleet, generation: int) -> v1.Instance:
    """Return the instance once it runs in this generation."""

    def found() -> v1.Instance | None:
        wanted = (v1.INSTANCE_STATE_RUNNING, generation)
        return next((each for each in fleet.instances("pair") if (each.state, each.generation) == wanted), None)

    try:
        return wait_for(f"generation {generation} to run", found, START_SECONDS)
    except BaseException:
        print(fleet.instances("pair"))
        for log in (*fleet.folder.glob("*.log"), *fleet.folder.glob("*/instances/*/logs/*.log")):
            print(f"--- {log}\n{log.read_text(errors='replace')[-3000:]}")
        raise


def processes(instance: v1.Instance) -> dict[str, int]:
    """Return the process of each member by node."""
    return {member.node: member.pid for member in instance.members}


@pytest.mark.promise("P1", "P3")
def test_a_model_on_two_nodes_outlives_our_processes_and_loses_a_member_as_a_whole(
    fleet: NetworkFleet, model: Path
) -> None:
    """
    It answers; agent and controller are killed and adopt it; a node is cut off and returns, and nothing was stopped; a
    member is killed, and all of it fails and comes back.
    """
    deploy(fleet, model)
    first = runs(fleet, 1)

    assert ["nodes/a", "nodes/b"] == [member.node for member in first.members]
    [port] = [port.number for port in first.launch.ports if port.port_name == "http"]
    assert f"http://{fleet.network.addresses['a']}:{port}" == first.endpoint
    leader, follower = (list(member.launch.argv) for member in first.members)
    assert [str(COMMAND), "serve", str(model)] == leader[:3]
    assert ("--headless" in leader, "--headless" in follower) == (False, True)
    assert first.members[1].launch.env["VLLM_HOST_IP"] == fleet.network.addresses["b"]
    assert first.members[1].launch.env["GLOO_SOCKET_IFNAME"] == "cable0"
    answer = ask(fleet.credentials("pair"), tokens=8)
    assert answer

    shown = fleet.command("motorpool", "describe", first.name).stdout
    assert "nodes/b (rank 1): running" in shown.lower()
    assert "headless" in fleet.command("motorpool", "logs", first.name, "--node", "b").stdout.lower()

    assert fleet.controller is not None
    fleet.controller.kill()
    fleet.agents["b"].kill()
    fleet.start_controller()
    fleet.start_agent("b")
    adopted = runs(fleet, 1)
    assert processes(first) == processes(adopted)
    wait_for("the member to be adopted", lambda: runs(fleet, 1).members[1].adopted)
    assert answer == ask(fleet.credentials("pair"), tokens=8)

    with fleet.network.cut_off("b"):
        away = fleet.wait_state("pair", v1.INSTANCE_STATE_UNREACHABLE, timeout_seconds=120)
        assert "nodes/b" in away.state_message
    assert processes(adopted) == processes(runs(fleet, 1))
    assert answer == ask(fleet.credentials("pair"), tokens=8)

    os.kill(adopted.members[1].pid, signal.SIGKILL)

    def failed() -> v1.Instance | None:
        found = [each for each in fleet.instances("pair") if each.generation > 1]
        return found[0] if found else None

    after = wait_for("the gang to fail", failed, 30)
    assert after.last_failure.message.startswith("nodes/b (rank 1): ")
    assert signal.SIGKILL == after.last_failure.signal
    wait_for("both processes to be gone", lambda: not any(map(psutil.pid_exists, processes(adopted).values())), 60)

    again = runs(fleet, 2)
    assert set(processes(again).values()).isdisjoint(processes(adopted).values())
    assert answer == ask(fleet.credentials("pair"), tokens=8)

    fleet.delete("pair")
    left = [each for each in engines_below(fleet.folder) if "vllm" in " ".join(each.cmdline())]
    assert [] == left
