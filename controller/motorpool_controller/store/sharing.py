"""One object for what many rows have in common, as they are read: a fleet has few products, and fewer models."""

from __future__ import annotations

from dataclasses import replace
from sys import intern

from motorpool_controller.domain.fleet import Device, Node
from motorpool_controller.domain.workload import Instance
from motorpool_formats.facts import ModelFacts


class Sharing:
    """Knows what was seen so far."""

    def __init__(self) -> None:
        self._facts: dict[ModelFacts, ModelFacts] = {}

    def node(self, node: Node) -> Node:
        """Return an equal node, the words of whose devices are those of others: eight devices have four kilobytes."""
        return replace(node, devices=tuple(_device(each) for each in node.devices)) if node.devices else node

    def instance(self, instance: Instance) -> Instance:
        """Return an equal instance, the facts of whose model are those of others."""
        assignment = instance.assignment
        if assignment is None or assignment.facts is None:
            return instance
        facts = self._facts.setdefault(assignment.facts, assignment.facts)
        return replace(instance, assignment=replace(assignment, facts=facts))


def _device(device: Device) -> Device:
    return replace(
        device,
        device_id=intern(device.device_id),
        vendor=intern(device.vendor),
        framework=intern(device.framework),
        product=intern(device.product),
        pci_address=intern(device.pci_address),
        architecture=intern(device.architecture),
        compute_capability=intern(device.compute_capability),
        driver_version=intern(device.driver_version),
        runtime_version=intern(device.runtime_version),
    )
