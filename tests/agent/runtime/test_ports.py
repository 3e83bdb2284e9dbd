"""The ledger of ports."""

from __future__ import annotations

import socket

import pytest

from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.ports import Ports, free, listen_address, probe_address
from tests.agent.runtime.fakes import free_ports

NONE: frozenset[int] = frozenset()


@pytest.fixture(name="wide")
def _wide() -> range:
    return free_ports(4)


def test_each_gets_its_own(wide: range) -> None:
    """
    No two assignments get the same port, and one that asks again keeps what it had.
    """
    ports = Ports(wide, "127.0.0.1")
    first = ports.reserve("a", "127.0.0.1", avoid=NONE)
    second = ports.reserve("b", "127.0.0.1", avoid=NONE)

    assert [wide.start, wide.start + 1] == [first, second]
    assert second == ports.reserve("b", "127.0.0.1", last=second, avoid=NONE)


def test_adopted_port_is_held(wide: range) -> None:
    """
    A port that an adopted instance claims is given to nobody else, until it is released.
    """
    ports = Ports(wide, "127.0.0.1")
    ports.claim("a", wide.start)
    assert ports.reserve("b", "127.0.0.1", avoid=NONE) == wide.start + 1
    ports.release("a")

    assert ports.reserve("c", "127.0.0.1", avoid=NONE) == wide.start


def test_port_of_another_program_is_passed_over(wide: range) -> None:
    """
    A port on which somebody listens is not given out.
    """
    with socket.create_server(("127.0.0.1", wide.start)):
        assert not free("127.0.0.1", wide.start)
        assert Ports(wide, "127.0.0.1").reserve("a", "127.0.0.1", avoid=NONE) == wide.start + 1


def test_none_left(wide: range) -> None:
    """
    With no port left the error says who holds them and how to have more.
    """
    ports = Ports(wide, "127.0.0.1")
    for port in wide:
        ports.claim(f"a{port}", port)

    with pytest.raises(LaunchError, match=r"4 held by instances of this node.*--port-range") as caught:
        ports.reserve("b", "127.0.0.1", avoid=NONE)
    assert caught.value.reason == "NO_FREE_PORT"


@pytest.mark.parametrize(
    ("address", "expected"), [("127.0.0.1", "127.0.0.1"), ("192.0.2.7", "0.0.0.0"), ("node-a.example", "0.0.0.0")]
)
def test_address_that_is_not_this_machines(address: str, expected: str) -> None:
    """
    An address that this machine cannot listen on, behind NAT or a name, has engines listen on any.
    """
    assert expected == listen_address(address)
    assert probe_address(expected) == "127.0.0.1"


def test_local_exposure_is_loopback(wide: range) -> None:
    """
    What is exposed locally listens on loopback only, whatever the node's address.
    """
    ports = Ports(wide, "192.0.2.7")

    assert ("127.0.0.1", "0.0.0.0") == (ports.address(local_only=True), ports.address(local_only=False))


def test_overlap_with_ephemeral_ports_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """
    A range from which the kernel takes ports for outgoing connections is warned about, a lower one is not.
    """
    Ports(range(20000, 20010), "127.0.0.1")
    assert caplog.text == ""
    Ports(range(40000, 40064), "127.0.0.1")

    assert "40000-40063" in caplog.text


@pytest.mark.parametrize(("address", "warned"), [("node.example", True), ("192.0.2.1", True), ("127.0.0.2", False)])
def test_listening_everywhere_is_said(address: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    """
    An address that is none of this machine's own has instances listen on all of them, and the log says so.
    """
    ports = Ports(range(24000, 24001), address)

    assert warned == (address in caplog.text)
    assert ports.address(local_only=False) == ("0.0.0.0" if warned else address)
    assert ports.address(local_only=True) == "127.0.0.1"


def test_named_ports_are_in_a_row(wide: range) -> None:
    """
    Each name gets its own, several in a row where it wants as many; an assignment that asks anew gives back the others.
    """
    ports = Ports(wide, "127.0.0.1")
    with socket.create_server(("127.0.0.1", wide.start + 1)):
        found = ports.reserve_named("a", "127.0.0.1", {"http": 1, "queue": 2}, avoid=NONE)
    assert {"http": wide.start, "queue": wide.start + 2} == found
    assert (wide.start, wide.start + 2, wide.start + 3) == ports.held("a")

    ports.reserve_named("a", "127.0.0.1", {"http": 1}, avoid=frozenset({wide.start}))
    assert (wide.start + 1,) == ports.held("a")


def test_all_named_ports_or_none(wide: range) -> None:
    """
    Where one name gets nothing, nothing is held.
    """
    ports = Ports(wide, "127.0.0.1")
    with pytest.raises(LaunchError, match="no 4 in a row"):
        ports.reserve_named("a", "127.0.0.1", {"http": 1, "queue": 4}, avoid=NONE)

    assert () == ports.held("a")
