"""GGUF: what the layers on devices need: all of them on one device, on several, some, or none (B9)."""

from __future__ import annotations

from collections.abc import Iterator

from motorpool_controller.domain.parameters import integer_of, value_of
from motorpool_controller.scheduling.demand import Demand, Fault
from motorpool_controller.scheduling.rules.wish import Wish

MEANING = "gpu_layers"
MOST_RATIO = 1e9


def demand(wish: Wish) -> Demand:
    """Return what an instance asks for; all layers asked for by number mean devices, and nothing else (B9.3)."""
    needs, layers, ratios = wish.needs, layers_of(wish), ratios_of(wish)
    in_host = wish.spec.cpu_offloading is not False
    pinned = bool(wish.spec.devices)
    partial = layers is not None and needs.layers is not None and 0 < layers < needs.layers - 1
    cache = wish.spec.extended_kv_cache
    return Demand(
        need=needs.device.upper,
        provenance=needs.device.provenance,
        on_devices=layers != 0,
        world=wish.spec.devices_per_instance or None,
        several=False,
        memory=needs.beside,
        host=needs.host.upper,
        host_wanted=in_host and not pinned and (layers is None or layers <= 0),
        layers=needs.layers,
        offload=needs.offload,
        layers_wanted=layers if partial else None,
        all_layers=layers != 0 and not partial,
        some_layers=partial or (layers is None and in_host),
        ratios=ratios,
        # Nodes are spanned by layers, which a claim by hand does not tell apart.
        style=wish.profile.distributed_styles[0] if wish.distributed and needs.offload is not None else "",
        faults=(*_partial(wish, needed=partial), *_no_cache(enabled=cache is not None and cache.enabled)),
    )


def ratios_of(wish: Wish) -> tuple[float, ...]:
    """Return how the user divides the model among devices; nothing where that is left to us."""
    value = value_of(wish.parameters, wish.profile.options, "tensor_split")
    try:
        ratios = tuple(float(part) for part in (value or "").split(",") if part.strip())
    except ValueError:
        return ()
    return ratios if all(0 <= ratio < MOST_RATIO for ratio in ratios) and sum(ratios) > 0 else ()


def layers_of(wish: Wish) -> int | None:
    """Return how many layers the user wants on devices; None to leave it to us, as -1 and ``auto`` do."""
    value = value_of(wish.parameters, wish.profile.options, MEANING)
    if value == "all":
        return wish.needs.layers
    layers = integer_of(wish.parameters, wish.profile.options, MEANING)
    return None if layers is None or layers < 0 else layers


def _partial(wish: Wish, *, needed: bool) -> Iterator[Fault]:
    if needed and wish.spec.cpu_offloading is False:
        yield Fault(
            "PARTIAL_OFFLOAD_OFF",
            f"Of {wish.needs.layers} layers some were asked for on devices, and cpu_offloading is off; allow it, or ask"
            " for all.",
        )


def _no_cache(*, enabled: bool) -> Iterator[Fault]:
    if enabled:
        yield Fault("EXTENDED_KV_CACHE_UNSUPPORTED", "GGUF models have no extended key/value cache; leave it out.")
