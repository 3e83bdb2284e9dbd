"""Records in, devices out: what DCMI's and npu-smi's answers mean. No library is needed here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from motorpool_ascend.records import Chip, Memory, Reading, Virtual
from motorpool_sdk import Device, Health, Link, MemoryKind, Sample
from motorpool_sdk.hardware import Verdict, measurement, size

VENDOR = "ascend"
FRAMEWORK = "cann"
_MEBIBYTE = 2**20
# What images and kernels are built for, by the chip's name (gpustack's runner images, CANN's SocVersion).
_ARCHITECTURES = (
    # A3's dies are called Ascend910, and more closely Ascend910_93…; the first generation's chips 910A.
    (re.compile(r"910_?93|^Ascend910$"), "a3"),
    (re.compile(r"910B"), "910b"),
    (re.compile(r"950"), "950"),
    (re.compile(r"310P"), "310p"),
    (re.compile(r"310B"), "310b"),
    (re.compile(r"310"), "310"),
    (re.compile(r"910"), "910"),
)
# The driver's word (dcmi_get_device_health) and npu-smi's for the same.
_HEALTHY, _WARNING, _ALARM, _CRITICAL, _ABSENT = 0, 1, 2, 3, 0xFFFFFFFF
_WORDS = {"ok": _HEALTHY, "warning": _WARNING, "alarm": _ALARM, "critical": _CRITICAL}
_SEE = "look at `npu-smi info -t health` and the driver's log under /var/log/npu"
_VERDICTS: Mapping[int, Verdict] = {
    _HEALTHY: (Health.HEALTHY, ()),
    _WARNING: (Health.HEALTHY, (f"the driver has a general warning on this chip; {_SEE}",)),
    _ALARM: (Health.UNHEALTHY, (f"the driver has an important alarm on this chip; {_SEE}",)),
    _CRITICAL: (Health.UNHEALTHY, (f"the driver has a critical alarm on this chip; {_SEE}",)),
    _ABSENT: (Health.UNHEALTHY, ("the driver does not find this chip, or has not started it; restart the machine",)),
}
_CANN = (
    "usr/local/Ascend/ascend-toolkit/latest",
    "usr/local/Ascend/cann",
)
_VERSION_LINE = re.compile(r"^\s*\"?version\"?\s*[=:]\s*\"?([0-9][\w.]*)", re.IGNORECASE | re.MULTILINE)


def devices(chips: Sequence[Chip], runtime_version: str = "") -> list[Device]:
    """Return each chip's device. Its PCI address is its name, as every source knows it; chips that share one count.

    A virtual NPU has its chip's name and its number.
    """
    sharing = Counter(chip.pci_address for chip in chips if chip.virtual is None)
    names = {(chip.card_id, chip.chip_id): _name(chip, sharing) for chip in chips if chip.virtual is None}
    return [
        Device(
            device_id=_identity(names[chip.card_id, chip.chip_id], chip.virtual),
            vendor=VENDOR,
            framework=FRAMEWORK,
            product=_product(chip),
            index=chip.logic_id,
            pci_address=chip.pci_address,
            architecture=architecture(chip),
            driver_version=chip.driver_version,
            runtime_version=runtime_version,
            memory_kind=None if chip.memory is None and chip.virtual is None else MemoryKind.DEDICATED,
            memory_bytes=_total(chip.memory) if chip.virtual is None else _virtual_total(chip.virtual),
            numa_node=chip.numa_node,
            partition_of="" if chip.virtual is None else names[chip.card_id, chip.chip_id],
            links=tuple(
                Link(device_id=names[card_id, chip_id], kind=kind)
                for card_id, chip_id, kind in chip.links
                if (card_id, chip_id) in names
            ),
            network_address=chip.network_address,
        )
        for chip in chips
    ]


def sample(reading: Reading) -> Sample:
    """Return the measurement in bytes, ratios, degrees and watts; what was not answered, or cannot be, is None."""
    memory = reading.memory
    known = memory is not None and _total(memory) is not None
    return measurement(
        used_bytes=memory.used_mebibytes * _MEBIBYTE
        if memory and known and memory.used_mebibytes is not None
        else None,
        total_bytes=_total(memory),
        percent=reading.utilization_percent,
        celsius=reading.temperature_celsius,
        watts=reading.power_watts,
        processes=((running.pid, running.used_bytes) for running in reading.processes),
    )


def verdict(state: int) -> Verdict:
    """Return what the driver's number for a chip's health means."""
    return _VERDICTS.get(state, (Health.UNKNOWN, (f"the driver calls the chip's health {state}, which is no state",)))


def verdict_of(word: str) -> Verdict:
    """Return what npu-smi's word for a chip's health means."""
    state = _WORDS.get(word.lower())
    return (Health.UNKNOWN, (f"npu-smi calls the chip's health {word!r}",)) if state is None else verdict(state)


def architecture(chip: Chip) -> str:
    """Return which variant of CANN a chip wants, empty for one that is not known."""
    for name in (chip.npu_name, chip.name):
        for pattern, variant in _ARCHITECTURES:
            if pattern.search(name):
                return variant
    return ""


def driver_version(root: Path) -> str:
    """Return the driver's version from the file that its installer left."""
    return _version(root / "usr/local/Ascend/driver/version.info")


def cann_version(root: Path, toolkit_home: str = "") -> str:
    """Return the version of CANN on this machine, empty where there is none (images bring their own)."""
    folders = [Path(toolkit_home)] if toolkit_home else []
    folders += [root / folder for folder in _CANN]
    for folder in folders:
        for file in (folder / "version.info", *sorted(folder.glob("*_toolkit_install.info"))):
            if version := _version(file):
                return version
    return ""


def _name(chip: Chip, sharing: Mapping[str, int]) -> str:
    if sharing[chip.pci_address] > 1 and chip.chip_id:
        return f"{chip.pci_address}-chip{chip.chip_id}"
    return chip.pci_address


def _product(chip: Chip) -> str:
    name = (chip.npu_name or chip.name).removeprefix("Ascend").strip()
    template = f" {chip.virtual.template}" if chip.virtual is not None and chip.virtual.template else ""
    return f"Ascend {name}{template}" if name else ""


def _identity(name: str, virtual: Virtual | None) -> str:
    return name if virtual is None else f"{name}-vnpu{virtual.vdev_id}"


def _virtual_total(virtual: Virtual) -> int | None:
    return None if virtual.total_mebibytes is None else size(virtual.total_mebibytes * _MEBIBYTE)


def _total(memory: Memory | None) -> int | None:
    return None if memory is None else size(memory.total_mebibytes * _MEBIBYTE)


def _version(file: Path) -> str:
    try:
        found = _VERSION_LINE.search(file.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return found[1] if found else ""
