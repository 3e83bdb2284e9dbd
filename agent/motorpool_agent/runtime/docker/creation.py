"""From a launch record to the body of a request to create a container."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from motorpool_agent.reconcile.handle import Container, LaunchRecord
from motorpool_agent.runtime import logs
from motorpool_agent.runtime.errors import LaunchError

# Processes of one engine share memory there; Docker's 64 MiB end most of them. It counts only as far as it is used.
_SHARED_MEMORY_SHARE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a Docker Engine can.

    ``init`` puts Docker's own small init above the engine, which reaps and passes signals on. ``runtimes`` are vendors'
    and its own, by name; ``cdi`` hands devices over by the Container Device Interface.
    """

    init: bool = False
    runtimes: frozenset[str] = frozenset()
    cdi: bool = False


def creation(
    record: LaunchRecord, container: Container, labels: Mapping[str, str], abilities: Abilities
) -> dict[str, Any]:
    """Return the body; raise ``LaunchError`` if the claimed devices cannot be handed to a container here."""
    # On the host's network nothing is published: what listens there is reached as it is.
    ports = (
        {}
        if container.host_network
        else {
            f"{container.port or port}/tcp": [{"HostIp": record.listen_address, "HostPort": str(port)}]
            for port in record.ports.values()
        }
    )
    host: dict[str, Any] = {
        "NetworkMode": "host" if container.host_network else "bridge",
        "PortBindings": ports,
        # Restarts are ours: a container that comes back by itself would be nobody's.
        "RestartPolicy": {"Name": "no"},
        # Enough to bridge an agent's absence; what it copied is kept in its own files.
        "LogConfig": {"Type": "json-file", "Config": {"max-size": str(logs.LIMIT_BYTES), "max-file": str(logs.FILES)}},
        "SecurityOpt": ["no-new-privileges"],
        "ShmSize": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _SHARED_MEMORY_SHARE,
    }
    if abilities.init:
        host["Init"] = True
    if container.memory_limit_bytes:
        # Both, or as much again could be swapped out.
        host |= {"Memory": container.memory_limit_bytes, "MemorySwap": container.memory_limit_bytes}
    handed_over = _handed_over(container, abilities)
    host |= {**handed_over, "Mounts": [*_mounts(container.mounts), *handed_over.get("Mounts", ())]}
    body: dict[str, Any] = {
        "Image": container.image,
        "Env": [f"{name}={value}" for name, value in record.environment.items()],
        "Labels": dict(labels),
        "ExposedPorts": {port: {} for port in ports},
        "HostConfig": host,
    }
    if record.argv:
        body["Cmd"] = list(record.argv)
    if container.entrypoint:
        body["Entrypoint"] = list(container.entrypoint)
    if record.working_directory:
        body["WorkingDir"] = record.working_directory
    return body


def _handed_over(container: Container, abilities: Abilities) -> dict[str, Any]:
    """Return the first way to the devices that works here: a plugin names several, and one is enough.

    The vendor's runtime where the engine knows it, for that is what its owner installed; else the bare nodes, which
    need nothing installed; else CDI.
    """
    if container.runtime in abilities.runtimes:
        return {"Runtime": container.runtime}
    if container.device_nodes:
        return {
            "Devices": [
                {
                    "PathOnHost": node,
                    "PathInContainer": container.renamed_nodes.get(node, node),
                    "CgroupPermissions": "rw",
                }
                for node in container.device_nodes
            ],
            "Mounts": _mounts(container.device_mounts),
            "GroupAdd": list(container.groups),
            "CapAdd": list(container.capabilities),
        }
    if container.cdi_devices and abilities.cdi:
        return {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": list(container.cdi_devices)}]}
    if not container.runtime and not container.cdi_devices:
        return {}
    ways = " or ".join(
        [
            *([f"the runtime {container.runtime}"] if container.runtime else []),
            *(["CDI"] if container.cdi_devices else []),
        ]
    )
    raise LaunchError(
        "DEVICES_NOT_EXPOSED",
        f"this node's Docker Engine hands no devices to containers by {ways}; install the vendor's container toolkit, "
        "restart dockerd (`docker info` then lists it), or deploy without an image",
    )


def _mounts(sources: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"Type": "bind", "Source": source, "Target": target, "ReadOnly": True} for target, source in sources.items()
    ]
