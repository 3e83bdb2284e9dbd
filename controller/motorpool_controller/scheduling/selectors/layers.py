"""Layers of a GGUF model on devices: all of them on several devices of a node, or as many as fit (B9.5, B9.7, A22)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from motorpool_controller.domain.placement import Claim, DeviceClaim, Placement
from motorpool_controller.estimation.offload import DEVICE_RUNTIME_BYTES, Offload
from motorpool_controller.scheduling.banks import Bytes, Mask
from motorpool_controller.scheduling.columns import Codes
from motorpool_controller.scheduling.selectors.batches import Batch
from motorpool_controller.scheduling.selectors.supply import Fleet, Supply

MOST_DEVICES = 16
"""Devices that one llama.cpp process can divide a model among."""


@dataclass(frozen=True, eq=False)
class LayersBatch(Batch):
    """Placements that put ``layers`` of a model on devices; ``claims`` are theirs, and ``counts`` their layers."""

    layers: int
    claims: Bytes
    memory: Codes
    counts: Codes | None = None

    @cached_property
    def order(self) -> Codes:
        """Rows by column: those that are taken first, by id."""
        return np.argsort(~self.enough, axis=0, kind="stable")

    def claims_and_memory(self) -> tuple[Bytes, Codes]:
        """Return what each device gives, and the host memory beside them."""
        return self.claims, self.memory

    def rows(self, column: int) -> list[int]:
        """Return the devices that a node's placement takes."""
        return [int(row) for row in np.flatnonzero(self.enough[:, column])]

    def claim_on(self, row: int, column: int) -> int:
        """Return what a placement claims of a device."""
        return int(self.claims[row, column])

    def placement(self, column: int, rows: Iterable[int], score: float = 0.0) -> Placement:
        """Return the placement on these devices of a node."""
        bank, rows = self.supply.bank, list(rows)
        seat = bank.seats[column]
        devices = seat.devices[bank.shape]
        claims = tuple(DeviceClaim(devices[row].device_id, self.claim_on(row, column)) for row in rows)
        placement = self.supply.terms.placement(
            bank.shape.framework,
            ((seat.node.name, Claim(memory_bytes=int(self.memory[column]), devices=claims)),),
            score=score,
        )
        split = () if self.counts is None else tuple(float(self.counts[row, column]) for row in rows)
        return replace(placement, offloaded_layers=self.layers, tensor_split=split)


def all_layers(fleet: Fleet, supplies: Iterable[Supply]) -> list[LayersBatch]:
    """Return the placements of all layers on several devices of a node; of all, those with the fewest devices."""
    found: list[LayersBatch] = []
    for supply in supplies:
        offload = supply.demand.offload
        if offload is None or not supply.demand.all_layers:
            continue
        found += _divided(fleet, _Room(supply, offload, 0), offload, offload.layers)
    fewest = min((batch.count for batch in found), default=0)
    return [batch for batch in found if batch.count == fewest]


def some_layers(fleet: Fleet, supplies: Iterable[Supply]) -> list[LayersBatch]:
    """Return the placements with most layers on devices and the others in host memory, or with as many as asked for."""
    found: list[LayersBatch] = []
    best = 0
    for supply in supplies:
        demand, offload = supply.demand, supply.demand.offload
        if offload is None or not demand.some_layers:
            continue
        wanted, room = demand.layers_wanted, _Room(supply, offload, offload.crossing)
        for layers in [wanted] if wanted is not None else range(_bound(room, offload), max(best - 1, 0), -1):
            batches = list(_at(fleet, room, offload, layers))
            if batches:
                found += batches
                best = max(best, layers)
                break
    return [batch for batch in found if batch.layers == best]


class _Room:
    """What is left on each node's devices, those with most left first; by how many of them are taken.

    ``sums`` are bytes, ``layers`` the most that these can have: each device whole ones beside its buffer, which is
    ``more`` bytes larger than the least, and one of them the output layer, in the place of others or alone on it.
    """

    def __init__(self, supply: Supply, offload: Offload, more: int) -> None:
        self.supply = supply
        self.free: Bytes = np.where(supply.enough, supply.bank.free, 0)
        order = np.argsort(-self.free, axis=0, kind="stable")
        self.place = np.argsort(order, axis=0, kind="stable")
        self.sums: Bytes = np.cumsum(np.take_along_axis(self.free, order, axis=0), axis=0)
        beside = DEVICE_RUNTIME_BYTES + offload.compute
        smallest = offload.single_layer - beside
        beside += more
        whole = np.maximum(self.free - beside, 0) // smallest if smallest else np.full_like(self.free, offload.layers)
        whole = np.take_along_axis(whole, order, axis=0)
        beside_output = np.minimum(offload.output // smallest, whole) if smallest else 0
        self.layers: Codes = np.cumsum(whole, axis=0) + 1 - beside_output
        self.numbers: Codes = np.add.reduce(self.free > 0, axis=0, dtype=np.int64)

    def most(self, count: int) -> int:
        """Return the most that so many devices of a node have left together."""
        return int(np.where(self.supply.nodes, self.sums[count - 1], 0).max(initial=0))

    def most_layers(self) -> int:
        """Return the most layers that all devices of any node can have together."""
        return int(np.where(self.supply.nodes, self.layers[:MOST_DEVICES], 0).max(initial=0))


@lru_cache(maxsize=256)
def _held(offload: Offload) -> tuple[int, ...]:
    """Return what each number of layers takes in weights and caches, wherever they lie."""
    parts = [offload.split(layers).devices[0] for layers in range(offload.layers + 1)]
    return tuple(part.weights + part.cache for part in parts)


def _least(offload: Offload, layers: int, count: int) -> int:
    """Return what so many layers take on so many devices at the least: of these only the last may have no buffer."""
    return _held(offload)[layers] + count * DEVICE_RUNTIME_BYTES + (count - 1) * offload.compute


def _at(fleet: Fleet, room: _Room, offload: Offload, layers: int) -> Iterator[LayersBatch]:
    """Yield the placements of so many layers, each node with the fewest devices that hold them."""
    supply = room.supply
    taken = np.zeros(supply.bank.size, np.bool_)
    if not supply.demand.ratios and supply.demand.world in {None, 1}:
        split = offload.split(layers)
        enough = supply.having(split.devices[0].total)
        nodes = _roomy(fleet, supply, supply.nodes & enough.any(axis=0), split.host.total, split.devices[0].total)
        if nodes.any():
            taken = nodes
            size = supply.bank.size
            claims = np.where(enough, split.devices[0].total, 0)
            yield LayersBatch(supply, nodes, enough, 1, layers, claims, np.full(size, split.host.total))
    yield from _divided(fleet, room, offload, layers, taken)


def _bound(room: _Room, offload: Offload) -> int:
    """Return a number of layers, less than all, above which no node can have any."""
    rooms = [room.most(count) for count in range(1, min(room.supply.bank.shape.together, MOST_DEVICES) + 1)]
    beside = [_least(offload, 0, count) for count in range(1, len(rooms) + 1)]
    most = max(room - least for room, least in zip(rooms, beside, strict=True))
    held = _held(offload)
    first = min(offload.layers - 1, room.most_layers())
    return next((layers for layers in range(first, 0, -1) if held[layers] - held[0] <= most), 0)


def _divided(
    fleet: Fleet, room: _Room, offload: Offload, layers: int, taken: Mask | None = None
) -> Iterator[LayersBatch]:
    """Yield the placements on two devices of a node and more, by what is left of each, or as the user divides it."""
    supply, free = room.supply, room.free
    bank, demand = supply.bank, supply.demand
    taken = np.zeros(bank.size, np.bool_) if taken is None else taken.copy()
    for count in _numbers(supply):
        least = _least(offload, layers, count)
        nodes = supply.nodes & ~taken & (room.numbers >= count) & (room.sums[count - 1] >= least)
        nodes &= room.layers[count - 1] >= layers
        columns = np.flatnonzero(nodes)
        if not len(columns):
            continue
        chosen = (room.place < count) & (free > 0)
        counts = _counts(np.where(chosen, free, 0)[:, columns], chosen[:, columns], layers, demand.ratios)
        claims, memory, fits = _claimed(offload, counts, chosen[:, columns])
        fits &= (claims <= free[:, columns]).all(axis=0)
        host = memory + (claims.sum(axis=0) if bank.shape.unified else 0)
        fits &= fleet.columns.host[bank.slots[columns]] >= host
        if not fits.any():
            continue
        good = columns[fits]
        taken[good] = True
        here = np.zeros(bank.size, np.bool_)
        here[good] = True
        batch = LayersBatch(
            supply,
            here,
            chosen,
            count,
            layers,
            _at_columns(free.shape, columns, claims),
            _at_columns((bank.size,), columns, memory),
            _at_columns(free.shape, columns, counts),
        )
        yield batch


def _numbers(supply: Supply) -> range | list[int]:
    demand, width = supply.demand, min(supply.bank.shape.together, MOST_DEVICES)
    if demand.ratios:
        return [len(demand.ratios)] if 2 <= len(demand.ratios) <= width else []
    if demand.world is not None:
        return [demand.world] if 2 <= demand.world <= width else []
    return range(2, width + 1)


def _counts(free: Bytes, chosen: Mask, layers: int, ratios: tuple[float, ...]) -> Codes:
    """Return how many layers each device gets: by what is left of it, as the engine divides them."""
    weights = free.astype(np.float64)
    if ratios:
        weights = np.where(chosen, np.take(np.array(ratios), np.maximum(np.cumsum(chosen, axis=0) - 1, 0)), 0.0)
    reached = np.cumsum(weights, axis=0)
    total = np.maximum(reached[-1], 1e-9)
    ends = np.minimum(np.ceil(np.round(reached * layers / total, 6)), layers).astype(np.int64)
    counts: Codes = np.diff(ends, axis=0, prepend=0)
    return counts


def _claimed(offload: Offload, counts: Codes, chosen: Mask) -> tuple[Bytes, Codes, Mask]:
    """Return the bytes of each device and of host memory, and where every device that is taken has a layer."""
    claims: Bytes = np.zeros(counts.shape, np.int64)
    memory: Codes = np.zeros(counts.shape[1], np.int64)
    fits: Mask = np.asarray(((counts > 0) | ~chosen).all(axis=0))
    # Columns whose devices get as many layers are one pattern: they are compared as rows of bytes.
    able = np.flatnonzero(fits)
    if not len(able):
        return claims, memory, fits
    layout = np.ascontiguousarray(counts[:, able].T.astype(np.int32))
    keys = layout.view(np.dtype((np.void, layout.dtype.itemsize * layout.shape[1]))).ravel()
    _, firsts, pattern_of = np.unique(keys, return_index=True, return_inverse=True)
    taken = [_taken(offload, tuple(pattern)) for pattern in layout[firsts].tolist()]
    claims[:, able] = np.array([each for each, _ in taken])[pattern_of].T
    memory[able] = np.array([host for _, host in taken])[pattern_of]
    return claims, memory, fits


@lru_cache(maxsize=8_192)
def _taken(offload: Offload, pattern: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """Return the bytes of each device and of host memory where devices have so many layers each; some have none."""
    split = offload.split(sum(pattern), tuple(count for count in pattern if count))
    parts = iter(split.devices)
    return tuple(next(parts).total if count else 0 for count in pattern), split.host.total


def _at_columns(shape: tuple[int, ...], columns: Codes, part: Codes) -> Codes:
    whole: Codes = np.zeros(shape, np.int64)
    whole[..., columns] = part
    return whole


def _roomy(fleet: Fleet, supply: Supply, nodes: Mask, memory: int, claimed: int) -> Mask:
    return fleet.has_memory(supply.bank, memory + (claimed if supply.bank.shape.unified else 0), nodes)
