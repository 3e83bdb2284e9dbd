"""GGUF headers → facts.

Key names and defaults are those of docs/gguf.md and of llama.cpp's llama_model::load_hparams.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain

from motorpool_formats.errors import ModelCorruptError, ModelIncompleteError, shown
from motorpool_formats.facts import ModelFacts
from motorpool_formats.ggml import FILE_TYPE_GUESSED, FILE_TYPES
from motorpool_formats.gguf import Header, Skipped, Tensor

MAX_LAYERS = 4_096
"""Eight times what llama.cpp accepts; a bound on the tuples a file can make us build."""

MAX_NUMBER = (1 << 32) - 1
"""llama.cpp reads all these numbers into 32 bits."""

POOLING_RANK = 4

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

_LAYER = re.compile(r"(?:enc\.|dec\.)?blk\.(\d{1,9})\.")


def model_facts(headers: Sequence[Header]) -> ModelFacts:
    """Return what the headers of a model's files, the first file's first, say about it."""
    tensors = tuple(chain.from_iterable(header.tensors for header in headers))
    keys = _Keys(headers[0])
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
    weight_bytes = sum(tensor.size_bytes for tensor in tensors)
    layer_bytes = None if layers is None else _layer_bytes(tensors, layers)
    return ModelFacts(
        format="gguf",
        files=tuple(header.name for header in headers),
        file_bytes=sum(header.file_bytes for header in headers),
        digest=_digest(headers),
        name=keys.general_text("name"),
        architecture=keys.architecture,
        categories=_categories(keys, tensors),
        quantization=_quantization(keys, tensors),
        chat_template=any(key.startswith("tokenizer.chat_template") for key in headers[0].values),
        parameters=sum(tensor.elements for tensor in tensors),
        weight_bytes=weight_bytes,
        layer_bytes=layer_bytes,
        nonlayer_bytes=None if layer_bytes is None else weight_bytes - sum(layer_bytes),
        layers=layers,
        hidden_size=hidden_size,
        feed_forward=keys.per_layer("feed_forward_length", layers),
        heads=heads,
        kv_heads=_first_known(keys.per_layer("attention.head_count_kv", layers), heads),
        key_length=keys.number("attention.key_length") or head_size,
        value_length=keys.number("attention.value_length") or head_size,
        vocab_size=keys.number("vocab_size") or keys.tokens(),
        context_length=keys.number("context_length"),
        experts=keys.number("expert_count"),
        experts_used=keys.number("expert_used_count"),
        sliding_window=keys.number("attention.sliding_window"),
    )


class _Keys:
    """Typed access to a header's values: absent is None, the wrong type is an error that names the key."""

    def __init__(self, header: Header) -> None:
        self.file = header.name
        self._values = header.values
        self.architecture = self.general_text("architecture")

    def general_text(self, key: str) -> str | None:
        """Return a text of the ``general`` group."""
        value = self._values.get(f"general.{key}")
        if value is None or value == "" or isinstance(value, Skipped):
            return None
        if not isinstance(value, str):
            raise self._wrong(f"general.{key}", f"is {value}, not a text")
        return shown(value)

    def general_number(self, key: str) -> int | None:
        """Return a number of the ``general`` group; 0 is a number there."""
        return self._whole(f"general.{key}")

    def number(self, key: str) -> int | None:
        """Return a number of the architecture's group; 0 stands for none."""
        return self._whole(self._own(key)) or None

    def per_layer(self, key: str, layers: int | None) -> int | tuple[int, ...] | None:
        """Return a number for all layers, or one for each."""
        key = self._own(key)
        value = self._values.get(key)
        if not isinstance(value, tuple):
            return self._whole(key)
        if len(value) != layers:
            raise self._wrong(key, f"has {len(value)} values for {layers} layers")
        return tuple(self._in_range(key, item) for item in value)

    def tokens(self) -> int | None:
        """Return how many tokens the tokenizer lists."""
        tokens = self._values.get("tokenizer.ggml.tokens")
        return (tokens.count or None) if isinstance(tokens, Skipped) else None

    def has_tokenizer(self) -> bool:
        """Return whether the file brings a tokenizer."""
        return "tokenizer.ggml.model" in self._values

    def wrong(self, key: str, what: str) -> ModelCorruptError:
        """Return the error for a value of the architecture's group."""
        return self._wrong(self._own(key), what)

    def _own(self, key: str) -> str:
        return f"{self.architecture}.{key}"

    def _whole(self, key: str) -> int | None:
        value = self._values.get(key)
        if value is None:
            return None
        if type(value) is not int:  # a bool is no number here
            raise self._wrong(key, f"is {shown(str(value))}, not a whole number")
        return self._in_range(key, value)

    def _in_range(self, key: str, value: int) -> int:
        if not 0 <= value <= MAX_NUMBER:
            raise self._wrong(key, f"is {value}, not between 0 and {MAX_NUMBER}")
        return value

    def _wrong(self, key: str, what: str) -> ModelCorruptError:
        return ModelCorruptError(self.file, f"key {shown(key)} {what}", "download or convert the model again")


def _head_size(hidden_size: int | None, heads: int | tuple[int, ...] | None) -> int | None:
    first = heads[0] if isinstance(heads, tuple) and heads else heads
    return hidden_size // first if hidden_size and isinstance(first, int) and first else None


def _first_known(
    value: int | tuple[int, ...] | None, default: int | tuple[int, ...] | None
) -> int | tuple[int, ...] | None:
    return default if value is None else value


def _layer_bytes(tensors: Sequence[Tensor], layers: int) -> tuple[int, ...]:
    sums = [0] * layers
    for tensor in tensors:
        layer = _LAYER.match(tensor.name)
        if layer is not None and int(layer[1]) < layers:
            sums[int(layer[1])] += tensor.size_bytes
    return tuple(sums)


def _categories(keys: _Keys, tensors: Sequence[Tensor]) -> tuple[str, ...]:
    kind, architecture = keys.general_text("type"), keys.architecture
    pooling = keys.number("pooling_type")
    if kind == "adapter":
        return ("adapter",)
    if kind == "mmproj" or architecture == "clip":
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


def _quantization(keys: _Keys, tensors: Sequence[Tensor]) -> str | None:
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
