"""Backends that take what the claim says: one device, else host memory."""

from __future__ import annotations

from collections.abc import Sequence

from motorpool_controller.scheduling.allocatable import Ledger
from motorpool_controller.scheduling.offers import Offer
from motorpool_controller.scheduling.selectors.places import Search, Selection
from motorpool_controller.scheduling.snapshot import Request


def select(offers: Sequence[Offer], request: Request, ledger: Ledger) -> Selection:
    """Return the feasible placements: on one device if device memory is claimed, else in host memory."""
    search = Search(request, ledger)
    if request.spec.claim_device_memory_bytes is not None or any(offer.pinned for offer in offers):
        search.on_one_device(offers, layers=False)
    elif request.spec.cpu_offloading is not False:
        search.in_host_memory(offers, layers=False)
    return search.selection()
