"""What ``--hf-overrides`` of an engine changes in config.json, and so in facts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from motorpool_formats.errors import OverridesError
from motorpool_formats.facts import LayerKind, ModelFacts
from motorpool_formats.hugging_face.categories import categories_of
from motorpool_formats.hugging_face.config import Shape, dtype_of, shape_of
from motorpool_formats.hugging_face.documents import Document
from motorpool_formats.hugging_face.quantization import stated_quantization
from motorpool_formats.hugging_face.recurrence import KEYS as RECURRENT_KEYS
from motorpool_formats.hugging_face.text_part import NESTED, SYNONYMS

OPTION = "--hf-overrides"

_OBJECT = 'give an object, as {"key": value}'

_NO_SECTION = frozenset({"quantization_config", "compression_config", "generation_config"})
"""Objects that are values; other keys that end like these are sections, which are changed key by key."""

_WORDS = {
    LayerKind.FULL: "full_attention",
    LayerKind.SLIDING: "sliding_attention",
    LayerKind.RECURRENT: "linear_attention",
    LayerKind.HYBRID: "hybrid",
    LayerKind.NONE: "mlp",
}


def parse_overrides(text: str) -> dict[str, object]:
    """Return the overrides of an option's value."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OverridesError(OPTION, f"its value is not JSON: {error}", _OBJECT) from error
    if not isinstance(value, dict):
        raise OverridesError(OPTION, "its value is not a JSON object", _OBJECT)
    return value


def overridden_config(config: Mapping[str, object], overrides: Mapping[str, object]) -> dict[str, object]:
    """Return a config.json with overrides applied as vLLM applies them.

    Sections (``text_config`` …) are changed key by key, anything else is replaced, what is not known is kept. A key
    that means the same as one that the config has takes its place.
    """
    changed = dict(config)
    for key, value in overrides.items():
        present = changed.get(key)
        if isinstance(value, dict) and isinstance(present, dict) and _is_section(key):
            changed[key] = overridden_config(present, value)
            continue
        for synonyms in SYNONYMS:
            if key in synonyms:
                changed = {other: kept for other, kept in changed.items() if other not in synonyms}
        changed[key] = value
    return changed


def overridden(facts: ModelFacts, overrides: Mapping[str, object]) -> ModelFacts:
    """Return the facts that a model has under overrides, from its facts alone.

    Reading the folder with the same overrides says the same, but where facts keep only the outcome of what they change:
    a context length that came of scaled positions, and the sizes of recurrent layers, which become unknown.
    """
    if not overrides:
        return facts
    flat = _flat(overrides)
    before = _config_of(facts)
    after = Document(OPTION, overridden_config(before, flat))
    shape, shape_before = shape_of(after), shape_of(Document(OPTION, before))
    changes: dict[str, Any] = {
        field.name: value
        for field in fields(Shape)
        if (value := getattr(shape, field.name)) != getattr(shape_before, field.name)
    }
    if flat.keys() & RECURRENT_KEYS:
        changes["recurrent"] = shape.recurrent
    if "architectures" in flat:
        architectures = after.texts("architectures")
        changes["architectures"] = architectures
        changes["architecture"] = architectures[0] if architectures else None
        changes["categories"] = categories_of(architectures, after) or facts.categories
    if "model_type" in flat:
        changes["model_type"] = after.text("model_type")
    if quantization := stated_quantization(Document(OPTION, flat)):
        changes["quantization"] = quantization.name
    if dtype := dtype_of(Document(OPTION, flat)):
        changes["dtype"] = dtype
    return _with_first_layers(replace(facts, **changes), facts.layers)


def _with_first_layers(facts: ModelFacts, before: int | None) -> ModelFacts:
    """Return the facts with the bytes of those layers alone that an engine would still load."""
    layers, layer_bytes, experts = facts.layers, facts.layer_bytes, facts.layer_expert_bytes
    if layers == before or layers is None or layer_bytes is None:
        return facts
    if layers > len(layer_bytes):  # more than there are weights for: no engine will load that
        return replace(facts, layer_bytes=None, nonlayer_bytes=None, layer_expert_bytes=None, roles=None)
    lost = sum(layer_bytes[layers:])
    lost_experts = sum(experts[layers:]) if experts else 0
    roles = facts.roles and replace(
        facts.roles, layers=facts.roles.layers - lost + lost_experts, experts=facts.roles.experts - lost_experts
    )
    return replace(
        facts,
        parameters=None,
        weight_bytes=facts.weight_bytes - lost,
        layer_bytes=layer_bytes[:layers],
        layer_expert_bytes=experts[:layers] if experts else None,
        roles=roles,
    )


def _config_of(facts: ModelFacts) -> dict[str, object]:
    """Return a config.json that says what the facts say."""
    key = facts.sliding_key_length or facts.key_length
    value = facts.sliding_value_length or facts.value_length
    config: dict[str, object] = {
        "architectures": list(facts.architectures),
        "model_type": facts.model_type,
        "num_hidden_layers": facts.layers,
        "hidden_size": facts.hidden_size,
        "intermediate_size": _plain(facts.feed_forward),
        "num_attention_heads": _plain(facts.heads),
        "num_key_value_heads": _plain(facts.kv_heads),
        "head_dim": key,
        "v_head_dim": None if value == key else value,
        "global_head_dim": facts.key_length if facts.sliding_key_length else None,
        "vocab_size": facts.vocab_size,
        "max_position_embeddings": facts.context_length,
        "num_experts": facts.experts,
        "num_experts_per_tok": facts.experts_used,
        "n_shared_experts": facts.experts_shared,
        "moe_intermediate_size": facts.expert_feed_forward,
        "layer_types": [_WORDS[kind] for kind in facts.layer_kinds or ()],
    }
    if latent := facts.latent:
        config |= {
            "kv_lora_rank": latent.kv_rank,
            "q_lora_rank": latent.query_rank,
            "qk_nope_head_dim": latent.nope_dim,
            "qk_rope_head_dim": latent.rope_dim,
            "v_head_dim": latent.value_dim,
        }
    for section, heads in (("vision_config", facts.vision_heads), ("audio_config", facts.audio_heads)):
        if heads is not None:
            config[section] = {"num_attention_heads": heads}
    stated = {key: value for key, value in config.items() if value is not None and value != []}
    return stated | {"sliding_window": facts.sliding_window}  # null says that there is none


def _plain(value: int | tuple[int, ...] | None) -> int | list[int] | None:
    return list(value) if isinstance(value, tuple) else value


def _flat(overrides: Mapping[str, object]) -> dict[str, object]:
    """Return overrides with those of the language model's own section on top, as facts know no sections."""
    flat: dict[str, object] = {}
    inner: list[Mapping[str, object]] = []
    for key, value in overrides.items():
        if isinstance(value, dict) and (key in NESTED or key == "thinker_config"):
            inner.append(_flat(value))
        else:
            flat[key] = value
    for section in inner:
        flat |= section
    return flat


def _is_section(key: str) -> bool:
    return key.endswith("_config") and key not in _NO_SECTION
