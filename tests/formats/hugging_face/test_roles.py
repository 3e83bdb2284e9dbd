"""What tensors are for, by the names that published models give them."""

from __future__ import annotations

import pytest

from motorpool_formats.hugging_face.roles import Role, role_of


@pytest.mark.parametrize(
    ("name", "role", "layer"),
    [
        ("model.embed_tokens.weight", Role.EMBEDDING, None),
        ("model.embed_tokens_per_layer.weight", Role.EMBEDDING, None),
        ("transformer.wte.weight", Role.EMBEDDING, None),
        ("transformer.word_embeddings_layernorm.weight", Role.EMBEDDING, None),
        ("gpt_neox.embed_in.weight", Role.EMBEDDING, None),
        ("bert.embeddings.position_embeddings.weight", Role.EMBEDDING, None),
        ("shared.weight", Role.EMBEDDING, None),
        ("lm_head.weight", Role.OUTPUT, None),
        ("lm_head.qweight", Role.OUTPUT, None),
        ("transformer.output_layer.weight", Role.OUTPUT, None),
        ("output.weight", Role.OUTPUT, None),
        ("classifier.dense.weight", Role.OUTPUT, None),
        ("model.norm.weight", Role.OTHER, None),
        ("model.layers.3.self_attn.q_proj.weight", Role.LAYERS, 3),
        ("language_model.model.layers.3.mlp.up_proj.weight", Role.LAYERS, 3),
        ("thinker.model.layers.3.mlp.up_proj.weight", Role.LAYERS, 3),
        ("transformer.h.3.attn.c_attn.weight", Role.LAYERS, 3),
        ("transformer.encoder.layers.3.mlp.dense_h_to_4h.weight", Role.LAYERS, 3),
        ("encoder.layer.3.output.dense.weight", Role.LAYERS, 3),
        ("backbone.layers.3.mixer.conv1d.weight", Role.LAYERS, 3),
        ("transformer.blocks.3.ffn.experts.mlp.w1", Role.EXPERTS, 3),
        ("model.layers.3.mlp.experts.12.down_proj.weight", Role.EXPERTS, 3),
        ("model.layers.3.mlp.experts.gate_up_proj_blocks", Role.EXPERTS, 3),
        ("model.layers.3.block_sparse_moe.input_linear.weight", Role.EXPERTS, 3),
        ("model.layers.3.mlp.shared_experts.up_proj.weight", Role.LAYERS, 3),
        ("model.layers.3.mlp.shared_expert.up_proj.weight", Role.LAYERS, 3),
        ("model.layers.3.mlp.gate.weight", Role.LAYERS, 3),
        ("model.layers.61.eh_proj.weight", Role.OTHER, None),
        ("mtp.layers.0.mlp.experts.1.up_proj.weight", Role.OTHER, None),
        ("talker.model.layers.3.mlp.up_proj.weight", Role.OTHER, None),
        ("visual.blocks.3.attn.qkv.weight", Role.VISION, None),
        ("model.visual.blocks.3.attn.qkv.weight", Role.VISION, None),
        ("vision_tower.vision_model.encoder.layers.3.mlp.fc1.weight", Role.VISION, None),
        ("vpm.encoder.layers.3.mlp.fc1.weight", Role.VISION, None),
        ("audio_tower.layers.3.fc1.weight", Role.VISION, None),
        ("multi_modal_projector.linear_1.weight", Role.VISION, None),
        ("mlp1.0.weight", Role.VISION, None),
        ("model.vision_embed_tokens.img_projection.0.weight", Role.VISION, None),
        ("model.image_newline", Role.VISION, None),
        ("model.connector.modality_projection.proj.weight", Role.VISION, None),
    ],
)
def test_names_tell_roles(name: str, role: Role, layer: int | None) -> None:
    """
    A tensor's name says what it is for, and of which layer it is.
    """
    assert (role, layer) == role_of(name, layers=61)


def test_two_stacks_have_no_layers_to_offload() -> None:
    """
    Of a model with encoder and decoder the layers count together, and no single one of them.
    """
    assert (Role.LAYERS, None) == role_of("model.decoder.layers.0.fc1.weight", layers=4, encoder_decoder=True)
    assert (Role.LAYERS, None) == role_of("encoder.block.0.layer.1.wi.weight", layers=4, encoder_decoder=True)
