"""The zoo: what config.json says, family by family."""

from __future__ import annotations

import re
from dataclasses import asdict

import pytest

from motorpool_formats import ModelCorruptError
from motorpool_formats.hugging_face.categories import categories_of
from motorpool_formats.hugging_face.config import Shape, shape_of
from motorpool_formats.hugging_face.documents import Document
from tests.formats.hugging_face.zoo.every import ZOO
from tests.formats.hugging_face.zoo.published import FULL, HYBRID, NONE, RECURRENT, SLIDING, Published

every_model = pytest.mark.parametrize("published", ZOO, ids=lambda published: published.model)


def document(values: dict[str, object]) -> Document:
    return Document("config.json", values)


@every_model
def test_a_published_config_gives_its_facts(published: Published) -> None:
    """
    Every fact of a published model is what its authors say of it.
    """
    assert asdict(published.shape) == asdict(shape_of(document(published.config)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_hidden_layers": 5000}, "key num_hidden_layers is 5000, and 4096 is the most accepted"),
        ({"num_hidden_layers": -1}, "key num_hidden_layers is -1, not between"),
        ({"text_config": {"num_hidden_layers": "x"}}, 'key text_config.num_hidden_layers is "x", not a whole number'),
        ({"num_hidden_layers": 3, "num_key_value_heads": [1, 2]}, "2 values for 3 layers"),
        ({"text_config": 3}, "key text_config is 3, not an object"),
        ({"rope_scaling": {"factor": "2", "type": "linear"}, "max_position_embeddings": 1}, "rope_scaling.factor"),
    ],
)
def test_what_cannot_be_is_told_with_its_key(config: dict[str, object], message: str) -> None:
    """
    A size that cannot be is an error that names the key, and not a guess.
    """
    with pytest.raises(ModelCorruptError, match=re.escape(message)):
        shape_of(document(config))


def test_nothing_is_made_up() -> None:
    """
    Where neither config.json nor the family's documentation says, facts are unknown: no context of 2048, no one head of
    keys and values, as the published system has it (B3.3).
    """
    assert Shape() == shape_of(document({}))
    assert Shape(layers=2, hidden_size=64, heads=4, key_length=16, value_length=16) == shape_of(
        document({"model_type": "of one's own", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4})
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}}, 16384),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "dynamic", "factor": 2}}, 8192),
        ({"max_position_embeddings": 131072, "rope_scaling": {"type": "longrope", "factor": 32}}, 131072),
        ({"max_position_embeddings": 131072, "rope_parameters": {"rope_type": "llama3", "factor": 8}}, 131072),
        ({"max_position_embeddings": 32768, "rope_scaling": {"type": "yarn", "factor": 4}}, 131072),
        (
            {
                "max_position_embeddings": 8192,
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 2},
                    "sliding_attention": {"rope_type": "default"},
                },
            },
            16384,
        ),
        ({"max_position_embeddings": 32768, "seq_length": 8192}, 8192),
        ({"model_max_length": 1e30, "n_positions": 512}, 512),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 1e12}}, None),
        ({"max_position_embeddings": 514, "model_type": "roberta"}, 512),
        ({"max_position_embeddings": None}, None),
    ],
)
def test_scaled_positions_lengthen_the_context(config: dict[str, object], expected: int | None) -> None:
    """
    B3.3: the least of what is stated, times the factor of positions scaled on top of it.
    """
    assert expected == shape_of(document(config)).context_length


def test_a_tower_counts_its_dummy_heads() -> None:
    """
    B3.3: heads that were added to make a tower divisible count; of a tower in stages no number is its heads.
    """
    assert 28 == shape_of(document({"vision_config": {"num_heads": 25, "num_dummy_heads": 3}})).vision_heads
    assert shape_of(document({"vision_config": {"num_heads": [8, 16, 32]}})).vision_heads is None


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        ({"layer_types": ["full_attention", "something_new"]}, None),
        ({"layer_types": ["full_attention"]}, None),
        ({"model_type": "llama", "layer_types": ["something_new"] * 2}, None),
        ({"model_type": "of one's own"}, None),
        ({"layer_types": ["full_attention", "linear_attention", "conv"]}, (FULL, RECURRENT)),
        ({"layers_block_type": ["mamba", "hybrid"]}, (RECURRENT, HYBRID)),
        ({"attn_layer_indices": [1]}, (RECURRENT, FULL)),
        ({"hybrid_override_pattern": "M?"}, None),
        ({"model_type": "hunyuan_v1_moe", "use_cla": True, "cla_share_factor": 2}, (FULL, NONE)),
        (
            {
                "model_type": "qwen2",
                "use_sliding_window": True,
                "sliding_window": 8,
                "max_window_layers": 1,
            },
            (FULL, SLIDING),
        ),
    ],
)
def test_kinds_of_layers_are_known_or_not(config: dict[str, object], kinds: object) -> None:
    """
    A word that is not known leaves the kinds unknown, and so every layer taken for full attention.
    """
    assert kinds == shape_of(document({"num_hidden_layers": 2, **config})).layer_kinds


@every_model
def test_a_published_config_gives_its_category(published: Published) -> None:
    """
    The class that config.json names says what the model is for.
    """
    config = document(published.config)

    assert published.categories == categories_of(config.texts("architectures"), config)
