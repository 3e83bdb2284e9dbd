"""A model's facts to and from their message."""

from __future__ import annotations

from collections.abc import Iterable

from motorpool import v1
from motorpool_formats.facts import ModelFacts


def facts_message(facts: ModelFacts) -> v1.ModelFacts:
    """Return the message of a model's facts; what is unknown is absent."""
    return v1.ModelFacts(
        format=facts.format,
        architecture=facts.architecture or "",
        display_name=facts.name or "",
        categories=facts.categories,
        quantization=facts.quantization or "",
        layers=facts.layers,
        hidden_size=facts.hidden_size,
        heads=_each(facts.heads),
        kv_heads=_each(facts.kv_heads),
        key_length=facts.key_length,
        value_length=facts.value_length,
        vocabulary_size=facts.vocab_size,
        context_length=facts.context_length,
        experts=facts.experts,
        experts_used=facts.experts_used,
        sliding_window=facts.sliding_window,
        parameter_count=facts.parameters,
        weight_bytes=facts.weight_bytes,
        nonlayer_bytes=facts.nonlayer_bytes,
        layer_bytes=facts.layer_bytes or (),
        file_bytes=facts.file_bytes,
        digest=facts.digest,
        feed_forward_size=_each(facts.feed_forward),
        files=facts.files,
        chat_template=facts.chat_template,
    )


def facts_of(message: v1.ModelFacts) -> ModelFacts:
    """Return the facts that a message carries."""
    return ModelFacts(
        format=message.format,
        files=tuple(message.files),
        file_bytes=message.file_bytes,
        digest=message.digest,
        name=message.display_name or None,
        architecture=message.architecture or None,
        categories=tuple(message.categories),
        quantization=message.quantization or None,
        chat_template=message.chat_template,
        parameters=message.parameter_count,
        weight_bytes=message.weight_bytes,
        layer_bytes=tuple(message.layer_bytes) or None,
        nonlayer_bytes=message.nonlayer_bytes if message.HasField("nonlayer_bytes") else None,
        layers=message.layers if message.HasField("layers") else None,
        hidden_size=message.hidden_size if message.HasField("hidden_size") else None,
        feed_forward=_one_or_each(message.feed_forward_size),
        heads=_one_or_each(message.heads),
        kv_heads=_one_or_each(message.kv_heads),
        key_length=message.key_length if message.HasField("key_length") else None,
        value_length=message.value_length if message.HasField("value_length") else None,
        vocab_size=message.vocabulary_size if message.HasField("vocabulary_size") else None,
        context_length=message.context_length if message.HasField("context_length") else None,
        experts=message.experts if message.HasField("experts") else None,
        experts_used=message.experts_used if message.HasField("experts_used") else None,
        sliding_window=message.sliding_window if message.HasField("sliding_window") else None,
    )


def _each(value: int | tuple[int, ...] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _one_or_each(entries: Iterable[int]) -> int | tuple[int, ...] | None:
    values = tuple(entries)
    if len(values) <= 1:
        return values[0] if values else None
    return values
