"""What MindIE is estimated to take: footprint + weights + cache + compute (B8.2, with A10, A14 and A28)."""

from __future__ import annotations

from collections.abc import Sequence

from motorpool_controller.domain.parameters import named
from motorpool_controller.domain.placement import Confidence, Estimate
from motorpool_controller.domain.sizes import GIB, MIB, in_words
from motorpool_controller.domain.workload import Parameter
from motorpool_controller.estimation.extras import Extras
from motorpool_controller.estimation.unknown import required
from motorpool_formats.facts import ModelFacts

FOOTPRINT_BYTES = 3 * GIB
MEMORY_BYTES = 512 * MIB
MAX_SEQUENCE = 8_192
BATCH = 200
CACHE_BLOCK = 128
"""B8.1, B8.2."""

SWAP_GIB = 0
"""``--cpu-mem-size`` where the user gives none: from MindIE 2.1 on (A28); 2.0's 5 GiB want it given."""

_NUMBER_BYTES = {"float32": 4}
_USUAL_NUMBER_BYTES = 2


def estimate(facts: ModelFacts, parameters: Sequence[Parameter], extras: Extras) -> Estimate:
    """Return what MindIE takes on all its devices together; raise UnknownError naming the facts that are missing."""
    required({"layers": ("layers", facts.layers), "heads": ("attention heads", facts.heads)})
    layers = facts.layers or 0
    width = _width(facts)
    number = _NUMBER_BYTES.get(facts.dtype or "", _USUAL_NUMBER_BYTES)
    length = sequence_of(facts, parameters)
    batch = _integer(parameters, BATCH, "max-batch-size")
    block = _integer(parameters, CACHE_BLOCK, "cache-block-size")
    cache_number = 1 if (named(parameters, "kv-quant-type") or ("",))[0].lower() == "c8" else number
    compute_number = 1 if (facts.quantization or "").lower().startswith("w8a8") else number
    weights = facts.weight_bytes + extras.weight_bytes
    cache = width * layers * length * cache_number
    compute = batch * block * layers * width * compute_number
    upper = FOOTPRINT_BYTES + weights + cache + compute
    return Estimate(
        weights=weights,
        kv=cache,
        activations=compute,
        runtime=FOOTPRINT_BYTES,
        lower=weights + cache,
        upper=upper,
        provenance=(
            f"by rule: {in_words(FOOTPRINT_BYTES)} for MindIE + {in_words(weights)} of weights{extras.words} +"
            f" {in_words(cache)} of cache for {length:,} tokens + {in_words(compute)} to compute in"
        ),
        confidence=Confidence.LOW,
    )


def memory_of(parameters: Sequence[Parameter]) -> int:
    """Return the host memory of each node: the server's own, and what its cache is swapped to."""
    preempts = _integer(parameters, 1, "max-preempt-count")
    return MEMORY_BYTES + (_integer(parameters, SWAP_GIB, "cpu-mem-size") * GIB if preempts else 0)


def sequence_of(facts: ModelFacts, parameters: Sequence[Parameter]) -> int:
    """Return the tokens of a sequence (``--max-seq-len``)."""
    most = min(facts.context_length or MAX_SEQUENCE, MAX_SEQUENCE)
    return max(_integer(parameters, most, "max-seq-len"), 1)


def _width(facts: ModelFacts) -> int:
    """Return the elements that a token takes in a layer's cache: keys and values of its heads, or one latent vector."""
    if facts.latent is not None:  # A10: nope + rope, not twice nope
        return (facts.latent.nope_dim or facts.latent.kv_rank) + facts.latent.rope_dim
    heads = _most(facts.heads)
    kv_heads = heads if facts.kv_heads is None else _most(facts.kv_heads)
    required({"key_length": ("key length", facts.key_length or (facts.hidden_size if heads else None))})
    return 2 * kv_heads * (facts.key_length or (facts.hidden_size or 0) // max(heads, 1))


def _most(number: int | tuple[int, ...] | None) -> int:
    return max(number, default=0) if isinstance(number, tuple) else number or 0


def _integer(parameters: Sequence[Parameter], default: int, *names: str) -> int:
    text = (named(parameters, *names) or ("",))[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else default
