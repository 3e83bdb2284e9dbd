"""MTML, Moore Threads' library, through ctypes. What leaves this module are records.

Signatures and layouts are those of mtml.h 2.2.0 as published with mthreads-ml-py. Handles are opaque; what is opened is
freed, what belongs to a device before the device.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from ctypes import POINTER, byref, c_char, c_char_p, c_float, c_int, c_uint, c_ulonglong, c_void_p
from dataclasses import replace
from typing import TypeVar

from motorpool_mthreads.records import Card
from motorpool_sdk import DeviceError, Health, Sample
from motorpool_sdk.hardware import CallError, CLibrary, Unavailable, Verdict, measurement, pci_address, text

T = TypeVar("T")

_LINK_IS_DOWN = 0
_MPC_INSTANCE = 2
_MOST_CARDS = 128
_MOST_LINKS = 32
_MEANINGS = {
    1: "the driver is not loaded",
    2: "the driver failed",
    3: "invalid argument",
    4: "not supported",
    5: "not permitted",
    6: "too little room",
    7: "not found",
    8: "no memory left",
    9: "the driver is too old",
    10: "the driver is too new",
    11: "timed out",
    12: "busy",
    999: "unknown error",
}
_REMEDY = (
    "Install Moore Threads' driver (in a container: use its container toolkit), or look at `mthreads-gmi` and `dmesg`"
)


class PciInfo(ctypes.Structure):
    """MtmlPciInfo, 104 bytes [H]."""

    _fields_ = (
        ("sbdf", c_char * 32),
        *((name, c_uint) for name in ("segment", "bus", "device", "pciDeviceId", "pciSubsystemId", "busWidth")),
        ("pciMaxSpeed", c_float),
        ("pciCurSpeed", c_float),
        *((name, c_uint) for name in ("pciMaxWidth", "pciCurWidth", "pciMaxGen", "pciCurGen")),
        ("rsvd", c_int * 6),
    )


class Property(ctypes.Structure):
    """MtmlDeviceProperty, 8 bytes; ``mpcType`` is 0 of a whole card, 1 of a divided one, 2 of an instance [H]."""

    _fields_ = (
        *(("virtCap", c_uint, 1), ("virtRole", c_uint, 3), ("mpcCap", c_uint, 1), ("mpcType", c_uint, 3)),
        *(("mtLinkCap", c_uint, 1), ("rsvd", c_uint, 23), ("rsvd2", c_uint, 32)),
    )


class LinkSpec(ctypes.Structure):
    """MtmlMtLinkSpec, 28 bytes [H]."""

    _fields_ = (("version", c_uint), ("bandWidth", c_uint), ("linkNum", c_uint), ("rsvd", c_uint * 4))


_HANDLE = c_void_p
_TO_HANDLE = POINTER(c_void_p)
_SIGNATURES: dict[str, tuple[object, ...]] = {
    "mtmlLibraryInit": (_TO_HANDLE,),
    "mtmlLibraryCountDevice": (_HANDLE, POINTER(c_uint)),
    "mtmlLibraryInitSystem": (_HANDLE, _TO_HANDLE),
    "mtmlLibraryFreeSystem": (_HANDLE,),
    "mtmlSystemGetDriverVersion": (_HANDLE, c_char_p, c_uint),
    "mtmlLibraryInitDeviceByIndex": (_HANDLE, c_uint, _TO_HANDLE),
    "mtmlLibraryFreeDevice": (_HANDLE,),
    "mtmlDeviceGetName": (_HANDLE, c_char_p, c_uint),
    "mtmlDeviceGetUUID": (_HANDLE, c_char_p, c_uint),
    "mtmlDeviceGetProperty": (_HANDLE, POINTER(Property)),
    "mtmlDeviceGetMpcParentDevice": (_HANDLE, _TO_HANDLE),
    "mtmlDeviceGetPciInfo": (_HANDLE, POINTER(PciInfo)),
    "mtmlDeviceGetPowerUsage": (_HANDLE, POINTER(c_uint)),
    "mtmlDeviceGetGpuPath": (_HANDLE, c_char_p, c_uint),
    "mtmlDeviceGetPrimaryPath": (_HANDLE, c_char_p, c_uint),
    "mtmlDeviceGetRenderPath": (_HANDLE, c_char_p, c_uint),
    "mtmlDeviceInitMemory": (_HANDLE, _TO_HANDLE),
    "mtmlDeviceFreeMemory": (_HANDLE,),
    "mtmlMemoryGetTotal": (_HANDLE, POINTER(c_ulonglong)),
    "mtmlMemoryGetUsed": (_HANDLE, POINTER(c_ulonglong)),
    "mtmlDeviceInitGpu": (_HANDLE, _TO_HANDLE),
    "mtmlDeviceFreeGpu": (_HANDLE,),
    "mtmlGpuGetUtilization": (_HANDLE, POINTER(c_uint)),
    "mtmlGpuGetTemperature": (_HANDLE, POINTER(c_int)),
    "mtmlDeviceGetMtLinkSpec": (_HANDLE, POINTER(LinkSpec)),
    "mtmlDeviceGetMtLinkState": (_HANDLE, c_uint, POINTER(c_int)),
    "mtmlDeviceGetMtLinkRemoteDevice": (_HANDLE, c_uint, _TO_HANDLE),
}


class Mtml:
    """A source of cards, in one session that is opened when first needed."""

    def __init__(self) -> None:
        names, folders = ["libmtml.so.2", "libmtml.so"], ["/usr/local/musa/lib"]
        self._library = CLibrary(names, _SIGNATURES, remedy=_REMEDY, folders=folders, meanings=_MEANINGS)
        self._session: int | None = None
        # Whose a peer's handle is, the header does not say: they are asked for once, and not freed.
        self._links: dict[str, tuple[tuple[str, int], ...]] = {}
        self._divided: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The library."""
        return self._library.name

    @property
    def path(self) -> str:
        """Where it was loaded from."""
        return self._library.path

    def cards(self) -> Sequence[Card | DeviceError]:
        """Return every card, and the instances of those that MPC divides, which MTML counts among the cards."""
        session = self._opened_session()
        count = c_uint()
        self._library.call("mtmlLibraryCountDevice", session, byref(count))
        if count.value > _MOST_CARDS:
            raise CallError("mtmlLibraryCountDevice", None, f"told of {count.value} cards, which cannot be")
        version = _known(self._driver_version) or ""
        return [self._card(index, version) for index in range(count.value)]

    def measure(self, card: Card) -> Sample:
        """Return a measurement; power comes in milliwatts."""
        with self._device(card.index) as device:
            used, total = self._memory(device)
            milliwatts = _known(lambda: self._number("mtmlDeviceGetPowerUsage", device, c_uint()))
            percent = celsius = None
            with contextlib.suppress(CallError), self._part("Gpu", device) as gpu:
                percent = _known(lambda: self._number("mtmlGpuGetUtilization", gpu, c_uint()))
                celsius = _known(lambda: self._number("mtmlGpuGetTemperature", gpu, c_int()))
        return measurement(
            used_bytes=used,
            total_bytes=total,
            percent=percent,
            celsius=celsius,
            watts=None if milliwatts is None else milliwatts / 1000,
        )

    def judge(self, card: Card) -> Verdict:
        """Return healthy for a card whose memory answers: MTML has no word on it."""
        with self._device(card.index) as device, self._part("Memory", device) as memory:
            self._number("mtmlMemoryGetUsed", memory, c_ulonglong())
        return Health.HEALTHY, ()

    def _opened_session(self) -> int:
        if self._session is None:
            self._library.load()
            session = c_void_p()
            try:
                self._library.call("mtmlLibraryInit", byref(session))
            except CallError as error:
                raise Unavailable(f"MTML cannot be used: {error}. {_REMEDY}") from error
            self._session = session.value or 0
        return self._session

    def _card(self, index: int, version: str) -> Card | DeviceError:
        try:
            with self._device(index) as device:
                address = self._address(device)
                card = Card(
                    index=index,
                    pci_address=address,
                    name=_known(lambda: self._text("mtmlDeviceGetName", device, 32)) or "",
                    total_bytes=self._memory(device)[1],
                    driver_version=version,
                    nodes=tuple(filter(None, map(self._asking_path(device), ("Gpu", "Primary", "Render")))),
                )
                if self._is_instance(device):
                    uuid = self._text("mtmlDeviceGetUUID", device, 48)
                    return replace(card, uuid=uuid, instance_of=self._divided_card(uuid, device))
                return replace(card, links=self._linked(address, device))
        except CallError as error:
            return DeviceError(device_id=f"index {index}", message=str(error))

    @contextlib.contextmanager
    def _device(self, index: int) -> Iterator[int | None]:
        device = c_void_p()
        self._library.call("mtmlLibraryInitDeviceByIndex", self._opened_session(), index, byref(device))
        try:
            yield device.value
        finally:
            self._library.succeeds("mtmlLibraryFreeDevice", device)

    @contextlib.contextmanager
    def _part(self, what: str, device: int | None) -> Iterator[int | None]:
        part = c_void_p()
        self._library.call(f"mtmlDeviceInit{what}", device, byref(part))
        try:
            yield part.value
        finally:
            self._library.succeeds(f"mtmlDeviceFree{what}", part)

    def _memory(self, device: int | None) -> tuple[int | None, int | None]:
        """Return used and total bytes."""
        with contextlib.suppress(CallError), self._part("Memory", device) as memory:
            used = _known(lambda: self._number("mtmlMemoryGetUsed", memory, c_ulonglong()))
            return used, _known(lambda: self._number("mtmlMemoryGetTotal", memory, c_ulonglong()))
        return None, None

    def _address(self, device: int | None) -> str:
        info = PciInfo()
        self._library.call("mtmlDeviceGetPciInfo", device, byref(info))
        address = pci_address(text(info.sbdf))
        if not address:
            raise CallError("mtmlDeviceGetPciInfo", None, f"told of the address {text(info.sbdf)!r}, which is none")
        return address

    def _is_instance(self, device: int | None) -> bool:
        told = Property()
        # A driver that has no such question divides no cards.
        return self._library.succeeds("mtmlDeviceGetProperty", device, byref(told)) and told.mpcType == _MPC_INSTANCE

    def _divided_card(self, uuid: str, device: int | None) -> str:
        if uuid not in self._divided:
            parent = c_void_p()
            self._library.call("mtmlDeviceGetMpcParentDevice", device, byref(parent))
            self._divided[uuid] = self._address(parent.value)
        return self._divided[uuid]

    def _linked(self, address: str, device: int | None) -> tuple[tuple[str, int], ...]:
        if address not in self._links:
            spec = LinkSpec()
            if not self._library.succeeds("mtmlDeviceGetMtLinkSpec", device, byref(spec)):
                return ()
            peers = Counter(filter(None, (self._peer(device, link) for link in range(min(spec.linkNum, _MOST_LINKS)))))
            self._links[address] = tuple(sorted(peers.items()))
        return self._links[address]

    def _peer(self, device: int | None, link: int) -> str:
        state, peer = c_int(), c_void_p()
        if not self._library.succeeds("mtmlDeviceGetMtLinkState", device, link, byref(state)):
            return ""
        if state.value == _LINK_IS_DOWN:
            return ""
        if not self._library.succeeds("mtmlDeviceGetMtLinkRemoteDevice", device, link, byref(peer)):
            return ""
        return _known(lambda: self._address(peer.value)) or ""

    def _driver_version(self) -> str:
        system = c_void_p()
        self._library.call("mtmlLibraryInitSystem", self._opened_session(), byref(system))
        try:
            return self._text("mtmlSystemGetDriverVersion", system.value, 80)
        finally:
            self._library.succeeds("mtmlLibraryFreeSystem", system)

    def _asking_path(self, device: int | None) -> Callable[[str], str]:
        return lambda what: _known(lambda: self._text(f"mtmlDeviceGet{what}Path", device, 64)) or ""

    def _text(self, symbol: str, handle: int | None, length: int) -> str:
        buffer = ctypes.create_string_buffer(length)
        self._library.call(symbol, handle, buffer, length)
        return text(buffer)

    def _number(self, symbol: str, handle: int | None, out: c_uint | c_int | c_ulonglong) -> int:
        self._library.call(symbol, handle, byref(out))
        return out.value


def _known(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except CallError:
        return None
