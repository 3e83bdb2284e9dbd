"""Fleets of cards of several makes, and models for the backends that take fractions of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from motorpool_controller.domain.fleet import BackendVersion, Device, MemoryModel, Node, NodeUsage, Option, Profile
from motorpool_controller.domain.sizes import GIB
from motorpool_controller.domain.workload import Instance
from motorpool_controller.scheduling.snapshot import Reading, Request, Snapshot
from motorpool_formats.facts import ModelFacts
from tests.controller.fleets import OPTIONS, PATH, device, node, request, usage

VENDORS = {"cuda": "nvidia", "rocm": "amd", "cann": "ascend"}

QWEN3_32B = ModelFacts(
    format="safetensors",
    files=("model.safetensors",),
    file_bytes=65_524_246_528,
    digest="sha256:qwen3-32b",
    name="Qwen3-32B",
    architecture="Qwen3ForCausalLM",
    architectures=("Qwen3ForCausalLM",),
    categories=("llm",),
    quantization=None,
    chat_template=True,
    parameters=32_762_123_264,
    weight_bytes=65_524_246_528,
    layer_bytes=None,
    nonlayer_bytes=None,
    layers=64,
    hidden_size=5120,
    heads=64,
    kv_heads=8,
    vocab_size=151_936,
    context_length=40_960,
)


LLAMA_70B = ModelFacts(
    format="gguf",
    files=("llama-3.3-70b.Q4_K_M.gguf",),
    file_bytes=42_520_395_584,
    digest="sha256:llama-70b",
    name="Llama 3.3 70B",
    architecture="llama",
    categories=("llm",),
    quantization="Q4_K_M",
    chat_template=True,
    parameters=70_553_706_560,
    weight_bytes=42_520_395_584,
    layer_bytes=(513_802_240,) * 80,
    nonlayer_bytes=42_520_395_584 - 80 * 513_802_240,
    layers=80,
    hidden_size=8192,
    feed_forward=28_672,
    heads=64,
    kv_heads=8,
    key_length=128,
    value_length=128,
    vocab_size=128_256,
    context_length=131_072,
)


def backend(name: str, **changes: Any) -> Profile:
    """A backend that takes a fraction, on every make of card."""
    made = Profile(
        backend=name,
        versions=(BackendVersion(version="1.0", frameworks=tuple(VENDORS)),),
        memory_model=MemoryModel.FRACTION,
        rules=name,
        formats=("safetensors",),
        distributed_styles=("ray",),
    )
    if name == "fixed":
        made = replace(
            made,
            memory_model=MemoryModel.FIXED,
            distributed_styles=(),
            formats=(),
            cpu=True,
            versions=(BackendVersion(version="1.0", frameworks=("cpu", *VENDORS)),),
        )
    if name == "gguf":
        made = replace(
            made,
            memory_model=MemoryModel.LAYERS,
            distributed_styles=(),
            formats=("gguf",),
            cpu=True,
            options=(*OPTIONS, Option(name="tensor-split", aliases=("ts",), meaning="tensor_split")),
            versions=(BackendVersion(version="1.0", frameworks=("cpu", *VENDORS)),),
        )
    return replace(made, **changes)


BACKENDS: Mapping[str, Profile] = {
    name: backend(name) for name in ("vllm", "sglang", "mindie", "generic_fraction", "fixed", "gguf")
}


def cards(count: int, gib: int = 80, framework: str = "cuda", *, prefix: str = "GPU", **changes: Any) -> list[Device]:
    """Cards of one kind, GPU-0, GPU-1 …"""
    return [
        device(
            f"{prefix}-{index}",
            memory=gib * GIB,
            index=index,
            framework=framework,
            vendor=VENDORS[framework],
            **changes,
        )
        for index in range(count)
    ]


def machine(name: str, devices: Iterable[Device] = (), **changes: Any) -> Node:
    """A node with these cards that offers every backend."""
    profiles = {name: f"sha256:{name}" for name in BACKENDS}
    return node(name, devices=devices, **{"memory": 512 * GIB, "profiles": profiles, **changes})


def fleet(
    *nodes: Node,
    facts: ModelFacts = QWEN3_32B,
    backends: Mapping[str, Profile] = BACKENDS,
    instances: Iterable[Instance] = (),
    measured: Mapping[str, NodeUsage] | None = None,
) -> Snapshot:
    """A snapshot of these nodes, each of which has the model."""
    return Snapshot(
        nodes={each.name: each for each in nodes},
        profiles={f"sha256:{name}": profile for name, profile in backends.items()},
        instances={each.name: each for each in instances},
        usage={each.name: usage(each) for each in nodes} if measured is None else measured,
        readings={(each.name, PATH): Reading(facts=facts) for each in nodes},
    )


def wish(gib: float, *parameters: str, backend: str = "vllm", name: str = "chat-1", **changes: Any) -> Request:
    """One instance that needs so many GiB on devices."""
    claimed = {"claim_device_memory_bytes": int(gib * GIB)} if gib else {}
    return request(name, backend=backend, parameters=parameters, **claimed, **changes)
