"""NVML through nvidia-ml-py: the only module that imports pynvml. What leaves it are records."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pynvml

from motorpool_nvidia.records import (
    ARGUMENT_VERSION_MISMATCH,
    FUNCTION_NOT_FOUND,
    NOT_FOUND,
    Card,
    Condition,
    DriverError,
    Fault,
    Measurement,
    Memory,
    NvLink,
    Partition,
    RemappedRows,
    Running,
    System,
    Unreadable,
)
from motorpool_sdk import SourceReport
from motorpool_sdk.hardware import mapped

LIBRARY = "libnvidia-ml.so.1"
_RETRY_SECONDS = 20.0
_NONSENSE = -1
_NO_VALUE_32 = 2**32 - 1
_SWITCH = 2  # NVML_NVLINK_DEVICE_TYPE_SWITCH
_WITHOUT_SESSION = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)
# By version: the names without one raise no NVMLError where a driver lacks the newest. Both have one layout.
_LISTS_OF_PROCESSES = (
    (pynvml.nvmlDeviceGetComputeRunningProcesses_v3, pynvml.nvmlDeviceGetComputeRunningProcesses_v2),
    (pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3, pynvml.nvmlDeviceGetGraphicsRunningProcesses_v2),
)
_ADVICE = {
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: (
        "the kernel module nvidia is not loaded; run `modprobe nvidia`, and see `dmesg` if that fails"
    ),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "the driver's library and its kernel module have different versions, as after an upgrade; restart the machine, "
        "or reload the kernel module"
    ),
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: (
        f"{LIBRARY} has no nvmlInitWithFlags; its driver is too old, or it is another library of that name: install a "
        "driver of today"
    ),
    pynvml.NVML_ERROR_NO_PERMISSION: (
        "the agent's user may not open /dev/nvidiactl or /dev/nvidia*; give it the group that owns them"
    ),
}

T = TypeVar("T")
_Handle = Any  # a ctypes pointer of pynvml, which has no types


class Driver:
    """One session with NVML, opened when it is first needed and kept; a failure to open it is remembered for a while.

    Whatever a card or a field does not answer is a Fault in its place. Raises DriverError where there is no session.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._is_open = False
        self._failure = ""
        # Opening it again and again would leak what a failed attempt takes.
        self._not_before = float("-inf")

    def source(self) -> SourceReport:
        """Return where the library was found, and what became of it."""
        return SourceReport(
            name=LIBRARY,
            path=mapped(LIBRARY.removesuffix(".1")) if self._is_open else "",
            failure="" if self._is_open else self._failure,
            in_use=self._is_open,
        )

    def system(self) -> System:
        """Return the versions."""
        self._open()
        return System(
            driver_version=self._text(pynvml.nvmlSystemGetDriverVersion),
            cuda_version=self._number(pynvml.nvmlSystemGetCudaDriverVersion_v2),
        )

    def cards(self) -> list[Card | Unreadable]:
        """Return every card there is, in the order of their addresses."""
        self._open()
        count = self._number(pynvml.nvmlDeviceGetCount)
        if isinstance(count, Fault):
            raise DriverError(f"NVML does not tell how many cards there are: {count.message}; see `nvidia-smi`")
        return [self._card(index) for index in range(count)]

    def find(self, uuid: str) -> Fault | None:
        """Return None if this card or partition is there, else why not."""
        self._open()
        handle = self._handle(uuid)
        return handle if isinstance(handle, Fault) else None

    def measure(self, uuid: str) -> Measurement | Fault:
        """Return a measurement of one card or partition."""
        self._open()
        handle = self._handle(uuid)
        if isinstance(handle, Fault):
            return handle
        return Measurement(
            uuid=uuid,
            memory=self._memory(handle),
            utilization_percent=self._read(lambda: int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)),
            temperature_celsius=self._number(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
            power_milliwatts=self._number(pynvml.nvmlDeviceGetPowerUsage, handle),
            processes=self._processes(handle),
        )

    def condition(self, uuid: str) -> Condition:
        """Return what tells of a card's health."""
        self._open()
        handle = self._handle(uuid)
        if isinstance(handle, Fault):
            return Condition(presence=handle)
        # A card that fell off the bus keeps its handle and its name: only what is read from it tells.
        alive = self._memory(handle)
        if isinstance(alive, Fault) and alive.is_loss:
            return Condition(presence=alive)
        parent = self._read(lambda: pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle))
        if not isinstance(parent, Fault):
            handle = parent
        rows = self._read(lambda: pynvml.nvmlDeviceGetRemappedRows(handle))
        pending = self._number(pynvml.nvmlDeviceGetRetiredPagesPendingStatus, handle)
        return Condition(
            presence=None,
            uncorrected_errors=self._number(
                pynvml.nvmlDeviceGetTotalEccErrors,
                *(handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC),
            ),
            remapped_rows=rows
            if isinstance(rows, Fault)
            else RemappedRows(is_pending=bool(rows[2]), has_failed=bool(rows[3])),
            retirement_is_pending=pending if isinstance(pending, Fault) else bool(pending),
            lacks_partitions=self._is_partitioned(handle) and not self._partitions(handle),
        )

    def _open(self) -> None:
        if self._is_open:
            return
        if self._clock() < self._not_before:
            raise DriverError(self._failure)
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self._failure = _why_not(error)
            self._not_before = self._clock() + _RETRY_SECONDS
            raise DriverError(self._failure) from error
        self._is_open = True

    def _card(self, index: int) -> Card | Unreadable:
        handle = self._read(lambda: pynvml.nvmlDeviceGetHandleByIndex(index))
        if isinstance(handle, Fault):
            return Unreadable(index=index, fault=handle)
        uuid = self._text(pynvml.nvmlDeviceGetUUID, handle)
        if isinstance(uuid, Fault):
            return Unreadable(index=index, fault=uuid)
        address = self._read(lambda: pci_address(_text_of(pynvml.nvmlDeviceGetPciInfo(handle).busId)))
        return Card(
            uuid=uuid,
            index=index,
            name=self._text(pynvml.nvmlDeviceGetName, handle),
            pci_address=address,
            memory=self._memory(handle),
            compute_capability=self._read(lambda: _pair(pynvml.nvmlDeviceGetCudaComputeCapability(handle))),
            architecture=self._number(pynvml.nvmlDeviceGetArchitecture, handle),
            numa_node=None if isinstance(address, Fault) else numa_node(address),
            partitions=tuple(self._partitions(handle)) if self._is_partitioned(handle) else (),
            links=tuple(self._links(handle)),
            link_speed=self._link_speed(handle),
        )

    def _handle(self, uuid: str) -> _Handle | Fault:
        return self._read(lambda: pynvml.nvmlDeviceGetHandleByUUID(uuid))

    def _memory(self, handle: _Handle) -> Memory | Fault:
        memory = self._read(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2))
        if not isinstance(memory, Fault):
            return Memory(
                total_bytes=int(memory.total), used_bytes=int(memory.used), reserved_bytes=int(memory.reserved)
            )
        if memory.code not in {FUNCTION_NOT_FOUND, ARGUMENT_VERSION_MISMATCH}:
            return memory
        memory = self._read(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
        if isinstance(memory, Fault):
            return memory
        return Memory(total_bytes=int(memory.total), used_bytes=int(memory.used), reserved_bytes=None)

    def _is_partitioned(self, handle: _Handle) -> bool:
        mode = self._read(lambda: pynvml.nvmlDeviceGetMigMode(handle))
        return not isinstance(mode, Fault) and bool(mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE)

    def _partitions(self, handle: _Handle) -> list[Partition | Fault]:
        most = self._number(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle)
        if isinstance(most, Fault):
            return [most]
        found = (self._partition(handle, index) for index in range(most))
        # The numbers of partitions that were taken away are left free.
        return [each for each in found if not (isinstance(each, Fault) and each.code == NOT_FOUND)]

    def _partition(self, parent: _Handle, index: int) -> Partition | Fault:
        handle = self._read(lambda: pynvml.nvmlDeviceGetMigDeviceHandleByIndex(parent, index))
        if isinstance(handle, Fault):
            return handle
        uuid = self._text(pynvml.nvmlDeviceGetUUID, handle)
        if isinstance(uuid, Fault):
            return uuid
        return Partition(
            uuid=uuid,
            name=self._text(pynvml.nvmlDeviceGetName, handle),
            memory=self._memory(handle),
            gpu_instance=self._number(pynvml.nvmlDeviceGetGpuInstanceId, handle),
        )

    def _links(self, handle: _Handle) -> Iterator[NvLink]:
        for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
            state = self._number(pynvml.nvmlDeviceGetNvLinkState, handle, link)
            if isinstance(state, Fault):
                return  # beyond the card's last link, or none at all
            if state != pynvml.NVML_FEATURE_ENABLED:
                continue
            kind = self._number(pynvml.nvmlDeviceGetNvLinkRemoteDeviceType, handle, link)
            remote = self._remote(handle, link)
            if not isinstance(remote, Fault):
                yield NvLink(remote_address=remote, is_switch=kind == _SWITCH)

    def _remote(self, handle: _Handle, link: int) -> str | Fault:
        return self._read(lambda: pci_address(_text_of(pynvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, link).busId)))

    def _link_speed(self, handle: _Handle) -> int | Fault:
        field = pynvml.NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON
        values = self._read(lambda: pynvml.nvmlDeviceGetFieldValues(handle, [field]))
        if isinstance(values, Fault):
            return values
        if values[0].nvmlReturn != pynvml.NVML_SUCCESS:
            return Fault(int(values[0].nvmlReturn), "no speed of links")
        return int(values[0].value.uiVal)

    def _processes(self, handle: _Handle) -> tuple[Running, ...]:
        """Return the processes that compute or draw; one that does both is listed by NVML twice, with equal bytes."""
        found: dict[int, Running] = {}
        for newer, older in _LISTS_OF_PROCESSES:
            listed = self._list(newer, handle)
            if isinstance(listed, Fault) and listed.code == FUNCTION_NOT_FOUND:
                listed = self._list(older, handle)
            for process in () if isinstance(listed, Fault) else listed:
                used = None if process.usedGpuMemory is None else int(process.usedGpuMemory)
                found.setdefault(int(process.pid), Running(int(process.pid), used))
        return tuple(found.values())

    def _list(self, call: Callable[[_Handle], Iterable[Any]], handle: _Handle) -> list[Any] | Fault:
        return self._read(lambda: list(call(handle)))

    def _text(self, call: Callable[..., Any], *arguments: object) -> str | Fault:
        return self._read(lambda: _text_of(call(*arguments)))

    def _number(self, call: Callable[..., Any], *arguments: object) -> int | Fault:
        number = self._read(lambda: int(call(*arguments)))
        return Fault(pynvml.NVML_ERROR_NO_DATA, "no value") if number == _NO_VALUE_32 else number

    def _read(self, call: Callable[[], T]) -> T | Fault:
        try:
            return call()
        except pynvml.NVMLError as error:
            if error.value in _WITHOUT_SESSION:
                self._is_open = False  # The driver was taken away below us.
                self._failure = _why_not(error)
                raise DriverError(self._failure) from error
            return Fault(int(error.value), str(error))
        except ValueError as error:  # UnicodeDecodeError is one.
            return Fault(_NONSENSE, f"NVML answered with something else than it must: {error}")


def pci_address(bus_id: str) -> str:
    """Return NVML's ``00000000:3B:00.0`` as the kernel writes it: ``0000:3b:00.0``. Raises ValueError."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"


def numa_node(address: str, root: Path = Path("/sys/bus/pci/devices")) -> int | None:
    """Return the NUMA node of a PCI device, None where the machine has none or does not tell."""
    try:
        node = int((root / address / "numa_node").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def _why_not(error: pynvml.NVMLError) -> str:
    if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        looked = os.environ.get("LD_LIBRARY_PATH", "")
        return (
            f"NVML cannot be loaded: {_loader_says()}; looked in the loader's folders and in {looked or 'no others'}. "
            "Install the NVIDIA driver (in a container: start it with the NVIDIA Container Toolkit), or name the "
            f"folder of {LIBRARY} in the agent's LD_LIBRARY_PATH and restart the agent"
        )
    advice = _ADVICE.get(error.value, "see `nvidia-smi` and `dmesg`")
    return f"NVML cannot be used: {error}: {advice}"


def _loader_says() -> str:
    """Return what the loader has against the library: nvidia-ml-py keeps that to itself."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError as error:
        return str(error)
    return f"{LIBRARY} could not be loaded a moment ago"


def _text_of(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


def _pair(value: tuple[int, int]) -> tuple[int, int]:
    major, minor = value
    return int(major), int(minor)
