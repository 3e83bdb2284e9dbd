"""Devices as columns of numbers: one matrix for all nodes that have the same devices, as many and as large."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from motorpool_controller.domain.fleet import Device, Health, MemoryKind, Node
from motorpool_controller.scheduling.allocatable import UNKNOWN, Ledger, is_size

Bytes = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Fitness(IntEnum):
    """Why a device may not be used at all; 0 where it may."""

    USABLE = 0
    CORDONED = 1
    UNHEALTHY = 2
    PARTITIONED = 3
    UNKNOWN = 4


class Shape(NamedTuple):
    """What nodes of a bank have in common.

    ``total`` is 0 where a node's devices differ in size. Devices that share the host's memory stand apart from those
    that do not, and so do those that are cut into partitions, and the partitions.
    """

    framework: str
    width: int
    total: int
    unified: bool
    usable: bool
    partitions: bool

    @property
    def together(self) -> int:
        """How many of a node's devices one instance can use: a partition works alone, whichever card it is of."""
        return 1 if self.partitions else self.width


@dataclass(slots=True, eq=False)
class Seat:
    """A node's place in the columns: its slot, and in each bank its column and its devices, by id.

    ``cells`` tells where a device is, and whether it may be used.
    """

    node: Node
    slot: int
    columns: dict[Shape, int] = field(default_factory=dict)
    devices: dict[Shape, tuple[Device, ...]] = field(default_factory=dict)
    cells: dict[str, tuple[Shape, int, bool]] = field(default_factory=dict)


class Bank:
    """A row for each device of a node, a column for each node; columns have no order.

    ``free`` is what is left to claim, -1 where a device may not be used or nobody knows; ``busy`` is how many instances
    a device has.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.size = 0
        self.seats: list[Seat] = []
        self._free: Bytes = np.full((shape.width, 8), UNKNOWN, np.int64)
        self._totals: Bytes = np.zeros((shape.width, 8), np.int64)
        self._busy: Numbers = np.zeros((shape.width, 8), np.float64)
        self._used: Mask = np.zeros((shape.width, 8), np.bool_)
        self._networked: Mask = np.zeros((shape.width, 8), np.bool_)
        self._slots: npt.NDArray[np.int64] = np.zeros(8, np.int64)
        self._cells: dict[tuple[int, bool], tuple[Shape, int, bool]] = {}
        """Those of all seats, each once."""
        self._taken: npt.NDArray[np.int64] | None = None

    def part(self, columns: npt.NDArray[np.int64]) -> Bank:
        """Return the nodes of these columns, in order, as a bank of their own: as they are now, not to be kept up."""
        part = Bank(self.shape)
        part.size, part._taken = len(columns), columns
        part.seats = [self.seats[column] for column in columns.tolist()]
        part._free, part._totals, part._busy = self._free[:, columns], self._totals[:, columns], self._busy[:, columns]
        part._used, part._networked = self._used[:, columns], self._networked[:, columns]
        part._slots = self._slots[columns]
        return part

    def column_of(self, seat: Seat) -> int:
        """Return where a node stands here."""
        column = seat.columns[self.shape]
        return column if self._taken is None else int(np.searchsorted(self._taken, column))

    def own(self, matrix: Numbers) -> Numbers:
        """Return of a matrix with a column for each node of the fleet's bank those of this one."""
        return matrix[:, : self.size] if self._taken is None else matrix[:, self._taken]

    @property
    def free(self) -> Bytes:
        """Bytes left, by device and node."""
        return self._free[:, : self.size]

    @property
    def totals(self) -> Bytes:
        """Sizes, by device and node; 0 where unknown."""
        return self._totals[:, : self.size]

    @property
    def busy(self) -> Numbers:
        """How many instances there are, by device and node."""
        return self._busy[:, : self.size]

    @property
    def used(self) -> Mask:
        """Whether there is an instance, by device and node."""
        return self._used[:, : self.size]

    @property
    def networked(self) -> Mask:
        """Whether a device has an address of its own to be reached at from other nodes."""
        return self._networked[:, : self.size]

    @property
    def slots(self) -> npt.NDArray[np.int64]:
        """Slots of the nodes."""
        return self._slots[: self.size]

    def append(self, seat: Seat, devices: tuple[Device, ...]) -> None:
        """Take a node."""
        if self.size == len(self._slots):
            self._grow()
        column = self.size
        self.size += 1
        self.seats.append(seat)
        self._slots[column] = seat.slot
        seat.columns[self.shape] = column
        seat.devices[self.shape] = devices
        self._totals[:, column] = [size_of(device) for device in devices]
        self._networked[:, column] = [bool(device.network_address) for device in devices]
        for row, device in enumerate(devices):
            # Devices that are cut into partitions stand in banks of their own.
            fit = self.shape.usable and _of_itself(device, seat.node) is Fitness.USABLE
            seat.cells[device.device_id] = self._cells.setdefault((row, fit), (self.shape, row, fit))

    def remove(self, seat: Seat) -> None:
        """Forget a node; the last column takes its place."""
        column = seat.columns.pop(self.shape)
        del seat.devices[self.shape]
        self.size -= 1
        last = self.seats.pop()
        if last is seat:
            return
        self.seats[column] = last
        last.columns[self.shape] = column
        for matrix in (self._free, self._totals, self._busy, self._used, self._networked):
            matrix[:, column] = matrix[:, self.size]
        self._slots[column] = self._slots[self.size]

    def refresh(self, seat: Seat, row: int, ledger: Ledger, *, fit: bool) -> None:
        """Take from the ledger what is left of a device, and how many use it."""
        device = seat.devices[self.shape][row]
        column = seat.columns[self.shape]
        left = ledger.device_left(seat.node, device) if fit else UNKNOWN
        self._free[row, column] = left
        busy = ledger.instances(seat.node.name, device.device_id)
        self._busy[row, column] = busy
        self._used[row, column] = busy > 0

    def refresh_all(self, seat: Seat, ledger: Ledger) -> None:
        """Do the same for all of a node's devices."""
        column, node, cells = seat.columns[self.shape], seat.node, seat.cells
        devices = seat.devices[self.shape]
        self._free[:, column] = [
            ledger.device_left(node, each) if cells[each.device_id][2] else UNKNOWN for each in devices
        ]
        busy = [ledger.instances(node.name, each.device_id) for each in devices]
        self._busy[:, column] = busy
        self._used[:, column] = busy  # more than none is true

    def _grow(self) -> None:
        more = ((0, 0), (0, self.size))
        self._free = np.pad(self._free, more, constant_values=UNKNOWN)
        self._totals = np.pad(self._totals, more)
        self._busy = np.pad(self._busy, more)
        self._used = np.pad(self._used, more)
        self._networked = np.pad(self._networked, more)
        self._slots = np.pad(self._slots, (0, self.size))


def size_of(device: Device) -> int:
    """Return a device's size; 0 where it is unknown, or cannot be."""
    return device.memory_bytes if is_size(device.memory_bytes) else 0


def fitness(device: Device, node: Node) -> Fitness:
    """Return whether a device may be used, whatever is left of it."""
    found = _of_itself(device, node)
    if found is Fitness.USABLE and any(other.partition_of == device.device_id for other in node.devices):
        return Fitness.PARTITIONED
    return found


def _of_itself(device: Device, node: Node) -> Fitness:
    shut = node.cordoned_devices
    if device.cordoned or device.device_id in shut or device.partition_of in shut:
        return Fitness.CORDONED
    if device.health is Health.UNHEALTHY:
        return Fitness.UNHEALTHY
    return Fitness.USABLE


def shapes_of(node: Node) -> dict[Shape, tuple[Device, ...]]:
    """Return a node's devices in the groups in which they can work together, each by id (A2).

    Of two devices of one id the first counts; one without an id cannot be claimed, and is none.
    """
    parents = {device.partition_of for device in node.devices}
    groups: dict[tuple[str, bool, bool, bool], list[Device]] = {}
    by_id = {device.device_id: device for device in reversed(node.devices) if device.device_id}
    for _, device in sorted(by_id.items()):
        unified, usable = device.memory_kind is MemoryKind.UNIFIED, device.device_id not in parents
        groups.setdefault((device.framework, unified, usable, bool(device.partition_of)), []).append(device)
    shapes: dict[Shape, tuple[Device, ...]] = {}
    for (framework, unified, usable, partitions), devices in groups.items():
        sizes = {size_of(device) for device in devices}
        total = sizes.pop() if len(sizes) == 1 else 0
        shapes[Shape(framework, len(devices), total, unified, usable, partitions)] = tuple(devices)
    return shapes
