"""Any backend that takes a fraction of each device: the option that its profile names, and no parallel sizes."""

from __future__ import annotations

from motorpool_controller.domain.parameters import integer_of
from motorpool_controller.scheduling.demand import Demand
from motorpool_controller.scheduling.rules.parallel import (
    divisors,
    not_positive,
    tensor_faults,
    wanted_devices,
    world_size,
)
from motorpool_controller.scheduling.rules.vllm import DEFAULT_FRACTION, ONE_A_NODE, fraction
from motorpool_controller.scheduling.rules.wish import Wish, counts

MEANINGS = ("tensor_parallel", "pipeline_parallel", "data_parallel")
"""Meanings of options, in the profile's table, by which such a backend tells its parallel sizes."""


def demand(wish: Wish) -> Demand:
    """Return what an instance asks for; whether the backend pads the vocabulary is not known, so it has to divide."""
    sizes = {meaning: integer_of(wish.parameters, wish.profile.options, meaning) for meaning in MEANINGS}
    world = world_size(sizes)
    wanted, differ = wanted_devices(wish, world)
    tensor = None if world is None else sizes["tensor_parallel"] or 1
    numbers = divisors(wish, vision=True, vocabulary=True)
    kv_heads = () if wish.facts is None else counts(wish.facts.kv_heads)
    style = wish.profile.distributed_styles[0] if wish.distributed else ""
    memory, ratio = wish.memory
    return Demand(
        need=wish.needs.device.upper,
        provenance=wish.needs.device.provenance,
        share=fraction(wish, wish.profile.fraction_option or "-", DEFAULT_FRACTION),
        fraction=f"--{wish.profile.fraction_option}" if wish.profile.fraction_option else "",
        world=wanted,
        tensor=tensor,
        group=(sizes["tensor_parallel"] or 1) * (sizes["pipeline_parallel"] or 1),
        divisors=numbers,
        kv_heads=kv_heads,
        style=style,
        single=style in ONE_A_NODE,
        memory=memory,
        memory_ratio=ratio,
        faults=(
            *not_positive({meaning.replace("_", "-"): size for meaning, size in sizes.items()}),
            *differ,
            *tensor_faults(tensor, numbers, kv_heads, "tensor-parallel-size"),
        ),
    )
