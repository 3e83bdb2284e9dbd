"""A member of an instance over several nodes: what it reserves here, and what its backend's plugin is told of all."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from functools import partial
from typing import Protocol

import psutil

from motorpool_agent.reconcile.assignment import Assignment, Gang
from motorpool_agent.reconcile.handle import Handle, LaunchRecord
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.inference import asked
from motorpool_agent.runtime.ports import Ports, probe_address
from motorpool_agent.runtime.watching import Asked
from motorpool_sdk import gang as sdk
from motorpool_sdk.backend import Profile, Version

_GRACE_SECONDS = 30.0


class Reserved(Protocol):
    """Is told which ports a member reserved, and its versions of what has to be alike on all of them.

    Returns the assignment that has everybody's ports, once it may run.
    """

    async def __call__(self, ports: Mapping[str, int], parts: Mapping[str, str], /) -> Assignment:
        """Report, and wait."""
        ...


def reserve(
    ports: Ports, assignment: Assignment, gang: Gang, profile: Profile | None, *, avoid: frozenset[int]
) -> dict[str, int]:
    """Return the first port of each name that this member reserved.

    Where everybody was told its ports already, by an assignment that outlived the agent's memory, they are those.
    """
    style = _style(assignment, gang, profile)
    wanted = {sdk.HTTP: 1, **{each.name: each.count for each in style.ports(gang.rank)}}
    address = ports.address(local_only=False)
    if gang.run:
        told = gang.members[gang.rank].ports
        return ports.reserve_exactly(assignment.assignment_id, address, wanted, told)
    return ports.reserve_named(assignment.assignment_id, address, wanted, avoid=avoid)


def alike(assignment: Assignment, gang: Gang, profile: Profile | None, version: Version) -> dict[str, str]:
    """Return what this member's version has of that which has to be the same on all of them.

    Of an image nothing is known: all members are told the same one.
    """
    names = _style(assignment, gang, profile).alike
    return {name: version.parts[name] for name in names if name in version.parts}


def told(gang: Gang, own_ports: Mapping[str, int], own_parts: Mapping[str, str]) -> sdk.Gang:
    """Return what the backend's plugin is told; raise ``LaunchError`` if this machine cannot be reached as a member."""
    own, leader = gang.members[gang.rank], gang.members[0]
    if gang.rank and _is_loopback(leader.address) and not _is_loopback(own.address):
        raise LaunchError(
            "LEADER_UNREACHABLE",
            f"{leader.node}, which leads, gives {leader.address} as its address, where only itself is reached; give "
            "its agent one that other nodes reach with --node-ip",
        )
    return sdk.Gang(
        style=gang.style,
        rank=gang.rank,
        interface=interface_of(own.address),
        members=tuple(
            sdk.GangMember(
                rank=member.rank,
                node=member.node,
                address=member.address,
                devices=tuple(
                    sdk.GangDevice(device_id=device.device_id, index=device.index, address=device.address)
                    for device in member.devices
                ),
                ports=own_ports if member is own else member.ports,
                parts=own_parts if member is own else {},
            )
            for member in gang.members
        ),
    )


def grace_seconds(handle: Handle | None, *, removal: bool = False) -> float:
    """Return how long what runs gets between TERM and KILL.

    What serves nobody has nothing to finish, nor has a gang that is not stopped for its ``removal``: an engine may
    outlive TERM for as long as it waits for a member that is gone.
    """
    if handle is None:
        return _GRACE_SECONDS
    if handle.assignment.gang is not None and not (removal and handle.launch.serves):
        return 0.0
    return handle.launch.stop_grace_seconds


def infer(assignment: Assignment, launch: LaunchRecord) -> Asked | None:
    """Return how the engine is asked to compute, where its health says nothing of what it depends on."""
    if assignment.gang is None or launch.inference is None:
        return None
    address = probe_address(launch.listen_address)
    return partial(asked, address, launch.ports[sdk.HTTP], launch.inference, assignment.api_key)


def interface_of(address: str) -> str:
    """Return the network interface that has this address; raise ``LaunchError`` if none of this machine has."""
    named = {address, *_resolved(address)}
    here: dict[str, list[str]] = {}
    for name, addresses in psutil.net_if_addrs().items():
        here[name] = [
            each.address.partition("%")[0] for each in addresses if each.family in {socket.AF_INET, socket.AF_INET6}
        ]
        if named.intersection(here[name]):
            return name
    there = "; ".join(f"{name} {', '.join(found)}" for name, found in sorted(here.items()) if found)
    raise LaunchError(
        "INTERFACE_MISSING",
        f"{address}, the address of this node, is on no network interface of this machine, so that other nodes' "
        f"engines cannot be told where it is; give one of its addresses with --node-ip (it has {there or 'none'})",
    )


def _style(assignment: Assignment, gang: Gang, profile: Profile | None) -> sdk.DistributedStyle:
    styles = () if profile is None else profile.distributed_styles
    for style in styles:
        if style.style == gang.style:
            return style
    offered = ", ".join(style.style for style in styles) or "none"
    raise LaunchError(
        "STYLE_UNKNOWN",
        f"backend {assignment.title} of this node does not span nodes by {gang.style!r}, but by {offered}; upgrade its "
        "plugin here, or deploy with --no-distributed",
    )


def _resolved(name: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
