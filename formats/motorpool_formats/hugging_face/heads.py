"""Attention heads and their widths, of the language model and of towers beside it."""

from __future__ import annotations

from dataclasses import dataclass

from motorpool_formats.facts import LatentAttention, LayerKind
from motorpool_formats.hugging_face.attention import Kinds
from motorpool_formats.hugging_face.documents import Document
from motorpool_formats.hugging_face.families import DEFAULTS, KV_HEADS_ARE_HEADS, WITHOUT_ATTENTION
from motorpool_formats.hugging_face.text_part import DECODER_HEADS, HEAD_DIM, HEADS, KV_HEADS, TextPart, same_or_each

PerLayer = int | tuple[int, ...] | None

_AUDIO_HEADS = ("encoder_attention_heads", "num_attention_heads", "num_heads", "conf_num_attention_heads")


@dataclass(frozen=True, slots=True)
class Widths:
    """Widths of keys and values; those of layers with a window only where they differ."""

    key: int | None = None
    value: int | None = None
    sliding_key: int | None = None
    sliding_value: int | None = None


def attention_heads(part: TextPart) -> PerLayer:
    """Return heads of queries; 0 in families without attention."""
    if part.model_type in WITHOUT_ATTENTION:  # Mamba-2 calls something else so
        return 0
    return part.per_layer(*(DECODER_HEADS if part.encoder_decoder else HEADS))


def kv_heads(part: TextPart, heads: PerLayer, kinds: Kinds | None) -> PerLayer:
    """Return heads of keys and values, one for each layer where layers differ."""
    document = part.document
    of_full = document.whole("num_global_key_value_heads") if document.flag("attention_k_eq_v") else None  # Gemma 4
    of_sliding = document.whole("swa_num_key_value_heads")  # MiMo
    stated = _kv_heads_of_all(part, heads)
    if not isinstance(stated, int) or (of_full is None and of_sliding is None):
        return stated
    if kinds is None:
        return None
    return same_or_each(
        tuple(of_sliding or stated if kind is LayerKind.SLIDING else of_full or stated for kind in kinds)
    )


def _kv_heads_of_all(part: TextPart, heads: PerLayer) -> PerLayer:
    document, model_type = part.document, part.model_type
    if model_type in WITHOUT_ATTENTION:
        return 0
    if blocks := document.items("block_configs"):
        return _kv_heads_of_blocks(part, blocks, heads)
    if model_type in {"falcon", "RefinedWeb", "RefinedWebModel"} and not document.flag("new_decoder_architecture"):
        return heads if document.flag("multi_query") is False else 1
    if model_type == "gpt_bigcode" and document.flag("multi_query") is not False:
        return 1
    if model_type == "chatglm":
        return document.whole("multi_query_group_num") if document.flag("multi_query_attention") else heads
    if nested := document.section("attn_config"):  # DBRX and MPT
        if nested.text("attn_type") == "multiquery_attention":
            return 1
        stated: PerLayer = nested.whole("kv_n_heads")
    else:
        stated = part.per_layer(*KV_HEADS)
    if stated is not None:
        return stated
    # Where a family has the key, null in it means the same for all.
    return heads if model_type in KV_HEADS_ARE_HEADS or any(key in document for key in KV_HEADS) else None


def _kv_heads_of_blocks(part: TextPart, blocks: tuple[Document, ...], heads: PerLayer) -> PerLayer:
    """Return heads of keys and values of a model whose layers a search made unlike each other (Nemotron)."""
    if not isinstance(heads, int) or len(blocks) != part.layers:
        return None
    each: list[int] = []
    for block in blocks:
        attention = block.section("attention")
        group = attention.whole("n_heads_in_group") if attention else None
        if attention and not (attention.flag("no_op") or attention.flag("replace_with_linear")) and not group:
            return None
        each.append(heads // group if group else 0)
    return same_or_each(tuple(each))


def widths(part: TextPart, hidden_size: int | None, heads: PerLayer, latent: LatentAttention | None) -> Widths:
    """Return the widths of keys and values."""
    document = part.document
    if part.model_type in WITHOUT_ATTENTION:
        return Widths()
    if latent is not None:
        nope = latent.nope_dim
        return Widths(None if nope is None else nope + latent.rope_dim, latent.value_dim)
    length = part.whole(*HEAD_DIM) or None
    if length is None and hidden_size and isinstance(heads, int) and heads and hidden_size % heads == 0:
        length = hidden_size // heads
    value = document.whole("v_head_dim") or length
    of_full = _width_of_full_layers(part)  # Gemma 4, where head_dim is that of layers with a window
    if of_full not in {None, length}:
        return Widths(of_full, of_full, length, value)
    sliding, sliding_value = document.whole("swa_head_dim"), document.whole("swa_v_head_dim")  # MiMo
    if (sliding or length, sliding_value or value) != (length, value):
        return Widths(length, value, sliding or length, sliding_value or value)
    return Widths(length, value)


def _width_of_full_layers(part: TextPart) -> int | None:
    exceptions = part.document.section("per_layer_config")  # as transformers 5 saves it
    stated = {width for layer in exceptions.nested() if (width := layer.whole("head_dim"))} if exceptions else set()
    return stated.pop() if len(stated) == 1 else part.whole("global_head_dim")


def vision_heads(config: Document) -> int | None:
    """Return the heads of the tower for pictures, with those that were added to make them divisible."""
    thinker = config.section("thinker_config")
    for outer in (config, thinker):
        tower = outer and (outer.section("vision_config") or outer.section("visual"))
        if not tower:
            continue
        heads = tower.whole_or_list("num_attention_heads", "num_heads", "heads")
        if isinstance(heads, tuple):  # stages of their own (Florence), none of which is all
            return None
        if heads is None and "num_attention_heads" not in tower:
            heads = DEFAULTS.get(tower.text("model_type") or "", {}).get("num_attention_heads")
        if heads:
            return heads + (tower.whole("num_dummy_heads") or 0)
    return None


def audio_heads(config: Document, part: TextPart) -> int | None:
    """Return the heads of the tower for sound, which in Whisper is the encoder."""
    thinker = config.section("thinker_config")
    for outer in (config, thinker):
        tower = outer and outer.section("audio_config")
        if tower and (heads := tower.whole_or_list(*_AUDIO_HEADS)):
            return heads if isinstance(heads, int) else None
    return config.whole("encoder_attention_heads") if part.model_type == "whisper" else None
