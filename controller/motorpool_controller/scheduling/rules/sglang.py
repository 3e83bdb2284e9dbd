"""SGLang: a fraction of each device that follows from its size (B7.1), and like devices together (B7.2)."""

from __future__ import annotations

from collections.abc import Iterator

from motorpool_controller.domain.sizes import MIB
from motorpool_controller.scheduling.demand import Demand, Fault, Share
from motorpool_controller.scheduling.rules.parallel import divisors, tensor_faults, wanted_devices, world_size
from motorpool_controller.scheduling.rules.vllm import ONE_A_NODE
from motorpool_controller.scheduling.rules.wish import Wish, counts

FRACTION = "mem-fraction-static"
NPU = "cann"
SIMILAR = 0.9
"""Of devices that work together the least free has so much of what the most free has (B2.3)."""

UNKNOWN_SIZE_FRACTION = 0.88
VISION_FACTOR = 0.95
"""What a vision tower leaves; layers and width of the tower would vary it, but published rules read neither (B7.1)."""

# Up to so many MiB (NPUs have rows of their own): tokens of a chunk of prefill, and requests in CUDA graphs for less
# than four devices and for four or more (B7.1).
_SIZES = (
    (20 * 1024, False, 2_048, 8, 8),
    (32 * 1024, True, 32_768, 16, 64),
    (35 * 1024, False, 2_048, 24, 80),
    (60 * 1024, False, 4_096, 32, 160),
    (64 * 1024, True, 32_768, 64, 128),
    (160 * 1024, False, 8_192, 256, 512),
)
_LARGER = (16_384, 512, 512)
_UNKNOWN = (4_096, 160, 160)


def demand(wish: Wish) -> Demand:
    """Return what an instance of SGLang asks for."""
    diffusion = "image" in wish.categories
    tensor = wish.integer("tp-size", "tensor-parallel-size", "tp")
    pipeline = wish.integer("pp-size", "pipeline-parallel-size", "pp")
    data = wish.integer("dp-size", "data-parallel-size", "dp")
    attention = wish.flag("enable-dp-attention")
    world = world_size({"tp": tensor, "pp": pipeline, "dp": None if attention else data})
    wanted, differ = wanted_devices(wish, world)
    numbers = divisors(wish, vision=not wish.flag("language-only"), vocabulary=False)
    kv_heads = () if wish.facts is None else counts(wish.facts.kv_heads)
    style = wish.profile.distributed_styles[0] if wish.distributed and not diffusion else ""
    memory, ratio = wish.memory
    given = None if world is None else tensor or 1
    return Demand(
        need=wish.needs.device.upper,
        provenance=wish.needs.device.provenance,
        share=(lambda _framework, _total: 0.0) if diffusion else _share(wish, tensor or 1, pipeline or 1, data),
        fraction="" if diffusion else f"--{FRACTION}",
        replicated=diffusion,
        world=wanted,
        tensor=given,
        group=(tensor or 1) * (pipeline or 1),
        divisors=numbers,
        kv_heads=kv_heads,
        fewest=False,
        similar=0.0 if diffusion else SIMILAR,
        style=style,
        single=style in ONE_A_NODE,
        memory=memory,
        memory_ratio=ratio,
        faults=(*_faults(wish, tensor, pipeline, data), *differ, *tensor_faults(given, numbers, kv_heads, "tp-size")),
    )


def static_fraction(total: int, *, npu: bool, tensor: int, pipeline: int, data: int | None, wish: Wish) -> float:
    """Return the fraction that SGLang's own sums leave for weights and cache on a device of this size (B7.1)."""
    size = round(total / MIB, 2)
    if not size:
        return UNKNOWN_SIZE_FRACTION
    chunk, few, many = next((row[2:] for row in _SIZES if size < row[0] and (npu or not row[1])), _LARGER)
    chunk = wish.integer("chunked-prefill-size") or chunk
    # 0.5.23 has the former, older releases the latter.
    batch = wish.integer("cuda-graph-max-bs-decode", "cuda-graph-max-bs") or (few if tensor < 4 else many)
    reserved = 512 + 2.0 * batch + tensor * pipeline / 8 * 1024
    if chunk > 0:
        reserved += max(chunk, 2_048) * 1.5
    if wish.flag("enable-dp-attention") and data:
        reserved += batch * data * 3
        if batch > 300:
            reserved += batch * data * 1.5
    if size > 60 * 1024:
        reserved = max(reserved, 10 * 1024)
    algorithm = _word(wish, "speculative-algorithm")
    if algorithm == "STANDALONE":
        reserved += 6 * 1024
    elif algorithm not in {"", "NGRAM"}:
        reserved += 2 * 1024
    if wish.flag("enable-piecewise-cuda-graph"):
        reserved += (wish.integer("piecewise-cuda-graph-max-tokens") or 0) // 4
    fraction = round((size - reserved) / size, 3)
    if wish.facts is not None and wish.facts.vision_heads and not wish.flag("language-only"):
        fraction = round(fraction * VISION_FACTOR, 3)
    return min(max(fraction, 0.0), 1.0)


def _share(wish: Wish, tensor: int, pipeline: int, data: int | None) -> Share:
    given = wish.number(FRACTION)
    if given is not None and 0 < given <= 1:
        return lambda _framework, _total: given
    tensor = max(tensor, wish.spec.devices_per_instance)

    def share(framework: str, total: int) -> float:
        # 0 would mean "takes no fraction": a card too small for SGLang's own sums has none left to give.
        fraction = static_fraction(total, npu=framework == NPU, tensor=tensor, pipeline=pipeline, data=data, wish=wish)
        return fraction or 1e-9

    return share


def _faults(wish: Wish, tensor: int | None, pipeline: int | None, data: int | None) -> Iterator[Fault]:
    nodes = wish.integer("nnodes") or 1
    speculative, mixed = _word(wish, "speculative-algorithm"), wish.flag("enable-mixed-chunk")
    both = "leave one of them out."
    for name, size in (("tp-size", tensor), ("pp-size", pipeline), ("dp-size", data)):
        if size is not None and size <= 0:
            yield Fault(
                "PARAMETER_INVALID", f"--{name} is {size}, and a number of devices is positive; give 1 or more."
            )
    if nodes > 0 and (tensor or 1) * (pipeline or 1) % nodes:
        yield Fault(
            "PARAMETER_INVALID",
            f"--nnodes is {nodes}, which does not divide the {(tensor or 1) * (pipeline or 1)} devices of tensor and"
            " pipeline parallelism; leave it out, Motorpool gives it.",
        )
    if (pipeline or 1) > 1 and (speculative or mixed):
        yield Fault("PARAMETER_INVALID", f"--pp-size goes with neither speculative decoding nor mixed chunks; {both}")
    if (data or 1) > 1 and nodes != 1 and not wish.flag("enable-dp-attention"):
        yield Fault("PARAMETER_INVALID", "--dp-size across nodes wants --enable-dp-attention; add it.")
    if speculative and mixed:
        yield Fault("PARAMETER_INVALID", f"--speculative-algorithm does not go with --enable-mixed-chunk; {both}")


def _word(wish: Wish, option: str) -> str:
    values = next((p.values for p in wish.parameters if p.option.lstrip("-").replace("_", "-") == option), ())
    return values[0].upper() if values else ""
