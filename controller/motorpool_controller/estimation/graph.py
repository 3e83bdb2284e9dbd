"""llama.cpp's compute buffers: what one batch needs between the layers' weights and caches.

The allocator (ggml-alloc.c) lets tensors whose lives do not overlap share memory, so a buffer is the widest step of a
layer beside what lives longer. Which tensors overlap in which step was read out of llama.cpp b11549's own plans for
models in which one width at a time was changed (``sched_reserve: … compute buffer size``); the sums below give each of
them, and those of real models' shapes, to within 6 % (benchmarks/README.md). Embeddings take the logits of the whole
batch, as older servers do always (``launch.BUILD_OF_FEW_LOGITS``).
"""

from __future__ import annotations

from motorpool_controller.estimation.cache import cells_of
from motorpool_controller.estimation.launch import Launch
from motorpool_controller.estimation.shape import Layer, Shape
from motorpool_formats.facts import LayerKind

FLOAT = 4
MASK = 2
MASK_WITHOUT_FLASH = 4

HIDDEN_ROWS = 5
"""Rows of the hidden width that live beside every step: input, residual, normed input, and two of the mixed embeddings
(b10434, before those: 4)."""

INPUT_ROWS = 4
"""Those that live where only the input embeddings are (b10434: 2)."""

OUTPUT_ROWS = 6
"""Those that live where only the output layer is, at the most (gpt-oss; most architectures: none)."""

COPIED_ROWS = 2
"""Those of a batch's inputs that are copied from one memory to the next, at the most."""

MAMBA_ROWS = 5
"""Rows of the inner width in a Mamba layer."""

MAMBA_TAPS = 3
"""Steps of a Mamba convolution's state: its length is this many inner widths, so the inner width is told by it."""


def buffer_bytes(shape: Shape, launch: Launch, *, flash: bool) -> int:
    """Return the compute buffer where at least one layer is."""
    widest = max((_step(shape, layer, launch, flash=flash) for layer in shape.layers), default=0)
    widest = max(widest, _logits(shape, launch))
    states = max((_state(shape, layer) for layer in shape.layers), default=0) * launch.parallel
    rows = HIDDEN_ROWS * shape.hidden_size * launch.micro_batch
    return (rows + widest + states) * FLOAT + mask_bytes(shape, launch, flash=flash)


def input_bytes(shape: Shape, launch: Launch, *, flash: bool) -> int:
    """Return the compute buffer where there is no layer, and the input is made: in host memory, of a full offload."""
    return INPUT_ROWS * shape.hidden_size * launch.micro_batch * FLOAT + mask_bytes(shape, launch, flash=flash)


def output_bytes(shape: Shape, launch: Launch) -> int:
    """Return the compute buffer where only the output layer is."""
    return (OUTPUT_ROWS * shape.hidden_size * launch.micro_batch + _logits(shape, launch)) * FLOAT


def crossing_bytes(shape: Shape, launch: Launch) -> int:
    """Return what a batch's hidden state takes, once more, where it crosses from one memory to another."""
    return shape.hidden_size * launch.micro_batch * FLOAT


def copy_bytes(shape: Shape, launch: Launch, *, flash: bool) -> int:
    """Return what one more copy of a batch's inputs takes."""
    return COPIED_ROWS * crossing_bytes(shape, launch) + mask_bytes(shape, launch, flash=flash)


def results_bytes(shape: Shape, launch: Launch) -> int:
    """Return the host memory in which logits and embeddings are handed out (``output buffer``)."""
    return launch.parallel * (shape.vocabulary + (shape.hidden_size if launch.embeds else 0)) * FLOAT


def mask_bytes(shape: Shape, launch: Launch, *, flash: bool) -> int:
    """Return the attention masks: one for caches of all tokens, one for windowed ones."""
    by_kind = {
        layer.kind is LayerKind.SLIDING: cells_of(shape, layer, launch) for layer in shape.layers if layer.attends
    }
    cells = sum(by_kind.values())
    # A batch's tokens are divided among the slots' caches, each with a mask of its own.
    columns = cells * (launch.micro_batch if launch.streams == 1 else -(-launch.micro_batch // launch.streams))
    return columns * launch.streams * (MASK if flash else MASK_WITHOUT_FLASH)


def _step(shape: Shape, layer: Layer, launch: Launch, *, flash: bool) -> int:
    """Return the widest step of a layer in elements."""
    rows = _feed_forward(shape, layer)
    if layer.has_state:
        rows = max(rows, MAMBA_ROWS * (shape.convolution // MAMBA_TAPS))
    if layer.attends:
        scores = 0 if flash else layer.heads * cells_of(shape, layer, launch)
        rows = max(rows, _attention(shape, layer, flash=flash) + scores)
    return rows * launch.micro_batch


def _attention(shape: Shape, layer: Layer, *, flash: bool) -> int:
    """Return the elements a token takes in attention, but for its scores."""
    latent = shape.latent
    if latent is not None:
        compressed = layer.heads * latent.kv_rank
        queries = layer.heads * ((latent.nope_dim or latent.kv_rank) + latent.rope_dim)
        return compressed + layer.heads * (latent.kv_rank + latent.rope_dim) + queries
    queries = layer.heads * max(layer.key_length, layer.value_length)
    keys = layer.kv_heads * max(layer.key_length, layer.value_length)
    # Queries that are no wider than the hidden state take a place that something else has left.
    return (2 if queries > shape.hidden_size else 1) * queries + (1 if flash else 2) * keys


def _feed_forward(shape: Shape, layer: Layer) -> int:
    """Return the elements a token takes in the feed-forward network: gate, up and their product."""
    dense = 3 * layer.feed_forward
    if not shape.experts_used:
        return dense
    inner = shape.experts_used * shape.expert_feed_forward
    outputs = shape.experts_used * shape.hidden_size
    if 2 * inner >= outputs:  # the experts' outputs take the place of gate and up
        mixture = 3 * inner
    elif inner <= shape.hidden_size:  # gate, up and product fit in between
        mixture = max(3 * inner, outputs)
    else:
        mixture = 3 * inner + outputs
    mixture = max(mixture, 3 * shape.shared_feed_forward)
    # Where experts are, the width of the dense network counts only for layers that have no experts.
    return max(mixture, 0 if layer.experts else dense)


def _state(shape: Shape, layer: Layer) -> int:
    return shape.convolution + shape.state if layer.has_state else 0


def _logits(shape: Shape, launch: Launch) -> int:
    return shape.vocabulary * (launch.micro_batch if launch.all_logits else launch.parallel)
