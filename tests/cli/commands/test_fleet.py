import json
from typing import Any

import pytest

from motorpool import v1
from tests.cli.controller import Controller
from tests.cli.fleet import DEVICE, fill
from tests.cli.motorpool import Motorpool, rows


def document(output: str) -> Any:
    return json.loads(output)


def test_nodes(controller: Controller, motorpool: Motorpool) -> None:
    """
    A node is a line: state, machine, memory by size, devices, agent.
    """
    fill(controller)

    header, row = rows(motorpool("nodes").stdout)

    assert ["NAME", "STATE", "ADDRESS", "OS/ARCH", "CPUS", "MEMORY", "CLAIMED", "AVAILABLE"] == header[:8]
    assert ["rack1", "READY", "10.0.0.7", "linux/amd64", "64", "256 GiB", "3 GiB", "200 GiB", "0"] == row[:9]


def test_nodes_as_json(controller: Controller, motorpool: Motorpool) -> None:
    """
    JSON has the API's field names and values.
    """
    fill(controller)

    (node,) = document(motorpool("nodes", "--output", "json").stdout)["nodes"]

    assert ("nodes/rack1", "NODE_STATE_READY", {"zone": "a"}) == (node["name"], node["state"], node["labels"])


def test_a_node_that_is_unknown_in_part(controller: Controller, motorpool: Motorpool) -> None:
    """
    What is not known is a dash, never a zero or an empty cell.
    """
    controller.put(v1.Node(name="nodes/new", state=v1.NODE_STATE_ENROLLED))

    row = rows(motorpool("nodes").stdout)[1]

    assert ["new", "ENROLLED", "-", "-", "-", "-", "0 B", "-", "0", "-", "-", "-"] == row


def test_a_state_that_a_newer_controller_has(controller: Controller, motorpool: Motorpool) -> None:
    """
    A value that this version does not know is shown by its number.
    """
    node = v1.Node(name="nodes/new")
    node.MergeFromString(bytes([3 << 3, 99]))  # field 3, state, with a value of tomorrow
    controller.put(node)

    assert "99" == rows(motorpool("nodes").stdout)[1][1]


@pytest.mark.parametrize(
    ("command", "key", "hint"),
    [
        ("nodes", "nodes", "motorpool-controller token join"),
        ("devices", "devices", "motorpool plugins"),
        ("plugins", "nodes", "pip"),
        ("backends", "backends", "plugin"),
        ("deployments", "deployments", "motorpool deploy"),
        ("instances", "instances", "motorpool deploy"),
        ("events", "events", "Nothing has happened"),
    ],
)
def test_an_empty_list(motorpool: Motorpool, command: str, key: str, hint: str) -> None:
    """
    Nothing goes to stdout, and stderr says what to do; JSON is an empty list.
    """
    table = motorpool(command)

    assert (0, "") == (table.exit_code, table.stdout)
    assert hint in table.stderr
    assert {key: []} == document(motorpool(command, "-o", "json").stdout)


def test_devices(controller: Controller, motorpool: Motorpool) -> None:
    """
    A device is a line, with what is claimed and what is used.
    """
    fill(controller)
    controller.devices.append(v1.DeviceStatus(device=v1.Device(name="nodes/b/devices/x", device_id="x", vendor="v")))

    table = rows(motorpool("devices").stdout)

    assert "rack1 GPU-5a1f nvidia NVIDIA_H200 - HEALTHY 141_GiB 1_GiB 2_GiB 50_% 41_°C -".replace("_", " ") == " ".join(
        table[1]
    )
    assert ["-", "UNSPECIFIED", "-", "0 B", "-", "-", "-", "-"] == table[2][4:]


def test_devices_as_json(controller: Controller, motorpool: Motorpool) -> None:
    """
    A device keeps its id, and 64-bit numbers are strings, as in proto3's JSON.
    """
    fill(controller)

    (status,) = document(motorpool("devices", "-o", "json").stdout)["devices"]

    assert (DEVICE.device_id, str(DEVICE.memory.total_bytes)) == (
        status["device"]["device_id"],
        status["device"]["memory"]["total_bytes"],
    )


def test_plugins(controller: Controller, motorpool: Motorpool) -> None:
    """
    A plugin's last error stands beside its state.
    """
    fill(controller)

    table = rows(motorpool("plugins").stdout)
    (node,) = document(motorpool("plugins", "-o", "json").stdout)["nodes"]

    assert ["rack1", "llama_cpp", "backend", "llama_cpp", "motorpool-llama-cpp 0.1.0", "READY", "-"] == table[1]
    assert ["QUARANTINED", "NVML answers with 999"] == table[2][5:]
    assert ["llama_cpp", "nvidia"] == [plugin["plugin_id"] for plugin in node["plugins"]]


def test_all_pages_are_read(controller: Controller, motorpool: Motorpool) -> None:
    """
    A list longer than a page comes whole.
    """
    controller.page_size = 2
    for number in range(5):
        controller.put(v1.Node(name=f"nodes/n{number}"))

    listed = document(motorpool("nodes", "-o", "json").stdout)["nodes"]

    assert [f"nodes/n{number}" for number in range(5)] == [node["name"] for node in listed]


def test_cluster(motorpool: Motorpool) -> None:
    """
    `cluster` says who answers, and what the caller may do.
    """
    table = motorpool("cluster").stdout
    found = document(motorpool("cluster", "-o", "json").stdout)

    assert ["c-81f0", "0.1.0, epoch 3", "10.0.0.1:7401", "admin"] == [row[1] for row in rows(table)]
    assert ("c-81f0", "ROLE_ADMIN") == (found["cluster_id"], found["caller_role"])
