"""From config.json to the sizes that memory and placement depend on."""

from __future__ import annotations

from dataclasses import dataclass

from motorpool_formats.errors import shown
from motorpool_formats.facts import LatentAttention, LayerKind, RecurrentState
from motorpool_formats.hugging_face.attention import attention_window, layer_kinds
from motorpool_formats.hugging_face.documents import MAX_NUMBER, Document
from motorpool_formats.hugging_face.families import (
    EXPERT_AS_WIDE_AS_FEED_FORWARD,
    FOUR_TIMES_WIDE,
    OFFSET_POSITIONS,
    ONE_SHARED_EXPERT,
)
from motorpool_formats.hugging_face.heads import PerLayer, attention_heads, audio_heads, kv_heads, vision_heads, widths
from motorpool_formats.hugging_face.recurrence import recurrent_state
from motorpool_formats.hugging_face.text_part import (
    CONTEXT,
    EXPERT_FEED_FORWARD,
    EXPERTS,
    EXPERTS_SHARED,
    EXPERTS_USED,
    FEED_FORWARD,
    HIDDEN_SIZE,
    VOCABULARY,
    TextPart,
    text_part,
)

_STATES = frozenset({LayerKind.RECURRENT, LayerKind.HYBRID})

_ROPE_WITHIN_CONTEXT = frozenset(
    {"default", "deepseek_llama_scaling", "llama3", "longrope", "mrope", "proportional", "su"}
)
"""Scalings of positions that the context length has in it already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What config.json says of a model's size; the fields are those of ``ModelFacts``."""

    layers: int | None = None
    hidden_size: int | None = None
    feed_forward: PerLayer = None
    heads: PerLayer = None
    kv_heads: PerLayer = None
    key_length: int | None = None
    value_length: int | None = None
    vocab_size: int | None = None
    context_length: int | None = None
    experts: int | None = None
    experts_used: int | None = None
    experts_shared: int | None = None
    expert_feed_forward: int | None = None
    sliding_window: int | None = None
    sliding_key_length: int | None = None
    sliding_value_length: int | None = None
    layer_kinds: tuple[LayerKind, ...] | None = None
    latent: LatentAttention | None = None
    recurrent: RecurrentState | None = None
    vision_heads: int | None = None
    audio_heads: int | None = None


def shape_of(config: Document) -> Shape:
    """Return what a config.json says; what neither it nor its family's documentation says is None."""
    part = text_part(config)
    hidden_size = part.whole(*HIDDEN_SIZE)
    heads = attention_heads(part)
    latent = _latent(part.document)
    width = widths(part, hidden_size, heads, latent)
    experts = _experts(part)
    kinds = layer_kinds(part)
    return Shape(
        layers=part.layers,
        hidden_size=hidden_size,
        feed_forward=_feed_forward(part, hidden_size),
        heads=heads,
        kv_heads=kv_heads(part, heads, kinds),
        key_length=width.key,
        value_length=width.value,
        vocab_size=part.whole(*VOCABULARY),
        context_length=_context_length(part),
        experts=experts,
        experts_used=_experts_used(part) if experts else None,
        experts_shared=_experts_shared(part) if experts else None,
        expert_feed_forward=_expert_feed_forward(part) if experts else None,
        sliding_window=attention_window(part) if kinds is None or LayerKind.SLIDING in kinds else None,
        sliding_key_length=width.sliding_key,
        sliding_value_length=width.sliding_value,
        layer_kinds=kinds,
        latent=latent,
        recurrent=recurrent_state(part) if kinds and not _STATES.isdisjoint(kinds) else None,
        vision_heads=vision_heads(config),
        audio_heads=audio_heads(config, part),
    )


def dtype_of(config: Document) -> str | None:
    """Return the number type that a config.json gives, under its newer or its older name."""
    stated = next((name for key in ("dtype", "torch_dtype") if isinstance(name := config.values.get(key), str)), "auto")
    return shown(stated.removeprefix("torch.")) if stated not in {"", "auto"} else None


def _latent(document: Document) -> LatentAttention | None:
    kv_rank, rope_dim = document.whole("kv_lora_rank"), document.whole("qk_rope_head_dim")
    if not kv_rank or rope_dim is None:
        return None
    return LatentAttention(
        kv_rank=kv_rank,
        rope_dim=rope_dim,
        query_rank=document.whole("q_lora_rank"),
        nope_dim=document.whole("qk_nope_head_dim"),
        value_dim=document.whole("v_head_dim"),
    )


def _feed_forward(part: TextPart, hidden_size: int | None) -> PerLayer:
    dense = part.document.whole("intermediate_size_mlp")  # Llama 4, whose intermediate_size is an expert's
    keys = ("decoder_ffn_dim", *FEED_FORWARD) if part.encoder_decoder else FEED_FORWARD
    stated = dense or part.per_layer(*keys)
    if stated is None and hidden_size is not None and part.model_type in FOUR_TIMES_WIDE:
        return 4 * hidden_size
    return stated


def _experts(part: TextPart) -> int | None:
    stated = part.document.largest(*EXPERTS)
    if stated is None and (nested := part.document.section("ffn_config")):  # DBRX
        stated = nested.whole("moe_num_experts")
    return stated if stated and stated > 1 else None


def _experts_used(part: TextPart) -> int | None:
    stated = part.document.largest(*EXPERTS_USED)
    if stated is None and (nested := part.document.section("ffn_config")):
        stated = nested.whole("moe_top_k")
    return stated or None


def _experts_shared(part: TextPart) -> int | None:
    if part.model_type in ONE_SHARED_EXPERT:
        return 1
    stated = part.document.largest(*EXPERTS_SHARED)
    if stated is None and part.document.whole("shared_expert_intermediate_size", "shared_intermediate_size"):
        return 1
    return stated


def _expert_feed_forward(part: TextPart) -> int | None:
    stated = part.document.largest(*EXPERT_FEED_FORWARD)
    if stated is None and (nested := part.document.section("ffn_config")):
        stated = nested.whole("ffn_hidden_size")
    if stated is None and part.model_type in EXPERT_AS_WIDE_AS_FEED_FORWARD:
        stated = part.document.whole("intermediate_size")
    return stated or None


def _context_length(part: TextPart) -> int | None:
    document = part.document
    stated = [length for key in CONTEXT if (length := _length(document, key))]
    # Cohere's max_position_embeddings is what was trained first, and this what came of it.
    base = _length(document, "model_max_length") or min(stated, default=None) or part.whole("max_position_embeddings")
    if base is None:
        return part.whole("max_target_positions")
    if part.model_type in OFFSET_POSITIONS:
        padding = document.whole("pad_token_id")
        return max(0, base - (1 if padding is None else padding) - 1) or None
    longest = max((_scaled(base, rope, part.model_type) for rope in _rope_sections(document)), default=base)
    return longest if longest <= MAX_NUMBER else None


def _length(document: Document, key: str) -> int | None:
    number = document.number(key)  # "no limit" is written as 1e30
    return None if number is None or number > MAX_NUMBER else document.whole(key)


def _rope_sections(document: Document) -> tuple[Document, ...]:
    rope = document.section("rope_scaling") or document.section("rope_parameters")
    if rope is None:
        return ()
    return tuple(rope.nested()) or (rope,)  # one for all layers, or one for each kind of them


def _scaled(base: int, rope: Document, model_type: str) -> int:
    kind, factor = rope.text("rope_type") or rope.text("type"), rope.number("factor")
    if kind is None or kind in _ROPE_WITHIN_CONTEXT or not factor or "gemma3" in model_type:
        return base
    if "yarn" in kind:
        return max(base, int((rope.whole("original_max_position_embeddings") or base) * factor))
    return max(base, int(base * factor))
