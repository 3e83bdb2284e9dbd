"""Whose a device is that several plugins list: one plugin's, always the same, so that its memory counts once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from motorpool_sdk import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Devices by id, the plugin of each, and what was left to whom: a sentence by plugin."""

    devices: Mapping[str, Device] = field(default_factory=dict)
    plugins: Mapping[str, str] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)


def owned(listed: Mapping[str, Mapping[str, Device]]) -> Ownership:
    """Return whose each device is, of those that each plugin lists.

    Of two plugins that list one id, or one PCI address, the first by name has it; a plugin's own devices may share an
    address, as partitions and dies do.
    """
    devices: dict[str, Device] = {}
    plugins: dict[str, str] = {}
    addresses: dict[str, str] = {}
    remarks: dict[str, str] = {}
    for plugin in sorted(listed):
        left: dict[str, str] = {}
        for device_id, device in listed[plugin].items():
            owner = plugins.get(device_id) or addresses.get(device.pci_address, plugin)
            if owner == plugin:
                devices[device_id], plugins[device_id] = device, plugin
            else:
                left[device_id] = owner
        for device_id, device in listed[plugin].items():
            if device.pci_address and device_id not in left:
                addresses.setdefault(device.pci_address, plugin)
        if left:
            shown = ", ".join(f"{device_id} ({owner})" for device_id, owner in list(left.items())[:5])
            remarks[plugin] = f"left to other plugins that list them too: {shown}; block one of each with block_plugins"
    return Ownership(devices=devices, plugins=plugins, remarks=remarks)
