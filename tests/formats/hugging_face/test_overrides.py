"""What --hf-overrides changes, in config.json and in facts alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from motorpool_formats import FormatError
from motorpool_formats.errors import OverridesError
from motorpool_formats.facts import LayerKind
from motorpool_formats.hugging_face import overridden, parse_overrides, read
from motorpool_formats.hugging_face.overrides import overridden_config
from tests.formats.hugging_face import checkpoints
from tests.formats.hugging_face.folders import MadeFolder, tensor_file
from tests.formats.hugging_face.zoo.every import ZOO
from tests.formats.hugging_face.zoo.published import Published

CONFIGS: dict[str, dict[str, Any]] = {published.model: published.config for published in ZOO}
WEIGHTS = tensor_file({"model.layers.0.mlp.up_proj.weight": ("BF16", (4, 8)), "lm_head.weight": ("BF16", (4, 8))})


def folder(config: dict[str, Any]) -> MadeFolder:
    return MadeFolder({"config.json": config, "model.safetensors": WEIGHTS})


@pytest.mark.parametrize("published", ZOO, ids=lambda published: published.model)
def test_no_overrides_change_nothing(published: Published) -> None:
    """
    Facts of any model are the same under no overrides, and under one that no reader knows.
    """
    facts = read(folder(published.config))

    assert facts == overridden(facts, {})
    assert facts == overridden(facts, {"rope_theta": 5, "something": {"a": 1}})
    assert facts == read(folder(published.config), overrides={"something": 1})


OVERRIDES: list[dict[str, Any]] = [
    {"max_position_embeddings": 1000},
    {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}},
    {"rope_parameters": {"rope_type": "linear", "factor": 2.0}},
    {"num_key_value_heads": 2},
    {"num_attention_heads": 16, "head_dim": 64},
    {"vocab_size": 7},
    {"architectures": ["Qwen2ForSequenceClassification"], "classifier_from_token": ["no", "yes"]},
    {"architectures": ["Qwen2Model"]},
    {"num_experts_per_tok": 3},
    {"torch_dtype": "float16"},
    {"dtype": "torch.float32"},
    {"quantization_config": {"quant_method": "fp8"}},
    {"use_sliding_window": True, "sliding_window": 512, "layer_types": ["sliding_attention"] * 28},
    {"vision_config": {"num_attention_heads": 4}},
    {"model_type": "other", "layer_types": ["full_attention"] * 28},
]


@pytest.mark.parametrize("overrides", OVERRIDES, ids=lambda overrides: next(iter(overrides)))
def test_facts_alone_give_what_the_folder_gives(overrides: dict[str, Any]) -> None:
    """
    Overriding facts is reading the model again with the same overrides.
    """
    model = folder(CONFIGS["Qwen/Qwen2.5-7B-Instruct"])

    again = read(model, overrides=overrides)
    assert again == overridden(read(model), overrides)
    assert again != read(model) or "num_experts_per_tok" in overrides


def test_the_language_models_own_section_is_changed() -> None:
    """
    Models with towers keep what concerns the language model in a section, and so do overrides.
    """
    model = folder(CONFIGS["google/gemma-3-4b-it"])
    overrides = {"text_config": {"num_key_value_heads": 2, "sliding_window": 512}}

    facts = read(model, overrides=overrides)
    assert (facts.kv_heads, facts.sliding_window, facts.heads, facts.vision_heads) == (2, 512, 8, 16)
    assert facts == overridden(read(model), overrides)


def test_a_window_can_be_switched_off() -> None:
    """
    With its window gone, attention is full.
    """
    model = folder(CONFIGS["mistralai/Mistral-7B-v0.1"])

    facts = read(model, overrides={"sliding_window": None})
    assert (facts.sliding_window, facts.layer_kinds) == (None, (LayerKind.FULL,) * 32)
    assert facts == overridden(read(model), {"sliding_window": None})


def test_fewer_layers_take_fewer_bytes() -> None:
    """
    The first layers alone are loaded, and what the others take is not.
    """
    model = MadeFolder(
        {
            "config.json": CONFIGS["mistralai/Mixtral-8x7B-Instruct-v0.1"],
            "model.safetensors": tensor_file(checkpoints.mixtral_8x7b()),
        }
    )
    facts = read(model)
    assert facts.layer_bytes is not None
    assert facts.roles is not None

    fewer = overridden(facts, {"num_hidden_layers": 2})
    assert fewer.weight_bytes == facts.weight_bytes - 30 * facts.layer_bytes[0]
    assert fewer.layer_bytes == facts.layer_bytes[:2]
    assert fewer.roles is not None
    assert fewer.roles.layers + fewer.roles.experts == 2 * facts.layer_bytes[0]
    assert fewer.nonlayer_bytes == facts.nonlayer_bytes

    more = overridden(facts, {"num_hidden_layers": 100})
    assert (more.layers, more.layer_bytes, more.roles) == (100, None, None)


def test_sizes_of_recurrent_layers_become_unknown() -> None:
    """
    Facts keep only what came of such sizes; under another it is unknown, and not what it was.
    """
    facts = read(folder(CONFIGS["Qwen/Qwen3-Next-80B-A3B-Instruct"]))

    assert facts.recurrent is not None
    assert overridden(facts, {"linear_num_value_heads": 16}).recurrent is None
    assert overridden(facts, {"vocab_size": 3}) == replace(facts, vocab_size=3)


def test_values_are_replaced_and_sections_changed_key_by_key() -> None:
    """
    As vLLM does: a section keeps its other keys, any other object is replaced, a synonym takes the place of its like.
    """
    config = {
        "n_layer": 12,
        "rope_scaling": {"factor": 2.0, "type": "linear"},
        "text_config": {"a": 1, "vision_config": {"x": 1, "y": 2}},
        "quantization_config": {"quant_method": "gptq", "bits": 4},
    }
    overrides = {
        "num_hidden_layers": 3,
        "rope_scaling": {"factor": 4.0},
        "text_config": {"b": 2, "vision_config": {"y": 3}},
        "quantization_config": {"quant_method": "fp8"},
        "unknown": {"kept": True},
    }

    assert overridden_config(config, overrides) == {
        "num_hidden_layers": 3,
        "rope_scaling": {"factor": 4.0},
        "text_config": {"a": 1, "b": 2, "vision_config": {"x": 1, "y": 3}},
        "quantization_config": {"quant_method": "fp8"},
        "unknown": {"kept": True},
    }
    assert config["n_layer"] == 12


def test_options_are_parsed() -> None:
    """
    The option's value is a JSON object.
    """
    assert {"architectures": ["X"], "n": 1} == parse_overrides('{"architectures": ["X"], "n": 1}')


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "[" * 100_000, '{"a": ' + "1" * 5000 + "}"])
def test_what_is_no_object_is_refused(text: str) -> None:
    """
    A value that is no object is the user's mistake, and the error names the option.
    """
    with pytest.raises(OverridesError, match=r"^--hf-overrides: its value is not") as caught:
        parse_overrides(text)

    assert len(str(caught.value)) < 300


def test_overrides_of_the_wrong_type_name_the_key() -> None:
    """
    A key with a value that it cannot have is told under the option's name.
    """
    facts = read(folder(CONFIGS["Qwen/Qwen2.5-7B-Instruct"]))

    with pytest.raises(FormatError, match='--hf-overrides: key num_attention_heads is "many", not a whole number'):
        overridden(facts, {"num_attention_heads": "many"})
