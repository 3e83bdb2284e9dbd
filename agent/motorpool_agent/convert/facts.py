"""A model's facts to and from their message."""

from __future__ import annotations

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
        heads=_largest(facts.heads),
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
        feed_forward_size=_largest(facts.feed_forward),
    )


def facts_of(message: v1.ModelFacts) -> ModelFacts:
    """Return the facts that a message carries. The files' names do not travel."""
    kv_heads = tuple(message.kv_heads)
    return ModelFacts(
        format=message.format,
        files=(),
        file_bytes=message.file_bytes,
        digest=message.digest,
        name=message.display_name or None,
        architecture=message.architecture or None,
        categories=tuple(message.categories),
        quantization=message.quantization or None,
        chat_template=False,
        parameters=message.parameter_count,
        weight_bytes=message.weight_bytes,
        layer_bytes=tuple(message.layer_bytes) or None,
        nonlayer_bytes=message.nonlayer_bytes if message.HasField("nonlayer_bytes") else None,
        layers=message.layers if message.HasField("layers") else None,
        hidden_size=message.hidden_size if message.HasField("hidden_size") else None,
        feed_forward=message.feed_forward_size if message.HasField("feed_forward_size") else None,
        heads=message.heads if message.HasField("heads") else None,
        kv_heads=(kv_heads[0] if len(kv_heads) == 1 else kv_heads) if kv_heads else None,
        key_length=message.key_length if message.HasField("key_length") else None,
        value_length=message.value_length if message.HasField("value_length") else None,
        vocab_size=message.vocabulary_size if message.HasField("vocabulary_size") else None,
        context_length=message.context_length if message.HasField("context_length") else None,
        experts=message.experts if message.HasField("experts") else None,
        experts_used=message.experts_used if message.HasField("experts_used") else None,
        sliding_window=message.sliding_window if message.HasField("sliding_window") else None,
    )


def _largest(value: int | tuple[int, ...] | None) -> int | None:
    """Return one number for all layers: the message has one, and memory is planned for the largest."""
    return max(value, default=None) if isinstance(value, tuple) else value


def _each(value: int | tuple[int, ...] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)
