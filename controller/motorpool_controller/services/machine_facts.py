"""What an agent says of its machine, on its way from a message into the node's row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from motorpool_controller.domain.conditions import Condition
from motorpool_controller.domain.fleet import Device, Executor, Node, Plugin
from motorpool_controller.services.convert.backend import KnownProfile
from motorpool_controller.store.transaction import Transaction

T = TypeVar("T")


@dataclass(slots=True)
class MachineFacts:
    """What a message says of the machine, by id; None where it says that there is none any more."""

    whole: bool = False
    """Whether what is not named is not there."""
    devices: dict[str, Device | None] = field(default_factory=dict)
    plugins: dict[str, Plugin | None] = field(default_factory=dict)
    profiles: dict[str, KnownProfile | None] = field(default_factory=dict)
    executors: dict[str, Executor | None] = field(default_factory=dict)
    conditions: dict[str, Condition | None] = field(default_factory=dict)

    def forget(self, kind: str, identifier: str) -> None:
        """There is none of it."""
        if kind == "device":
            self.devices[identifier] = None
        elif kind == "plugin":
            self.plugins[identifier] = None
        elif kind == "profile":
            self.profiles[identifier] = None
        elif kind == "executor":
            self.executors[identifier] = None
        elif kind == "condition":
            self.conditions[identifier] = None

    @property
    def told(self) -> bool:
        """Whether it says anything."""
        return self.whole or any((self.devices, self.plugins, self.profiles, self.executors, self.conditions))


def with_facts(tx: Transaction, node: Node, facts: MachineFacts) -> Node:
    """Return the node as it is by now."""
    profiles = {} if facts.whole else dict(node.profiles)
    for backend, known in facts.profiles.items():
        if known is None:
            profiles.pop(backend, None)
            continue
        profiles[backend] = known.digest
        if known.digest not in tx.profiles:
            tx.profiles.put(known.digest, known.profile)
    kept = replace(node, devices=(), plugins=(), executors=(), conditions=()) if facts.whole else node
    return replace(
        node,
        devices=tuple(
            device if device.cordoned == (device.device_id in node.cordoned_devices) else _turned(device)
            for device in _merged(((each.device_id, each) for each in kept.devices), facts.devices)
        ),
        plugins=_merged(((each.plugin_id, each) for each in kept.plugins), facts.plugins),
        profiles=dict(sorted(profiles.items())),
        executors=_merged(((each.executor, each) for each in kept.executors), facts.executors),
        conditions=_merged(((each.condition, each) for each in kept.conditions), facts.conditions),
    )


def _merged(before: Iterable[tuple[str, T]], told: Mapping[str, T | None]) -> tuple[T, ...]:
    """Return what there is by now, by id."""
    rows: dict[str, T | None] = {**dict(before), **told}
    return tuple(row for _, row in sorted(rows.items(), key=lambda item: item[0]) if row is not None)


def _turned(device: Device) -> Device:
    """Return a device that is cordoned where it was not, and the other way round."""
    return replace(device, cordoned=not device.cordoned)
