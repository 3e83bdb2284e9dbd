"""What a model takes in an engine that pages its cache (vLLM, SGLang, MindIE), part by part, for a wanted context.

Shown beside the published rule, which has neither context nor concurrency. A formula over headers that has not been
held against such an engine on a card: its confidence is that of a rule of thumb. Sources stand at each part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from motorpool_controller.domain.fleet import Option
from motorpool_controller.domain.parameters import integer_of, named
from motorpool_controller.domain.placement import Item
from motorpool_controller.domain.sizes import GIB
from motorpool_controller.domain.workload import Parameter
from motorpool_controller.estimation.extras import Extras
from motorpool_controller.estimation.shape import Layer, Shape, shape_of
from motorpool_formats.facts import LayerKind, ModelFacts

DEFAULT_CONTEXT_LENGTH = 8_192
"""What launches are given where the model allows more and the user says nothing (B14.8, B14.9)."""

DEFAULT_CONCURRENCY = 1
DEFAULT_BATCH_TOKENS = 8_192
"""``--max-num-batched-tokens`` of vLLM's server on cards of 70 GiB and more, and the chunk of SGLang's (B7.1)."""

FRAMEWORK_BYTES = {"vllm": 2 * GIB, "sglang": 2 * GIB, "mindie": 3 * GIB}
"""Footprints as published: B3.1 (CUDA graphs and context), B8.2 (MindIE)."""

BYTES = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2, "auto": 2}
CACHE_BYTES = {"fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "int8": 1, "c8": 1}
STATE_BYTES = 4
LOGIT_BYTES = 4
"""Recurrent states and logits are kept as float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be served: tokens of each request, requests at a time, tokens of a batch, bytes of a number."""

    context_length: int
    concurrency: int
    batch_tokens: int
    number_bytes: int
    cache_bytes: int


def wanted_of(facts: ModelFacts, options: Sequence[Option], parameters: Sequence[Parameter]) -> Wanted:
    """Return what the parameters ask for, else the defaults."""
    given = integer_of(parameters, options, "context_length")
    most = facts.context_length or DEFAULT_CONTEXT_LENGTH
    context_length = given if given is not None and given > 0 else min(DEFAULT_CONTEXT_LENGTH, most)
    concurrency = integer_of(parameters, options, "parallel") or DEFAULT_CONCURRENCY
    batch = _integer(parameters, "max-num-batched-tokens", "chunked-prefill-size", "max-prefill-tokens")
    number = BYTES.get(_word(parameters, "dtype") or facts.dtype or "auto", 2)
    cache = _word(parameters, "kv-cache-dtype", "kv-quant-type") or "auto"
    return Wanted(
        context_length=context_length,
        concurrency=max(concurrency, 1),
        batch_tokens=min(batch if batch > 0 else DEFAULT_BATCH_TOKENS, context_length * max(concurrency, 1)),
        number_bytes=number,
        cache_bytes=CACHE_BYTES.get(cache, BYTES.get(cache, number) if cache != "auto" else number),
    )


def stated_context(facts: ModelFacts, options: Sequence[Option], parameters: Sequence[Parameter]) -> int | None:
    """Return the context that a launch states: the user's, or the default where the model is made for more (B14.8).

    None leaves it to the engine: what it makes of a shorter model is not always the number in config.json.
    """
    given = integer_of(parameters, options, "context_length")
    if given is not None and given > 0:
        return given
    longer = facts.context_length is not None and facts.context_length > DEFAULT_CONTEXT_LENGTH
    return DEFAULT_CONTEXT_LENGTH if longer else None


def items(facts: ModelFacts, rules: str, wanted: Wanted, extras: Extras) -> tuple[Item, ...]:
    """Return the parts; raise UnknownError naming the facts that are missing."""
    shape = shape_of(facts)
    parts = (
        Item("weights", facts.weight_bytes),
        Item("adapters", extras.adapters),
        Item("draft model", extras.draft),
        Item("key/value cache", cache_bytes(shape, wanted)),
        Item("recurrent state", state_bytes(shape, wanted)),
        Item("activations", activation_bytes(shape, wanted)),
        Item("framework", FRAMEWORK_BYTES.get(rules, FRAMEWORK_BYTES["vllm"])),
    )
    return tuple(part for part in parts if part.size_bytes)


def cache_bytes(shape: Shape, wanted: Wanted) -> int:
    """Return the cache of all requests at full length."""
    return wanted.concurrency * sum(_layer_bytes(shape, layer, wanted) for layer in shape.layers)


def state_bytes(shape: Shape, wanted: Wanted) -> int:
    """Return the states of recurrent layers, which do not grow with the context."""
    layers = sum(layer.has_state for layer in shape.layers)
    return wanted.concurrency * layers * (shape.convolution + shape.state) * STATE_BYTES


def activation_bytes(shape: Shape, wanted: Wanted) -> int:
    """Return the peak of a batch: the residual and its norm beside attention or the feed-forward network, or logits.

    Engines profile exactly that at start: a batch of the most tokens, and one token's logits for each request (vLLM:
    gpu_model_runner.profile_run).
    """
    widest = max((max(_attention(shape, layer), _feed_forward(shape, layer)) for layer in shape.layers), default=0)
    batch = wanted.batch_tokens * (2 * shape.hidden_size + widest) * wanted.number_bytes
    logits = wanted.concurrency * shape.vocabulary * (LOGIT_BYTES + wanted.number_bytes)
    return max(batch, logits)


def _layer_bytes(shape: Shape, layer: Layer, wanted: Wanted) -> int:
    if layer.kind in {LayerKind.NONE, LayerKind.RECURRENT}:
        return 0
    tokens = wanted.context_length
    if layer.kind is LayerKind.SLIDING and shape.window:
        tokens = min(tokens, shape.window)
    if shape.latent is not None:
        return tokens * (shape.latent.kv_rank + shape.latent.rope_dim) * wanted.cache_bytes
    return tokens * layer.kv_heads * (layer.key_length + layer.value_length) * wanted.cache_bytes


def _attention(shape: Shape, layer: Layer) -> int:
    """Return the elements a token takes for queries, keys, values and the result; scores never stand in memory."""
    if not layer.attends:
        return shape.convolution if layer.has_state else 0
    latent = shape.latent
    if latent is not None:
        return 2 * layer.heads * (latent.kv_rank + latent.rope_dim)
    return 2 * layer.heads * layer.key_length + layer.kv_heads * (layer.key_length + layer.value_length)


def _feed_forward(shape: Shape, layer: Layer) -> int:
    """Return the elements a token takes for gate and up and for their product, in every expert it uses."""
    if shape.experts_used and (layer.experts or not layer.feed_forward):
        inner = shape.experts_used * shape.expert_feed_forward + shape.shared_feed_forward
        return 3 * inner + shape.experts_used * shape.hidden_size
    return 3 * layer.feed_forward


def _word(parameters: Sequence[Parameter], *names: str) -> str | None:
    values = named(parameters, *names)
    return values[0].lower() if values else None


def _integer(parameters: Sequence[Parameter], *names: str) -> int:
    text = _word(parameters, *names) or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0
