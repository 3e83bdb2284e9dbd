"""What llama.cpp keeps of the tokens before, layer by layer.

Sources: llama.cpp b11549, src/llama-kv-cache.cpp (cells times the row of a key and of a value),
llama-kv-cache-iswa.cpp (cells of a window), llama-memory-recurrent.cpp (a state of f32 for each slot); exact to the
printed digit for every model of tests/models/animals.py.
"""

from __future__ import annotations

from motorpool_controller.estimation.launch import Launch, row_bytes
from motorpool_controller.estimation.shape import Layer, Shape
from motorpool_formats.facts import LayerKind

CHECKPOINT_TOKENS = 8_192
"""llama-server makes a copy of a cache that cannot be rolled back once in so many tokens of a prompt, and one more."""

_STATE_BYTES = 4


def cache_bytes(shape: Shape, layer: Layer, launch: Launch) -> int:
    """Return the bytes that one layer keeps, for all slots."""
    if layer.kind is LayerKind.NONE:
        return 0
    state = (shape.convolution + shape.state) * _STATE_BYTES * launch.parallel if layer.has_state else 0
    if layer.kind is LayerKind.RECURRENT:
        return state
    return state + launch.streams * cells_of(shape, layer, launch) * _token_bytes(shape, layer, launch)


def cells_of(shape: Shape, layer: Layer, launch: Launch) -> int:
    """Return the tokens that one of a layer's caches has room for."""
    if layer.kind is LayerKind.SLIDING and shape.window:
        return launch.window_cells(shape.window)
    return launch.stream_cells


def checkpoint_bytes(shape: Shape, launch: Launch) -> int:
    """Return the host memory of the server's copies of what cannot be rolled back: windowed caches and states."""
    window = shape.window if shape.window and launch.window_cells(shape.window) < launch.stream_cells else None
    kept = sum(
        cache_bytes(shape, layer, launch)
        for layer in shape.layers
        if layer.has_state or (layer.kind is LayerKind.SLIDING and window)
    )
    return kept * min(launch.checkpoints, 1 + launch.context_length // CHECKPOINT_TOKENS)


def _token_bytes(shape: Shape, layer: Layer, launch: Launch) -> int:
    if shape.latent is not None:  # keys and values are one compressed vector, cached as a key
        return row_bytes(shape.latent.kv_rank + shape.latent.rope_dim, launch.keys)
    return row_bytes(layer.kv_heads * layer.key_length, launch.keys) + row_bytes(
        layer.kv_heads * layer.value_length, launch.values
    )
