"""Pinned devices beyond what is left of them, where the deployment allows it (B5.5, A16)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from motorpool_controller.domain.placement import Candidate, Placement
from motorpool_controller.scheduling.selectors.batches import Batch
from motorpool_controller.scheduling.selectors.supply import Fleet, fractions, sizes_of
from motorpool_controller.scheduling.terms import Terms


def overcommitted(fleet: Fleet) -> tuple[Candidate, Terms] | None:
    """Return the placement of a single instance on the pinned devices of a node that have most left together."""
    spec = fleet.request.spec
    if not (spec.devices and spec.allow_overcommit and spec.replicas <= 1):
        return None
    found: list[tuple[int, str, Placement, Terms]] = []
    for number, terms in enumerate(fleet.eligibility.terms):
        demand = terms.demand
        if demand.faults or not demand.on_devices or demand.need is None or demand.memory is None:
            continue
        count = demand.world or 1
        if count > 1 and demand.fits_node(count):
            continue
        for bank in fleet.banks(terms):
            if count > bank.shape.together:
                continue
            pins = fleet.pins(bank) & (bank.free >= 0) & fleet.nodes(number, bank)
            for column in np.flatnonzero(np.add.reduce(pins, axis=0, dtype=np.int64) >= count):
                nodes = np.zeros(bank.size, np.bool_)
                nodes[column] = True
                # The fraction of the smallest, as the engine would take it of all.
                fraction = fractions(demand, bank.shape.framework, sizes_of(bank, pins & nodes))[-1][1]
                supply = replace(fleet.supply(terms, bank, nodes, 0, fraction), enough=pins)
                batch = Batch(supply, nodes, pins, count)
                rows = batch.rows(int(column))
                left = int(bank.free[rows, column].sum())
                node = bank.seats[column].node.name
                found.append((-left, node, replace(batch.placement(int(column), rows), overcommitted=True), terms))
    if not found:
        return None
    _, _, placement, terms = min(found, key=lambda each: each[:2])
    return Candidate(placement=placement, score=0.0), terms
