"""The part of a config.json that describes the language model, under the names that families give its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from motorpool_formats.hugging_face.documents import Document
from motorpool_formats.hugging_face.families import DEFAULTS, ENCODER_DECODER

MAX_LAYERS = 4_096
"""Thirty times the deepest model; a bound on what a file can make us build."""

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers")
DECODER_LAYERS = ("decoder_layers", "num_decoder_layers", "num_layers", "num_hidden_layers")
HIDDEN_SIZE = ("hidden_size", "n_embd", "n_embed", "d_model", "model_dim")
FEED_FORWARD = ("intermediate_size", "ffn_dim", "decoder_ffn_dim", "n_inner", "d_ff", "ffn_hidden_size")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "num_query_heads")
DECODER_HEADS = ("decoder_attention_heads", *HEADS)
KV_HEADS = ("num_key_value_heads", "n_head_kv", "num_kv_heads", "num_attention_groups")
HEAD_DIM = ("head_dim", "kv_channels", "attention_head_dim", "hidden_size_per_head", "d_kv")
VOCABULARY = ("vocab_size", "padded_vocab_size")
EXPERTS = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
EXPERTS_USED = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "top_k_experts",
    "moe_topk",
    "moe_top_k",
    "moe_k",
    "router_top_k",
)
EXPERTS_SHARED = ("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")
EXPERT_FEED_FORWARD = ("moe_intermediate_size", "expert_ffn_hidden_size")
CONTEXT = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "max_context_length",
    "seq_len",
)
SYNONYMS = (
    LAYERS,
    HIDDEN_SIZE,
    FEED_FORWARD,
    HEADS,
    KV_HEADS,
    HEAD_DIM,
    VOCABULARY,
    EXPERTS,
    EXPERTS_USED,
    EXPERTS_SHARED,
    EXPERT_FEED_FORWARD,
    CONTEXT,
)
"""Groups of keys that mean the same; the first is the name most families use."""

NESTED = ("text_config", "llm_config", "language_config", "language_model_config")
"""Where models of pictures and sound keep their language model."""


@dataclass(frozen=True, slots=True)
class TextPart:
    """The language model's own section, or all of config.json, with what its family takes for granted."""

    document: Document
    model_type: str
    defaults: Mapping[str, int]

    @property
    def encoder_decoder(self) -> bool:
        """Whether it has a stack that reads and another that writes."""
        stated = self.document.flag("is_encoder_decoder")
        return self.model_type in ENCODER_DECODER if stated is None else stated

    @property
    def layers(self) -> int | None:
        """How many layers; of two stacks those of the one that writes, as it keeps what it wrote."""
        layers = self.whole(*(DECODER_LAYERS if self.encoder_decoder else LAYERS))
        if layers is not None and layers > MAX_LAYERS:
            key = next(key for key in (*LAYERS, *DECODER_LAYERS) if key in self.document)
            raise self.document.wrong(key, f"and {MAX_LAYERS} is the most accepted")
        return layers or None

    def whole(self, *keys: str) -> int | None:
        """Return the first of these that has a value, or the family's default where none of them stands there."""
        value = self.document.whole(*keys)
        return self._default(keys) if value is None else value

    def per_layer(self, *keys: str) -> int | tuple[int, ...] | None:
        """Return one number, or one for each layer where layers differ."""
        value = self.document.whole_or_list(*keys)
        if not isinstance(value, tuple):
            return self._default(keys) if value is None else value
        if self.layers is not None and len(value) < self.layers:
            key = next(key for key in keys if self.document.values.get(key) is not None)
            raise self.document.wrong(key, f"{len(value)} values for {self.layers} layers")
        return same_or_each(value[: self.layers])

    def _default(self, keys: tuple[str, ...]) -> int | None:
        return None if any(key in self.document for key in keys) else self.defaults.get(keys[0])


def same_or_each(values: tuple[int, ...]) -> int | tuple[int, ...] | None:
    """Return one number where all are the same."""
    if not values:
        return None
    return values[0] if len(set(values)) == 1 else values


def text_part(config: Document) -> TextPart:
    """Return the section that says how many layers there are; else one whose family is known; else all of it."""
    thinker = config.section("thinker_config")  # Qwen-Omni: what thinks, and beside it what talks
    outer = [config] if thinker is None else [thinker, config]
    sections = [section for part in outer for key in NESTED if (section := part.section(key))]
    sections.append(config)
    chosen = next((section for section in sections if any(key in section for key in LAYERS)), None)
    chosen = chosen or next((section for section in sections if section.text("model_type") in DEFAULTS), config)
    model_type = chosen.text("model_type") or config.text("model_type") or ""
    return TextPart(chosen, model_type, DEFAULTS.get(model_type, {}))
