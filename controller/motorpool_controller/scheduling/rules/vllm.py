"""vLLM: a fraction of each device; tensor parallelism within a node, pipelines across (B6)."""

from __future__ import annotations

from collections.abc import Iterator

from motorpool_controller.domain.sizes import GIB
from motorpool_controller.scheduling.demand import Demand, Fault, Share
from motorpool_controller.scheduling.rules import fixed
from motorpool_controller.scheduling.rules.parallel import (
    divisors,
    not_positive,
    tensor_faults,
    wanted_devices,
    world_size,
)
from motorpool_controller.scheduling.rules.wish import Wish, counts

FRACTION = "gpu-memory-utilization"
DEFAULT_FRACTION = 0.9
"""``--gpu-memory-utilization`` where nobody gives one: vLLM's published default (A25)."""

HOST_CACHE = GIB
"""Host memory of an instance on processors beyond the estimate: the least key/value cache that a launch can state."""

WITH_FRACTION = frozenset(
    {
        "Qwen3ForCausalLM",
        "Qwen3ForSequenceClassification",
        "Qwen3VLForConditionalGeneration",
        "Qwen3VLForSequenceClassification",
    }
)
"""Architectures that take a fraction though they only embed or rank: they run as language models do (B6.2)."""

SIZES = {
    "tensor-parallel-size": ("tensor-parallel-size", "tp"),
    "pipeline-parallel-size": ("pipeline-parallel-size", "pp"),
    "prefill-context-parallel-size": ("prefill-context-parallel-size", "pcp"),
    "data-parallel-size": ("data-parallel-size", "dp"),
}
LOCAL = ("data-parallel-size-local", "dpl")
NODES = ("nnodes", "n")
ONE_A_NODE = frozenset({"ray"})
"""Distributed styles of which a node can have one instance: Ray's clusters take some forty ports each (A15)."""


def demand(wish: Wish) -> Demand:
    """Return what an instance of vLLM asks for; what only speaks or paints is placed as the fixed rules say (B4.3)."""
    if wish.flag("omni") or set(wish.categories) & {"image", "text_to_speech"}:
        return fixed.demand(wish)
    sizes = {name: wish.integer(*names) for name, names in SIZES.items()}
    local, nodes = wish.integer(*LOCAL), wish.integer(*NODES)
    faults = not_positive({**sizes, "data-parallel-size-local": local, "nnodes": nodes})
    hybrid = wish.flag("data-parallel-hybrid-lb")
    if hybrid:  # each node is its own group of replicas: what counts is what one node has
        sizes["data-parallel-size"] = local
    world = None if hybrid and local is None else world_size(sizes)
    wanted, differ = wanted_devices(wish, world)
    given = {name: size or 1 for name, size in sizes.items()}
    tensor = None if world is None else given["tensor-parallel-size"]
    numbers = divisors(wish, vision=not wish.flag("language-model-only"), vocabulary=False)
    kv_heads = () if wish.facts is None else counts(wish.facts.kv_heads)
    style = _style(wish)
    memory, ratio = wish.memory
    host = _in_host(wish)
    return Demand(
        need=wish.needs.device.upper,
        provenance=wish.needs.device.provenance,
        share=fraction(wish, FRACTION, DEFAULT_FRACTION),
        fraction=f"--{FRACTION}",
        world=wanted,
        tensor=tensor,
        group=given["tensor-parallel-size"] * given["pipeline-parallel-size"] * given["prefill-context-parallel-size"],
        groups_local=None if hybrid else local,
        nodes=nodes,
        divisors=numbers,
        kv_heads=kv_heads,
        style=style,
        single=style in ONE_A_NODE,
        memory=memory,
        memory_ratio=ratio,
        host=host,
        host_fixed=_host_fixed(wish, host),
        host_wanted=_host_wanted(wish),
        faults=(
            *faults,
            *differ,
            *tensor_faults(tensor, numbers, kv_heads, "tensor-parallel-size"),
            *_local_faults(sizes["data-parallel-size"], local, style),
            *_nodes_faults(wish, nodes, world),
        ),
    )


def fraction(wish: Wish, option: str, default: float) -> Share:
    """Return the share of a device: the option's value, else the profile's default; none for models without one."""
    given = wish.number(option)
    share = given if given is not None else wish.profile.fraction_default
    if given is None and not takes_fraction(wish):
        share = 0.0
    bounded = min(max(default if share is None or share != share else share, 0.0), 1.0)  # noqa: PLR0124  # NaN
    return lambda _framework, _total: bounded


def _in_host(wish: Wish) -> int | None:
    """Return the host memory of an instance on processors: as given by hand, else the estimate and the least cache."""
    estimate = wish.needs.host
    return estimate.upper if estimate.by_hand or estimate.upper is None else estimate.upper + HOST_CACHE


def _host_fixed(wish: Wish, host: int | None) -> int:
    """Return what each of several nodes needs whole: all where it was given by hand, else engine and least cache."""
    estimate = wish.needs.host
    if host is None or estimate.by_hand:
        return host or 0
    return min((estimate.runtime or 0) + HOST_CACHE, host)


def _nodes_faults(wish: Wish, nodes: int | None, world: int | None) -> Iterator[Fault]:
    if nodes is None or nodes < 2:
        return
    if not wish.distributed:
        why = (
            "the deployment may not span nodes (distributed is off)"
            if wish.profile.distributed_styles
            else f"{wish.profile.backend} does not span nodes here"
        )
        yield Fault("NODES_UNAVAILABLE", f"--nnodes is {nodes}, and {why}; leave one of them out.")
    if world is not None and world % nodes:
        yield Fault(
            "NODES_INDIVISIBLE",
            f"--nnodes is {nodes}, which does not divide the {world} ranks of the parallel sizes; choose others.",
        )


def _host_wanted(wish: Wish) -> bool:
    """Return whether it may run on processors, where a node's vLLM was built for them; B10 has the same words."""
    spec = wish.spec
    return not spec.devices and (
        spec.cpu_offloading or (spec.cpu_offloading is None and spec.claim_device_memory_bytes is None)
    )


def takes_fraction(wish: Wish) -> bool:
    """Return whether the model's class takes a fraction of each device, or only what it needs (B6.2)."""
    categories = wish.categories
    return (
        not categories
        or bool({"llm", "speech_to_text"} & set(categories))
        or bool(WITH_FRACTION & set(wish.architectures))
    )


def _style(wish: Wish) -> str:
    """Return how it spans nodes: the executor that was asked for, else the backend's first (B6.8)."""
    if not wish.distributed:
        return ""
    styles = wish.profile.distributed_styles
    asked = next((style for style in styles if style == _executor(wish)), "")
    return asked or styles[0]


def _executor(wish: Wish) -> str:
    from_parameters = [p.values[0] for p in wish.parameters if p.option.lstrip("-") == "distributed-executor-backend"]
    return next(iter(from_parameters), "")


def _local_faults(data: int | None, local: int | None, style: str) -> tuple[Fault, ...]:
    if style != "mp" or data is None or local is None or local <= 0 or data % local == 0:
        return ()
    message = (
        f"--data-parallel-size is {data}, which {local} replicas a node (--data-parallel-size-local) do not divide;"
        " choose another size."
    )
    return (Fault("DATA_PARALLEL_INDIVISIBLE", message),)
