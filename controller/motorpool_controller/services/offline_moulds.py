"""Parts of a fleet on file that differ in names alone are read once; the others are cast in the first one's mould.

Racks have like nodes, and like instances run on them. A name is a field that only says which one it is; what has no
plain names, or none, is read as it stands, so that what is wrong with it is told of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import msgspec

from motorpool_controller.domain.fleet import Device, Node
from motorpool_controller.domain.placement import Claim, DeviceClaim, Member, Placement

_PLAIN = re.compile(r"[0-9A-Za-z][-+.:@_/0-9A-Za-z]{0,199}")
_OF_DEVICE = ("device_id", "pci_address")
OF_INSTANCE = ("name", "uid", "deployment")

_encoder = msgspec.json.Encoder()

Named = tuple[dict[str, Any], str]


def mould_of_node(document: Any) -> bytes:
    """Return all of a node but its name and those of its devices, as a key; empty where it has to be read."""
    try:
        if not document["name"].startswith("nodes/"):
            return b""
        places: list[Named] = [(document, "name")]
        for device in document.get("devices", ()):
            if "/" in device["device_id"]:
                return b""
            places += [(device, name) for name in _OF_DEVICE if name in device]
        return _without(document, places)
    except (AttributeError, KeyError, TypeError):
        return b""


class NodeMould:
    """A node that was read, and all of it and of its devices but their names."""

    def __init__(self, node: Node) -> None:
        self._devices = node.devices
        self._node = _rest(node, "name", "uid", "enrollment_id", "devices", "cordoned_devices")
        self._cordoned = [device.device_id in node.cordoned_devices for device in node.devices]
        self._each = [_rest(device, *_OF_DEVICE) for device in node.devices]

    def cast(self, document: dict[str, Any]) -> Node:
        """Return a node like it with a document's names."""
        name = document["name"]
        devices = self._devices
        names = [(each["device_id"], each.get("pci_address", "")) for each in document.get("devices", ())]
        # What is equal stays one object: what is derived from it is then derived once.
        if names != [(device.device_id, device.pci_address) for device in devices]:
            devices = tuple(
                Device(device_id=device_id, pci_address=address, **rest)
                for (device_id, address), rest in zip(names, self._each, strict=True)
            )
        return Node(
            name=name,
            uid=name,
            enrollment_id=name,
            devices=devices,
            cordoned_devices=tuple(each for (each, _), shut in zip(names, self._cordoned, strict=True) if shut),
            **self._node,
        )


def _rest(row: Node | Device, *names: str) -> dict[str, Any]:
    return {each.name: getattr(row, each.name) for each in fields(row) if each.name not in names}


def mould_of_instance(document: Any) -> bytes:
    """Return all of an instance but its names and those of where it stands, as a key; empty where it has to be read."""
    try:
        places: list[Named] = [(document, name) for name in OF_INSTANCE if name in document]
        for member in document["placement"]["members"]:
            places.append((member, "node"))
            places += [(claim, "device_id") for claim in member.get("claim", {}).get("devices", ())]
        return _without(document, places)
    except (AttributeError, KeyError, TypeError):
        return b""


def cast_placement(document: dict[str, Any], mould: Placement) -> Placement:
    """Return a placement like the mould with the names of an instance's document."""
    return Placement(
        members=tuple(_cast_members(document["placement"]["members"], mould)),
        framework=mould.framework,
        backend=mould.backend,
        backend_version=mould.backend_version,
    )


def _cast_members(documents: list[dict[str, Any]], mould: Placement) -> Iterator[Member]:
    for document, like in zip(documents, mould.members, strict=True):
        claims = zip(document.get("claim", {}).get("devices", ()), like.claim.devices, strict=True)
        devices = tuple(DeviceClaim(claim["device_id"], known.memory_bytes) for claim, known in claims)
        yield Member(
            node=document["node"],
            rank=like.rank,
            claim=Claim(memory_bytes=like.claim.memory_bytes, devices=devices),
        )


def _without(document: Any, places: list[Named]) -> bytes:
    """Return a document without these names as a key; empty if one of them is no plain name."""
    names = [part[name] for part, name in places]
    if not all(map(_PLAIN.fullmatch, names)):
        return b""
    try:
        for part, name in places:
            part[name] = ""
        return _encoder.encode(document)
    finally:
        for (part, name), value in zip(places, names, strict=True):
            part[name] = value
