"""What each layer keeps of the tokens before, as config.json or the model's family says it."""

from __future__ import annotations

from collections.abc import Sequence

from motorpool_formats.facts import LayerKind
from motorpool_formats.hugging_face.documents import Document
from motorpool_formats.hugging_face.families import (
    ENCODER_ONLY,
    FULL_ATTENTION,
    WINDOW_IN_EVERY_LAYER,
    WINDOW_ON_REQUEST,
    WITHOUT_ATTENTION,
)
from motorpool_formats.hugging_face.text_part import TextPart

Kinds = tuple[LayerKind, ...]

_KINDS = {
    "full_attention": LayerKind.FULL,
    "attention": LayerKind.FULL,
    "indexed_attention": LayerKind.FULL,
    "deepseek_sparse_attention": LayerKind.FULL,
    "sliding_attention": LayerKind.SLIDING,
    "chunked_attention": LayerKind.SLIDING,  # keeps its chunk at most, as a window keeps its length
    "linear_attention": LayerKind.RECURRENT,
    "mamba": LayerKind.RECURRENT,
    "mamba2": LayerKind.RECURRENT,
    "conv": LayerKind.RECURRENT,
    "recurrent": LayerKind.RECURRENT,
    "hybrid": LayerKind.HYBRID,
    "mlp": LayerKind.NONE,
    "moe": LayerKind.NONE,
}
"""Words of ``layer_types`` and its older names. One that is not here makes the whole list unknown."""

_LETTERS = {"M": LayerKind.RECURRENT, "*": LayerKind.FULL, "-": LayerKind.NONE, "E": LayerKind.NONE}
"""Nemotron-H's pattern: Mamba, attention, feed-forward network, experts."""


def layer_kinds(part: TextPart) -> Kinds | None:
    """Return what each layer keeps; None where that is not certain."""
    layers = part.layers
    if layers is None or part.encoder_decoder:  # a decoder's layers keep what it wrote, and what was read as well
        return None
    if part.model_type in ENCODER_ONLY:
        return (LayerKind.NONE,) * layers
    kinds = _kinds(part, layers)
    if kinds is None:
        return None
    if attention_window(part) is None:  # a window that is switched off
        kinds = tuple(LayerKind.FULL if kind is LayerKind.SLIDING else kind for kind in kinds)
    return _without_borrowers(part, kinds)


def attention_window(part: TextPart) -> int | None:
    """Return how far back windowed attention looks."""
    if part.document.flag("use_sliding_window") is False:
        return None
    keys = ("sliding_window", "sliding_window_size", "attention_window_size", "attention_chunk_size")
    stated = next((window for key in keys if (window := part.document.whole(key))), None)
    return stated or part.whole("sliding_window") or None


def _kinds(part: TextPart, layers: int) -> Kinds | None:
    document = part.document
    for key in ("layer_types", "layers_block_type"):
        if words := document.texts(key):
            return _of_words(words, layers)
    if document.text("hybrid_override_pattern"):
        return _of_letters(document, layers)
    if words := document.texts("block_types"):  # RecurrentGemma repeats them, and its attention has a window
        repeated = tuple(words[layer % len(words)] for layer in range(layers))
        return _of_words([{"attention": "sliding_attention"}.get(word, word) for word in repeated], layers)
    if blocks := document.items("block_configs"):
        return _of_blocks(blocks, layers)
    for key in ("attn_layer_indices", "full_attn_idxs"):  # Bamba, LFM2
        indices = document.whole_or_list(key)
        if isinstance(indices, tuple):
            return _attention_at(set(indices), layers)
    if (linear := document.section("linear_attn_config")) and isinstance(
        indices := linear.whole_or_list("full_attn_layers"), tuple
    ):
        return _attention_at({index - 1 for index in indices}, layers)  # Kimi counts from one
    windows = document.whole_or_list("hybrid_layer_pattern")
    if isinstance(windows, tuple) and len(windows) >= layers:  # MiMo: 1 has a window
        return _full_at({layer for layer in range(layers) if not windows[layer]}, layers)
    kinds = document.whole_or_list("attn_type_list")
    if isinstance(kinds, tuple) and len(kinds) >= layers:  # MiniMax: 1 is attention
        return tuple(LayerKind.FULL if kind else LayerKind.RECURRENT for kind in kinds[:layers])
    return _by_family(part, layers)


def _by_family(part: TextPart, layers: int) -> Kinds | None:
    document, family = part.document, part.model_type
    if family in WITHOUT_ATTENTION:
        return (LayerKind.RECURRENT,) * layers
    if family == "falcon_h1":
        return (LayerKind.HYBRID,) * layers
    if family == "jamba":
        period, offset = document.whole("attn_layer_period"), document.whole("attn_layer_offset")
        if not period or offset is None:
            return None
        return _attention_at({layer for layer in range(layers) if layer % period == offset}, layers)
    if family in {"qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"}:
        return _attention_at(set(_every(document.whole("full_attention_interval") or 4, layers)), layers)
    if family == "gemma2":
        return _full_at({layer for layer in range(layers) if layer % 2 == 1}, layers)
    if family in {"gemma3_text", "cohere2"}:
        pattern = document.whole("_sliding_window_pattern") or part.whole("sliding_window_pattern")
        return _full_at(set(_every(pattern, layers)), layers) if pattern else None
    if family == "llama4_text":
        return _of_chunks(part, layers)
    if family in WINDOW_IN_EVERY_LAYER:
        return (LayerKind.SLIDING,) * layers
    if family in WINDOW_ON_REQUEST:
        first = document.whole("max_window_layers") if document.flag("use_sliding_window") else layers
        return _full_at(set(range(first or 0)), layers)
    return (LayerKind.FULL,) * layers if family in FULL_ATTENTION else None


def _of_words(words: Sequence[str], layers: int) -> Kinds | None:
    if len(words) < layers or any(word not in _KINDS for word in words):
        return None
    return tuple(_KINDS[word] for word in words[:layers])


def _of_letters(document: Document, layers: int) -> Kinds | None:
    letters = str(document.values["hybrid_override_pattern"])
    if len(letters) < layers or any(letter not in _LETTERS for letter in letters[:layers]):
        return None
    return tuple(_LETTERS[letter] for letter in letters[:layers])


def _of_blocks(blocks: tuple[Document, ...], layers: int) -> Kinds | None:
    """Return the kinds of a model whose layers a search made unlike each other: some have lost their attention."""
    if len(blocks) != layers:
        return None
    attentions = [block.section("attention") for block in blocks]
    return tuple(
        LayerKind.NONE
        if attention is None or attention.flag("no_op") or attention.flag("replace_with_linear")
        else LayerKind.FULL
        for attention in attentions
    )


def _of_chunks(part: TextPart, layers: int) -> Kinds:
    """Return Llama 4's kinds: layers with rotated positions attend within a chunk, the others (0) to everything."""
    rotated = part.document.whole_or_list("no_rope_layers")
    if isinstance(rotated, tuple) and len(rotated) >= layers:
        return _full_at({layer for layer in range(layers) if not rotated[layer]}, layers)
    return _full_at(set(_every(part.document.whole("no_rope_layer_interval") or 4, layers)), layers)


def _every(interval: int, layers: int) -> range:
    return range(interval - 1, layers, interval)


def _full_at(full: set[int], layers: int) -> Kinds:
    return tuple(LayerKind.FULL if layer in full else LayerKind.SLIDING for layer in range(layers))


def _attention_at(attention: set[int], layers: int) -> Kinds:
    return tuple(LayerKind.FULL if layer in attention else LayerKind.RECURRENT for layer in range(layers))


def _without_borrowers(part: TextPart, kinds: Kinds) -> Kinds:
    """Return the kinds with those layers keeping nothing that use what an earlier layer keeps."""
    document = part.document
    if last := document.whole("num_kv_shared_layers"):  # Gemma 3n
        kept = max(0, len(kinds) - last)
        return (*kinds[:kept], *(LayerKind.NONE for _ in kinds[kept:]))
    if document.flag("use_cla") and (factor := document.whole("cla_share_factor")):  # Hunyuan
        return tuple(LayerKind.NONE if layer % factor else kind for layer, kind in enumerate(kinds))
    return kinds
