"""nodes, devices, plugins: what there is to run on."""

from __future__ import annotations

import typer

from motorpool import v1
from motorpool_cli import maintenance, text
from motorpool_cli.context import Output, client
from motorpool_cli.lists import list_devices, list_nodes
from motorpool_cli.output import Format, plain, print_document, print_table
from motorpool_cli.watching import Listing, Watch

NODE_COLUMNS = (
    *("NAME", "STATE", "ADDRESS", "OS/ARCH", "CPUS", "MEMORY", "CLAIMED", "AVAILABLE", "DEVICES", "AGENT", "AGE"),
    "MAINTENANCE",
)
NO_NODES = (
    "No nodes. Make a join token with `motorpool-controller token join`, and start `motorpool-agent run` with it on a "
    "machine."
)


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("nodes")(nodes)
    app.command("workers", hidden=True)(nodes)
    app.command("devices")(devices)
    app.command("plugins")(plugins)


def nodes(watch: Watch = False, output: Output = Format.TABLE) -> None:
    """List the nodes: state, memory, devices and agent."""
    listing = Listing("nodes", NODE_COLUMNS, _node_row, NO_NODES)
    with client(output) as connected:
        if watch:
            listing.follow(connected, v1.WatchRequest(kinds=["nodes"]), lambda: list_nodes(connected), output)
        found = list_nodes(connected)
    listing.show(found, output)


def _node_row(node: v1.Node) -> tuple[str, ...]:
    return (
        text.bare(node.name),
        maintenance.state(node),
        node.address or text.UNKNOWN,
        "/".join(word for word in (node.host.os, node.host.architecture) if word),
        str(node.host.cpu_count) if node.host.cpu_count else text.UNKNOWN,
        text.size(node.host.memory_bytes or None),
        text.size(node.claimed_memory_bytes),
        text.size(node.usage.memory_available_bytes if node.usage.HasField("memory_available_bytes") else None),
        str(len(node.devices)),
        node.agent_version or text.UNKNOWN,
        text.age(node.create_time),
        maintenance.why(node.cordon) if node.cordoned else "",
    )


def devices(output: Output = Format.TABLE) -> None:
    """List the devices of all nodes: memory, claims and use."""
    with client(output) as connected:
        found = list_devices(connected)
    if output is not Format.TABLE:
        print_document({"devices": [plain(status) for status in found]}, output)
        return
    print_table(
        (
            "NODE",
            "DEVICE",
            "VENDOR",
            "PRODUCT",
            "INDEX",
            "HEALTH",
            "MEMORY",
            "CLAIMED",
            "USED",
            "BUSY",
            "TEMP",
            "MAINTENANCE",
        ),
        (_device_row(status) for status in found),
        empty="No devices. `motorpool plugins` shows whether a vendor's plugin is there and answers; "
        "models can also run on a node's processors and host memory.",
    )


def _device_row(status: v1.DeviceStatus) -> tuple[str, ...]:
    device, usage = status.device, status.usage
    return (
        device.name.split("/")[1],
        device.device_id,
        device.vendor,
        device.product,
        str(device.index) if device.HasField("index") else text.UNKNOWN,
        text.word(v1.Health, device.health)
        + maintenance.suffix(device.cordon if device.cordoned else None)
        + (", LEFT OVER" if usage.remains else ""),
        text.size(device.memory.total_bytes if device.memory.HasField("total_bytes") else None),
        text.size(status.claimed_bytes),
        text.size(usage.used_bytes if usage.HasField("used_bytes") else None),
        text.ratio(usage.utilization_ratio if usage.HasField("utilization_ratio") else None),
        f"{usage.temperature_celsius:.0f} °C" if usage.HasField("temperature_celsius") else text.UNKNOWN,
        maintenance.why(device.cordon) if device.cordoned else "",
    )


def plugins(output: Output = Format.TABLE) -> None:
    """List the plugins found on every node, and what became of them."""
    with client(output) as connected:
        found = list_nodes(connected)
    if output is not Format.TABLE:
        print_document(
            {"nodes": [{"name": node.name, "plugins": [plain(p) for p in node.plugins]} for node in found]}, output
        )
        return
    print_table(
        ("NODE", "PLUGIN", "KIND", "PROVIDES", "DISTRIBUTION", "STATE", "LAST ERROR"),
        (
            (
                text.bare(node.name),
                plugin.plugin_id,
                plugin.kind,
                plugin.provides,
                f"{plugin.distribution} {plugin.version}",
                text.word(v1.PluginState, plugin.state),
                plugin.last_error or text.UNKNOWN,
            )
            for node in found
            for plugin in node.plugins
        ),
        empty="No plugins. Install some with pip beside motorpool-agent, e.g. motorpool-llama-cpp, "
        "and restart the agent.",
    )
