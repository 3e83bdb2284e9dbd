"""Instances of an MLU: by MIM, which divides its cores and memory, and by sMLU, which rations them.

Layouts are those of cndev.h as published with Cambricon's exporter and device plugin (CNDEV_VERSION_6); every structure
says its size.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from ctypes import POINTER, byref, c_char, c_int32, c_uint32, c_uint64
from dataclasses import dataclass
from typing import Any

from motorpool_sdk.hardware import CallError, CLibrary, text

_ENABLED = 1  # CNDEV_FEATURE_ENABLED
_MOST = 128


class Mode(ctypes.Structure):
    """cndevMimMode_t and cndevSMLUMode_t, 8 bytes [H]."""

    _fields_ = (("version", c_int32), ("mode", c_int32))


class MimInstance(ctypes.Structure):
    """cndevMluInstanceInfo_t, 1016 bytes; the header gives no unit for ``memorySize``, which is not used [H]."""

    _fields_ = (
        *((name, c_int32) for name in ("version", "parentDevice", "instanceId", "profileId")),
        ("uuid", c_char * 37),
        *((name, c_int32) for name in ("domain", "bus", "device", "function")),
        ("placement", c_int32 * 3),
        *((name, c_int32) for name in ("mluCoreCount", "vpuCount", "jpuCount", "gdmaCount", "memorySize")),
        *((name, c_char * 100) for name in ("profileName", "devNodeName", "ipcmDevNodeName", "instanceName")),
        ("rest", c_uint32 * 128),
    )


class SmluInstance(ctypes.Structure):
    """cndevSMluInfo_t, 904 bytes; of quota and memory (bytes) first what it may have, then what it uses [H]."""

    _fields_ = (
        *((name, c_int32) for name in ("version", "profileId", "instanceId")),
        ("uuid", c_char * 37),
        *((name, c_int32) for name in ("domain", "bus", "device", "function")),
        *((name, c_char * 100) for name in ("profileName", "instanceName", "devNodeName")),
        ("mluQuota", c_uint32 * 2),
        ("memorySize", c_uint64 * 2),
        ("rest", c_uint32 * 128),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A part of a card: ``node`` is what a container gets beside the card's own nodes.

    ``handle`` is what CNDEV knows a MIM instance by. Bytes of an sMLU instance are the driver's; None where not told.
    """

    kind: str
    number: int
    uuid: str
    profile: str
    node: str
    handle: int | None = None
    total_bytes: int | None = None
    used_bytes: int | None = None


SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cndevGetMimMode": (POINTER(Mode), c_int32),
    "cndevGetSMLUMode": (POINTER(Mode), c_int32),
    "cndevGetAllMluInstanceInfo": (POINTER(c_int32), POINTER(MimInstance), c_int32),
    "cndevGetAllSMluInstanceInfo": (POINTER(c_int32), POINTER(SmluInstance), c_int32),
    "cndevGetMluInstanceById": (POINTER(c_int32), c_int32, c_int32),
}


def instances(library: CLibrary, version: int, handle: int) -> list[Instance] | None:
    """Return the instances of a card, None for one that is whole; raises CallError where they are not told."""
    if _is_on(library, "cndevGetMimMode", version, handle):
        return list(_mim(library, version, handle))
    if _is_on(library, "cndevGetSMLUMode", version, handle):
        return list(_smlu(library, version, handle))
    return None


def _is_on(library: CLibrary, symbol: str, version: int, handle: int) -> bool:
    told = Mode(version)
    # A driver that has no such question divides no cards in that way.
    return library.succeeds(symbol, byref(told), handle) and told.mode == _ENABLED


def _mim(library: CLibrary, version: int, handle: int) -> Iterator[Instance]:
    for told in _listed(library, "cndevGetAllMluInstanceInfo", MimInstance, version, handle):
        own = c_int32()
        known = library.succeeds("cndevGetMluInstanceById", byref(own), told.instanceId, handle)
        yield Instance(
            kind="MIM",
            number=told.instanceId,
            uuid=text(told.uuid),
            profile=text(told.profileName),
            node=text(told.devNodeName),
            handle=own.value if known else None,
        )


def _smlu(library: CLibrary, version: int, handle: int) -> Iterator[Instance]:
    for told in _listed(library, "cndevGetAllSMluInstanceInfo", SmluInstance, version, handle):
        yield Instance(
            kind="sMLU",
            number=told.instanceId,
            uuid=text(told.uuid),
            profile=text(told.profileName),
            node=text(told.devNodeName),
            total_bytes=told.memorySize[0],
            used_bytes=told.memorySize[1],
        )


def _listed(library: CLibrary, symbol: str, structure: Any, version: int, handle: int) -> list[Any]:
    count, found = c_int32(_MOST), (structure * _MOST)()
    for each in found:
        each.version = version
    library.call(symbol, byref(count), found, handle)
    if not 0 <= count.value <= _MOST:
        raise CallError(symbol, None, f"told of {count.value} instances, which cannot be")
    return list(found[: count.value])
