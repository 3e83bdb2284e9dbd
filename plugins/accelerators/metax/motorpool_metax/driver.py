"""MXSML, MetaX's library, through ctypes. What leaves this module are records.

Signatures and layouts are those of MxSml.h as published with MetaX's exporters; every structure says its size.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from ctypes import POINTER, byref, c_char, c_char_p, c_int, c_long, c_uint, c_ulong
from dataclasses import replace
from typing import TypeVar

from motorpool_metax import parsing, sgpu
from motorpool_metax.records import Card
from motorpool_sdk import DeviceError, Sample
from motorpool_sdk.hardware import CallError, CLibrary, Unavailable, Verdict, measurement, pci_address, text

T = TypeVar("T")

_NOT_SUPPORTED = 3
_INSUFFICIENT_SIZE = 10
_BRAND_N = 1
_MODE_VIRTUAL = 2
_HOTSPOT = 0
_DLA, _XCORE = 0, 4
_DRIVER = 1
_LINKS = {5: "MetaXLink"}
_MOST_CARDS = 128
_MOST_WAYS = 32
_MOST_PROCESSES = 512
_MEANINGS = {
    1: "failed",
    2: "no device",
    _NOT_SUPPORTED: "not supported",
    4: "sysfs cannot be read",
    5: "sysfs cannot be written",
    6: "invalid device id",
    8: "not permitted",
    9: "invalid input",
    _INSUFFICIENT_SIZE: "too little room",
    12: "the driver refused the call",
    23: "busy",
    26: "the driver's library cannot be loaded",
    999: "no such function",
}
_REMEDY = "Install MetaX's driver (in a container: mount /opt/mxdriver and /opt/maca), or look at `mx-smi` and `dmesg`"


class DeviceInfo(ctypes.Structure):
    """mxSmlDeviceInfo_t, 184 bytes [H]."""

    _fields_ = (
        ("deviceId", c_uint),
        ("type", c_uint),
        ("bdfId", c_char * 32),
        ("gpuId", c_uint),
        ("nodeId", c_uint),
        ("uuid", c_char * 96),
        ("brand", c_uint),
        ("mode", c_uint),
        ("deviceName", c_char * 32),
    )


class MemoryInfo(ctypes.Structure):
    """mxSmlMemoryInfo_t, 48 bytes; KiB, though labelled KB [H, R]."""

    _fields_ = tuple((name, c_long) for name in ("visTotal", "visUse", "vramTotal", "vramUse", "xttTotal", "xttUse"))


class PowerWay(ctypes.Structure):
    """mxSmlBoardWayElectricInfo_t, 12 bytes; mV, mA, mW [H]."""

    _fields_ = (("voltage", c_uint), ("current", c_uint), ("power", c_uint))


class EccErrors(ctypes.Structure):
    """mxSmlEccErrorCount_t, 20 bytes [H]."""

    _fields_ = tuple((name, c_uint) for name in ("sramCE", "sramUE", "dramCE", "dramUE", "retiredPage"))


class Unavailability(ctypes.Structure):
    """mxSmlDeviceUnavailableReasonInfo_t, 68 bytes [H]."""

    _fields_ = (("unavailableCode", c_int), ("unavailableReason", c_char * 64))


class ProcessGpu(ctypes.Structure):
    """mxSmlProcessGpuInfo_t, 48 bytes; usage in bytes [H]."""

    _fields_ = (("bdfId", c_char * 32), ("gpuId", c_uint), ("gpuMemoryUsage", c_ulong))


class ProcessInfo(ctypes.Structure):
    """mxSmlProcessInfo_t, 3144 bytes [H]."""

    _fields_ = (
        ("processId", c_uint),
        ("processName", c_char * 64),
        ("gpuNumber", c_uint),
        ("processGpuInfo", ProcessGpu * 64),
    )


_SIGNATURES: dict[str, tuple[object, ...]] = {
    "mxSmlInit": (),
    "mxSmlGetDeviceCount": (),  # returns the count, which leaves out physical cards that are divided into virtual ones
    "mxSmlGetDeviceInfo": (c_uint, POINTER(DeviceInfo)),
    "mxSmlGetMemoryInfo": (c_uint, POINTER(MemoryInfo)),
    "mxSmlGetTemperatureInfo": (c_uint, c_int, POINTER(c_int)),
    "mxSmlGetDeviceIpUsage": (c_uint, c_int, POINTER(c_int)),
    "mxSmlGetBoardPowerInfo": (c_uint, POINTER(c_uint), POINTER(PowerWay)),
    "mxSmlGetDeviceVersion": (c_uint, c_int, c_char_p, POINTER(c_uint)),
    "mxSmlGetMacaVersion": (c_char_p, POINTER(c_uint)),
    "mxSmlGetDeviceTopology": (c_uint, c_uint, POINTER(c_int)),
    "mxSmlGetDeviceState": (c_uint, POINTER(c_int)),
    "mxSmlGetDeviceUnavailableReason": (c_uint, POINTER(Unavailability)),
    "mxSmlGetTotalEccErrors": (c_uint, POINTER(EccErrors)),
    "mxSmlGetSingleGpuProcess": (c_uint, POINTER(c_uint), POINTER(ProcessInfo)),
    **sgpu.SIGNATURES,
}


class Mxsml:
    """A source of cards, in one session that is opened when first needed."""

    def __init__(self) -> None:
        names, folders = ["libmxsml.so", "libmxsml.so.2"], ["/opt/mxdriver/lib", "/opt/maca/lib", "/opt/mxn100/lib"]
        returns = {"mxSmlGetDeviceCount": c_uint, **sgpu.RETURNS}
        self._library = CLibrary(
            names, _SIGNATURES, remedy=_REMEDY, folders=folders, returns=returns, meanings=_MEANINGS
        )
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
        """Return every card that processes can use."""
        self._open()
        count = self._library.value("mxSmlGetDeviceCount")
        if count > _MOST_CARDS:
            raise CallError("mxSmlGetDeviceCount", None, f"told of {count} cards, which cannot be")
        maca = self._text("mxSmlGetMacaVersion")
        found = [self._card(index, "" if maca == "unknown" else maca) for index in range(count)]
        indexes = [each.index for each in found if isinstance(each, Card)]
        return [
            part
            for each in found
            for part in ([each] if isinstance(each, DeviceError) else self._parts(self._linked(each, indexes)))
        ]

    def measure(self, card: Card) -> Sample:
        """Return a measurement; a board's power is the sum of what comes in on each way."""
        self._open()
        if card.sgpu is not None:
            return sgpu.sample(self._library, card.index, card.sgpu)
        memory = MemoryInfo()
        is_known = self._library.succeeds("mxSmlGetMemoryInfo", card.index, byref(memory))
        block = _DLA if card.is_n_class else _XCORE
        celsius = _known(lambda: self._number("mxSmlGetTemperatureInfo", card.index, _HOTSPOT))
        return measurement(
            used_bytes=memory.vramUse * parsing.KIBIBYTE if is_known else None,
            total_bytes=memory.vramTotal * parsing.KIBIBYTE if is_known else None,
            percent=_known(lambda: self._number("mxSmlGetDeviceIpUsage", card.index, block)),
            celsius=None if celsius is None else celsius / 100,
            watts=_known(lambda: self._power(card.index)),
            processes=self._processes(card),
        )

    def judge(self, card: Card) -> Verdict:
        """Return what state and counters of errors say; an sGPU is as well as its card."""
        self._open()
        state = self._number("mxSmlGetDeviceState", card.index)
        if not state:
            why = Unavailability()
            told = self._library.succeeds("mxSmlGetDeviceUnavailableReason", card.index, byref(why))
            return parsing.verdict(is_available=False, reason=text(why.unavailableReason) if told else "")
        errors = EccErrors()
        try:
            self._library.call("mxSmlGetTotalEccErrors", card.index, byref(errors))
        except CallError as error:
            if error.code not in {None, _NOT_SUPPORTED}:
                raise
        return parsing.verdict(
            is_available=True, uncorrectable=errors.sramUE + errors.dramUE, retired=errors.retiredPage
        )

    def _open(self) -> None:
        if self._is_open:
            return
        self._library.load()
        try:
            self._library.call("mxSmlInit")
        except CallError as error:
            raise Unavailable(f"MXSML cannot be used: {error}. {_REMEDY}") from error
        self._is_open = True

    def _card(self, index: int, maca_version: str) -> Card | DeviceError:
        info = DeviceInfo()
        try:
            self._library.call("mxSmlGetDeviceInfo", index, byref(info))
        except CallError as error:
            return DeviceError(device_id=f"index {index}", message=str(error))
        address = pci_address(text(info.bdfId))
        if not address:
            message = f"mxSmlGetDeviceInfo: told of the address {text(info.bdfId)!r}, which is none"
            return DeviceError(device_id=f"index {index}", message=message)
        memory = MemoryInfo()
        is_known = self._library.succeeds("mxSmlGetMemoryInfo", index, byref(memory))
        return Card(
            index=index,
            pci_address=address,
            name=text(info.deviceName),
            is_n_class=info.brand == _BRAND_N,
            is_virtual=info.mode == _MODE_VIRTUAL,
            total_bytes=memory.vramTotal * parsing.KIBIBYTE if is_known else None,
            driver_version=self._text("mxSmlGetDeviceVersion", index, _DRIVER),
            maca_version=maca_version,
        )

    def _parts(self, card: Card) -> Iterator[Card]:
        """Yield a card, in trouble where nobody tells its sGPUs, and then these."""
        try:
            found = list(sgpu.sgpus(self._library, card.index))
        except CallError as error:
            yield replace(card, trouble=f"it is shared by sGPUs that cannot be read: {error}; see `mx-smi`")
            return
        yield card
        for each in found:
            yield replace(card, sgpu=each, total_bytes=each.total_bytes, links=())

    def _linked(self, card: Card, indexes: Sequence[int]) -> Card:
        kinds = {peer: self._topology(card.index, peer) for peer in indexes if peer != card.index}
        return replace(card, links=tuple((peer, _LINKS[kind]) for peer, kind in kinds.items() if kind in _LINKS))

    def _topology(self, index: int, peer: int) -> int | None:
        return _known(lambda: self._number("mxSmlGetDeviceTopology", index, peer))

    def _power(self, index: int) -> float:
        count, ways = c_uint(_MOST_WAYS), (PowerWay * _MOST_WAYS)()
        self._library.call("mxSmlGetBoardPowerInfo", index, byref(count), ways)
        milliwatts: list[int] = [way.power for way in ways[: min(count.value, _MOST_WAYS)]]
        if not milliwatts:
            raise CallError("mxSmlGetBoardPowerInfo", None, "told of no way of power")
        return sum(milliwatts) / 1000

    def _processes(self, card: Card) -> Iterator[tuple[int, int | None]]:
        count = c_uint(0)
        # With no room at all it tells how much is needed.
        self._library.succeeds("mxSmlGetSingleGpuProcess", card.index, byref(count), (ProcessInfo * 1)())
        if not 0 < count.value <= _MOST_PROCESSES:
            return
        room = c_uint(count.value + 8)  # Some may come in between.
        listed = (ProcessInfo * room.value)()
        most = room.value
        if not self._library.succeeds("mxSmlGetSingleGpuProcess", card.index, byref(room), listed):
            return
        for process in listed[: min(room.value, most)]:
            used = [
                each.gpuMemoryUsage
                for each in process.processGpuInfo[: min(process.gpuNumber, 64)]
                if pci_address(text(each.bdfId)) == card.pci_address
            ]
            yield process.processId, sum(used) if used else None

    def _text(self, symbol: str, *arguments: int) -> str:
        buffer, length = ctypes.create_string_buffer(128), c_uint(128)
        return text(buffer) if self._library.succeeds(symbol, *arguments, buffer, byref(length)) else ""

    def _number(self, symbol: str, *arguments: int) -> int:
        value = c_int()
        self._library.call(symbol, *arguments, byref(value))
        return value.value


def _known(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except CallError:
        return None
