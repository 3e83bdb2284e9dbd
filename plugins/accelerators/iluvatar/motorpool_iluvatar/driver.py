"""IXML, Iluvatar's library, through ctypes. What leaves this module are records.

It has NVML's functions under NVML's names, with NVML's signatures and layouts (nvml.h), and a few of its own (ixml.h of
go-ixml). It is loaded so that its names stay its own.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_char, c_char_p, c_int, c_uint, c_ulonglong, c_void_p
from typing import TypeVar

from motorpool_iluvatar import parsing
from motorpool_iluvatar.records import Card
from motorpool_sdk import DeviceError, Sample
from motorpool_sdk.hardware import CallError, CLibrary, Unavailable, Verdict, measurement, pci_address, text

T = TypeVar("T")

_MEMORY_V2 = 0x02000028
_GPU_SENSOR = 0
_MOST_CARDS = 128
_MEANINGS = {
    1: "not initialised",
    2: "invalid argument",
    3: "not supported",
    4: "not permitted",
    6: "not found",
    7: "too little room",
    9: "the driver is not loaded",
    10: "timed out",
    12: "a library is missing",
    13: "no such function",
    15: "the card is lost",
    17: "refused by the operating system",
    18: "the library and the kernel module have different versions",
    25: "another version of the structure is wanted",
    999: "unknown error",
}
_REMEDY = (
    "Install Iluvatar's driver and CoreX (in a container: use the ix-container-toolkit, or mount /usr/local/corex), or "
    "look at `ixsmi` and `dmesg`"
)


class MemoryV2(ctypes.Structure):
    """nvmlMemory_v2_t, 40 bytes [H]."""

    _fields_ = (
        ("version", c_uint),
        *((name, c_ulonglong) for name in ("total", "reserved", "free", "used")),
    )


class Memory(ctypes.Structure):
    """nvmlMemory_t, 24 bytes [H]."""

    _fields_ = tuple((name, c_ulonglong) for name in ("total", "free", "used"))


class PciInfo(ctypes.Structure):
    """nvmlPciInfo_t, 68 bytes [H]."""

    _fields_ = (
        ("busIdLegacy", c_char * 16),
        *((name, c_uint) for name in ("domain", "bus", "device", "pciDeviceId", "pciSubSystemId")),
        ("busId", c_char * 32),
    )


class Utilization(ctypes.Structure):
    """nvmlUtilization_t, 8 bytes; percent [H]."""

    _fields_ = (("gpu", c_uint), ("memory", c_uint))


_DEVICE = c_void_p
_SIGNATURES: dict[str, tuple[object, ...]] = {
    "nvmlInit_v2": (),
    "nvmlDeviceGetCount_v2": (POINTER(c_uint),),
    "nvmlDeviceGetHandleByIndex_v2": (c_uint, POINTER(_DEVICE)),
    "nvmlDeviceGetHandleByUUID": (c_char_p, POINTER(_DEVICE)),
    "nvmlDeviceGetName": (_DEVICE, c_char_p, c_uint),
    "nvmlDeviceGetUUID": (_DEVICE, c_char_p, c_uint),
    "nvmlDeviceGetMinorNumber": (_DEVICE, POINTER(c_uint)),
    "nvmlDeviceGetPciInfo_v3": (_DEVICE, POINTER(PciInfo)),
    "nvmlDeviceGetMemoryInfo_v2": (_DEVICE, POINTER(MemoryV2)),
    "nvmlDeviceGetMemoryInfo": (_DEVICE, POINTER(Memory)),
    "nvmlDeviceGetUtilizationRates": (_DEVICE, POINTER(Utilization)),
    "nvmlDeviceGetTemperature": (_DEVICE, c_int, POINTER(c_uint)),
    "nvmlDeviceGetPowerUsage": (_DEVICE, POINTER(c_uint)),
    "nvmlSystemGetDriverVersion": (c_char_p, c_uint),
    "nvmlSystemGetCudaDriverVersion_v2": (POINTER(c_int),),
    "ixmlDeviceGetHealth": (_DEVICE, POINTER(c_ulonglong)),
}


class Ixml:
    """A source of cards, in one session that is opened when first needed."""

    def __init__(self) -> None:
        home = os.environ.get("COREX_HOME") or "/usr/local/corex"
        folders = [f"{home}/lib64", f"{home}/lib"]
        self._library = CLibrary(["libixml.so"], _SIGNATURES, remedy=_REMEDY, folders=folders, meanings=_MEANINGS)
        self._is_open = False

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
        count = c_uint()
        self._library.call("nvmlDeviceGetCount_v2", byref(count))
        if count.value > _MOST_CARDS:
            raise CallError("nvmlDeviceGetCount_v2", None, f"told of {count.value} cards, which cannot be")
        driver = _known(lambda: self._text("nvmlSystemGetDriverVersion", 80)) or ""
        cuda = self._cuda_version()
        return [self._card(index, driver, cuda) for index in range(count.value)]

    def measure(self, card: Card) -> Sample:
        """Return a measurement; of a board of two chips one tells no power."""
        device = self._handle(card)
        used, total = self._memory(device)
        load = Utilization()
        is_loaded = self._library.succeeds("nvmlDeviceGetUtilizationRates", device, byref(load))
        milliwatts = _known(lambda: self._number("nvmlDeviceGetPowerUsage", device))
        return measurement(
            used_bytes=used,
            total_bytes=total,
            percent=load.gpu if is_loaded else None,
            celsius=_known(lambda: self._number("nvmlDeviceGetTemperature", device, _GPU_SENSOR)),
            watts=None if milliwatts is None else milliwatts / 1000,
        )

    def judge(self, card: Card) -> Verdict:
        """Return the driver's own word on the card."""
        mask = c_ulonglong()
        self._library.call("ixmlDeviceGetHealth", self._handle(card), byref(mask))
        return parsing.verdict_of_mask(mask.value)

    def _open(self) -> None:
        if self._is_open:
            return
        self._library.load()
        try:
            self._library.call("nvmlInit_v2")
        except CallError as error:
            raise Unavailable(f"IXML cannot be used: {error}. {_REMEDY}") from error
        self._is_open = True

    def _card(self, index: int, driver: str, cuda: str) -> Card | DeviceError:
        device, pci = _DEVICE(), PciInfo()
        try:
            self._library.call("nvmlDeviceGetHandleByIndex_v2", index, byref(device))
            self._library.call("nvmlDeviceGetPciInfo_v3", device, byref(pci))
            uuid = self._text("nvmlDeviceGetUUID", 96, device)
        except CallError as error:
            return DeviceError(device_id=f"index {index}", message=str(error))
        address = pci_address(text(pci.busId))
        if not address:
            message = f"nvmlDeviceGetPciInfo_v3: told of the address {text(pci.busId)!r}, which is none"
            return DeviceError(device_id=f"index {index}", message=message)
        return Card(
            index=index,
            pci_address=address,
            uuid=uuid,
            minor=_known(lambda: self._number("nvmlDeviceGetMinorNumber", device)),
            name=_known(lambda: self._text("nvmlDeviceGetName", 96, device)) or "",
            total_bytes=self._memory(device)[1],
            driver_version=driver,
            cuda_version=cuda,
        )

    def _handle(self, card: Card) -> c_void_p:
        """Return a card's handle by what stays with it."""
        self._open()
        device = _DEVICE()
        self._library.call("nvmlDeviceGetHandleByUUID", card.uuid.encode(), byref(device))
        return device

    def _memory(self, device: c_void_p) -> tuple[int | None, int | None]:
        """Return used and total bytes, by the newer question or else the older."""
        newer, older = MemoryV2(version=_MEMORY_V2), Memory()
        if self._library.succeeds("nvmlDeviceGetMemoryInfo_v2", device, byref(newer)):
            return newer.used, newer.total
        if self._library.succeeds("nvmlDeviceGetMemoryInfo", device, byref(older)):
            return older.used, older.total
        return None, None

    def _cuda_version(self) -> str:
        version = c_int()
        is_known = self._library.succeeds("nvmlSystemGetCudaDriverVersion_v2", byref(version))
        return f"{version.value // 1000}.{version.value % 1000 // 10}" if is_known and version.value > 0 else ""

    def _text(self, symbol: str, length: int, *arguments: c_void_p) -> str:
        buffer = ctypes.create_string_buffer(length)
        self._library.call(symbol, *arguments, buffer, length)
        return text(buffer)

    def _number(self, symbol: str, device: c_void_p, *arguments: int) -> int:
        value = c_uint()
        self._library.call(symbol, device, *arguments, byref(value))
        return value.value


def _known(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except CallError:
        return None
