"""What plugins for accelerators are built from: libraries, commands, the PCI bus, and the plugin around them."""

from motorpool_sdk.hardware.bounded import Bounded
from motorpool_sdk.hardware.bus import Bus
from motorpool_sdk.hardware.cards import CardPlugin, Patience
from motorpool_sdk.hardware.commands import Command
from motorpool_sdk.hardware.figures import measurement, size
from motorpool_sdk.hardware.library import CLibrary, Signature, mapped, text
from motorpool_sdk.hardware.nodes import drm_nodes, groups_of
from motorpool_sdk.hardware.pci import PciDevice, numa_node, pci_address, pci_devices, physical_function
from motorpool_sdk.hardware.sources import CallError, Source, Unavailable, Verdict
from motorpool_sdk.hardware.table_command import TableCommand, share_of
from motorpool_sdk.hardware.tables import table

__all__ = [
    "Bounded",
    "Bus",
    "CLibrary",
    "CallError",
    "CardPlugin",
    "Command",
    "Patience",
    "PciDevice",
    "Signature",
    "Source",
    "TableCommand",
    "Unavailable",
    "Verdict",
    "drm_nodes",
    "groups_of",
    "mapped",
    "measurement",
    "numa_node",
    "pci_address",
    "pci_devices",
    "physical_function",
    "share_of",
    "size",
    "table",
    "text",
]
