"""A projector for pictures that llama.cpp loads, in the form that LLaVA has: random, and small enough for a test."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

IMAGE = 28
PATCH = 14
EMBEDDING = 32
FEED_FORWARD = 64
HEADS = 2


def make_tiny_projector(path: Path, *, width: int = 64) -> Path:
    """Write a tower of two layers that makes embeddings of ``width`` for a language model."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_uint32("clip.vision.image_size", IMAGE)
    writer.add_uint32("clip.vision.patch_size", PATCH)
    writer.add_uint32("clip.vision.embedding_length", EMBEDDING)
    writer.add_uint32("clip.vision.feed_forward_length", FEED_FORWARD)
    writer.add_uint32("clip.vision.projection_dim", width)
    writer.add_uint32("clip.vision.block_count", 2)
    writer.add_uint32("clip.vision.attention.head_count", HEADS)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    writer.add_bool("clip.use_gelu", True)
    random = np.random.default_rng(4)
    for name, shape in _tensors(width):
        writer.add_tensor(name, random.normal(0, 0.02, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(width: int) -> list[tuple[str, tuple[int, ...]]]:
    patches = (IMAGE // PATCH) ** 2
    tensors: list[tuple[str, tuple[int, ...]]] = [
        ("v.patch_embd.weight", (EMBEDDING, 3, PATCH, PATCH)),
        ("v.class_embd", (EMBEDDING,)),
        ("v.position_embd.weight", (patches + 1, EMBEDDING)),
    ]
    for name in ("v.pre_ln", "v.post_ln"):
        tensors += [(f"{name}.weight", (EMBEDDING,)), (f"{name}.bias", (EMBEDDING,))]
    linear = {
        **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_out"), (EMBEDDING, EMBEDDING)),
        "ffn_up": (FEED_FORWARD, EMBEDDING),
        "ffn_down": (EMBEDDING, FEED_FORWARD),
    }
    for layer in range(2):
        for name, shape in linear.items():
            tensors += [(f"v.blk.{layer}.{name}.weight", shape), (f"v.blk.{layer}.{name}.bias", shape[:1])]
        for name in ("ln1", "ln2"):
            tensors += [(f"v.blk.{layer}.{name}.{part}", (EMBEDDING,)) for part in ("weight", "bias")]
    tensors += [("mm.0.weight", (width, EMBEDDING)), ("mm.0.bias", (width,))]
    return [*tensors, ("mm.2.weight", (width, width)), ("mm.2.bias", (width,))]
