"""Backends that take what the layers on a device need (GGUF): one device for all layers, else host memory."""

from __future__ import annotations

from collections.abc import Sequence

from motorpool_controller.domain.parameters import integer_of, value_of
from motorpool_controller.domain.placement import Refusal
from motorpool_controller.scheduling.allocatable import Ledger
from motorpool_controller.scheduling.offers import Offer
from motorpool_controller.scheduling.selectors.places import Search, Selection
from motorpool_controller.scheduling.snapshot import Request

MEANING = "gpu_layers"


def select(offers: Sequence[Offer], request: Request, ledger: Ledger) -> Selection:
    """Return the feasible placements of the first strategy that has any (B9.3)."""
    search = Search(request, ledger)
    with_devices, with_host = [], []
    for offer in offers:
        if _partial(offer):
            search.refusals.append(_partial_row(offer))
            continue
        if _wants_device(offer):
            with_devices.append(offer)
        if _wants_host(offer) and request.spec.cpu_offloading is not False:
            with_host.append(offer)
        elif not offer.devices:
            search.refusals.append(_no_device_row(offer))
    search.on_one_device(with_devices, layers=True)
    if not search.placements:
        search.in_host_memory(with_host, layers=True)
    return search.selection()


def _wants_device(offer: Offer) -> bool:
    return _layers(offer) != 0


def _wants_host(offer: Offer) -> bool:
    """All layers asked for by number means a device, and nothing else (B9.3)."""
    layers = _layers(offer)
    return layers is None or layers <= 0


def _partial(offer: Offer) -> bool:
    layers, total = _layers(offer), offer.needs.layers
    return layers is not None and total is not None and 0 < layers < total - 1


def _layers(offer: Offer) -> int | None:
    """Return how many layers the user wants on devices; None to leave it to us, as -1 and ``auto`` do."""
    value = value_of(offer.parameters, offer.profile.options, MEANING)
    if value == "all":
        return offer.needs.layers
    layers = integer_of(offer.parameters, offer.profile.options, MEANING)
    return None if layers is None or layers < 0 else layers


def _partial_row(offer: Offer) -> Refusal:
    return Refusal(
        stage="devices",
        reason="PARTIAL_OFFLOAD_NOT_SERVED_YET",
        subject=offer.node.name,
        message=(
            f"This version puts all {offer.needs.layers} layers on one device of {offer.node.name}, or none; ask for "
            "all, for 0, or leave the number out."
        ),
    )


def _no_device_row(offer: Offer) -> Refusal:
    return Refusal(
        stage="devices",
        reason="NO_DEVICE",
        subject=offer.node.name,
        message=(
            f"{offer.node.name} has no device, and the deployment wants one (cpu_offloading is off, or layers on "
            "devices were asked for); allow host memory, or add a node with devices."
        ),
    )
