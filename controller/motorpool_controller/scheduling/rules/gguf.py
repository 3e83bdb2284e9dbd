"""GGUF: what the layers on a device need; all of them on one device, else host memory (B9)."""

from __future__ import annotations

from motorpool_controller.domain.parameters import integer_of, value_of
from motorpool_controller.scheduling.demand import Demand, Fault
from motorpool_controller.scheduling.rules.wish import Wish

MEANING = "gpu_layers"


def demand(wish: Wish) -> Demand:
    """Return what an instance asks for; all layers asked for by number mean a device, and nothing else (B9.3)."""
    needs, layers = wish.needs, layers_of(wish)
    on_host = wish.spec.cpu_offloading is not False and not wish.spec.devices and (layers is None or layers <= 0)
    partial = layers is not None and needs.layers is not None and 0 < layers < needs.layers - 1
    return Demand(
        need=needs.device.upper,
        provenance=needs.device.provenance,
        on_devices=layers != 0,
        world=1 if wish.spec.devices and not wish.spec.devices_per_instance else wish.spec.devices_per_instance or None,
        several=False,
        memory=needs.beside,
        host=needs.host.upper if on_host else None,
        host_wanted=on_host,
        layers=needs.layers,
        faults=(_partial(wish),) if partial else (),
    )


def layers_of(wish: Wish) -> int | None:
    """Return how many layers the user wants on devices; None to leave it to us, as -1 and ``auto`` do."""
    value = value_of(wish.parameters, wish.profile.options, MEANING)
    if value == "all":
        return wish.needs.layers
    layers = integer_of(wish.parameters, wish.profile.options, MEANING)
    return None if layers is None or layers < 0 else layers


def _partial(wish: Wish) -> Fault:
    return Fault(
        "PARTIAL_OFFLOAD_NOT_SERVED_YET",
        f"This version puts all {wish.needs.layers} layers on one device, or none; ask for all, for 0, or leave the"
        " number out.",
    )
