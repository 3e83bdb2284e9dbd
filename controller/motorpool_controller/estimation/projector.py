"""What a projector (``--mmproj``), the tower that turns pictures and sound into embeddings, takes."""

from __future__ import annotations

from motorpool_controller.estimation.unknown import UnknownError
from motorpool_formats.facts import Companion

PATCHES = 4_096
"""Patches of the largest picture that llama.cpp plans for: (896 / 14)², gemma 3's; others are scaled down to as many
(tools/mtmd/clip.cpp)."""

SCORE_BYTES = 4


def bytes_of(projector: Companion | None) -> int:
    """Return weights, and one layer's attention scores without flash attention, the widest step of a tower."""
    if projector is None:
        return 0
    if projector.heads is None:
        raise UnknownError(
            f"the headers of the projector {projector.file} do not tell its attention heads", "companions.heads"
        )
    weights = projector.file_bytes if projector.weight_bytes is None else projector.weight_bytes
    return weights + projector.heads * PATCHES * PATCHES * SCORE_BYTES
