"""MindIE on Ascend: a fraction of each NPU, parallel sizes of many kinds, host memory to swap to (B8)."""

from __future__ import annotations

from collections.abc import Iterator

from motorpool_controller.domain.sizes import GIB, MIB
from motorpool_controller.scheduling.demand import Demand, Fault
from motorpool_controller.scheduling.rules.parallel import divisors, tensor_faults, wanted_devices
from motorpool_controller.scheduling.rules.wish import Wish, counts

FRACTION = "npu-memory-fraction"
ENVIRONMENT = "NPU_MEMORY_FRACTION"
FOOTPRINT = 512 * MIB
"""Host memory of the service itself (B8.2)."""

SIZES = {
    "pipeline-parallel-size": ("pipeline-parallel-size", "pp"),
    "data-parallel-size": ("data-parallel-size", "dp"),
    "context-parallel-size": ("context-parallel-size", "cp"),
    "tensor-parallel-size": ("tensor-parallel-size", "tp"),
    "sequence-parallel-size": ("sequence-parallel-size", "sp"),
    "moe-expert-parallel-size": ("moe-expert-parallel-size", "moe-ep"),
    "moe-tensor-parallel-size": ("moe-tensor-parallel-size", "moe-tp"),
}


def demand(wish: Wish) -> Demand:
    """Return what an instance of MindIE asks for."""
    sizes = {name: size for name, names in SIZES.items() if (size := wish.integer(*names)) is not None and size != -1}
    faults = list(_faults(sizes))
    tensor, world = (None, None) if faults else _world(sizes)
    wanted, differ = wanted_devices(wish, world)
    numbers = divisors(wish, vision=False, vocabulary=True)
    kv_heads = () if wish.facts is None else counts(wish.facts.kv_heads)
    fraction, swap = _defaults(wish)
    given = wish.integer("cpu-mem-size")
    if wish.integer("max-preempt-count") == 0:
        given = 0
    swap_bytes = swap if given is None else max(given, 0) * GIB
    by_hand = wish.spec.claim_memory_bytes
    return Demand(
        need=wish.needs.device.upper,
        provenance=wish.needs.device.provenance,
        share=lambda _framework, _total: fraction,
        fraction=f"--{FRACTION}",
        world=wanted,
        tensor=tensor,
        group=wanted if tensor is not None and wanted is not None else 1,
        divisors=numbers,
        kv_heads=kv_heads,
        fewest=False,
        style=wish.profile.distributed_styles[0] if wish.distributed else "",
        powers=True,
        networked=True,
        memory=FOOTPRINT + swap_bytes if by_hand is None else by_hand,
        faults=(
            *faults,
            *differ,
            *tensor_faults(tensor, numbers, kv_heads, "tensor-parallel-size"),
            *_expert_faults(wish, sizes),
        ),
    )


def _defaults(wish: Wish) -> tuple[float, int]:
    """Return the fraction (parameter > environment > default, A10) and the swap of this version (A28)."""
    early = wish.version is not None and _is_early(wish.version.version)
    default = (0.9 if early else 0.8) if wish.profile.fraction_default is None else wish.profile.fraction_default
    environment: float | None
    try:
        environment = float(wish.spec.env[ENVIRONMENT])
    except (KeyError, ValueError):
        environment = None
    for fraction in (wish.number(FRACTION), environment):
        if fraction is not None and 0 < fraction <= 1:
            return fraction, 5 * GIB if early else 0
    return default, 5 * GIB if early else 0


def _is_early(version: str) -> bool:
    """Return whether a version is before 2.1."""
    parts = version.split(".")
    numbers = [int(part) for part in parts[:2] if part.isdigit()]
    return len(numbers) == 2 and numbers < [2, 1]


def _world(sizes: dict[str, int]) -> tuple[int | None, int | None]:
    """Return the tensor size and the number of devices; None where no size was given (B8.1)."""
    if not any(size > 1 or name != "pipeline-parallel-size" for name, size in sizes.items()):
        return None, None
    tensor = sizes.get("tensor-parallel-size")
    for name in ("pipeline-parallel-size", "data-parallel-size", "context-parallel-size"):
        if sizes.get(name, 1) > 1:
            return tensor or 1, sizes[name] * (tensor or 1)
    experts = sizes.get("moe-expert-parallel-size", 1)
    if experts > 1:
        moe_tensor = sizes.get("moe-tensor-parallel-size", 1)
        return tensor or moe_tensor, experts * moe_tensor
    alone = tensor or sizes.get("moe-tensor-parallel-size") or sizes.get("sequence-parallel-size")
    return alone or 1, alone or 1


def _faults(sizes: dict[str, int]) -> Iterator[Fault]:
    for name, size in sizes.items():
        if size <= 0:
            yield Fault("PARAMETER_INVALID", f"--{name} is {size}, and a number of devices is positive; leave it out.")
        elif size & (size - 1) and name != "pipeline-parallel-size":
            yield Fault("PARAMETER_INVALID", f"--{name} is {size}, and MindIE wants a power of two; give 1, 2, 4 or 8.")
    pipeline, data = sizes.get("pipeline-parallel-size", 1), sizes.get("data-parallel-size", 1)
    context, tensor = sizes.get("context-parallel-size", 1), sizes.get("tensor-parallel-size")
    if pipeline > 1 and data > 1:
        yield Fault("PARAMETER_INVALID", "--pipeline-parallel-size excludes --data-parallel-size; leave one out.")
    if data > 1 and context > 1:
        yield Fault("PARAMETER_INVALID", "--data-parallel-size excludes --context-parallel-size; leave one out.")
    sequence = sizes.get("sequence-parallel-size")
    if sequence is not None and sequence != (tensor or sequence):
        yield Fault(
            "PARAMETER_INVALID",
            f"--sequence-parallel-size is {sequence} and --tensor-parallel-size {tensor}; MindIE wants them the same.",
        )


def _expert_faults(wish: Wish, sizes: dict[str, int]) -> Iterator[Fault]:
    experts = sizes.get("moe-expert-parallel-size", 1)
    count = None if wish.facts is None else wish.facts.experts
    if experts > 0 and count and count % experts:
        yield Fault(
            "EXPERT_PARALLEL_INDIVISIBLE",
            f"--moe-expert-parallel-size is {experts}, which does not divide the model's {count} experts; choose"
            " another size.",
        )
