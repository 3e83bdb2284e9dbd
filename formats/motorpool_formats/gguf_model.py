"""GGUF headers → facts.

Key names and defaults are those of docs/gguf.md and of llama.cpp's llama_model::load_hparams.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import chain

from motorpool_formats import projector
from motorpool_formats.errors import ModelIncompleteError
from motorpool_formats.facts import ModelFacts
from motorpool_formats.ggml import FILE_TYPE_GUESSED, FILE_TYPES
from motorpool_formats.gguf import Header, Tensor
from motorpool_formats.gguf_keys import Keys, PerLayer
from motorpool_formats.gguf_layers import latent_attention, layers_of, recurrent_state
from motorpool_formats.gguf_roles import parts_of

MAX_LAYERS = 1_024
"""Twice LLAMA_MAX_LAYERS of src/llama-hparams.h; a bound on the tuples a file can make us build."""

POOLING_RANK = 4
"""LLAMA_POOLING_TYPE_RANK in include/llama.h."""

EMBEDDING_ARCHITECTURES = frozenset(
    {
        "bert",
        "eurobert",
        "gemma-embedding",
        "gemma-embedding2",
        "jina-bert-v2",
        "jina-bert-v3",
        "llama-embed",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "t5encoder",
    }
)
IMAGE_ARCHITECTURES = frozenset({"aura", "flux", "hidream", "lumina2", "qwen_image", "sd1", "sd3", "sdxl"})
"""What ComfyUI-GGUF's converter, the usual source of such files, writes."""
SPEECH_ARCHITECTURES = frozenset({"pockettts", "qwen3tts", "wavtokenizer-dec"})


def model_facts(headers: Sequence[Header]) -> ModelFacts:
    """Return what the headers of a model's files, the first file's first, say about it."""
    tensors = tuple(chain.from_iterable(header.tensors for header in headers))
    keys = Keys(headers[0])
    if not tensors:
        raise ModelIncompleteError(
            keys.file, "it has no tensors: a vocabulary, not a model", "name the file with the weights"
        )
    layers = keys.number("block_count")
    if layers is not None and layers > MAX_LAYERS:
        raise keys.wrong("block_count", f"is {layers}, and {MAX_LAYERS} is the most accepted")
    hidden_size = keys.number("embedding_length")
    heads = keys.per_layer("attention.head_count", layers)
    head_size = _head_size(hidden_size, heads)
    kv_heads = _first_known(keys.per_layer("attention.head_count_kv", layers), heads)
    feed_forward = keys.per_layer("feed_forward_length", layers)
    key_length = keys.number("attention.key_length") or head_size
    value_length = keys.number("attention.value_length") or head_size
    weight_bytes = sum(tensor.size_bytes for tensor in tensors)
    parts = parts_of(tensors, layers)
    kept = layers_of(keys, layers, kv_heads, feed_forward)
    return ModelFacts(
        format="gguf",
        files=tuple(header.name for header in headers),
        file_bytes=sum(header.file_bytes for header in headers),
        digest=_digest(headers),
        name=keys.general_text("name"),
        architecture=keys.architecture,
        categories=_categories(keys, tensors),
        quantization=_quantization(keys, tensors),
        chat_template=keys.has_chat_template(),
        parameters=sum(tensor.elements for tensor in tensors),
        weight_bytes=weight_bytes,
        layer_bytes=parts.layers,
        nonlayer_bytes=None if parts.layers is None else weight_bytes - sum(parts.layers),
        layers=layers,
        hidden_size=hidden_size,
        feed_forward=feed_forward,
        heads=heads,
        kv_heads=kv_heads,
        key_length=key_length,
        value_length=value_length,
        vocab_size=keys.number("vocab_size") or keys.tokens(),
        context_length=keys.number("context_length"),
        experts=keys.number("expert_count"),
        experts_used=keys.greatest("expert_used_count"),
        sliding_window=kept.window,
        sliding_key_length=_other_than(key_length, keys.number("attention.key_length_swa")),
        sliding_value_length=_other_than(value_length, keys.number("attention.value_length_swa")),
        layer_kinds=kept.kinds,
        latent=latent_attention(keys),
        recurrent=recurrent_state(keys, kept.kinds, heads),
        experts_shared=keys.number("expert_shared_count"),
        expert_feed_forward=keys.greatest("expert_feed_forward_length"),
        vision_heads=keys.number("vision.attention.head_count"),
        audio_heads=keys.number("audio.attention.head_count"),
        roles=parts.roles,
        layer_expert_bytes=parts.experts,
    )


def _head_size(hidden_size: int | None, heads: PerLayer) -> int | None:
    first = heads[0] if isinstance(heads, tuple) and heads else heads
    return hidden_size // first if hidden_size and isinstance(first, int) and first else None


def _first_known(value: PerLayer, default: PerLayer) -> PerLayer:
    return default if value is None else value


def _other_than(usual: int | None, value: int | None) -> int | None:
    return None if value == usual else value


def _categories(keys: Keys, tensors: Sequence[Tensor]) -> tuple[str, ...]:
    kind, architecture = keys.general_text("type"), keys.architecture
    pooling = keys.number("pooling_type")
    if kind == "adapter":
        return ("adapter",)
    if kind == "mmproj" or architecture == projector.ARCHITECTURE:
        return ("projector",)
    if pooling == POOLING_RANK or any(tensor.name in ("cls.weight", "cls.output.weight") for tensor in tensors):
        return ("reranker",)
    if pooling or architecture in EMBEDDING_ARCHITECTURES:
        return ("embedding",)
    if architecture in IMAGE_ARCHITECTURES:
        return ("image",)
    if architecture in SPEECH_ARCHITECTURES:
        return ("text_to_speech",)
    return ("llm",) if keys.has_tokenizer() else ()


def _quantization(keys: Keys, tensors: Sequence[Tensor]) -> str | None:
    file_type = keys.general_number("file_type")
    named = None if file_type is None else FILE_TYPES.get(file_type & ~FILE_TYPE_GUESSED)
    if named is not None:
        return named
    bytes_by_type: Counter[str] = Counter()
    for tensor in tensors:
        bytes_by_type[tensor.type] += tensor.size_bytes
    return bytes_by_type.most_common(1)[0][0]


def _digest(headers: Sequence[Header]) -> str:
    digest = hashlib.sha256()
    for header in headers:
        digest.update(header.sha256)
        digest.update(header.file_bytes.to_bytes(8, "little"))
    return f"sha256:{digest.hexdigest()}"
