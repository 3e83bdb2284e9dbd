"""What several devices, or several nodes, lack: the best combination there was, in figures and words (B6.6, B6.7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from motorpool_controller.domain.names import device_name
from motorpool_controller.domain.placement import Refusal
from motorpool_controller.domain.sizes import in_words
from motorpool_controller.scheduling.banks import Bank, Mask, Seat
from motorpool_controller.scheduling.columns import Codes
from motorpool_controller.scheduling.demand import Demand
from motorpool_controller.scheduling.refusals import DEVICE_MEMORY, DEVICES, NODES
from motorpool_controller.scheduling.selectors.rpc import MOST_SERVERS, most_by_rpc
from motorpool_controller.scheduling.selectors.several_hosts import wanted_hosts
from motorpool_controller.scheduling.selectors.several_nodes import best_combination
from motorpool_controller.scheduling.selectors.supply import Fleet, Supply
from motorpool_controller.scheduling.terms import Terms

Shortage = tuple[str, str, Mask, Codes, Callable[[Seat], Refusal]]
"""Reason, resource, which nodes of the bank, what was there on each, and how the row is written."""


def too_small(supply: Supply) -> Callable[[int, int], Refusal]:
    """Return the row of a device whose share is less than the model needs."""

    def row_of(row: int, column: int) -> Refusal:
        seat = supply.bank.seats[column]
        name = device_name(seat.node.name, seat.devices[supply.bank.shape][row].device_id)
        need, share = supply.demand.need or 0, int(supply.shares[row, column])
        total = int(supply.bank.totals[row, column])
        return Refusal(
            stage="memory",
            reason="SHARE_SHORT",
            subject=name,
            resource=DEVICE_MEMORY,
            needed=need,
            available=share,
            message=(
                f"The model needs about {in_words(need)}, and {_option(supply)} of {name} ({in_words(total)}) is"
                f" {in_words(share)}. {hint(supply.terms)}"
            ),
        )

    return row_of


def several_short(supply: Supply, counts: list[int]) -> Iterator[Shortage]:
    """Yield why several devices of a node do not do: too few of them, no number that divides, too little together."""
    demand, bank = supply.demand, supply.bank
    need, width = demand.need or 0, bank.shape.width
    there = np.add.reduce(supply.enough, axis=0, dtype=np.int64)
    if demand.world is not None and demand.world > width:
        yield "DEVICES_FEW", DEVICES, supply.nodes, np.full(bank.size, width), _few(supply, demand.world)
        return
    if not counts:
        wanted = demand.world or width
        why = demand.fits_node(wanted)
        row_of = _indivisible(why)
        yield "TENSOR_PARALLEL_INDIVISIBLE", "", supply.nodes, np.zeros(bank.size, np.int64), row_of
        return
    given = np.zeros(bank.size, np.int64)
    ordered = -np.sort(-np.where(supply.enough, supply.shares if supply.fraction else bank.free, 0), axis=0)
    for count in counts:
        part = ordered[:count].sum(axis=0) if supply.fraction else ordered[count - 1] * count
        given = np.where(there >= count, np.maximum(given, part), given)
    few = supply.nodes & (there < counts[0])
    yield "DEVICES_FEW", DEVICES, few, there, _few(supply, counts[0])
    short = supply.nodes & ~few & (given < need)
    yield "DEVICES_SHORT", DEVICE_MEMORY, short, given, _short(supply, there, given)


def partitions_alone(bank: Bank, demand: Demand) -> Callable[[Seat], Refusal]:
    """Return the row of a node whose devices of a kind are partitions, of which an instance can use one."""
    wanted = f"{demand.world} devices" if demand.world is not None else "several devices together"

    def row_of(seat: Seat) -> Refusal:
        name, framework, width = seat.node.name, bank.shape.framework, bank.shape.width
        ours = f"{width} {framework} partitions" if width > 1 else f"one {framework} partition"
        return Refusal(
            stage="devices",
            reason="PARTITIONS_ALONE",
            subject=name,
            message=(
                f"{name} has {ours}, and each works alone: an engine cannot spread a model over partitions, of one card"
                f" or of several, as {wanted} would. Use what one partition holds, or cards that are not divided."
            ),
        )

    return row_of


def nodes_short(fleet: Fleet) -> Iterator[Refusal]:
    """Yield, for each of the terms, why several nodes do not do: the best combination there was (B6.7)."""
    for number, terms in enumerate(fleet.eligibility.terms):
        demand = terms.demand
        if demand.faults or not demand.on_devices or demand.need is None or demand.memory is None:
            continue
        if not demand.style:
            if fleet.request.spec.distributed and not terms.profile.distributed_styles:
                yield _spans_none(fleet, terms)
            continue
        if demand.offload is not None:
            yield _rpc_short(fleet, terms)
            continue
        best = best_combination(fleet, number, terms)
        if best is None:
            continue
        names, given, count = best
        figures = "" if given is None else f", which give {in_words(given)} of the {in_words(demand.need)} needed"
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        wanted = f" with {demand.world} devices in all" if demand.world else ""
        yield Refusal(
            stage="memory",
            reason="NODES_SHORT",
            subject=fleet.request.deployment,
            resource=DEVICE_MEMORY,
            needed=demand.need,
            available=given,
            message=(
                f"Several nodes together{wanted} do not hold it: the best combination is {shown or 'none'}"
                f" with {count} devices each{figures}. Nodes take part with as many devices each, all with enough left."
            ),
        )


def hosts_short(fleet: Fleet) -> Iterator[Refusal]:
    """Yield, for each of the terms, why not as many nodes as asked for hold their parts in host memory."""
    for terms, slots, needed in wanted_hosts(fleet):
        nodes = terms.demand.nodes or 1
        there = int((fleet.columns.host[slots] >= needed).sum())
        if there >= nodes:
            continue
        yield Refusal(
            stage="memory",
            reason="NODES_FEW",
            subject=fleet.request.deployment,
            resource=NODES,
            needed=nodes,
            available=there,
            message=(
                f"{nodes} nodes are wanted (--nnodes), each with {in_words(needed)} of host memory left, and {there} of"
                f" the {len(slots)} that may run it have as much; ask for fewer, or free some."
            ),
        )


def hint(terms: Terms) -> str:
    """Return what helps against a shortage."""
    needs = terms.needs
    if needs.host.by_hand or needs.device.by_hand:
        return "What helps: claiming less by hand, a larger node, or stopping what holds the memory."
    ways = ["a smaller quantisation of the model", "a larger node", "stopping what holds the memory"]
    if terms.context_option and needs.context_length is not None and needs.host.kv:
        ways.insert(
            0,
            f"a smaller context ({terms.context_option}, now {needs.context_length:,} tokens, which take"
            f" {in_words(needs.host.kv)})",
        )
    return f"What helps: {', '.join(ways[:-1])}, or {ways[-1]}."


def _option(supply: Supply) -> str:
    share = f"{supply.fraction:.3f}".rstrip("0").rstrip(".")
    return f"{supply.demand.fraction}={share}" if supply.demand.fraction else f"a share of {share}"


def _few(supply: Supply, wanted: int) -> Callable[[Seat], Refusal]:
    width = supply.bank.shape.width
    there = np.add.reduce(supply.enough, axis=0, dtype=np.int64)

    def row_of(seat: Seat) -> Refusal:
        here = int(there[supply.bank.column_of(seat)])
        framework, name = supply.bank.shape.framework, seat.node.name
        share = f" for {_option(supply)}" if supply.fraction else ""
        only = supply.demand.world is not None and supply.demand.world > width
        return Refusal(
            stage="devices",
            reason="DEVICES_FEW",
            subject=name,
            resource=DEVICES,
            needed=wanted,
            available=width if only else here,
            message=(
                f"{wanted} {framework} devices are needed together, and {name} has {width} in all; ask for fewer, or"
                " let it span nodes."
                if only
                else f"{wanted} {framework} devices or more are needed together, and {here} of the {width} of {name}"
                f" have enough left{share}; free some, or take less of each."
            ),
        )

    return row_of


def _indivisible(why: str) -> Callable[[Seat], Refusal]:
    def row_of(seat: Seat) -> Refusal:
        return Refusal(
            stage="devices",
            reason="TENSOR_PARALLEL_INDIVISIBLE",
            subject=seat.node.name,
            message=(
                f"No number of devices of {seat.node.name} divides the model: {why}; choose another number of devices."
            ),
        )

    return row_of


def _short(supply: Supply, there: Codes, given: Codes) -> Callable[[Seat], Refusal]:
    need, width = supply.demand.need or 0, supply.bank.shape.width

    def row_of(seat: Seat) -> Refusal:
        column = supply.bank.column_of(seat)
        share = f" for {_option(supply)}" if supply.fraction else ""
        divides = supply.demand.fits_node(int(there[column]))
        return Refusal(
            stage="memory",
            reason="DEVICES_SHORT",
            subject=seat.node.name,
            resource=DEVICE_MEMORY,
            needed=need,
            available=int(given[column]),
            message=(
                f"{int(there[column])} of the {width} devices of {seat.node.name} have enough left{share}, and the best"
                f" of them give {in_words(int(given[column]))} of the {in_words(need)} needed"
                f"{f' ({divides})' if divides else ''}. {hint(supply.terms)}"
            ),
        )

    return row_of


def _rpc_short(fleet: Fleet, terms: Terms) -> Refusal:
    need = terms.demand.need or 0
    available, nodes = most_by_rpc(fleet, terms)
    return Refusal(
        stage="memory",
        reason="NODES_SHORT",
        subject=fleet.request.deployment,
        resource=DEVICE_MEMORY,
        needed=need,
        available=available,
        message=(
            f"Several nodes together do not hold its layers: {', '.join(nodes) or 'no node'} can lead, and with"
            f" the {MOST_SERVERS} devices of other nodes that have most left it has {in_words(available)} of the"
            f" {in_words(need)} needed on one device; each device holds buffers of its own beside. {hint(terms)}"
        ),
    )


def _spans_none(fleet: Fleet, terms: Terms) -> Refusal:
    return Refusal(
        stage="devices",
        reason="DISTRIBUTED_UNSUPPORTED",
        subject=fleet.request.deployment,
        message=f"{terms.profile.backend} does not span nodes; leave distributed out, or choose another backend.",
    )
