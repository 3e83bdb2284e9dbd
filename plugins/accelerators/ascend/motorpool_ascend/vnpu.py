"""Virtual NPUs: the parts into which Ascend's driver cuts a chip for containers."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from ctypes import byref, c_uint, sizeof
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from motorpool_ascend import dcmi
from motorpool_ascend.records import Chip, Virtual
from motorpool_sdk import Sample
from motorpool_sdk.hardware import CallError, CLibrary, measurement, text

Q = TypeVar("Q", dcmi.VdevQuery, dcmi.TotalResource)

_KIBIBYTE, _MEBIBYTE = 2**10, 2**20
_MEBIBYTES_PER_GIBIBYTE = 1024
# The driver numbers the virtual devices of physical id N from 100 + 16 N.
_FIRST, _PER_CHIP = 100, 16
_UNTOLD_32, _UNTOLD_64 = 2**32 - 1, 2**64 - 1
# A template's last part is its memory where it is told: `vir10_3c_16g`, `vir10_4c_16g_m`.
_MEMORY = re.compile(r"_(\d{1,4})g(?:_|$)")


def parts(library: CLibrary, chip: Chip, root: Path) -> Iterator[Chip]:
    """Yield a chip, in trouble where nobody tells how it is cut, and then the virtual NPUs that it is cut into."""
    try:
        ids = _ids(library, chip)
        virtuals = [_virtual(library, chip, vdev_id) for vdev_id in ids]
    except CallError as error:
        yield untold(chip, root, str(error))
        return
    yield chip if virtuals else untold(chip, root, "DCMI tells of none")
    for virtual in virtuals:
        yield replace(chip, logic_id=None, memory=None, network_address="", links=(), virtual=virtual)


def untold(chip: Chip, root: Path, why: str) -> Chip:
    """Return the chip; where it has the nodes of virtual NPUs that nobody tells of, as one that cannot be used."""
    there = nodes(chip, root)
    if not there:
        return chip
    shown = ", ".join(f"/dev/vdavinci{vdev_id}" for vdev_id in there)
    return replace(
        chip,
        trouble=f"it is cut into virtual NPUs ({shown}) that cannot be read: {why}; run the agent as root where DCMI "
        "answers, or destroy them with `npu-smi set -t destroy-vnpu`",
    )


def nodes(chip: Chip, root: Path) -> list[int]:
    """Return the numbers of a chip's virtual NPUs that have a node."""
    if chip.phy_id is None:
        return []
    first = _FIRST + _PER_CHIP * chip.phy_id
    every = (path.name.removeprefix("vdavinci") for path in root.glob("dev/vdavinci*"))
    return sorted(int(name) for name in every if name.isdigit() and first <= int(name) < first + _PER_CHIP)


def sample(library: CLibrary, chip: Chip, virtual: Virtual) -> Sample:
    """Return a measurement: the driver's own where it has one (310P, for root), else that one nobody has is unused."""
    total = None if virtual.total_mebibytes is None else virtual.total_mebibytes * _MEBIBYTE
    try:
        now = _asked(library, chip, dcmi.VDEV_ACTIVITY, dcmi.VdevQuery(vdev_id=virtual.vdev_id)).computing
    except CallError:
        taken = _virtual(library, chip, virtual.vdev_id).is_taken
        return measurement(used_bytes=0 if taken is False else None, total_bytes=total)
    has_memory = 0 < now.vdev_memory_total < _UNTOLD_64 and now.vdev_memory_free <= now.vdev_memory_total
    used = (now.vdev_memory_total - now.vdev_memory_free) * _KIBIBYTE
    return measurement(used_bytes=used if has_memory else None, total_bytes=total, percent=now.vdev_aicore_utilization)


def _ids(library: CLibrary, chip: Chip) -> list[int]:
    try:
        told = _asked(library, chip, dcmi.TOTAL_RESOURCE, dcmi.TotalResource())
    except CallError as error:
        # Drivers without the question, and chips of which the driver cuts none.
        if error.code in {None, dcmi.NOT_SUPPORTED}:
            return []
        raise
    if told.vdev_num > dcmi.MOST_VDEVS:
        raise CallError("dcmi_get_device_info", None, f"told of {told.vdev_num} virtual NPUs, which cannot be")
    return sorted(told.vdev_id[: told.vdev_num])


def _virtual(library: CLibrary, chip: Chip, vdev_id: int) -> Virtual:
    told = _asked(library, chip, dcmi.VDEV_RESOURCE, dcmi.VdevQuery(vdev_id=vdev_id))
    template, mebibytes = text(told.name), int(told.computing.memory_size)
    named = _MEMORY.search(template)
    if not 0 < mebibytes < _UNTOLD_64:
        mebibytes = int(named[1]) * _MEBIBYTES_PER_GIBIBYTE if named else 0
    return Virtual(
        vdev_id=vdev_id,
        template=template,
        total_mebibytes=mebibytes or None,
        is_taken=None if told.is_container_used == _UNTOLD_32 else bool(told.is_container_used),
    )


def _asked(library: CLibrary, chip: Chip, question: int, buffer: Q) -> Q:
    size = c_uint(sizeof(buffer))
    where = (chip.card_id, chip.chip_id, dcmi.VIRTUAL_DEVICES, question)
    library.call("dcmi_get_device_info", *where, ctypes.addressof(buffer), byref(size))
    return buffer
