"""Memory of a GGUF model in llama.cpp, from its headers: the launch, the shape, and how they divide.

Held against a running engine, model by model and part by part, by tests/controller/estimation/test_llama_cpp.py; the
last figures are in benchmarks/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from motorpool_controller.domain.fleet import Option
from motorpool_controller.domain.placement import Confidence, Estimate
from motorpool_controller.domain.sizes import in_words
from motorpool_controller.domain.workload import Parameter
from motorpool_controller.estimation.launch import Launch, launch_of, slots_of
from motorpool_controller.estimation.offload import Offload, Part, plan
from motorpool_controller.estimation.shape import shape_of
from motorpool_controller.estimation.unknown import UnknownError, unknown
from motorpool_formats.facts import ModelFacts

UNVERIFIED = "; devices: not yet checked on a card"


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufEstimate:
    """Memory in host memory alone, or wholly on one device and ``beside`` it in host memory (bytes).

    ``offload`` answers for everything between; it is None where the headers do not tell the layers apart.
    """

    host: Estimate
    device: Estimate
    beside: int | None
    context_length: int
    parallel: int
    offload: Offload | None = None


def estimate(
    facts: ModelFacts, options: Sequence[Option], parameters: Sequence[Parameter], versions: Sequence[str] = ()
) -> GgufEstimate:
    """Return what the model needs, launched with these parameters and ``launch``'s defaults by any of the versions."""
    context_length, parallel = slots_of(facts, options, parameters)
    try:
        shape = shape_of(facts)
        launch = launch_of(facts, options, parameters, versions)
        offload = plan(shape, launch)
    except UnknownError as error:
        none = unknown(error.text, error.missing, facts.weight_bytes)
        return GgufEstimate(host=none, device=none, beside=None, context_length=context_length, parallel=parallel)
    host = _estimate(offload.host, launch)
    divided = _divided(facts, launch)
    if divided is not None:
        return GgufEstimate(host=host, device=divided, beside=None, context_length=context_length, parallel=parallel)
    full = offload.full
    return GgufEstimate(
        host=host,
        device=_estimate(full.devices[0], launch, UNVERIFIED),
        beside=full.host.total,
        context_length=context_length,
        parallel=parallel,
        offload=None if facts.layer_bytes is None else offload,
    )


def _divided(facts: ModelFacts, launch: Launch) -> Estimate | None:
    """Return why what is on a device cannot be told; None where it can."""
    if launch.mover is not None:
        return unknown(f"--{launch.mover} divides the model in its own way", (f"--{launch.mover}",), facts.weight_bytes)
    if launch.experts_in_host and facts.experts and facts.layer_expert_bytes is None:
        return unknown(
            "the model's headers do not tell which of its layers' bytes are experts",
            ("layer_expert_bytes",),
            facts.weight_bytes,
        )
    return None


def _estimate(part: Part, launch: Launch, remark: str = "") -> Estimate:
    cache = launch.keys.name.lower()
    if launch.values is not launch.keys:
        cache += f"/{launch.values.name.lower()}"
    return Estimate(
        weights=part.weights,
        kv=part.cache,
        activations=part.compute,
        runtime=part.runtime,
        lower=part.weights + part.cache,
        upper=part.total,
        provenance=(
            f"from the model's headers: {in_words(part.weights)} of weights,"
            f" {in_words(part.cache)} of key/value cache for {launch.context_length:,} tokens in {cache}"
            f" and {launch.parallel} at a time; by formula: {in_words(part.compute)} of compute buffers for"
            f" {launch.micro_batch} tokens a batch, {in_words(part.runtime)} for the engine itself{remark}"
        ),
        confidence=Confidence.MEDIUM,
    )
