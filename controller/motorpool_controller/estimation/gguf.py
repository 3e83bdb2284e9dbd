"""Memory of a GGUF model in llama.cpp, from its headers, to the safe side.

Sources: llama.cpp b11549 (src/llama-kv-cache.cpp, llama-kv-cache-iswa.cpp, llama-context.cpp: sched_reserve;
common/arg.cpp)
for how caches and buffers are sized, and gguf-parser-go (file_estimate__llamacpp.go) for the parts and the footprint of
150 MiB host and 500 MiB device memory. Held against a running engine by
tests/controller/estimation/test_gguf.py, which has the measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from motorpool_controller.domain.fleet import Option
from motorpool_controller.domain.parameters import integer_of, named
from motorpool_controller.domain.placement import Confidence, Estimate
from motorpool_controller.domain.sizes import MIB, in_words
from motorpool_controller.domain.workload import Parameter
from motorpool_formats.facts import ModelFacts
from motorpool_formats.ggml import TENSOR_TYPES, TensorType

DEFAULT_CONTEXT_LENGTH = 8_192
DEFAULT_PARALLEL = 1
DEFAULT_BATCH = 2_048
DEFAULT_MICRO_BATCH = 512
RUNTIME_BYTES = 150 * MIB
DEVICE_RUNTIME_BYTES = 500 * MIB
MAX_CONTEXT_LENGTH = (1 << 31) - 1
MAX_PARALLEL = 4_096

CELL_PADDING = 256
CHECKPOINTS = 32
CHECKPOINT_TOKENS = 8_192
RECURRENT_BYTES_PER_WIDTH = 2 * 132 * 4
"""State of a layer without attention: twice the width, 128 states and 4 of the convolution, in f32."""

WINDOW_PERIODS = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4, "exaone4": 4}
"""Architectures whose attention is windowed but for the last of every so many layers (llama.cpp: set_swa_pattern).
The window of any other architecture is not counted on: its cache is claimed in full."""

SECOND_MODELS = ("mmproj", "model-draft", "md", "lora", "lora-scaled", "control-vector", "spec-draft-model")
"""Options that load weights which the headers of the model do not tell."""

MOVERS = ("cpu-moe", "n-cpu-moe", "override-tensor", "no-kv-offload")
"""Options that keep a part of the model in host memory that the formula puts on the device."""

_CACHE_TYPES = {layout.name.lower(): layout for layout in TENSOR_TYPES.values()}


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufEstimate:
    """Memory in host memory alone, or wholly on one device and ``beside`` it in host memory (bytes)."""

    host: Estimate
    device: Estimate
    beside: int | None
    context_length: int
    parallel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    layers: int
    hidden_size: int
    heads: tuple[int, ...]
    kv_heads: tuple[int, ...]
    key_length: int
    value_length: int
    vocab_size: int
    feed_forward: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Launch:
    context_length: int
    parallel: int
    micro_batch: int
    keys: TensorType
    values: TensorType
    flash_attention: bool | None
    full_window: bool
    prompt_cache_bytes: int

    @property
    def cells(self) -> int:
        """Return the tokens that the cache has room for."""
        return self.parallel * _padded(-(-self.context_length // self.parallel))


def estimate(facts: ModelFacts, options: Sequence[Option], parameters: Sequence[Parameter]) -> GgufEstimate:
    """Return what the model needs when launched with these parameters and the defaults above."""
    context_length = _context_length(facts, options, parameters)
    parallel = integer_of(parameters, options, "parallel") or DEFAULT_PARALLEL
    parallel = min(max(parallel, 1), MAX_PARALLEL, context_length)
    try:
        shape = _shape(facts)
        launch = _launch(parameters, context_length, parallel)
    except _UnknownError as error:
        unknown = Estimate(weights=facts.weight_bytes, provenance=f"unknown: {error}")
        return GgufEstimate(host=unknown, device=unknown, beside=None, context_length=context_length, parallel=parallel)
    kv, window = _kv_bytes(facts, shape, launch)
    checkpoints = _checkpoint_bytes(window, launch)
    extra = launch.prompt_cache_bytes + checkpoints
    masks = launch.cells * launch.micro_batch * 6
    scores = max(shape.heads) * launch.cells * launch.micro_batch * 4
    buffers = _buffer_bytes(shape, launch) + masks
    mover = next((name for name in MOVERS if named(parameters, name) is not None), None)
    unknown = Estimate(weights=facts.weight_bytes, provenance=f"unknown: --{mover} divides the model in its own way")
    return GgufEstimate(
        host=_sum(
            facts, launch, kv, buffers + (scores if launch.flash_attention is False else 0), RUNTIME_BYTES + extra
        ),
        # Not every device has the flash attention that every processor has: without it the scores stand in memory.
        device=unknown
        if mover
        else _sum(facts, launch, kv, buffers + (0 if launch.flash_attention else scores), DEVICE_RUNTIME_BYTES),
        # The input embeddings stay in host memory.
        beside=RUNTIME_BYTES
        + extra
        + masks
        + (facts.weight_bytes if facts.nonlayer_bytes is None else facts.nonlayer_bytes),
        context_length=context_length,
        parallel=parallel,
    )


def _context_length(facts: ModelFacts, options: Sequence[Option], parameters: Sequence[Parameter]) -> int:
    given = integer_of(parameters, options, "context_length")
    if given is not None and given > 0:
        return min(given, MAX_CONTEXT_LENGTH)
    most = facts.context_length or DEFAULT_CONTEXT_LENGTH
    if given == 0:  # llama.cpp's word for "as much as the model was made for"
        return min(most, MAX_CONTEXT_LENGTH)
    return min(DEFAULT_CONTEXT_LENGTH, most)


def _shape(facts: ModelFacts) -> _Shape:
    numbers = {
        "layers": facts.layers,
        "embedding width": facts.hidden_size,
        "attention heads": facts.heads,
        "key/value heads": facts.kv_heads,
        "key length": facts.key_length,
        "value length": facts.value_length,
        "vocabulary": facts.vocab_size,
    }
    missing = [what for what, number in numbers.items() if number is None]
    if missing:
        raise _UnknownError(f"the model's headers do not tell its {', '.join(missing)}")
    layers = facts.layers or 0
    hidden_size = facts.hidden_size or 0
    used = max(facts.experts_used or 1, 1)
    return _Shape(
        layers=layers,
        hidden_size=hidden_size,
        heads=_each(facts.heads, layers),
        kv_heads=_each(facts.kv_heads, layers),
        key_length=facts.key_length or 0,
        value_length=facts.value_length or 0,
        vocab_size=facts.vocab_size or 0,
        feed_forward=max(*_each(facts.feed_forward, layers), 4 * hidden_size) * used,
    )


def _launch(parameters: Sequence[Parameter], context_length: int, parallel: int) -> _Launch:
    second = next((name for name in SECOND_MODELS if named(parameters, name) is not None), None)
    if second is not None:
        raise _UnknownError(f"--{second} loads weights whose size is not read yet")
    batch = _number(parameters, DEFAULT_BATCH, "batch-size", "b")
    micro_batch = _number(parameters, DEFAULT_MICRO_BATCH, "ubatch-size", "ub")
    cache_mib = _number(parameters, 0, "cache-ram", "cram")
    if cache_mib < 0:
        raise _UnknownError("--cache-ram without a limit lets the prompt cache take all memory; give it in MiB")
    flash = (named(parameters, "flash-attn", "fa") or ("auto",))[0]
    return _Launch(
        context_length=context_length,
        parallel=parallel,
        micro_batch=min(max(batch, 1), max(micro_batch, 1), _padded(context_length)),
        keys=_cache_type(parameters, "cache-type-k", "ctk"),
        values=_cache_type(parameters, "cache-type-v", "ctv"),
        flash_attention={"on": True, "1": True, "off": False, "0": False}.get(flash.lower()),
        full_window=named(parameters, "swa-full") is not None,
        prompt_cache_bytes=cache_mib * MIB,
    )


def _kv_bytes(facts: ModelFacts, shape: _Shape, launch: _Launch) -> tuple[int, int]:
    """Return the bytes of the whole cache, and those of its windowed layers."""
    period = WINDOW_PERIODS.get(facts.architecture or "")
    window_cells = launch.cells
    if facts.sliding_window and period and not launch.full_window:
        window = launch.parallel * _padded(facts.sliding_window + launch.micro_batch)
        window_cells = min(window, launch.cells)
    full = windowed = 0
    for index, kv_heads in enumerate(shape.kv_heads):
        if not kv_heads:
            full += shape.hidden_size * RECURRENT_BYTES_PER_WIDTH * launch.parallel
        elif window_cells < launch.cells and period and index % period != period - 1:
            windowed += _layer_kv_bytes(shape, launch, kv_heads, window_cells)
        else:
            full += _layer_kv_bytes(shape, launch, kv_heads, launch.cells)
    return full + windowed, windowed


def _layer_kv_bytes(shape: _Shape, launch: _Launch, kv_heads: int, cells: int) -> int:
    return cells * (
        _row_bytes(kv_heads * shape.key_length, launch.keys) + _row_bytes(kv_heads * shape.value_length, launch.values)
    )


def _checkpoint_bytes(windowed: int, launch: _Launch) -> int:
    # A windowed cache cannot be rolled back: the server keeps copies of it, one every so many tokens.
    return windowed * min(CHECKPOINTS, 1 + launch.context_length // CHECKPOINT_TOKENS)


def _buffer_bytes(shape: _Shape, launch: _Launch) -> int:
    """Return the compute buffer without attention masks: the widest step of a layer, and the logits of a whole batch.

    Current servers reserve logits for one token a request; older ones, which may be installed, for the whole batch.
    """
    attention = max(
        heads * shape.key_length + 2 * kv * max(shape.key_length, shape.value_length)
        for heads, kv in zip(shape.heads, shape.kv_heads, strict=True)
    )
    widest = max(2 * attention, 3 * shape.feed_forward) + 4 * shape.hidden_size
    return launch.micro_batch * 4 * (widest + shape.vocab_size)


def _sum(facts: ModelFacts, launch: _Launch, kv: int, activations: int, runtime: int) -> Estimate:
    cache = launch.keys.name.lower()
    if launch.values is not launch.keys:
        cache += f"/{launch.values.name.lower()}"
    return Estimate(
        weights=facts.weight_bytes,
        kv=kv,
        activations=activations,
        runtime=runtime,
        lower=facts.weight_bytes + kv,
        upper=facts.weight_bytes + kv + activations + runtime,
        provenance=(
            f"from the model's headers: {in_words(facts.weight_bytes)} of weights,"
            f" {in_words(kv)} of key/value cache for {launch.context_length:,} tokens in {cache}"
            f" and {launch.parallel} at a time; by formula: {in_words(activations)} of compute buffers for"
            f" {launch.micro_batch} tokens a batch, {in_words(runtime)} for the engine itself"
        ),
        confidence=Confidence.MEDIUM,
    )


def _each(number: int | tuple[int, ...] | None, layers: int) -> tuple[int, ...]:
    if isinstance(number, tuple):
        return number or (0,)
    return (number or 0,) * max(layers, 1)


def _number(parameters: Sequence[Parameter], default: int, *names: str) -> int:
    values = named(parameters, *names)
    if not values:
        return default
    try:
        return int(values[0][:20])
    except ValueError:
        raise _UnknownError(f"--{names[0]} has a value that is no number") from None


def _cache_type(parameters: Sequence[Parameter], *names: str) -> TensorType:
    values = named(parameters, *names)
    name = values[0].lower() if values else "f16"
    if name not in _CACHE_TYPES:
        raise _UnknownError(f"--{names[0]} names a type of cache that is not known here; e.g. f16 or q8_0")
    return _CACHE_TYPES[name]


def _row_bytes(elements: int, layout: TensorType) -> int:
    return -(-elements // layout.block_elements) * layout.block_bytes


def _padded(tokens: int) -> int:
    return -(-tokens // CELL_PADDING) * CELL_PADDING


class _UnknownError(Exception):
    """A part of the sum is not known; the text says which, and goes into the estimate's provenance."""
