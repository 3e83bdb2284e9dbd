"""What is asked of the Docker Engine for a launch."""

from __future__ import annotations

import pytest

from motorpool_agent.reconcile.handle import Container, LaunchRecord
from motorpool_agent.reconcile.observation import Rendered
from motorpool_agent.runtime.docker.creation import Abilities, creation
from motorpool_agent.runtime.errors import LaunchError


def _record(container: Container) -> LaunchRecord:
    return LaunchRecord(
        executor="docker",
        argv=("--port", "24000"),
        environment={"A": "b"},
        working_directory="",
        ports={"http": 24000},
        listen_address="127.0.0.1",
        rendered=Rendered(executor="docker", argv=()),
        container=container,
    )


def test_body() -> None:
    """
    Arguments go to the image's entrypoint, the port is published on the launch's address, restarts are not Docker's.
    """
    container = Container(image="engine:1", labels={}, mounts={"/models": "/models"}, memory_limit_bytes=1 << 30)
    body = creation(_record(container), container, {"motorpool.run": "1"}, Abilities(init=True))
    host = body["HostConfig"]

    assert ("engine:1", ["--port", "24000"], ["A=b"]) == (body["Image"], body["Cmd"], body["Env"])
    assert not {"Entrypoint", "WorkingDir"} & set(body)
    assert {"motorpool.run": "1"} == body["Labels"]
    assert {"24000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "24000"}]} == host["PortBindings"]
    assert [{"Type": "bind", "Source": "/models", "Target": "/models", "ReadOnly": True}] == host["Mounts"]
    assert ({"Name": "no"}, True, 1 << 30, 1 << 30) == (
        host["RestartPolicy"],
        host["Init"],
        host["Memory"],
        host["MemorySwap"],
    )


def test_an_engine_with_a_port_of_its_own() -> None:
    """
    One that cannot be told where to listen is published from its own port to the launch's.
    """
    container = Container(image="engine:1", labels={}, port=8080)
    body = creation(_record(container), container, {}, Abilities())

    assert {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "24000"}]} == body["HostConfig"]["PortBindings"]
    assert {"8080/tcp": {}} == body["ExposedPorts"]


def test_a_member_of_a_gang_is_on_the_hosts_network() -> None:
    """
    Its engine listens where it was told, and on ports of its own choice; nothing is published.
    """
    container = Container(image="engine:1", labels={}, host_network=True)
    body = creation(_record(container), container, {}, Abilities())

    assert ("host", {}, {}) == (
        body["HostConfig"]["NetworkMode"],
        body["HostConfig"]["PortBindings"],
        body["ExposedPorts"],
    )


def test_no_limit_without_a_claim() -> None:
    """
    An estimate limits nothing.
    """
    container = Container(image="engine:1", labels={})
    host = creation(_record(container), container, {}, Abilities())["HostConfig"]

    assert not {"Memory", "MemorySwap", "Init", "Runtime", "DeviceRequests"} & set(host)


def test_entrypoint_instead_of_the_images() -> None:
    """
    An entrypoint that the backend gives is asked for.
    """
    container = Container(image="engine:1", labels={}, entrypoint=("/serve",))

    assert ["/serve"] == creation(_record(container), container, {}, Abilities())["Entrypoint"]


CDI = {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["acme.com/gpu=1"]}]}
NODES = {
    "Devices": [{"PathOnHost": "/dev/acme0", "PathInContainer": "/dev/acme", "CgroupPermissions": "rw"}],
    "GroupAdd": ["44"],
    "CapAdd": ["SYS_PTRACE"],
}


@pytest.mark.parametrize(
    ("abilities", "nodes", "expected", "mounted"),
    [
        (Abilities(runtimes=frozenset({"runc", "acme"}), cdi=True), ("/dev/acme0",), {"Runtime": "acme"}, []),
        (Abilities(cdi=True), ("/dev/acme0",), NODES, ["/opt/acme"]),
        (Abilities(cdi=True), (), CDI, []),
    ],
)
def test_devices_are_handed_over_once(
    abilities: Abilities, nodes: tuple[str, ...], expected: dict[str, object], mounted: list[str]
) -> None:
    """
    Devices come by the vendor's runtime where the Docker Engine knows it, else as nodes, else by CDI, by one of them.
    """
    container = Container(
        image="engine:1",
        labels={},
        device_nodes=nodes,
        runtime="acme",
        cdi_devices=("acme.com/gpu=1",),
        device_mounts={"/opt/acme": "/opt/acme"},
        renamed_nodes={"/dev/acme0": "/dev/acme"},
        groups=("44",),
        capabilities=("SYS_PTRACE",),
    )
    host = creation(_record(container), container, {}, abilities)["HostConfig"]

    ways = ("Runtime", "Devices", "DeviceRequests", "GroupAdd", "CapAdd")
    assert expected == {name: host[name] for name in ways if name in host}
    assert mounted == [mount["Source"] for mount in host["Mounts"]]


def test_devices_that_cannot_be_handed_over() -> None:
    """
    A container that would not see its devices is not created: an engine on processors instead would be a surprise.
    """
    container = Container(image="engine:1", labels={}, runtime="acme", cdi_devices=("acme.com/gpu=1",))

    with pytest.raises(LaunchError, match="by the runtime acme or CDI; install the vendor's container toolkit"):
        creation(_record(container), container, {}, Abilities(runtimes=frozenset({"runc"})))
