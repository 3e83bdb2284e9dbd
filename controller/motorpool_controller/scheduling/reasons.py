"""Why a request has no place elsewhere: rows computed from the very numbers of the decision, folded by kind (P4, A23).

Kinds are masks and counts; a row is written for the few that are shown.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from motorpool_controller.domain.fleet import Device, Node
from motorpool_controller.domain.maintenance import is_cordoned, why_cordoned
from motorpool_controller.domain.names import device_name
from motorpool_controller.domain.placement import Refusal
from motorpool_controller.scheduling.banks import Bank, Fitness, Mask, Seat, fitness
from motorpool_controller.scheduling.columns import Codes
from motorpool_controller.scheduling.filters import examined
from motorpool_controller.scheduling.kinds import Kinds
from motorpool_controller.scheduling.passing import Passing
from motorpool_controller.scheduling.refusals import (
    DEVICE_MEMORY,
    HOST_MEMORY,
    device_row,
    estimate_unknown,
    fraction_short,
    memory_short,
    memory_unknown,
    request_row,
)
from motorpool_controller.scheduling.selectors.one_node import counts_of
from motorpool_controller.scheduling.selectors.several_nodes import busy_nodes
from motorpool_controller.scheduling.selectors.supply import Fleet, Supply
from motorpool_controller.scheduling.shortages import (
    hint,
    hosts_short,
    nodes_short,
    partitions_alone,
    several_short,
    too_small,
)
from motorpool_controller.scheduling.snapshot import Snapshot
from motorpool_controller.scheduling.terms import CPU, Terms


def refusals(fleet: Fleet, snapshot: Snapshot, *, fits: bool) -> tuple[Refusal, ...]:
    """Return the folded rows of every place that a request was refused, filter by filter and strategy by strategy.

    Why several nodes do not hold it together is told only where nothing ``fits``.
    """
    kinds = Kinds(fleet.columns)
    _by_filters(fleet, snapshot, kinds)
    for number, terms in enumerate(fleet.eligibility.terms):
        nodes = np.flatnonzero(fleet.eligibility.on(number))
        _of_terms(fleet, terms, nodes, kinds)
    supplies = [supply for supply in fleet.supplies() if not supply.demand.spans]
    for supply in supplies:
        _one_device(fleet, supply, kinds)
        _several_devices(fleet, supply, kinds)
    _pins(fleet, kinds)
    for row in () if fits else (*nodes_short(fleet), *hosts_short(fleet)):
        kinds.add(row)
    _host_memory(fleet, kinds)
    return kinds.folded() or (() if fits else (_nothing(fleet),))


def _by_filters(fleet: Fleet, snapshot: Snapshot, kinds: Kinds) -> None:
    spec = fleet.request.spec
    for row in fleet.eligibility.rows:
        kinds.add(row)

    def row_of(seat: Seat) -> Refusal:
        row = examined(Passing(seat.node, spec, snapshot))
        assert row is not None, "a node of its class was removed"  # noqa: S101
        return row

    for (stage, reason), slots in fleet.eligibility.removed.items():
        kinds.nodes(stage, reason, "", slots, row_of)


def _of_terms(fleet: Fleet, terms: Terms, slots: Codes, kinds: Kinds) -> None:
    demand = terms.demand
    for fault in demand.faults:
        kinds.add(request_row("parameters", fault.reason, fleet.request.deployment, fault.message))
    if demand.faults:
        return
    wants_host = demand.host_wanted and terms.profile.cpu and CPU in terms.versions
    if demand.on_devices and (demand.need is None or demand.memory is None):
        kinds.nodes(
            "facts", "ESTIMATE_UNKNOWN", "", slots, lambda seat: estimate_unknown(seat.node.name, demand.provenance)
        )
    _unusable(fleet, terms, slots, kinds)
    if demand.on_devices and not wants_host:
        columns = fleet.columns
        bare = [slot for slot in slots.tolist() if not columns.seats[columns.name_at(slot)].cells]
        kinds.nodes("devices", "NO_DEVICE", "", np.array(bare, np.int64), _no_device)


def _unusable(fleet: Fleet, terms: Terms, slots: Codes, kinds: Kinds) -> None:
    """Add a row for each device that may not be used whatever is left of it, or of which nobody knows (A1)."""
    if not terms.demand.on_devices:
        return
    here = np.zeros(len(fleet.columns.host), np.bool_)
    here[slots] = True
    for bank in sorted(fleet.columns.banks.values(), key=lambda bank: bank.shape):
        looked = here[bank.slots] & (fleet.pins(bank) if fleet.pinned else True)
        if not bank.size or not looked.any():
            continue
        if bank.shape.framework not in terms.versions and bank.shape.usable:
            mask = np.broadcast_to(looked, bank.free.shape) & (bank.free >= 0)
            kinds.devices("framework", "FRAMEWORK_UNSUPPORTED", "", bank, mask, _unsupported(terms, bank))
        masks: dict[Fitness, Mask] = {}
        for row, column in np.argwhere((bank.free < 0) & looked):
            seat = bank.seats[column]
            why = fitness(seat.devices[bank.shape][row], seat.node) or Fitness.UNKNOWN
            masks.setdefault(why, np.zeros(bank.free.shape, np.bool_))[row, column] = True
        for why, mask in masks.items():
            if why is not Fitness.UNKNOWN:
                kinds.devices("devices", f"DEVICE_{why.name}", "", bank, mask, _unfit(bank, why))
            elif bank.shape.framework in terms.versions:
                kinds.devices("memory", "MEMORY_UNKNOWN", DEVICE_MEMORY, bank, mask, _unknown(fleet, bank, terms))


def _one_device(fleet: Fleet, supply: Supply, kinds: Kinds) -> None:
    """Add the rows of devices that are too small, or of which too little is left, and of nodes short of memory."""
    demand, bank = supply.demand, supply.bank
    need, single = demand.need or 0, demand.world in {None, 1}
    known = (bank.free >= 0) & supply.nodes
    if supply.pins is not None:
        known &= supply.pins
    if supply.floor:  # other sizes take another fraction
        known &= bank.totals == supply.floor
    if supply.fraction:
        short = known & ~supply.enough
        takes = np.maximum(np.ceil(bank.totals * supply.fraction).astype(np.int64), 1)
        row_of = _fraction_row(fleet, supply, takes)
        kinds.devices("memory", "FRACTION_SHORT", DEVICE_MEMORY, bank, short, row_of, left=bank.free)
        passing = known & supply.enough
        small = passing & (supply.shares < need)
        if single:
            kinds.devices("memory", "SHARE_SHORT", DEVICE_MEMORY, bank, small, too_small(supply), left=supply.shares)
            passing &= ~small
        claimed = supply.each
    else:
        claimed = need if single else demand.each_of(demand.world or 1)
        short = known & (bank.free < max(claimed, 1))
        row_of = _short_row(fleet, supply, claimed)
        kinds.devices("memory", "MEMORY_SHORT", DEVICE_MEMORY, bank, short, row_of, left=bank.free)
        passing = known & ~short
    devices = 1 if single else demand.world or 1
    memory = demand.memory_of(devices * claimed) + (devices * claimed if bank.shape.unified else 0)
    if memory:
        columns = np.flatnonzero(passing.any(axis=0))
        slots = bank.slots[columns]
        _host_short(fleet, supply.terms, slots[fleet.columns.host[slots] < memory], memory, kinds)


def _several_devices(fleet: Fleet, supply: Supply, kinds: Kinds) -> None:
    demand, bank = supply.demand, supply.bank
    if demand.world == 1 or (bank.shape.width < 2 and demand.world is None):
        return
    if bank.shape.partitions and (demand.several or demand.offload is not None):
        slots = bank.slots[supply.nodes]
        kinds.nodes("devices", "PARTITIONS_ALONE", "", slots, partitions_alone(bank, demand))
        return
    if not demand.several:
        return
    counts = counts_of(supply)
    for reason, resource, mask, available, row_of in several_short(supply, counts):
        kinds.nodes(
            "memory" if resource == DEVICE_MEMORY else "devices",
            reason,
            resource,
            bank.slots[mask],
            row_of,
            left=available[mask],
        )
    if demand.single and demand.style and demand.distributed_needed(bank.shape.width):
        busy = busy_nodes(fleet, supply.terms, bank) & supply.nodes
        kinds.nodes("devices", "DISTRIBUTED_BUSY", "", bank.slots[busy], _busy_row(fleet, supply.terms))


def _pins(fleet: Fleet, kinds: Kinds) -> None:
    spec, name = fleet.request.spec, fleet.request.deployment
    if not fleet.pinned:
        return
    frameworks = {bank.shape.framework for bank in fleet.columns.banks.values() if bank.size and fleet.pins(bank).any()}
    wanted = {terms.demand.world for terms in fleet.eligibility.terms}
    if len(frameworks) > 1 and len(spec.devices) in wanted:
        kinds.add(
            request_row(
                "devices",
                "DEVICES_MIXED",
                name,
                f"An instance wants all {len(spec.devices)} pinned devices, and they are of"
                f" {', '.join(sorted(frameworks))}; pin devices of one kind.",
            )
        )
    if spec.allow_overcommit and spec.replicas > 1:
        kinds.add(
            request_row(
                "devices",
                "OVERCOMMIT_OF_MANY",
                name,
                f"allow_overcommit holds for a single instance, and {spec.replicas} are wished for; pin more devices.",
            )
        )


def _host_memory(fleet: Fleet, kinds: Kinds) -> None:
    for _, terms, slots in fleet.host_slots():
        demand = terms.demand
        needed = demand.host_each(demand.nodes or 1) if demand.spans and demand.host is not None else demand.host
        if needed is None:
            provenance = terms.needs.host.provenance
            if not terms.demand.on_devices:
                kinds.nodes("facts", "ESTIMATE_UNKNOWN", "", slots, _estimate_row(provenance))
            continue
        _host_short(fleet, terms, slots[fleet.columns.host[slots] < max(needed, 1)], needed, kinds)


def _host_short(fleet: Fleet, terms: Terms, slots: Codes, needed: int, kinds: Kinds) -> None:
    left = fleet.columns.host[slots]
    ledger = fleet.columns.ledger

    def unknown_row(seat: Seat) -> Refusal:
        return memory_unknown(seat.node.name, HOST_MEMORY, needed, ledger.host(seat.node))

    def short_row(seat: Seat) -> Refusal:
        return memory_short(seat.node.name, HOST_MEMORY, needed, ledger.host(seat.node), hint(terms))

    kinds.nodes("memory", "MEMORY_UNKNOWN", HOST_MEMORY, slots[left < 0], unknown_row)
    short = left >= 0
    kinds.nodes("memory", "MEMORY_SHORT", HOST_MEMORY, slots[short], short_row, left=left[short])


DeviceRow = Callable[[int, int], Refusal]


def _device(bank: Bank, row: int, column: int) -> tuple[Seat, str]:
    seat = bank.seats[column]
    return seat, device_name(seat.node.name, seat.devices[bank.shape][row].device_id)


def _unsupported(terms: Terms, bank: Bank) -> DeviceRow:
    def row_of(row: int, column: int) -> Refusal:
        _, name = _device(bank, row, column)
        runs_on = ", ".join(sorted(terms.versions))
        return device_row(
            name,
            "FRAMEWORK_UNSUPPORTED",
            f"{name} needs {bank.shape.framework}, and {terms.profile.backend} on its node runs on {runs_on}; choose "
            "another backend or version to use it.",
            stage="framework",
        )

    return row_of


def _unfit(bank: Bank, why: Fitness) -> DeviceRow:
    def row_of(row: int, column: int) -> Refusal:
        seat, name = _device(bank, row, column)
        device = seat.devices[bank.shape][row]
        reasons = ", ".join(device.health_reasons) or "its plugin does not say why"
        message = {
            Fitness.CORDONED: _cordoned(seat.node, device, name),
            Fitness.UNHEALTHY: f"{name} is unhealthy ({reasons}); repair it, or use another device.",
            Fitness.PARTITIONED: f"{name} is cut into partitions; those are used, not the whole.",
        }[why]
        return device_row(name, f"DEVICE_{why.name}", message)

    return row_of


def _cordoned(node: Node, device: Device, name: str) -> str:
    whole = device.partition_of
    if not is_cordoned(node, device.device_id) and whole and is_cordoned(node, whole):
        name, why = f"{device_name(node.name, whole)}, of which {name} is a part,", why_cordoned(node, whole)
    else:
        why = why_cordoned(node, device.device_id)
    return f"{name} is cordoned{why}; uncordon it to have it take work again."


def _unknown(fleet: Fleet, bank: Bank, terms: Terms) -> DeviceRow:
    def row_of(row: int, column: int) -> Refusal:
        seat, name = _device(bank, row, column)
        room = fleet.columns.ledger.device(seat.node, seat.devices[bank.shape][row])
        return memory_unknown(name, DEVICE_MEMORY, terms.demand.need, room)

    return row_of


def _fraction_row(fleet: Fleet, supply: Supply, takes: Codes) -> DeviceRow:
    def row_of(row: int, column: int) -> Refusal:
        seat, name = _device(supply.bank, row, column)
        room = fleet.columns.ledger.device(seat.node, seat.devices[supply.bank.shape][row])
        return fraction_short(name, supply, int(takes[row, column]), room)

    return row_of


def _short_row(fleet: Fleet, supply: Supply, needed: int) -> DeviceRow:
    def row_of(row: int, column: int) -> Refusal:
        seat, name = _device(supply.bank, row, column)
        room = fleet.columns.ledger.device(seat.node, seat.devices[supply.bank.shape][row])
        return memory_short(name, DEVICE_MEMORY, needed, room, hint(supply.terms))

    return row_of


def _busy_row(fleet: Fleet, terms: Terms) -> Callable[[Seat], Refusal]:
    def row_of(seat: Seat) -> Refusal:
        names = ", ".join(sorted(fleet.columns.ledger.gangs(seat.node.name, terms.profile.backend)))
        return device_row(
            seat.node.name,
            "DISTRIBUTED_BUSY",
            f"{seat.node.name} has a part of {names}, and a node can have one instance of {terms.profile.backend} that"
            " spans nodes; use other nodes, or one node alone.",
        )

    return row_of


def _estimate_row(provenance: str) -> Callable[[Seat], Refusal]:
    return lambda seat: estimate_unknown(seat.node.name, provenance)


def _no_device(seat: Seat) -> Refusal:
    name = seat.node.name
    return device_row(
        name,
        "NO_DEVICE",
        f"{name} has no device, and the deployment wants one (cpu_offloading is off, or layers on devices were asked"
        " for); allow host memory, or add a node with devices.",
    )


def _nothing(fleet: Fleet) -> Refusal:
    return request_row(
        "devices",
        "NO_PLACE",
        fleet.request.deployment,
        "No node has a device for it, and host memory is not allowed; allow cpu_offloading, or add a device.",
    )
