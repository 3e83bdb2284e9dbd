"""NVIDIA cards as Motorpool sees them: found, measured, judged, and handed to processes and containers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from motorpool_nvidia import parsing
from motorpool_nvidia.driver import Driver
from motorpool_nvidia.nvidia_smi import NvidiaSmi
from motorpool_nvidia.records import DriverError, Fault
from motorpool_nvidia.sources import Sources
from motorpool_sdk import AcceleratorPlugin, Device, DeviceError, Exposure, Health, Sample, SourceReport, hookimpl
from motorpool_sdk.hardware import Bus

_PARTITION = "MIG-"
# Display controllers and 3D controllers; the same vendor's sound and USB functions are no cards.
BUS = Bus(
    pci_vendor="10de",
    classes=("0300", "0302"),
    remedy="install NVIDIA's driver, and see `dmesg` where it is installed",
)
_CONTAINER_RUNTIME = "nvidia"
_CDI_KIND = "nvidia.com/gpu"


class Nvidia:
    """The cards of this machine, by UUID. A card that was seen once is listed as lost when it is not there any more."""

    def __init__(self, driver: Driver | None = None, bus: Bus = BUS) -> None:
        self._sources = Sources((driver or Driver(), NvidiaSmi(bus.root)))
        self._bus = bus
        self._seen: dict[str, Device] = {}
        self._stranded: dict[str, str] = {}

    def fingerprint(self) -> Sequence[Device | DeviceError]:
        """Return every card and MIG partition; where nobody ever answered, the cards on the PCI bus."""
        self._stranded = {}
        try:
            found = parsing.devices(*self._sources.look())
        except DriverError as error:
            stranded = [] if self._seen else list(self._on_the_bus(str(error)))
            if not stranded:
                raise
            return stranded
        there = {each.device_id: each for each in found if isinstance(each, Device)}
        lost = {device.device_id: device for device in self._lost(there)}
        self._seen = {**there, **lost}
        # Whatever NVML cannot even name is one of those that it could name before.
        named = {parsing.nameless(device.index) for device in lost.values() if device.index is not None}
        return [*(each for each in found if each.device_id not in named), *lost.values()]

    def sample(self, device_ids: Sequence[str]) -> Sequence[Sample]:
        """Return a measurement of each card and partition that answers."""
        named = [device_id for device_id in device_ids if device_id not in self._stranded]
        measured = (self._sources.measure(device_id) for device_id in named)
        return [parsing.sample(each) for each in measured if not isinstance(each, Fault)]

    def health(self, device_ids: Sequence[str]) -> Mapping[str, tuple[Health, tuple[str, ...]]]:
        """Return how each is; a partition is as well as its card."""
        return {device_id: self._judged(device_id) for device_id in device_ids}

    def sources(self) -> Sequence[SourceReport]:
        """Return where NVML and nvidia-smi were found, which of them answers, or why they cannot be used."""
        return self._sources.reports()

    def expose(self, device_ids: Sequence[str]) -> Exposure:
        """Return how to hand these over and no others: by UUID, which no renumbering in between can change."""
        self.fingerprint()
        divided = {device.partition_of for device in self._seen.values()}
        for device_id in device_ids:
            if device_id in divided:
                raise LookupError(
                    f"{device_id} cannot be handed over: it is divided by MIG; its partitions are, not the whole"
                )
            if device_id in self._stranded:
                raise LookupError(f"{device_id} cannot be handed over: {self._stranded[device_id]}")
            fault = self._sources.find(device_id)
            if fault is not None:
                raise LookupError(f"{device_id} cannot be handed over: {parsing.lost(fault)}")
        if len(device_ids) > 1 and any(device_id.startswith(_PARTITION) for device_id in device_ids):
            raise ValueError(
                f"{', '.join(device_ids)}: CUDA gives a process one MIG partition and nothing beside it; "
                "ask for one partition, or for whole cards"
            )
        listed = ",".join(device_ids)
        return Exposure(
            env={
                "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
                "CUDA_VISIBLE_DEVICES": listed,
                "NVIDIA_VISIBLE_DEVICES": listed or "void",
                "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
            },
            container_runtime=_CONTAINER_RUNTIME if device_ids else "",
            cdi_devices=tuple(f"{_CDI_KIND}={device_id}" for device_id in device_ids),
        )

    def _judged(self, device_id: str) -> tuple[Health, tuple[str, ...]]:
        if device_id in self._stranded:
            return Health.UNHEALTHY, (self._stranded[device_id],)
        return parsing.health(self._sources.condition(device_id))

    def _on_the_bus(self, failure: str) -> Iterator[Device]:
        for card in self._bus.cards():
            bound = f"its kernel driver is {card.driver}" if card.driver else "no kernel driver is bound to it"
            self._stranded[card.address] = f"the card is on the PCI bus and {bound}; {failure}; {self._bus.remedy}"
            yield Device(
                device_id=card.address,
                vendor=parsing.VENDOR,
                framework=parsing.FRAMEWORK,
                pci_address=card.address,
                numa_node=card.numa_node,
            )

    def _lost(self, there: Mapping[str, Device]) -> Iterator[Device]:
        for device_id, device in self._seen.items():
            # A partition that is gone while its card is there was taken away by somebody.
            if device_id not in there and device.partition_of not in there:
                yield replace(device, memory_bytes=None, links=())


@hookimpl
def motorpool_register_accelerators(register: Callable[[AcceleratorPlugin], None]) -> None:
    """Introduce NVIDIA."""
    register(Nvidia())
