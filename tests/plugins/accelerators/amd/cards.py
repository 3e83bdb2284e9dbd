"""AMD cards as scenarios, and as the kernel's files, write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from motorpool_amd.commands import ROCM_SMI
from motorpool_sdk.testing.machine import FakeBus
from motorpool_sdk.testing.vendor import MadeVendor, Recorded, Written

GIB = 2**30
CARD = """
card {index}
name Aldebaran/MI200 [Instinct MI250X/MI250]
unique {unique:#x}
bus {bus}
total 68702699520
used {used}
busy 37
edge 43000
junction 47000
power 101000000
minor {minor}
"""


def address(index: int) -> str:
    """The PCI address of the n-th card."""
    return f"0000:{0x29 + index:02x}:00.0"


def unique(index: int) -> int:
    """Its unique id."""
    return 0x5C88007D760374F0 + index


def card(index: int = 0, *lines: str, used: int = 10_850_304) -> str:
    """A healthy card, and more lines on it."""
    written = CARD.format(index=index, unique=unique(index), bus=0x29 + index, used=used, minor=128 + index)
    return written + "".join(f"{line}\n" for line in lines)


def cards(count: int) -> str:
    """That many healthy cards."""
    return "".join(card(index) for index in range(count))


class Kernel(FakeBus):
    """The kernel's files of cards that amdgpu serves."""

    def serve(self, index: int, *, hip: int | None = None, **files: str) -> None:
        """Show a card with amdgpu's files; ``hip`` is its place in KFD's topology, where processors are before it."""
        self.add(address(index), pci_id="1002:740c", pci_class="038000", driver="amdgpu", numa_node=1)
        folder = self.root / "sys/bus/pci/devices" / address(index)
        (folder / "drm" / f"card{index + 1}").mkdir(parents=True)
        (folder / "drm" / f"renderD{128 + index}").mkdir()
        self.touch(f"/dev/dri/card{index + 1}", f"/dev/dri/renderD{128 + index}", "/dev/kfd")
        told = {"mem_info_vram_total": "68702699520", "unique_id": f"{unique(index):016x}", **files}
        for name, text in told.items():
            file = folder / name.replace("__", "/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n")
        if hip is not None:
            self.compute(
                2 + hip, simd_count=440, gfx_target_version=90010, location_id=(0x29 + index) << 8, domain=0,
                cpu_cores_count=0, drm_render_minor=128 + index,
            )  # fmt: skip

    def compute(self, node: int, **properties: int) -> None:
        """Put a node into KFD's topology."""
        folder = self.root / f"sys/class/kfd/kfd/topology/nodes/{node}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "properties").write_text("".join(f"{name} {value}\n" for name, value in properties.items()))

    def link(self, node: int, peer: int, kind: int) -> None:
        """Link two nodes of KFD's topology."""
        folder = self.root / f"sys/class/kfd/kfd/topology/nodes/{node}/io_links/{peer}"
        folder.mkdir(parents=True)
        (folder / "properties").write_text(f"type {kind}\nnode_from {node}\nnode_to {peer}\n")


RECORDINGS = Path(__file__).parent / "recordings"
PRINTED = (RECORDINGS / "rocm-smi_mi100_rocm602.json").read_text(encoding="utf-8")
NEWER = (
    "rsmi_dev_market_name_get",
    "rsmi_dev_power_get",
    "rsmi_compute_process_info_by_device_get",
    "rsmi_topo_get_link_type",
    "rsmi_dev_drm_render_minor_get",
)


def without_card(printed: str, card: str) -> str:
    """Return a command's JSON without one of its cards."""
    lead, brace, told = printed.partition("{")
    return lead + json.dumps({key: value for key, value in json.loads(brace + told).items() if key != card})


def written_json(printed: str, changes: Sequence[Mapping[str, str]]) -> str:
    """Return a command's JSON with that many cards like its first, but for these figures of each."""
    lead, brace, told = printed.partition("{")
    first = json.loads(brace + told)["card0"]
    assert all(change.keys() <= first.keys() for change in changes)
    return lead + json.dumps({f"card{number}": {**first, **change} for number, change in enumerate(changes)})


def recorded_address(index: int) -> str:
    """The PCI address of the n-th card that rocm-smi is made to print."""
    return f"0000:{0x83 + index:02x}:00.0"


def written(count: int) -> dict[str, str]:
    """What rocm-smi prints of that many cards."""
    changes = [
        {
            "PCI Bus": recorded_address(number).upper(),
            "Unique ID": f"{0x79CCD55167A2124A + number:#x}",
            "VRAM Total Used Memory (B)": str(6_750_208 + number),
        }
        for number in range(count)
    ]
    return {" ".join(ROCM_SMI): written_json(PRINTED, changes)}


def only_first(printed: str) -> str:
    """Return a command's JSON of its first card alone, without what it tells of the machine."""
    lead, brace, told = printed.partition("{")
    return lead + json.dumps({"card0": json.loads(brace + told)["card0"]})


MADE = MadeVendor(
    name="amd",
    package="motorpool_amd",
    source=Path(__file__).with_name("fake_rocm_smi.c"),
    library="librocm_smi64.so.7",
    card=card,
    device_id=address,
    unit=1,
    total=68702699520,
    newer=NEWER,
    needed=("rsmi_init",),
    refusal=("init 8", "rsmi_init: 8 (the driver cannot be opened)"),
    unreadable="fault rsmi_dev_pci_id_get 15",
    untold=("fault all 2",),
    absurd={
        "used_bytes": "used 99999999999999",
        "utilization_ratio": "busy 4000",
        "temperature_celsius": "edge 99999999",
        "power_watts": "power 18446744073709551615",
        "memory_bytes": "total 18446744073709551615",
    },
    hangs={
        "opening": "rsmi_init",
        "looking": "rsmi_dev_pci_id_get",
        "measuring": "rsmi_dev_busy_percent_get",
    },
    recorded=Recorded(
        name="rocm-smi",
        prints={" ".join(ROCM_SMI): PRINTED},
        device_ids=tuple(f"0000:{bus}:00.0" for bus in ("83", "a3", "c3", "e3")),
        fewer={" ".join(ROCM_SMI): without_card(PRINTED, "card3")},
        written=Written(
            cards=written,
            one={" ".join(ROCM_SMI): only_first(PRINTED)},
            device_id=recorded_address,
            used=6_750_208,
            total=34342961152,
            unit=1,
        ),
    ),
)
