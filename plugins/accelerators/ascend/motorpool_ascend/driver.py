"""DCMI, the library of Ascend's driver, through ctypes. What leaves this module are records."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from ctypes import byref, c_int, c_uint
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

from motorpool_ascend import dcmi, parsing, vnpu
from motorpool_ascend.records import LINKS, Chip, Memory, Reading, Running
from motorpool_sdk import DeviceError, Sample
from motorpool_sdk.hardware import CallError, CLibrary, Unavailable, Verdict, numa_node, pci_address, text

T = TypeVar("T")

_MOST_CARDS = 64
_MOST_PROCESSES = 256
_REMEDY = (
    "Install Ascend's driver (in a container: mount /usr/local/Ascend/driver and /usr/local/dcmi, or use the Ascend "
    "Docker Runtime), and run the agent as root or in the group HwHiAiUser"
)


class Dcmi:
    """A source of chips. Of the two generations of DCMI's API it speaks the one that the driver has."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._library = CLibrary(["libdcmi.so"], dcmi.SIGNATURES, remedy=_REMEDY, meanings=dcmi.MEANINGS)
        self._root = root
        self._is_second: bool | None = None

    @property
    def name(self) -> str:
        """The library."""
        return self._library.name

    @property
    def path(self) -> str:
        """Where it was loaded from."""
        return self._library.path

    def cards(self) -> Sequence[Chip | DeviceError]:
        """Return every chip that CANN can use; the boards' controllers are none."""
        self._open()
        version = self._driver_version()
        found = list(self._second_chips(version) if self._is_second else self._first_chips(version))
        chips = [each for each in found if isinstance(each, Chip) and each.virtual is None]
        return [each if isinstance(each, DeviceError) else self._linked(each, chips) for each in found]

    def measure(self, card: Chip) -> Sample:
        """Return a measurement; a second die, or a 310P, tells no power."""
        self._open()
        if card.virtual is not None:
            return vnpu.sample(self._library, card, card.virtual)
        reading = Reading(
            memory=self._memory(card),
            utilization_percent=_known(lambda: self._number(c_uint(), "utilization", card, dcmi.UTILIZATION_OF_AICORE)),
            temperature_celsius=_known(lambda: self._number(c_int(), "temperature", card)),
            power_watts=_known(lambda: self._number(c_int(), "power", card) / 10),
            processes=tuple(self._processes(card)),
        )
        return parsing.sample(reading)

    def judge(self, card: Chip) -> Verdict:
        """Return the driver's own word on the chip; a virtual NPU is as well as its chip."""
        self._open()
        return parsing.verdict(self._number(c_uint(), "health", card))

    def _open(self) -> None:
        if self._is_second is not None:
            return
        self._library.load()
        try:
            self._library.call("dcmi_init")
        except CallError as error:
            # Ascend 950 has the second generation only.
            if error.code not in {None, dcmi.NOT_SUPPORTED} or not self._library.has("dcmiv2_init"):
                raise Unavailable(f"DCMI cannot be used: {error}. {_REMEDY}; see `npu-smi info` and `dmesg`") from error
            self._library.call("dcmiv2_init")
            self._is_second = True
        else:
            self._is_second = False

    def _first_chips(self, version: str) -> Iterator[Chip | DeviceError]:
        for card_id in self._listed("dcmi_get_card_list", "dcmi_get_card_num_list"):
            try:
                count = c_int()
                self._library.call("dcmi_get_device_num_in_card", card_id, byref(count))
            except CallError as error:
                yield DeviceError(device_id=f"NPU {card_id}", message=str(error))
                continue
            for chip_id in range(count.value):
                if self._is_npu(card_id, chip_id):
                    chip = self._first_chip(card_id, chip_id, version)
                    yield from vnpu.parts(self._library, chip, self._root) if isinstance(chip, Chip) else [chip]

    def _first_chip(self, card_id: int, chip_id: int, version: str) -> Chip | DeviceError:
        logic_id, phy_id = c_int(), c_uint()
        try:
            self._library.call("dcmi_get_device_logic_id", byref(logic_id), card_id, chip_id)
            self._library.call("dcmi_get_device_phyid_from_logicid", c_uint(logic_id.value), byref(phy_id))
        except CallError as error:
            return DeviceError(device_id=f"NPU {card_id} chip {chip_id}", message=str(error))
        chip = Chip(card_id=card_id, chip_id=chip_id, logic_id=logic_id.value, phy_id=phy_id.value)
        return self._chip(chip, version)

    def _second_chips(self, version: str) -> Iterator[Chip | DeviceError]:
        for logic_id, device_id in enumerate(self._listed("dcmiv2_get_device_list")):
            phy_id = c_uint()
            try:
                self._library.call("dcmiv2_get_chip_phy_id_by_dev_id", c_uint(device_id), byref(phy_id))
            except CallError as error:
                yield DeviceError(device_id=f"NPU {device_id}", message=str(error))
                continue
            chip = Chip(card_id=device_id, chip_id=0, logic_id=logic_id, phy_id=phy_id.value)
            yield self._chip(chip, version)

    def _chip(self, chip: Chip, version: str) -> Chip | DeviceError:
        try:
            address = self._address(chip)
        except CallError as error:
            # Without its address nobody could tell this chip from another one tomorrow.
            return DeviceError(device_id=f"NPU {chip.card_id} chip {chip.chip_id}", message=str(error))
        info = self._chip_info(chip)
        return replace(
            chip,
            name=text(info.chip_name),
            npu_name=text(info.npu_name),
            pci_address=address,
            memory=self._memory(chip),
            driver_version=version,
            numa_node=numa_node(address, self._root),
            network_address=_known(lambda: self._ip(chip)) or "",
        )

    def _linked(self, chip: Chip, chips: Sequence[Chip]) -> Chip:
        links = []
        for other in chips:
            if self._is_second or other is chip or chip.virtual is not None:
                continue
            kind = c_int()
            numbers = (chip.card_id, chip.chip_id, other.card_id, other.chip_id)
            try:
                self._library.call("dcmi_get_topo_info_by_device_id", *numbers, byref(kind))
            except CallError:
                continue
            if kind.value in LINKS:
                links.append((other.card_id, other.chip_id, LINKS[kind.value]))
        return replace(chip, links=tuple(links))

    def _is_npu(self, card_id: int, chip_id: int) -> bool:
        kind = c_int()
        try:
            self._library.call("dcmi_get_device_type", card_id, chip_id, byref(kind))
        except CallError:
            return True  # One that cannot be read is told as an error by what is asked next.
        return kind.value == dcmi.NPU

    def _listed(self, *symbols: str) -> list[int]:
        count, ids = c_int(), (c_int * _MOST_CARDS)()
        symbol = next((each for each in symbols if self._library.has(each)), symbols[0])
        # The list and its length: the second generation has them the other way round.
        pointers = (ids, byref(count)) if symbol.startswith("dcmiv2") else (byref(count), ids)
        self._library.call(symbol, *pointers, _MOST_CARDS)
        if not 0 <= count.value <= _MOST_CARDS:
            raise CallError(symbol, None, f"told of {count.value} cards, which cannot be")
        return sorted(ids[: count.value])

    def _chip_info(self, chip: Chip) -> dcmi.ChipInfo:
        info = dcmi.ChipInfo()
        try:
            self._ask("chip_info", chip, byref(info))
        except CallError:
            self._library.succeeds("dcmi_get_device_chip_info", chip.card_id, chip.chip_id, byref(info))
        return info

    def _memory(self, chip: Chip) -> Memory | None:
        hbm = dcmi.HbmInfo()
        if _known(lambda: self._ask("hbm", chip, byref(hbm))) is not None and hbm.memory_size:
            return Memory(total_mebibytes=hbm.memory_size, used_mebibytes=hbm.memory_usage, is_hbm=True)
        if self._is_second:
            return None
        ddr = dcmi.MemoryInfo()
        if not self._library.succeeds("dcmi_get_device_memory_info_v3", chip.card_id, chip.chip_id, byref(ddr)):
            return None
        used = ddr.memory_size - ddr.memory_available
        return Memory(total_mebibytes=ddr.memory_size, used_mebibytes=used, is_hbm=False) if ddr.memory_size else None

    def _address(self, chip: Chip) -> str:
        info = dcmi.PcieInfo()
        self._ask("pcie", chip, byref(info))
        written = f"{info.domain & 0xFFFFFFFF:x}:{info.bdf_busid:x}:{info.bdf_deviceid:x}.{info.bdf_funcid:x}"
        address = pci_address(written)
        if not address:
            raise CallError("dcmi_get_device_pcie_info_v2", None, f"told of the address {written}, which is none")
        return address

    def _ip(self, chip: Chip) -> str:
        if self._is_second:
            return ""
        address, mask = dcmi.IpAddress(), dcmi.IpAddress()
        numbers = (chip.card_id, chip.chip_id, dcmi.ROCE_PORT, 0)
        self._library.call("dcmi_get_device_ip", *numbers, byref(address), byref(mask))
        known = IPv4Address(bytes(address.address[:4])) if address.ip_type == dcmi.IPV4 else None
        return "" if known is None or known.is_unspecified else str(known)

    def _processes(self, chip: Chip) -> Iterator[Running]:
        if self._is_second:
            return
        found, count = (dcmi.ProcessMemory * _MOST_PROCESSES)(), c_int(_MOST_PROCESSES)
        if not self._library.succeeds("dcmi_get_device_resource_info", chip.card_id, chip.chip_id, found, byref(count)):
            return
        for process in found[: min(max(count.value, 0), _MOST_PROCESSES)]:
            yield Running(process.proc_id, process.proc_mem_usage)

    def _driver_version(self) -> str:
        buffer = ctypes.create_string_buffer(64)
        if self._library.succeeds("dcmi_get_driver_version", buffer, len(buffer)):
            return text(buffer)
        return parsing.driver_version(self._root)

    def _number(self, out: c_int | c_uint, question: str, chip: Chip, *arguments: object) -> int:
        self._ask(question, chip, *arguments, byref(out))
        return out.value

    def _ask(self, question: str, chip: Chip, *arguments: object) -> bool:
        first, second, _ = dcmi.QUESTIONS[question]
        if self._is_second:
            self._library.call(second, chip.card_id, *arguments)
        else:
            self._library.call(first, chip.card_id, chip.chip_id, *arguments)
        return True


def _known(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except CallError:
        return None
