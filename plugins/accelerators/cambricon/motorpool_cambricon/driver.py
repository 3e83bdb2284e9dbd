"""CNDEV, Cambricon's library, through ctypes. What leaves this module are records.

Signatures and layouts are those of cndev.h as published with Cambricon's exporter; every structure says its size. Most
structures begin with the version of the API that the caller speaks, which must be set before the call.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from ctypes import POINTER, byref, c_char, c_char_p, c_int, c_int32, c_int64, c_uint16, c_uint32, c_uint64
from dataclasses import replace
from typing import Any, TypeVar

from motorpool_cambricon import instances, parsing
from motorpool_cambricon.records import Card
from motorpool_sdk import DeviceError, Sample
from motorpool_sdk.hardware import CallError, CLibrary, Unavailable, Verdict, measurement, pci_address, text

T = TypeVar("T")

# CNDEV_VERSION_6, and what a driver before 6 speaks.
_VERSIONS = (6, 5)
_WRONG_VERSION = 3
_NOT_SUPPORTED = 10
_MOST_CARDS = 128
_MOST_LINKS = 64
_LINK_IS_DOWN = 0
_MOST_PROCESSES = 256
_MEANINGS = {
    1: "no driver",
    2: "the driver is too old for the library",
    _WRONG_VERSION: "this version of the API is not supported",
    4: "not initialised",
    5: "invalid argument",
    6: "invalid device id",
    7: "unknown error",
    9: "too little room",
    _NOT_SUPPORTED: "not supported",
    12: "no devices",
    13: "not permitted",
    14: "not found",
    18: "the device is in trouble",
}
_REMEDY = "Install Cambricon's driver and CNToolkit (in a container: mount libcndev.so), or look at `cnmon` and `dmesg`"


class CardInfo(ctypes.Structure):
    """cndevCardInfo_t, 8 bytes [H]."""

    _fields_ = (("version", c_int32), ("number", c_uint32))


class MemoryUsage(ctypes.Structure):
    """What cndevGetMemoryUsageV2 fills, 176 bytes, without a version; "MB" that are MiB [H]."""

    _fields_ = (
        *((name, c_int64) for name in ("physicalTotal", "physicalUsed", "reserved", "virtualTotal", "virtualUsed")),
        ("globalMemory", c_uint64),
        ("rest", c_uint64 * 16),
    )


class Utilization(ctypes.Structure):
    """cndevUtilizationInfo_t, 328 bytes [H]."""

    _fields_ = (("version", c_int32), ("average", c_int32), ("core", c_int32 * 80))


class Temperature(ctypes.Structure):
    """cndevTemperatureInfo_t, 148 bytes; degrees [H]."""

    _fields_ = (
        ("version", c_int32),
        ("board", c_int32),
        ("cluster", c_int32 * 20),
        ("memoryDie", c_int32 * 8),
        ("chip", c_int32),
        ("rest", c_int32 * 6),
    )


class Power(ctypes.Structure):
    """What cndevGetDevicePowerInfo fills, 84 bytes, without a version; watts [H]."""

    _fields_ = (*((name, c_int32) for name in ("usage", "cap", "machine", "tdp", "most")), ("rest", c_int32 * 16))


class Pcie(ctypes.Structure):
    """cndevPCIeInfoV2_t, 64 bytes, without a version [H]."""

    _fields_ = (
        ("subsystemId", c_uint32),
        ("deviceId", c_uint32),
        ("vendor", c_uint16),
        ("subsystemVendor", c_uint16),
        ("domain", c_uint32),
        ("bus", c_uint32),
        ("device", c_uint32),
        ("function", c_uint32),
        ("moduleId", c_uint16),
        ("slotId", c_uint16),
        ("rest", c_uint32 * 8),
    )


class Uuid(ctypes.Structure):
    """cndevUUID_t, 56 bytes [H]."""

    _fields_ = (("version", c_int32), ("uuid", c_char * 37), ("ncs", c_uint64))


class LinkStatus(ctypes.Structure):
    """cndevMLULinkStatusV2_t, 44 bytes, without a version [H]."""

    _fields_ = (("macState", c_int32), ("serdesState", c_int32), ("presenceState", c_int32), ("rest", c_uint32 * 8))


class LinkRemote(ctypes.Structure):
    """cndevMLULinkRemoteInfo_t, 376 bytes [H]."""

    _fields_ = (
        ("version", c_int32),
        ("mcSn", c_uint64),
        ("baSn", c_uint64),
        ("slotId", c_uint32),
        ("portId", c_uint32),
        ("devIp", ctypes.c_ubyte * 16),
        ("uuid", c_char * 37),
        ("devIpVersion", c_uint32),
        ("isIpValid", c_uint32),
        ("connectType", c_int32),
        ("ncsUUID64", c_uint64),
        ("macAddress", ctypes.c_ubyte * 6),
        ("portName", c_char * 256),
    )


class VersionInfo(ctypes.Structure):
    """cndevVersionInfo_t, 28 bytes [H]."""

    _fields_ = (("version", c_int32), ("mcu", c_uint32 * 3), ("driver", c_uint32 * 3))


class HealthState(ctypes.Structure):
    """cndevCardHealthState_t, 16 bytes [H]."""

    _fields_ = tuple((name, c_int32) for name in ("version", "health", "deviceState", "driverState"))


class ProcessInfo(ctypes.Structure):
    """cndevProcessInfo_t, 24 bytes; KiB [H]."""

    _fields_ = (("version", c_int32), ("pid", c_uint32), ("physicalUsed", c_uint64), ("virtualUsed", c_uint64))


_DEVICE = c_int32  # cndevDevice_t
# The output comes first, the device last.
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cndevInit": (c_int,),
    "cndevGetDeviceCount": (POINTER(CardInfo),),
    "cndevGetDeviceHandleByIndex": (c_int, POINTER(_DEVICE)),
    "cndevGetCardNameStringByDevId": (_DEVICE,),
    "cndevGetMemoryUsageV2": (POINTER(MemoryUsage), _DEVICE),
    "cndevGetDeviceUtilizationInfo": (POINTER(Utilization), _DEVICE),
    "cndevGetTemperatureInfo": (POINTER(Temperature), _DEVICE),
    "cndevGetDevicePowerInfo": (POINTER(Power), _DEVICE),
    "cndevGetPCIeInfoV2": (POINTER(Pcie), _DEVICE),
    "cndevGetUUID": (POINTER(Uuid), _DEVICE),
    "cndevGetMLULinkPortNumber": (_DEVICE,),  # returns the number
    "cndevGetMLULinkStatusV2": (POINTER(LinkStatus), _DEVICE, c_int),
    "cndevGetMLULinkRemoteInfo": (POINTER(LinkRemote), _DEVICE, c_int),
    "cndevGetVersionInfo": (POINTER(VersionInfo), _DEVICE),
    "cndevGetCardHealthState": (POINTER(HealthState), _DEVICE),
    "cndevGetProcessInfo": (POINTER(c_uint32), POINTER(ProcessInfo), _DEVICE),
    **instances.SIGNATURES,
}


class Cndev:
    """A source of cards, in one session that is opened when first needed."""

    def __init__(self) -> None:
        home = os.environ.get("NEUWARE_HOME") or "/usr/local/neuware"
        self._library = CLibrary(
            ["libcndev.so"],
            _SIGNATURES,
            remedy=_REMEDY,
            folders=[f"{home}/lib64", f"{home}/lib"],
            returns={"cndevGetCardNameStringByDevId": c_char_p, "cndevGetMLULinkPortNumber": c_int},
            meanings=_MEANINGS,
        )
        self._version = 0

    @property
    def name(self) -> str:
        """The library."""
        return self._library.name

    @property
    def path(self) -> str:
        """Where it was loaded from."""
        return self._library.path

    def cards(self) -> Sequence[Card | DeviceError]:
        """Return every card."""
        self._open()
        info = self._asked("cndevGetDeviceCount", CardInfo(self._version))
        if info.number > _MOST_CARDS:
            raise CallError("cndevGetDeviceCount", None, f"told of {info.number} cards, which cannot be")
        return [each for index in range(info.number) for each in self._parts(self._card(index))]

    def measure(self, card: Card) -> Sample:
        """Return a measurement; the chip's temperature, else the board's."""
        self._open()
        if card.instance is not None:
            return self._measured_part(card, card.instance)
        handle = card.handle
        memory = self._known("cndevGetMemoryUsageV2", MemoryUsage(), handle)
        load = self._known("cndevGetDeviceUtilizationInfo", Utilization(self._version), handle)
        heat = self._known("cndevGetTemperatureInfo", Temperature(self._version), handle)
        power = self._known("cndevGetDevicePowerInfo", Power(), handle)
        return measurement(
            used_bytes=None if memory is None else memory.physicalUsed * parsing.MEBIBYTE,
            total_bytes=None if memory is None else memory.physicalTotal * parsing.MEBIBYTE,
            percent=None if load is None else load.average,
            celsius=None if heat is None else heat.chip if heat.chip > 0 else heat.board,
            watts=None if power is None else power.usage,
            processes=self._processes(handle),
        )

    def judge(self, card: Card) -> Verdict:
        """Return the driver's own word on the card; an instance is as well as its card."""
        self._open()
        state = self._asked("cndevGetCardHealthState", HealthState(self._version), card.handle)
        return parsing.verdict(state.health, state.deviceState, state.driverState)

    def _open(self) -> None:
        if self._version:
            return
        self._library.load()
        try:
            self._library.call("cndevInit", 0)
            self._version = self._spoken()
        except CallError as error:
            raise Unavailable(f"CNDEV cannot be used: {error}. {_REMEDY}") from error

    def _spoken(self) -> int:
        """Return the newest version of the API that this driver speaks."""
        for version in _VERSIONS:
            try:
                self._asked("cndevGetDeviceCount", CardInfo(version))
            except CallError as error:
                if error.code != _WRONG_VERSION:
                    raise
            else:
                return version
        raise CallError("cndevGetDeviceCount", _WRONG_VERSION, f"none of {_VERSIONS} is spoken")

    def _card(self, index: int) -> Card | DeviceError:
        handle = _DEVICE()
        try:
            self._library.call("cndevGetDeviceHandleByIndex", index, byref(handle))
            pcie = self._asked("cndevGetPCIeInfoV2", Pcie(), handle.value)
        except CallError as error:
            return DeviceError(device_id=f"index {index}", message=str(error))
        written = f"{pcie.domain:x}:{pcie.bus:x}:{pcie.device:x}.{pcie.function:x}"
        address = pci_address(written)
        if not address:
            message = f"cndevGetPCIeInfoV2: told of the address {written}, which is none"
            return DeviceError(device_id=f"index {index}", message=message)
        memory = self._known("cndevGetMemoryUsageV2", MemoryUsage(), handle.value)
        uuid = self._known("cndevGetUUID", Uuid(self._version), handle.value)
        version = self._known("cndevGetVersionInfo", VersionInfo(self._version), handle.value)
        return Card(
            index=index,
            pci_address=address,
            slot=pcie.slotId,
            handle=handle.value,
            name=self._name(handle.value),
            total_bytes=None if memory is None else memory.physicalTotal * parsing.MEBIBYTE,
            driver_version="" if version is None else ".".join(map(str, version.driver)),
            uuid="" if uuid is None else text(uuid.uuid),
            peers=tuple(self._peers(handle.value)),
        )

    def _parts(self, card: Card | DeviceError) -> Iterator[Card | DeviceError]:
        """Yield a card, in trouble where it is divided and nobody can use its parts, and then these parts."""
        if isinstance(card, DeviceError):
            yield card
            return
        try:
            found = instances.instances(self._library, self._version, card.handle)
        except CallError as error:
            yield replace(card, trouble=f"it is divided into instances that cannot be read: {error}; see `cnmon`")
            return
        if found is not None and not found:
            yield replace(
                card,
                trouble="it is set to be divided (MIM or sMLU) and has no instance, so that nothing can run on it; "
                "make some with `cnmon`, or switch the mode off",
            )
            return
        yield card
        for instance in found or ():
            total = instance.total_bytes
            if instance.handle is not None:
                memory = self._known("cndevGetMemoryUsageV2", MemoryUsage(), instance.handle)
                total = None if memory is None else memory.physicalTotal * parsing.MEBIBYTE
            yield replace(card, instance=instance, total_bytes=total, uuid="", peers=())

    def _measured_part(self, card: Card, instance: instances.Instance) -> Sample:
        """Return what an instance uses: MIM's are asked as cards are, sMLU's figures stand in their list."""
        if instance.handle is not None:
            memory = self._known("cndevGetMemoryUsageV2", MemoryUsage(), instance.handle)
            load = self._known("cndevGetDeviceUtilizationInfo", Utilization(self._version), instance.handle)
            return measurement(
                used_bytes=None if memory is None else memory.physicalUsed * parsing.MEBIBYTE,
                total_bytes=card.total_bytes,
                percent=None if load is None else load.average,
            )
        now = instances.instances(self._library, self._version, card.handle) or []
        mine = next((each for each in now if (each.kind, each.number) == (instance.kind, instance.number)), None)
        return measurement(used_bytes=None if mine is None else mine.used_bytes, total_bytes=card.total_bytes)

    def _peers(self, handle: int) -> Iterator[str]:
        try:
            ports = self._library.value("cndevGetMLULinkPortNumber", handle)
        except CallError:
            return  # An older driver's library.
        for port in range(min(max(ports, 0), _MOST_LINKS)):
            status = self._known("cndevGetMLULinkStatusV2", LinkStatus(), handle, port)
            if status is None or status.macState == _LINK_IS_DOWN:
                continue
            remote = self._known("cndevGetMLULinkRemoteInfo", LinkRemote(self._version), handle, port)
            if remote is not None and remote.uuid:
                yield text(remote.uuid)

    def _name(self, handle: int) -> str:
        try:
            raw = self._library.value("cndevGetCardNameStringByDevId", handle)
            return (raw or b"").decode()
        except (CallError, UnicodeDecodeError):
            return ""

    def _processes(self, handle: int) -> Iterator[tuple[int, int | None]]:
        count, listed = c_uint32(_MOST_PROCESSES), (ProcessInfo * _MOST_PROCESSES)()
        listed[0].version = self._version
        if not self._library.succeeds("cndevGetProcessInfo", byref(count), listed, handle):
            return
        for process in listed[: min(count.value, _MOST_PROCESSES)]:
            yield process.pid, process.physicalUsed * parsing.KIBIBYTE

    def _known(self, symbol: str, structure: T, *arguments: int) -> T | None:
        try:
            return self._asked(symbol, structure, *arguments)
        except CallError:
            return None

    def _asked(self, symbol: str, structure: T, *arguments: int) -> T:
        self._library.call(symbol, byref(structure), *arguments)  # type: ignore[arg-type]  # every T is a Structure
        return structure
