"""vLLM by Ray over two nodes: two agents in two network namespaces, a cluster of its own on reserved ports."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from motorpool import v1
from tests.e2e.chat import ask
from tests.e2e.fleet import engines_below, wait_for
from tests.e2e.installation import installation
from tests.e2e.networks import NetworkFleet, may_make_networks, network
from tests.e2e.test_vllm_two_nodes import ENGINE, processes, runs
from tests.e2e.vllm_engine import FOLDER
from tests.models.tiny_llama import make_tiny_llama

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.needs("ip", "nsenter"),
    may_make_networks,
]

# In its own network each node may have the same ones.
PORTS = ("--port-range", "24000-24063")
LISTENS = "0A"
BY_RAY = ("--tensor-parallel-size", "2", "--nnodes", "2", "--distributed-executor-backend", "ray", *ENGINE)


@pytest.fixture(name="fleet")
def make_fleet(tmp_path: Path, engines: Path) -> Iterator[NetworkFleet]:
    """
    A controller on the host, and a network for each of two agents.
    """
    with network("a", "b") as net:
        fleet = NetworkFleet(tmp_path, engines, net)
        try:
            fleet.start_controller()
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
    """Deploy a model over two nodes by Ray, as a user does."""
    fleet.command(
        *("motorpool", "deploy", "pair", "--backend", "vllm", "--model", str(model), "--env", "RAY_ON_CPU=1"),
        *("--", *BY_RAY),
    )


def listening(fleet: NetworkFleet, node: str) -> dict[str, set[int]]:
    """Return the ports on which a node's processes listen, by the process's name."""
    space = (Path("/run/netns") / fleet.network.namespaces[node]).stat().st_ino
    found: dict[str, set[int]] = {}
    for process in engines_below(fleet.folder):
        with contextlib.suppress(psutil.Error, OSError):
            files = Path("/proc") / str(process.pid)
            if (files / "ns" / "net").stat().st_ino == space:
                found.setdefault(process.name(), set()).update(ports_of(files))
    return {name: ports for name, ports in found.items() if ports}


def ports_of(process: Path) -> Iterator[int]:
    """Yield the ports on which a process listens in its own network, where psutil does not look."""
    sockets = {str(each.readlink()) for each in (process / "fd").iterdir()}
    for table in ("tcp", "tcp6"):
        for line in (process / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == LISTENS and f"socket:[{inode}]" in sockets:
                yield int(local.rpartition(":")[2], 16)


def reserved(member: v1.InstanceMember) -> set[int]:
    """Return the ports that a member reserved: each name's first, and all of the workers'."""
    ports = {port.port_name: port.number for port in member.ports}
    return {*ports.values(), *range(ports["worker"], ports["worker"] + 32)}


@pytest.mark.engine("vllm")
def test_a_model_on_a_cluster_of_its_own_loses_a_member_as_a_whole(
    fleet: NetworkFleet, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It answers, Ray listens on reserved ports alone, and a killed member takes all down, is named, and all come back.
    """
    monkeypatch.setenv("MOTORPOOL_VLLM", str(FOLDER))
    for node in "ab":
        fleet.start_agent(node, *PORTS)
    deploy(fleet, model)
    first = runs(fleet, 1)

    leader, follower = (list(member.launch.argv) for member in first.members)
    assert ("serve" in leader, "serve" in follower) == (True, False)
    assert [member.parts["ray"] for member in first.members] == ["2.60.0", "2.60.0"]
    answer = ask(fleet.credentials("pair"), tokens=8)
    assert answer

    for member in first.members:
        by_name = listening(fleet, member.node.removeprefix("nodes/"))
        print(member.node, by_name)
        # vLLM's queues and collectives take ports of the kernel's choice, whichever launcher it has.
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
        ports = set().union(*by_name.values())
        assert {port for port in ports if port < low} <= reserved(member)
        rays = [found for name, found in by_name.items() if not name.startswith(("vllm", "VLLM", "ray::RayWorker"))]
        assert set().union(*rays) <= reserved(member)
        assert {"raylet", *(["gcs_server"] if not member.rank else [])} <= set(by_name)

    token = first.members[0].launch.env["RAY_AUTH_TOKEN"]
    assert "***" == token

    os.kill(first.members[1].pid, signal.SIGKILL)

    def failed() -> v1.Instance | None:
        found = [each for each in fleet.instances("pair") if each.generation > 1]
        return found[0] if found else None

    after = wait_for("the gang to fail", failed, 30)
    assert after.last_failure.message.startswith("nodes/b (rank 1): ")
    assert signal.SIGKILL == after.last_failure.signal
    wait_for("both processes to be gone", lambda: not any(map(psutil.pid_exists, processes(first).values())), 60)

    again = runs(fleet, 2)
    assert set(processes(again).values()).isdisjoint(processes(first).values())
    assert answer == ask(fleet.credentials("pair"), tokens=8)

    fleet.delete("pair")
    ours = {fleet.controller.pid if fleet.controller else 0, *(agent.pid for agent in fleet.agents.values())}
    left = [each for each in engines_below(fleet.folder) if each.pid not in ours]
    assert [] == [each.cmdline() for each in left if "motorpool_" not in " ".join(each.cmdline())]


def test_members_with_another_ray_are_told_apart(
    fleet: NetworkFleet, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The node, both versions and what to do are told before anything runs; alike, it goes on by itself.
    """
    for node, ray in (("a", "2.60.0"), ("b", "2.59.0")):
        made = installation(tmp_path / f"vllm-{node}", vllm="0.32.0+cpu", torch="2.13.0+cpu", ray=ray)
        monkeypatch.setenv("MOTORPOOL_VLLM", str(made))
        fleet.start_agent(node, *PORTS)
    deploy(fleet, model)

    failed = fleet.wait_state("pair", v1.INSTANCE_STATE_ERROR)
    assert (
        "nodes/b (rank 1): it has ray 2.59.0, and nodes/a (rank 0) has ray 2.60.0; install the same on all of its nodes"
        in failed.state_message
    )
    assert [0, 0] == [member.pid for member in failed.members]
    assert "MEMBERS_DIFFER" == failed.last_failure.reason
    shown = fleet.command("motorpool", "describe", failed.name).stdout
    assert "ray 2.59.0" in shown
    fleet.delete("pair")
