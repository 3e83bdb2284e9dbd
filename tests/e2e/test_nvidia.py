"""Models on NVIDIA cards of which only the driver's library is made up: placed, exposed, claimed, refused."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from motorpool import v1
from tests.e2e.chat import ask
from tests.e2e.fleet import Fleet, wait_for
from tests.e2e.llama_server import VERSION, environment_of, install_llama_server
from tests.plugins.accelerators.nvidia.machine import FIRST, SECOND, FakeNvml, compile_nvml

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

MIB = 2**20
TOTAL_MIB = 1024
OUTSIDER_PID = 999_999

CARD = """
card {uuid}
name Made-up card
bus 00000000:{bus}:00.0
total {total}
used {used}
util 3
temperature 40
power 50000
capability 9 0
architecture 9
"""


class Cards:
    """Two cards of 1 GiB; ``take`` has a program that is none of ours use some of one, in MiB."""

    def __init__(self, nvml: FakeNvml) -> None:
        self._nvml = nvml
        self._lines: dict[str, list[str]] = {FIRST: [], SECOND: []}
        self._used = dict.fromkeys(self._lines, 0)
        self.first_line = "driver 580.95.05\n"
        self.show()

    def take(self, uuid: str, size_mib: int, pid: int = OUTSIDER_PID) -> None:
        self._lines[uuid] = [f"process {pid} {size_mib}"] if size_mib else []
        self._used[uuid] = size_mib
        self.show()

    def show(self) -> None:
        cards = [
            CARD.format(uuid=uuid, bus=f"{number + 1:02X}", total=TOTAL_MIB, used=self._used[uuid])
            + "".join(f"{line}\n" for line in lines)
            for number, (uuid, lines) in enumerate(self._lines.items())
        ]
        self._nvml.show("".join(cards), first=self.first_line)


@pytest.fixture(scope="session", name="library")
def make_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(name="cards")
def make_cards(fleet: Fleet, library: Path, monkeypatch: pytest.MonkeyPatch) -> Cards:
    """Two free cards that agents started from now on will find."""
    nvml = FakeNvml(fleet.folder / "nvml", library)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml.folder))
    return Cards(nvml)


@pytest.fixture(name="llama_server")
def make_llama_server(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A llama-server on the node that offers CUDA."""
    program = install_llama_server(fleet, "CUDA0", "CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("MOTORPOOL_LLAMA_SERVER", str(program))


def statuses(fleet: Fleet) -> Mapping[str, v1.DeviceStatus]:
    listed = fleet.nodes.ListDevices(v1.ListDevicesRequest(parent="nodes/a"), timeout=10)
    return {status.device.device_id: status for status in listed.devices}


def wait_used(fleet: Fleet, uuid: str, size_mib: int) -> None:
    """Wait until the controller knows how much of a card is in use."""

    def known() -> bool:
        status = statuses(fleet).get(uuid)
        return status is not None and status.usage.HasField("used_bytes") and status.usage.used_bytes == size_mib * MIB

    wait_for(f"{size_mib} MiB used on {uuid}", known)


@pytest.mark.promise("P2")
@pytest.mark.promise("P4")
@pytest.mark.usefixtures("llama_server")
def test_models_are_placed_by_the_memory_of_devices(fleet: Fleet, cards: Cards, tiny_model: Path) -> None:
    """
    A model goes to the card with room and sees no other; the next one is refused with who holds each card, and is
    placed when a stranger gives memory back.
    """
    fleet.start_agent()
    wait_used(fleet, FIRST, 0)
    cards.take(FIRST, 900)  # it would be the first choice
    wait_used(fleet, FIRST, 900)

    fleet.deploy("tiny", tiny_model, cpu_offloading=False)
    running = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    cards.take(SECOND, 100, running.pid)

    (member,) = running.placement.members
    (claim,) = member.claim.devices
    assert ("cuda", VERSION, SECOND) == (
        running.placement.framework,
        running.placement.backend_version,
        claim.device_id,
    )
    env = environment_of(running.pid)
    assert (SECOND, SECOND) == (env["CUDA_VISIBLE_DEVICES"], env["NVIDIA_VISIBLE_DEVICES"])
    assert SECOND == running.launch.env["CUDA_VISIBLE_DEVICES"]
    assert ask(fleet.credentials("tiny"))
    assert [0, claim.memory_bytes] == [statuses(fleet)[uuid].claimed_bytes for uuid in (FIRST, SECOND)]
    told = json.loads(fleet.command("motorpool", "devices", "--output", "json").stdout)["devices"]
    assert str(claim.memory_bytes) in {str(each.get("claimed_bytes")) for each in told}
    row = next(line for line in fleet.command("motorpool", "devices").stdout.splitlines() if SECOND in line)
    assert "Made-up card" in row

    fleet.deploy("other", tiny_model, cpu_offloading=False)

    def learnt() -> list[v1.Instance]:
        """Return it once its rows ask for less than was claimed before anybody had seen what its like holds."""
        return [
            each
            for each in fleet.instances("other")
            if any(row.needed < claim.memory_bytes for row in _memory_rows(each).values())
        ]

    pending = wait_for("rows", learnt)[0]
    rows = _memory_rows(pending)
    assert v1.INSTANCE_STATE_PENDING == pending.state
    assert {f"nodes/a/devices/{FIRST}", f"nodes/a/devices/{SECOND}"} == set(rows)
    assert ["other programs"] == list(rows[f"nodes/a/devices/{FIRST}"].holders)
    assert [running.name] == list(rows[f"nodes/a/devices/{SECOND}"].holders)
    assert (TOTAL_MIB - 900) * MIB == rows[f"nodes/a/devices/{FIRST}"].available
    assert "claiming less by hand" not in rows[f"nodes/a/devices/{FIRST}"].message

    cards.take(FIRST, 0)
    other = fleet.wait_state("other", v1.INSTANCE_STATE_RUNNING)
    assert rows[f"nodes/a/devices/{FIRST}"].needed == other.placement.members[0].claim.devices[0].memory_bytes
    assert FIRST == environment_of(other.pid)["CUDA_VISIBLE_DEVICES"]


def _memory_rows(instance: v1.Instance) -> Mapping[str, v1.Refusal]:
    return {row.subject: row for row in instance.refusals if row.resource == "device memory"}


@pytest.mark.promise("P5")
@pytest.mark.parametrize("fault", ["segfault", "hang"])
def test_a_broken_library_costs_its_own_figures(fleet: Fleet, cards: Cards, tiny_model: Path, fault: str) -> None:
    """
    NVML crashes or hangs: its plugin says so, its cards stay listed without figures, and a model is deployed on
    processors, answers, and goes on being measured.
    """
    fleet.start_agent()
    wait_used(fleet, FIRST, 0)
    cards.first_line += f"{fault} nvmlDeviceGetUtilizationRates\n"
    cards.show()

    def failed() -> v1.PluginStatus | None:
        (node,) = fleet.nodes.ListNodes(v1.ListNodesRequest(), timeout=10).nodes
        nvidia = next(plugin for plugin in node.plugins if plugin.provides == "nvidia")
        return nvidia if said in nvidia.last_error else None

    said = "SIGSEGV" if fault == "segfault" else "libnvidia-ml.so.1 did not answer within 2 s"
    status = wait_for("the plugin to fail", failed)
    assert (fault == "segfault") == bool(status.failures)  # a call that hangs is left behind, its process goes on

    fleet.deploy("tiny", tiny_model)
    running = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    assert "cpu" == running.placement.framework
    assert ask(fleet.credentials("tiny"))
    assert {FIRST, SECOND} == set(statuses(fleet))

    def measured() -> bool:
        (node,) = fleet.nodes.ListNodes(v1.ListNodesRequest(), timeout=10).nodes
        return not statuses(fleet)[FIRST].usage.HasField("used_bytes") and node.usage.memory_instances_bytes > 0

    wait_for("the host's figures without the cards'", measured)
    assert Path(f"/proc/{running.pid}").exists()


@pytest.mark.promise("P2")
@pytest.mark.promise("P3")
@pytest.mark.usefixtures("llama_server")
def test_a_quarantined_vendors_claims_are_kept(fleet: Fleet, cards: Cards, tiny_model: Path) -> None:
    """
    A vendor that is given up keeps its cards in the list without memory, what runs there goes on and keeps its claim,
    and nothing new is placed there.
    """
    fleet.start_agent()
    wait_used(fleet, FIRST, 0)
    fleet.deploy("tiny", tiny_model, cpu_offloading=False)
    running = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    (claim,) = running.placement.members[0].claim.devices
    cards.first_line += "segfault nvmlDeviceGetUtilizationRates\n"
    cards.show()

    def given_up() -> bool:
        (node,) = fleet.nodes.ListNodes(v1.ListNodesRequest(), timeout=10).nodes
        nvidia = next(plugin for plugin in node.plugins if plugin.provides == "nvidia")
        memory = [status.device.memory for status in statuses(fleet).values()]
        return nvidia.state == v1.PLUGIN_STATE_QUARANTINED and not any(each.HasField("total_bytes") for each in memory)

    wait_for("the vendor to be given up", given_up, timeout_seconds=120)
    fleet.deploy("other", tiny_model, cpu_offloading=False)

    def refused() -> list[v1.Instance]:
        return [
            each
            for each in fleet.instances("other")
            if {f"nodes/a/devices/{FIRST}", f"nodes/a/devices/{SECOND}"} <= {row.subject for row in each.refusals}
        ]

    (pending,) = wait_for("both cards to be refused", refused)
    assert v1.INSTANCE_STATE_PENDING == pending.state
    held = {key: status.claimed_bytes for key, status in statuses(fleet).items()}
    assert {FIRST, SECOND} == set(held)
    assert claim.memory_bytes == held[claim.device_id]
    still = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    assert (running.pid, running.restart_count) == (still.pid, still.restart_count)
    assert ask(fleet.credentials("tiny"))


@pytest.mark.promise("P3")
@pytest.mark.usefixtures("llama_server")
def test_memory_that_does_not_come_free_is_told(fleet: Fleet, cards: Cards, tiny_model: Path) -> None:
    """
    A process that keeps memory of a card after its instance was removed is told, as are others on the cards; it is
    not killed, what it holds is nobody's room, and nothing is said once it is free.
    """
    fleet.start_agent()
    wait_used(fleet, FIRST, 0)
    fleet.deploy("tiny", tiny_model, cpu_offloading=False)
    running = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    (claim,) = running.placement.members[0].claim.devices
    other = next(uuid for uuid in (FIRST, SECOND) if uuid != claim.device_id)
    cards.take(claim.device_id, 700, running.pid)
    cards.take(other, 300, os.getpid())
    wait_used(fleet, claim.device_id, 700)
    wait_used(fleet, other, 300)
    (outsider,) = statuses(fleet)[other].usage.strangers
    assert (os.getpid(), 300 * MIB, "") == (outsider.pid, outsider.used_bytes, outsider.instance)
    assert outsider.user == getpass.getuser()
    assert not statuses(fleet)[claim.device_id].usage.strangers

    fleet.delete("tiny")
    left = wait_for("what is left to be told", lambda: statuses(fleet)[claim.device_id].usage.remains)
    assert f"{running.name} ended, and memory of process {running.pid}" in left
    (kept,) = statuses(fleet)[claim.device_id].usage.strangers
    assert (running.pid, 700 * MIB) == (kept.pid, kept.used_bytes)
    node = fleet.command("motorpool", "describe", "nodes/a").stdout
    assert "Left over" in node
    assert f"{other}: 300 MiB by process {os.getpid()}" in node
    assert "LEFT OVER" in fleet.command("motorpool", "devices").stdout

    cards.take(claim.device_id, 0)
    wait_for("it to be free", lambda: not statuses(fleet)[claim.device_id].usage.remains)
