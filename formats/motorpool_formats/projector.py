"""Projectors: the files of towers for pictures and sound that engines load beside a language model.

Keys: KEY_* in tools/mtmd/clip-impl.h of llama.cpp; that its width is the text model's is checked by mtmd_context in
tools/mtmd/mtmd.cpp, and written by MmprojModel.set_gguf_parameters in convert_hf_to_gguf.py.
"""

from dataclasses import dataclass

from motorpool_formats.gguf import Header
from motorpool_formats.gguf_keys import Keys

ARCHITECTURE = "clip"
"""LLM_ARCH_CLIP in src/llama-arch.cpp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Projector:
    """What a projector says of itself; ``width`` is that of the embeddings it makes for the text model."""

    file: str
    file_bytes: int
    weight_bytes: int
    width: int | None
    vision_heads: int | None
    audio_heads: int | None

    def fits(self, hidden_size: int | None) -> bool:
        """Return whether it may be meant for a text model of this width."""
        return self.width is None or hidden_size is None or self.width == hidden_size


def projector_of(header: Header) -> Projector | None:
    """Return what the header of a projector says; None where it is of something else."""
    keys = Keys(header)
    if keys.architecture != ARCHITECTURE:
        return None
    vision, audio = keys.number("vision.projection_dim"), keys.number("audio.projection_dim")
    return Projector(
        file=header.name,
        file_bytes=header.file_bytes,
        weight_bytes=sum(tensor.size_bytes for tensor in header.tensors),
        width=vision if vision is not None else audio,
        vision_heads=keys.number("vision.attention.head_count"),
        audio_heads=keys.number("audio.attention.head_count"),
    )
