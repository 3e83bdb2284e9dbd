"""The files of amdgpu and its forks in sysfs, and KFD's list of what can compute: all that is there without ROCm."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from motorpool_sdk.accelerator import DeviceError, Sample
from motorpool_sdk.hardware.nodes import drm_nodes
from motorpool_sdk.hardware.pci import numa_node, pci_devices, pci_vendor_of
from motorpool_sdk.hardware.rocm import parsing
from motorpool_sdk.hardware.rocm.family import Family
from motorpool_sdk.hardware.rocm.records import Card, Errors, Reading
from motorpool_sdk.hardware.sources import Unavailable, Verdict

_XGMI = 11  # CRAT_IOLINK_TYPE of a KFD io_link
_UNCORRECTABLE = re.compile(r"^ue: (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class KfdNode:
    """A node of KFD's topology that computes on a GPU; nodes count as HIP does."""

    hip_index: int
    address: str
    render_minor: int
    graphics: str
    is_apu: bool
    unique_id: int
    linked: tuple[str, ...] = ()


class Kernel:
    """A source of cards: the kernel's own files. It tells no processes."""

    def __init__(self, family: Family, root: Path) -> None:
        self._family = family
        self._root = root

    @property
    def name(self) -> str:
        """The file system."""
        return "sysfs"

    @property
    def path(self) -> str:
        """Where the cards stand."""
        return str(self._root / "sys/bus/pci/devices")

    def cards(self) -> Sequence[Card | DeviceError]:
        """Return every card that the vendor's driver serves."""
        nodes, drivers = kfd_nodes(self._root), self._family.drivers
        found = [each for each in pci_devices(self._family.pci_vendor, self._root) if each.driver in drivers]
        if not found:
            raise Unavailable(
                f"no card under {self.path} is served by {' or '.join(drivers)}. {self._family.kernel_remedy}"
            )
        indexes = {each.address: index for index, each in enumerate(found)}
        cards = []
        for each in found:
            folder = self._folder(each.address)
            card = Card(
                index=indexes[each.address],
                pci_address=each.address,
                unique_id=_integer(folder / "unique_id", 16) or 0,
                name=parsing.product(_text(folder / "product_name")),
                total_bytes=_integer(folder / "mem_info_vram_total"),
            )
            node = node_of(card, nodes)
            links = [(indexes[peer], "XGMI") for peer in (node.linked if node else ()) if peer in indexes]
            cards.append(replace(completed(card, nodes, self._family, self._root), links=tuple(links)))
        return cards

    def measure(self, card: Card) -> Sample:
        """Return what the driver's files say now."""
        folder = self._folder(card.pci_address)
        edge, junction = (self._sensor(folder, f"temp{number}_input") for number in (1, 2))
        power = next(
            (each for name in ("power1_average", "power1_input") if (each := self._sensor(folder, name))), None
        )
        milli_celsius = junction if edge is None else edge
        return parsing.sample(
            Reading(
                used_bytes=_integer(folder / "mem_info_vram_used"),
                total_bytes=_integer(folder / "mem_info_vram_total"),
                utilization_percent=_integer(folder / "gpu_busy_percent"),
                temperature_celsius=None if milli_celsius is None else milli_celsius / 1000,
                power_watts=None if power is None else power / 1_000_000,
            )
        )

    def judge(self, card: Card) -> Verdict:
        """Return what the driver's counters of errors say; consumer cards have none."""
        counted = (
            (file.name.removesuffix("_err_count"), _UNCORRECTABLE.search(_text(file)))
            for file in sorted(self._folder(card.pci_address).glob("ras/*_err_count"))
        )
        return parsing.verdict(
            Errors(uncorrectable=tuple((block, int(found[1])) for block, found in counted if found and int(found[1]))),
            self._family,
        )

    def _folder(self, address: str) -> Path:
        return self._root / "sys/bus/pci/devices" / address

    def _sensor(self, folder: Path, name: str) -> int | None:
        return next((value for file in sorted(folder.glob(f"hwmon/hwmon*/{name}")) if (value := _integer(file))), None)


def kfd_nodes(root: Path) -> list[KfdNode]:
    """Return the nodes that compute; a card without one cannot be used by ROCm."""
    folders = root / "sys/class/kfd/kfd/topology/nodes"
    numbered = sorted((int(folder.name), folder) for folder in folders.glob("[0-9]*") if folder.name.isdigit())
    properties = {number: _properties(folder / "properties") for number, folder in numbered}
    computing = {number: each for number, each in properties.items() if each.get("simd_count")}
    addresses = {number: _address(each) for number, each in computing.items()}
    return [
        KfdNode(
            hip_index=index,
            address=addresses[number],
            render_minor=each.get("drm_render_minor", 0),
            graphics=graphics(each.get("gfx_target_version", 0)),
            # One node for both: the processor's memory is the card's.
            is_apu=each.get("cpu_cores_count", 0) > 0,
            unique_id=each.get("unique_id", 0),
            linked=tuple(_linked(folders / str(number), addresses)),
        )
        for index, (number, each) in enumerate(computing.items())
    ]


def node_of(card: Card, nodes: Sequence[KfdNode]) -> KfdNode | None:
    """Return a card's node: by its render node, as partitions share an address, else by that."""
    by_minor = (node for node in nodes if card.render_minor and node.render_minor == card.render_minor)
    return next(by_minor, None) or next((node for node in nodes if node.address == card.pci_address), None)


def completed(card: Card, nodes: Sequence[KfdNode], family: Family, root: Path) -> Card:
    """Return a card with what only the kernel tells: how HIP counts it, what compilers call it, its NUMA node."""
    node = node_of(card, nodes)
    card = replace(
        card,
        numa_node=numa_node(card.pci_address, root),
        driver_version=card.driver_version or driver_version(family, root),
    )
    if node is None:
        return card
    return replace(
        card,
        hip_index=node.hip_index,
        graphics=node.graphics or card.graphics,
        is_apu=node.is_apu,
        unique_id=card.unique_id or node.unique_id,
    )


def graphics(target_version: int) -> str:
    """Return ``gfx90a`` for KFD's 90010: two decimal digits each for minor part and stepping, this in hexadecimal."""
    major, minor, stepping = target_version // 10_000, target_version // 100 % 100, target_version % 100
    return f"gfx{major}{minor:x}{stepping:x}" if major else ""


def nodes_of(card: Card, root: Path) -> tuple[str, ...]:
    """Return the card's own nodes under /dev/dri, from where the kernel names them."""
    nodes = drm_nodes(card.pci_address, root)
    if card.render_minor is None:
        return nodes
    # Partitions share an address, and have a node each.
    return (*(node for node in nodes if "renderD" not in node), f"/dev/dri/renderD{card.render_minor}")


def is_anothers(address: str, family: Family, root: Path) -> bool:
    """Return whether a card is known to be another vendor's: forks of the library have one name, and list them all."""
    return pci_vendor_of(address, root) not in {"", family.pci_vendor}


def driver_version(family: Family, root: Path) -> str:
    """Return the driver's version; a module that came with the kernel has none of its own."""
    own = (_text(root / f"sys/module/{driver}/version") for driver in family.drivers)
    return next(filter(None, own), "") or _text(root / "proc/sys/kernel/osrelease")


def _linked(folder: Path, addresses: Mapping[int, str]) -> Iterator[str]:
    for link in sorted(folder.glob("io_links/*/properties")):
        properties = _properties(link)
        peer = addresses.get(properties.get("node_to", -1))
        if properties.get("type") == _XGMI and peer:
            yield peer


def _address(properties: Mapping[str, int]) -> str:
    location = properties.get("location_id", 0)
    return f"{properties.get('domain', 0):04x}:{location >> 8 & 0xFF:02x}:{location >> 3 & 0x1F:02x}.{location & 7:x}"


def _properties(file: Path) -> dict[str, int]:
    pairs = (line.split() for line in _text(file).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _integer(file: Path, base: int = 10) -> int | None:
    try:
        return int(_text(file), base)
    except ValueError:
        return None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
