"""``controller/SEVERAL.md``, typed on two machines, and what happens when the one that leads is lost to the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.fleet import BIN, Process, wait_for
from tests.e2e.networks import may_make_networks
from tests.e2e.several import ADDRESSES, COMMANDS, Machine, Machines, typed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.needs("pg_ctlcluster", "ip", "nsenter"),
    may_make_networks,
]
ONE, TWO = (f"{ADDRESSES[name]}:7400" for name in ("one", "two"))


@pytest.fixture(name="machines")
def _machines(tmp_path: Path) -> Iterator[Machines]:
    with typed(tmp_path) as machines:
        yield machines


def test_the_document_makes_two_of_which_one_leads(machines: Machines, tmp_path: Path) -> None:
    """
    What is typed makes two controllers, a machine joins at the one that stands by, and when the leader is killed the
    other one leads the fleet, for whoever logged in as it says.
    """
    assert 12 == len(COMMANDS)
    assert not (machines.two.home / "authority.json").exists()
    assert (ONE, {ONE, TWO}) == (leader(machines.one), set(controllers(machines.one)))
    with agent(machines, tmp_path):
        machines.one.type("kill -9 %1")
        machines.two.wait_told("controller ready")
        assert TWO == leader(machines.one)
        wait_for("nodes/n to be back", lambda: "READY" in machines.one.type("motorpool nodes"))
        made = machines.one.type("motorpool deploy late --model /none.gguf --replicas 0")
        assert "deployments/late is accepted" in made


def test_machine_of_the_leader_is_gone_without_a_word(machines: Machines) -> None:
    """
    Nobody hears of the leader's machine any more, the database neither: the other one leads after the lease. When the
    machine is back its controller finds that, and stands by.
    """
    machines.two.type(login(machines))
    with machines.network.cut_off("one"):
        machines.two.wait_told("silent leader's connection ended")
        machines.two.wait_told("controller ready")
        made = machines.two.type("motorpool deploy late --model /none.gguf --replicas 0")
        assert "deployments/late is accepted" in made
    machines.one.wait_told("controller stands by")
    assert TWO == leader(machines.one)
    assert {ONE, TWO} == set(controllers(machines.one))


def test_leader_is_cut_off_from_the_database(machines: Machines, tmp_path: Path) -> None:
    """
    Everybody reaches the leader, which reaches all but the database: the other one leads after the lease, callers and
    agents find it there, and the first one says nothing as the leader meanwhile. Reaching the database, it stands by.
    """
    with agent(machines, tmp_path) as told, machines.without_database():
        machines.two.wait_told("controller ready")
        assert TWO == leader(machines.one)
        made = machines.one.type("motorpool deploy late --model /none.gguf --replicas 0")
        assert "deployments/late is accepted" in made
        assert machines.one.told().count("controller ready") == 1
        wait_for("the agent to go to the other one", lambda: "reason=STORE_UNAVAILABLE" in told.tail())
        wait_for("nodes/n to be back", lambda: "READY" in machines.one.type("motorpool nodes"))
    machines.one.wait_told("controller stands by")
    assert TWO == leader(machines.one)


@contextmanager
def agent(machines: Machines, folder: Path) -> Iterator[Process]:
    """
    Have a machine join, at the one that stands by.
    """
    token = machines.one.type("motorpool-controller token join").strip()
    process = Process(
        [
            *("nsenter", f"--net=/run/netns/{machines.network.namespaces['node']}", str(BIN / "motorpool-agent")),
            *("run", "--server", TWO, "--node-name", "n", "--data-dir", str(folder / "n"), "--token", token),
        ],
        folder / "agent.log",
    )
    try:
        wait_for("nodes/n", lambda: "READY" in machines.one.type("motorpool nodes"))
        yield process
    finally:
        process.terminate()


def login(machines: Machines) -> str:
    """
    Return a line with which ``two`` knows both, as the document has it typed on ``one``.
    """
    token = machines.one.type("motorpool-controller token create --role admin").strip()
    (line,) = (line for _, line in COMMANDS if "motorpool login" in line)
    there = "~/.local/share/motorpool/controller/ca.pem"
    return f"echo {token} | {line.partition(' | ')[2].replace('$CA', there)}"


def controllers(machine: Machine) -> dict[str, bool]:
    """
    Return the controllers that are there by address, and whether each leads.
    """
    found = json.loads(machine.type("motorpool cluster --output json"))["controllers"]
    return {each["public_endpoints"][0]: each.get("leads", False) for each in found}


def leader(machine: Machine) -> str:
    """
    Return the address of the one that leads.
    """
    (found,) = (address for address, leads in controllers(machine).items() if leads)
    return found
