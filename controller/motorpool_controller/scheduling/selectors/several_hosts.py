"""Several nodes' processors: as many nodes as the user says, each with its part in host memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from motorpool_controller.domain.placement import Claim, Placement
from motorpool_controller.domain.workload import Strategy
from motorpool_controller.scheduling.banks import Numbers
from motorpool_controller.scheduling.columns import Codes
from motorpool_controller.scheduling.selectors.supply import Fleet
from motorpool_controller.scheduling.terms import CPU, Terms


@dataclass(frozen=True, slots=True, eq=False)
class HostGang:
    """A placement in the host memory of several nodes, the leader first; each holds ``needed`` bytes."""

    terms: Terms
    slots: Codes
    names: tuple[str, ...]
    needed: int

    def placement(self, score: float = 0.0) -> Placement:
        """Return the placement."""
        claims = tuple((name, Claim(memory_bytes=self.needed)) for name in self.names)
        return self.terms.placement(CPU, claims, score=score)


def on_several_hosts(fleet: Fleet) -> list[HostGang]:
    """Return for each of the terms the best nodes that hold their parts, if there are enough."""
    gangs = []
    for terms, slots, needed in wanted_hosts(fleet):
        roomy = slots[fleet.columns.host[slots] >= max(needed, 1)]
        chosen = _ordered(fleet, roomy)[: terms.demand.nodes]
        if len(chosen) == terms.demand.nodes:
            names = tuple(fleet.columns.name_at(int(slot)) for slot in chosen)
            gangs.append(HostGang(terms, chosen, names, needed))
    return gangs


def wanted_hosts(fleet: Fleet) -> list[tuple[Terms, Codes, int]]:
    """Return the terms that ask for several nodes' processors, which nodes may be among them, and what each holds."""
    wanted = []
    for _, terms, slots in fleet.host_slots():
        demand = terms.demand
        if not demand.spans or not demand.style or demand.host is None:
            continue
        if demand.single:
            busy = fleet.columns.ledger.gang_nodes(terms.profile.backend)
            free = slots[[fleet.columns.name_at(int(slot)) not in busy for slot in slots]]
        else:
            free = slots
        wanted.append((terms, free, demand.host_each(demand.nodes or 1)))
    return wanted


def _ordered(fleet: Fleet, slots: Codes) -> Codes:
    """Return nodes as they are taken: least of the deployment and of others (spread), or least left; then by name."""
    columns, rank = fleet.columns, fleet.columns.rank[slots]
    keys: tuple[Codes | Numbers, ...] = (rank, columns.host[slots])
    if fleet.request.spec.strategy is not Strategy.BINPACK:
        own = columns.tally(fleet.request.deployment).nodes[slots]
        keys = (rank, columns.busy[slots] - own, own)
    ordered: Codes = slots[np.lexsort(keys)]
    return ordered
