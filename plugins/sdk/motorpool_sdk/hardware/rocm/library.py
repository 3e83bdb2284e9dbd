"""ROCm SMI, the library, through ctypes. What leaves this module are records.

Signatures are those of rocm_smi.h, which kept them since ROCm 4. AMD SMI's structures have changed three times without
a version in them, and are not used.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_uint16, c_uint32, c_uint64
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from motorpool_sdk.accelerator import DeviceError, Sample
from motorpool_sdk.hardware.library import CLibrary, text
from motorpool_sdk.hardware.pci import pci_address
from motorpool_sdk.hardware.rocm import kernel, parsing
from motorpool_sdk.hardware.rocm.family import Family
from motorpool_sdk.hardware.rocm.records import Card, Errors, Reading, Running
from motorpool_sdk.hardware.sources import CallError, Unavailable, Verdict

T = TypeVar("T")

_NOT_SUPPORTED = 2
_NOT_IMPLEMENTED = 9
_ABSENT = {None, _NOT_SUPPORTED, _NOT_IMPLEMENTED}
_VRAM = 0
_EDGE, _JUNCTION = 0, 1
_CURRENT = 0
_LINKS = {2: "XGMI"}
_BLOCKS = {0x1: "memory", 0x2: "sdma", 0x4: "graphics"}  # rsmi_gpu_block_t UMC, SDMA, GFX
_MOST_CARDS = 128
_MEANINGS = {
    1: "invalid argument",
    _NOT_SUPPORTED: "not supported",
    3: "a file of the driver cannot be read",
    4: "not permitted",
    5: "no memory left",
    6: "internal error",
    8: "the driver cannot be opened",
    _NOT_IMPLEMENTED: "not implemented",
    0xA: "not found",
    0xB: "too little room",
    0xF: "the driver told something that the library does not know",
    0x10: "busy",
}


class ErrorCount(ctypes.Structure):
    """rsmi_error_count_t, 16 bytes [H]."""

    _fields_ = (("correctable_err", c_uint64), ("uncorrectable_err", c_uint64))


class ProcessInfo(ctypes.Structure):
    """rsmi_process_info_t, 32 bytes; vram_usage in bytes [H]."""

    _fields_ = (
        ("process_id", c_uint32),
        ("pasid", c_uint32),
        ("vram_usage", c_uint64),
        ("sdma_usage", c_uint64),
        ("cu_occupancy", c_uint32),
    )


_U32, _U64 = POINTER(c_uint32), POINTER(c_uint64)
_SIGNATURES: dict[str, tuple[object, ...]] = {
    "rsmi_init": (c_uint64,),
    "rsmi_num_monitor_devices": (_U32,),
    "rsmi_dev_name_get": (c_uint32, c_char_p, c_size_t),
    "rsmi_dev_market_name_get": (c_uint32, c_char_p, c_uint32),
    "rsmi_dev_id_get": (c_uint32, POINTER(c_uint16)),
    "rsmi_dev_unique_id_get": (c_uint32, _U64),
    "rsmi_dev_pci_id_get": (c_uint32, _U64),
    "rsmi_dev_memory_total_get": (c_uint32, c_int, _U64),
    "rsmi_dev_memory_usage_get": (c_uint32, c_int, _U64),
    "rsmi_dev_busy_percent_get": (c_uint32, _U32),
    "rsmi_dev_temp_metric_get": (c_uint32, c_uint32, c_int, POINTER(c_int64)),
    "rsmi_dev_power_ave_get": (c_uint32, c_uint32, _U64),
    "rsmi_dev_power_get": (c_uint32, _U64, POINTER(c_int)),
    "rsmi_dev_drm_render_minor_get": (c_uint32, _U32),
    "rsmi_topo_get_link_type": (c_uint32, c_uint32, _U64, POINTER(c_int)),
    "rsmi_dev_ecc_count_get": (c_uint32, c_int, POINTER(ErrorCount)),
    "rsmi_compute_process_info_get": (POINTER(ProcessInfo), _U32),
    "rsmi_compute_process_info_by_device_get": (c_uint32, c_uint32, POINTER(ProcessInfo)),
}


class RocmSmi:
    """A source of cards, in one session that is opened when first needed."""

    def __init__(self, family: Family, root: Path) -> None:
        self._library = CLibrary(
            family.libraries,
            _SIGNATURES,
            remedy=family.library_remedy,
            folders=family.folders,
            meanings=_MEANINGS,
        )
        self._family = family
        self._root = root
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
        """Return every card and partition."""
        self._open()
        count = c_uint32()
        self._library.call("rsmi_num_monitor_devices", byref(count))
        if count.value > _MOST_CARDS:
            raise CallError("rsmi_num_monitor_devices", None, f"told of {count.value} cards, which cannot be")
        nodes = kernel.kfd_nodes(self._root)
        listed = [self._card(index, nodes) for index in range(count.value)]
        found = [
            each
            for each in listed
            if isinstance(each, DeviceError) or not kernel.is_anothers(each.pci_address, self._family, self._root)
        ]
        indexes = [each.index for each in found if isinstance(each, Card)]
        return [each if isinstance(each, DeviceError) else self._linked(each, indexes) for each in found]

    def measure(self, card: Card) -> Sample:
        """Return a measurement; the hottest spot's temperature where the card tells none of its edge (MI300)."""
        self._open()
        index = card.index
        celsius = _first(
            lambda: self._signed("rsmi_dev_temp_metric_get", index, _EDGE, _CURRENT),
            lambda: self._signed("rsmi_dev_temp_metric_get", index, _JUNCTION, _CURRENT),
        )
        power = _first(lambda: self._large("rsmi_dev_power_ave_get", index, 0), lambda: self._power(index))
        return parsing.sample(
            Reading(
                used_bytes=_first(lambda: self._large("rsmi_dev_memory_usage_get", index, _VRAM)),
                total_bytes=_first(lambda: self._large("rsmi_dev_memory_total_get", index, _VRAM)),
                utilization_percent=_first(lambda: self._small("rsmi_dev_busy_percent_get", index)),
                temperature_celsius=None if celsius is None else celsius / 1000,
                power_watts=None if power is None else power / 1_000_000,
                processes=tuple(self._processes(index)),
            )
        )

    def judge(self, card: Card) -> Verdict:
        """Return what the counters of errors say."""
        self._open()
        bad: list[tuple[str, int]] = []
        failures: list[str] = []
        for block, called in _BLOCKS.items():
            count = ErrorCount()
            try:
                self._library.call("rsmi_dev_ecc_count_get", card.index, block, byref(count))
            except CallError as error:
                if error.code not in _ABSENT:
                    failures.append(f"errors in {called}: {error}")
            else:
                bad += [(called, count.uncorrectable_err)] if count.uncorrectable_err else []
        return parsing.verdict(Errors(uncorrectable=tuple(bad), failures=tuple(failures)), self._family)

    def _open(self) -> None:
        if self._is_open:
            return
        self._library.load()
        try:
            self._library.call("rsmi_init", 0)
        except CallError as error:
            raise Unavailable(
                f"ROCm SMI cannot be used: {error}. {self._family.library_remedy}; see `dmesg`"
            ) from error
        self._is_open = True

    def _card(self, index: int, nodes: Sequence[kernel.KfdNode]) -> Card | DeviceError:
        try:
            place = self._large("rsmi_dev_pci_id_get", index)
        except CallError as error:
            # Without its address nobody could tell this card from another one tomorrow.
            return DeviceError(device_id=f"index {index}", message=str(error))
        # domain << 32 | partition << 28 | bus << 8 | device << 3 | function
        written = f"{place >> 32:x}:{place >> 8 & 0xFF:x}:{place >> 3 & 0x1F:x}.{place & 7:x}"
        address = pci_address(written)
        if not address:
            return DeviceError(
                device_id=f"index {index}", message=f"rsmi_dev_pci_id_get: told of {written}, no address"
            )
        card = Card(
            index=index,
            pci_address=address,
            partition=place >> 28 & 0xF,
            unique_id=_first(lambda: self._large("rsmi_dev_unique_id_get", index)) or 0,
            name=self._name(index),
            total_bytes=_first(lambda: self._large("rsmi_dev_memory_total_get", index, _VRAM)),
            render_minor=_first(lambda: self._small("rsmi_dev_drm_render_minor_get", index)),
        )
        return kernel.completed(card, nodes, self._family, self._root)

    def _linked(self, card: Card, indexes: Sequence[int]) -> Card:
        links = []
        for peer in indexes:
            hops, kind = c_uint64(), c_int()
            if peer != card.index and self._library.succeeds(
                "rsmi_topo_get_link_type", card.index, peer, byref(hops), byref(kind)
            ):
                links += [(peer, _LINKS[kind.value])] if kind.value in _LINKS else []
        return replace(card, links=tuple(links))

    def _name(self, index: int) -> str:
        for symbol in ("rsmi_dev_market_name_get", "rsmi_dev_name_get"):
            buffer = ctypes.create_string_buffer(128)
            if self._library.succeeds(symbol, index, buffer, len(buffer)) and (name := parsing.product(text(buffer))):
                return name
        return ""

    def _processes(self, index: int) -> Iterator[Running]:
        count = c_uint32()
        if not self._library.succeeds("rsmi_compute_process_info_get", None, byref(count)) or not count.value:
            return
        room = min(count.value + 16, 4096)  # Some may have come in between.
        listed, count = (ProcessInfo * room)(), c_uint32(room)
        if not self._library.succeeds("rsmi_compute_process_info_get", listed, byref(count)):
            return
        for process in listed[: min(count.value, room)]:
            on_card = ProcessInfo()
            if self._library.succeeds(
                "rsmi_compute_process_info_by_device_get", process.process_id, index, byref(on_card)
            ):
                yield Running(process.process_id, on_card.vram_usage)

    def _power(self, index: int) -> int:
        microwatts, kind = c_uint64(), c_int()
        self._library.call("rsmi_dev_power_get", index, byref(microwatts), byref(kind))
        return microwatts.value

    def _small(self, symbol: str, *arguments: int) -> int:
        value = c_uint32()
        self._library.call(symbol, *arguments, byref(value))
        return value.value

    def _large(self, symbol: str, *arguments: int) -> int:
        value = c_uint64()
        self._library.call(symbol, *arguments, byref(value))
        return value.value

    def _signed(self, symbol: str, *arguments: int) -> int:
        value = c_int64()
        self._library.call(symbol, *arguments, byref(value))
        return value.value


def _first(*questions: Callable[[], T]) -> T | None:
    """Return the first answer there is."""
    for ask in questions:
        try:
            return ask()
        except CallError:
            continue
    return None
