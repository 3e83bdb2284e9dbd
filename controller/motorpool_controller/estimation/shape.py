"""What of a model's facts decides how much memory an engine takes, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

from motorpool_controller.estimation.unknown import required
from motorpool_formats.facts import LatentAttention, LayerKind, ModelFacts
from motorpool_formats.ggml import TENSOR_TYPES

WINDOW_PERIODS = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4, "exaone4": 4}
"""Architectures whose attention is windowed but for the last of every so many layers (llama.cpp: set_swa_pattern), for
facts that do not tell kinds of layers. Elsewhere every layer is taken for full attention."""

REPACKED = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "Q2_K", "MXFP4"})
"""Types that llama.cpp gives another layout on processors with AVX2 or better (ggml-cpu/repack.cpp)."""

MAMBA_EXPANSION = 2
MAMBA_CONVOLUTION = 4
MAMBA_STATES = 128
"""Of a recurrent layer whose sizes are not told: the most that Mamba and Mamba 2 have (llama.cpp accepts 16 to 128)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: what it keeps, and its widths in elements. ``weights`` include ``experts``; both are bytes."""

    kind: LayerKind
    heads: int
    kv_heads: int
    key_length: int
    value_length: int
    feed_forward: int
    weights: int
    experts: int

    @property
    def attends(self) -> bool:
        """Return whether it looks at other tokens, whatever it keeps of them."""
        return self.kv_heads > 0

    @property
    def has_state(self) -> bool:
        """Return whether it keeps a state of fixed size."""
        return self.kind in {LayerKind.RECURRENT, LayerKind.HYBRID}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model's layers, and what all of them share. ``experts_used`` is 0 for a dense model.

    ``embedding`` and ``output`` are bytes: what an engine keeps before the layers, and what it keeps after them;
    ``shared`` of them are the same. A model without an output matrix uses its embeddings there, and an engine has them
    twice where the two are apart: on two devices, or in two layouts.
    """

    layers: tuple[Layer, ...]
    hidden_size: int
    vocabulary: int
    window: int | None
    latent: LatentAttention | None
    convolution: int
    state: int
    experts_used: int
    expert_feed_forward: int
    shared_feed_forward: int
    embedding: int
    output: int
    shared: int


def shape_of(facts: ModelFacts) -> Shape:
    """Return the shape; raise UnknownError naming the facts that are missing."""
    attends = any(_each(facts.heads, facts.layers or 0))
    required(
        {
            "layers": ("layers", facts.layers),
            "hidden_size": ("embedding width", facts.hidden_size),
            "heads": ("attention heads", facts.heads),
            "kv_heads": ("key/value heads", facts.kv_heads),
            "key_length": ("key length", facts.key_length if attends or facts.heads is None else 0),
            "value_length": ("value length", facts.value_length if attends or facts.heads is None else 0),
            "vocab_size": ("vocabulary", facts.vocab_size),
        }
    )
    hidden_size = facts.hidden_size or 0
    convolution, state = _recurrent(facts)
    used = min(facts.experts_used or facts.experts or 0, facts.experts or 0)
    feed_forward = max(_each(facts.feed_forward, 1)) or 4 * hidden_size
    expert = facts.expert_feed_forward or feed_forward
    outside = facts.weight_bytes if facts.nonlayer_bytes is None else facts.nonlayer_bytes
    embedding, output = _ends(facts, outside)
    return Shape(
        layers=_layers(facts),
        hidden_size=hidden_size,
        vocabulary=facts.vocab_size or 0,
        window=facts.sliding_window,
        latent=facts.latent,
        convolution=convolution,
        state=state,
        experts_used=used,
        expert_feed_forward=expert if used else 0,
        shared_feed_forward=(facts.experts_shared or 0) * expert if used else 0,
        embedding=embedding,
        output=output,
        shared=0 if _is_repacked(facts) else embedding + output - outside,
    )


def kinds_of(facts: ModelFacts) -> tuple[LayerKind, ...]:
    """Return what each layer keeps, as the facts tell it or as is known of the architecture; else all, or a state."""
    layers = facts.layers or 0
    if facts.layer_kinds is not None and len(facts.layer_kinds) == layers:
        return facts.layer_kinds
    period = WINDOW_PERIODS.get(facts.architecture or "") if facts.sliding_window else None
    return tuple(
        LayerKind.RECURRENT
        if not kv_heads
        else LayerKind.SLIDING
        if period and index % period != period - 1
        else LayerKind.FULL
        for index, kv_heads in enumerate(_each(facts.kv_heads, layers))
    )


def _layers(facts: ModelFacts) -> tuple[Layer, ...]:
    layers = facts.layers or 0
    weights = facts.layer_bytes or (0,) * layers
    experts = facts.layer_expert_bytes or (0,) * layers
    columns = zip(
        kinds_of(facts),
        _each(facts.heads, layers),
        _each(facts.kv_heads, layers),
        _each(facts.feed_forward, layers),
        weights,
        experts,
        strict=True,
    )
    return tuple(
        Layer(
            kind=kind,
            heads=heads,
            kv_heads=kv_heads,
            key_length=(kind is LayerKind.SLIDING and facts.sliding_key_length) or facts.key_length or 0,
            value_length=(kind is LayerKind.SLIDING and facts.sliding_value_length) or facts.value_length or 0,
            feed_forward=4 * (facts.hidden_size or 0) if facts.feed_forward is None else feed_forward,
            weights=of_weights,
            experts=of_experts,
        )
        for kind, heads, kv_heads, feed_forward, of_weights, of_experts in columns
    )


def _recurrent(facts: ModelFacts) -> tuple[int, int]:
    if facts.recurrent is not None:
        return facts.recurrent.convolution, facts.recurrent.state
    inner = MAMBA_EXPANSION * (facts.hidden_size or 0)
    return inner * MAMBA_CONVOLUTION, inner * MAMBA_STATES


def _ends(facts: ModelFacts, outside: int) -> tuple[int, int]:
    """Return the bytes before and after the layers; where the facts do not tell them apart, all of them for each."""
    roles = facts.roles
    if roles is None:
        return outside, outside
    embedding = min(roles.embedding, outside)
    return embedding, outside - embedding if roles.output else outside


def _is_repacked(facts: ModelFacts) -> bool:
    """Return whether processors keep a second copy of embeddings that are the output too.

    They look them up in one layout and multiply in another (``CPU_REPACK``). The type is told by its size.
    """
    elements = (facts.hidden_size or 0) * (facts.vocab_size or 0)
    if facts.roles is None or facts.roles.output:
        return False
    return any(
        facts.roles.embedding * layout.block_elements == elements * layout.block_bytes
        for layout in TENSOR_TYPES.values()
        if layout.name in REPACKED and elements
    )


def _each(number: int | tuple[int, ...] | None, layers: int) -> tuple[int, ...]:
    if isinstance(number, tuple):
        return number if len(number) == layers else (max(number, default=0),) * layers
    return (number or 0,) * layers
