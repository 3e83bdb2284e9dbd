"""Facts to test with."""

from __future__ import annotations

from motorpool_formats.facts import (
    Companion,
    Component,
    LatentAttention,
    LayerKind,
    ModelFacts,
    RecurrentState,
    RoleBytes,
)

EVERYTHING = ModelFacts(
    format="safetensors",
    files=("model.safetensors",),
    file_bytes=10,
    digest="sha256:0",
    name="X",
    architecture="XForCausalLM",
    categories=("llm",),
    quantization="gptq-int4",
    chat_template=False,
    parameters=None,
    weight_bytes=9,
    layer_bytes=(4, 4),
    nonlayer_bytes=1,
    architectures=("XForCausalLM", "XModel"),
    model_type="x",
    dtype="bfloat16",
    layer_kinds=(LayerKind.SLIDING, LayerKind.RECURRENT, LayerKind.HYBRID),
    sliding_key_length=32,
    sliding_value_length=48,
    latent=LatentAttention(kv_rank=512, rope_dim=64, value_dim=128),
    recurrent=RecurrentState(convolution=7, state=9),
    experts_shared=1,
    expert_feed_forward=8,
    vision_heads=16,
    audio_heads=4,
    custom_code=True,
    roles=RoleBytes(embedding=1, layers=2, experts=3, output=4, vision=5, other=6),
    layer_expert_bytes=(1, 2),
    companions=(Companion(kind="projector", file="mmproj.gguf", file_bytes=5, heads=2),),
    components=(Component(name="unet", type="UNet2DConditionModel"), Component(name="vae", type="", weight_bytes=3)),
)
"""Facts with a value in every field that a format other than GGUF can fill."""
