from dataclasses import astuple

import pytest

from motorpool_formats.facts import RoleBytes
from motorpool_formats.gguf import Tensor
from motorpool_formats.gguf_roles import Parts, parts_of


def parts(*names: str, layers: int | None = 2) -> Parts:
    """Return the parts of tensors of 1, 2, 4 … bytes, so that each sum tells what is in it."""
    return parts_of([Tensor(name, (1,), "I8", 0, 1 << index) for index, name in enumerate(names)], layers)


def test_bytes_have_a_role_each() -> None:
    """
    Embeddings, layers, experts, output, tower and the rest are told apart, and together are everything.
    """
    found = parts(
        "token_embd.weight",
        "blk.0.attn_q.weight",
        "blk.1.ffn_up_exps.weight",
        "output.weight",
        "mm.0.weight",
        "output_norm.weight",
    )

    assert RoleBytes(embedding=1, layers=2, experts=4, output=8, vision=16, other=32) == found.roles
    assert ((2, 4), (0, 4)) == (found.layers, found.experts)
    assert 0b111111 == sum(astuple(found.roles))


@pytest.mark.parametrize(
    ("experts", "name"),
    [
        (1, "blk.0.ffn_gate_exps.weight"),
        (1, "blk.0.ffn_gate_up_exps.weight"),
        (1, "blk.0.ffn_down_exps.bias"),
        (1, "blk.0.ffn_down.7.weight"),
        (1, "blk.0.ffn_up_chexps.weight"),
        (0, "blk.0.ffn_up_shexp.weight"),
        (0, "blk.0.ffn_gate_inp.weight"),
        (0, "blk.0.ffn_up.weight"),
        (0, "blk.2.ffn_up_exps.weight"),
    ],
)
def test_experts_are_what_can_be_moved_as_experts(experts: int, name: str) -> None:
    """
    Routed experts, in one tensor or one by one, are experts; shared ones, routers and layers beyond the model are not.
    """
    assert experts == parts(name).roles.experts


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("embedding", "per_layer_token_embd.weight"),
        ("embedding", "position_embd.weight"),
        ("output", "cls.output.weight"),
        ("output", "output.bias"),
        ("other", "output_norm.weight"),
        ("other", "token_embd_norm.weight"),
        ("other", "rope_freqs.weight"),
        ("other", "tokenizer"),
        ("vision", "v.blk.0.attn_q.weight"),
        ("vision", "a.conv1d.1.weight"),
        ("layers", "dec.blk.1.attn_q.weight"),
        ("other", "double_blocks.0.img_attn.qkv.weight"),
    ],
)
def test_tensors_outside_the_layers_have_their_roles(role: str, name: str) -> None:
    """
    What stands in front of the layers, behind them and beside them is told by name.
    """
    assert 1 == getattr(parts(name).roles, role)


def test_without_layers_there_are_roles_and_no_layers() -> None:
    """
    A model that does not tell its layers has roles, and no bytes by layer.
    """
    found = parts("token_embd.weight", "blk.0.attn_q.weight", layers=None)

    assert (None, None) == (found.layers, found.experts)
    assert RoleBytes(embedding=1, other=2) == found.roles
