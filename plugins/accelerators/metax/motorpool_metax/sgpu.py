"""sGPUs: slices of a card's memory and time, which MetaX's container runtime hands out.

Layouts are those of MxSml.h as published with MetaX's exporters; every structure says its size.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from ctypes import POINTER, byref, c_char, c_int, c_long, c_uint
from dataclasses import dataclass
from typing import Any

from motorpool_sdk import Sample
from motorpool_sdk.hardware import CallError, CLibrary, measurement, text

_MOST = 16  # MAX_SGPU_COUNT
_NO_SUCH_SGPU = 3
_MEBIBYTE = 2**20


class SgpuInfo(ctypes.Structure):
    """mxSmlSgpuInfo_t, 124 bytes; ``vramQuota`` in MiB, though labelled MB [H]."""

    _fields_ = (
        *(
            (name, c_uint)
            for name in ("parentDeviceId", "sgpuId", "vramQuota", "swQueuePriority", "computeQuota", "minor", "queue")
        ),
        ("uuid", c_char * 96),
    )


class SgpuMemory(ctypes.Structure):
    """mxSmlSgpuMemoryInfo_t, 24 bytes; bytes [H]."""

    _fields_ = tuple((name, c_long) for name in ("total", "used", "free"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgpu:
    """A slice of a card: ``share_percent`` of its time, and so many bytes of its memory; None where not told."""

    number: int
    uuid: str
    share_percent: int
    total_bytes: int | None


SIGNATURES: dict[str, tuple[Any, ...]] = {
    "mxSmlGetSgpuCount": (c_uint,),  # returns the count, 0 where there is an error too
    "mxSmlGetSgpuInfo": (c_uint, c_uint, POINTER(SgpuInfo)),
    "mxSmlGetSgpuMemory": (c_uint, c_uint, POINTER(SgpuMemory)),
    "mxSmlGetSgpuUsage": (c_uint, c_uint, POINTER(c_int)),
}
RETURNS = {"mxSmlGetSgpuCount": c_uint}


def sgpus(library: CLibrary, index: int) -> Iterator[Sgpu]:
    """Yield the slices of a card; raises CallError where there are some that are not told."""
    if not library.has("mxSmlGetSgpuCount") or not library.value("mxSmlGetSgpuCount", index):
        return
    for number in range(_MOST):
        info = SgpuInfo()
        try:
            library.call("mxSmlGetSgpuInfo", index, number, byref(info))
        except CallError as error:
            if error.code != _NO_SUCH_SGPU:
                raise
            continue
        memory = _memory(library, index, number)
        yield Sgpu(
            number=number,
            uuid=text(info.uuid),
            share_percent=info.computeQuota,
            total_bytes=info.vramQuota * _MEBIBYTE if memory is None else memory.total,
        )


def sample(library: CLibrary, index: int, sgpu: Sgpu) -> Sample:
    """Return a measurement of one; the board's temperature and power are no slice's."""
    memory, usage = _memory(library, index, sgpu.number), c_int()
    is_known = library.succeeds("mxSmlGetSgpuUsage", index, sgpu.number, byref(usage))
    return measurement(
        used_bytes=None if memory is None else memory.used,
        total_bytes=sgpu.total_bytes,
        percent=usage.value / 100 if is_known else None,
    )


def _memory(library: CLibrary, index: int, number: int) -> SgpuMemory | None:
    memory = SgpuMemory()
    return memory if library.succeeds("mxSmlGetSgpuMemory", index, number, byref(memory)) else None
