"""Host memory alone, where the backend runs on processors (B9.8, B10)."""

from __future__ import annotations

from motorpool_controller.scheduling.selectors.batches import HostBatch
from motorpool_controller.scheduling.selectors.supply import Fleet


def in_host_memory(fleet: Fleet) -> list[HostBatch]:
    """Return the placements on nodes with enough host memory left."""
    batches = []
    for _, terms, slots in fleet.host_slots():
        needed = terms.demand.host
        if needed is None or terms.demand.spans:
            continue
        roomy = slots[fleet.columns.host[slots] >= max(needed, 1)]
        if len(roomy):
            batches.append(HostBatch(terms, roomy, needed))
    return batches
