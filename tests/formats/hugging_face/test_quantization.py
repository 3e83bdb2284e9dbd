"""Where models say how they are quantised, and what that is called."""

from __future__ import annotations

from typing import Any

import pytest

from motorpool_formats.hugging_face.documents import Document
from motorpool_formats.hugging_face.quantization import Quantization, find_quantization, stated_quantization
from motorpool_formats.hugging_face.safetensors import Tensor
from tests.formats.hugging_face.folders import MadeFolder


def group(bits: int, kind: str = "int") -> dict[str, Any]:
    return {"weights": {"num_bits": bits, "type": kind}}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, None),
        ({"quantization_config": None}, None),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, Quantization("gptq-int4", 4)),
        ({"quantization_config": {"quant_method": "gptq", "bits": 8}}, Quantization("gptq-int8", 8)),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4, "dynamic": {"-:lm_head": {}}}},
            Quantization("gptq-int4", 4),
        ),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4, "dynamic": {"+:.*down.*": {"bits": 8}}}},
            Quantization("gptq-mixed"),
        ),
        (
            {"quantization_config": {"quant_method": "auto-round", "bits": 4, "group_size": 128}},
            Quantization("auto-round-int4", 4),
        ),
        ({"quantization_config": {"quant_method": "awq", "w_bit": 4}}, Quantization("awq-int4", 4)),
        ({"quantization_config": {"quant_method": "fp8"}}, Quantization("fp8", 8)),
        ({"quantization_config": {"quant_method": "fbgemm_fp8"}}, Quantization("fbgemm-fp8", 8)),
        ({"quantization_config": {"quant_method": "mxfp4"}}, Quantization("mxfp4", 4)),
        (
            {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"g": group(8, "float")}}},
            Quantization("compressed-tensors-fp8", 8),
        ),
        (
            {"compression_config": {"config_groups": {"a": group(4), "b": group(4)}}},
            Quantization("compressed-tensors-int4", 4),
        ),
        (
            {"quantization_config": {"config_groups": {"a": group(4), "b": group(8)}}},
            Quantization("compressed-tensors-mixed"),
        ),
        (
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
            Quantization("bitsandbytes-int8", 8),
        ),
        (
            {"quantization_config": {"quant_method": "bitsandbytes", "bnb_4bit_quant_storage": "bfloat16"}},
            Quantization("bitsandbytes-fp4"),
        ),
        (
            {"quantization_config": {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}},
            Quantization("modelopt-fp8", 8),
        ),
        ({"quantization": {"bits": 4, "group_size": 64}}, Quantization("mlx-int4", 4)),
        ({"quantization": {"bits": 4, "model.layers.0": {"bits": 6}}}, Quantization("mlx-mixed")),
        ({"quantize": "W8A8"}, Quantization("w8a8")),
        ({"quantization_config": {"quant_method": "exl2", "bits": 4.65}}, Quantization("exl2")),
        ({"quantization": "none", "quantize": False}, None),
        ({"quantization_config": {"quant_method": "aqlm", "nbits_per_codebook": 16}}, Quantization("aqlm")),
        ({"quantization_config": {"what": 1}}, Quantization("unknown")),
    ],
)
def test_a_config_states_its_quantisation(config: dict[str, object], expected: Quantization | None) -> None:
    """
    Method and bits; only what has neither is called as it was trained.
    """
    assert expected == stated_quantization(Document("config.json", config))


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("quantize_config.json", {"bits": 4, "group_size": 128, "desc_act": True}, Quantization("gptq-int4", 4)),
        ("quant_config.json", {"zero_point": True, "q_group_size": 128, "w_bit": 4}, Quantization("awq-int4", 4)),
        (
            "hf_quant_config.json",
            {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}},
            Quantization("modelopt-nvfp4", 4),
        ),
    ],
)
def test_older_tools_state_it_in_files_of_their_own(file: str, content: object, expected: Quantization) -> None:
    """
    What config.json does not say, a file of the tool that quantised does.
    """
    empty = Document("config.json", {})

    assert expected == find_quantization(MadeFolder({file: content}), empty, empty)


def test_the_language_models_own_section_states_it() -> None:
    """
    Of models with towers the language model alone may be quantised, and its section says so.
    """
    text = Document("config.json", {"quantization_config": {"quant_method": "fp8"}}, "text_config.")

    assert Quantization("fp8", 8) == find_quantization(MadeFolder({}), Document("config.json", {}), text)


def test_packed_tensors_of_unknown_width_stand_for_an_unknown_number() -> None:
    """
    Where the width is not known, how many weights a packed tensor holds is not guessed.
    """
    mixed = Quantization("gptq-mixed")

    assert mixed.parameters(Tensor("a.qweight", "I32", (4, 4), 16, 64)) is None
    assert mixed.parameters(Tensor("a.weight", "F16", (4, 4), 16, 32)) == 16
    assert mixed.parameters(Tensor("a.scales", "F16", (4, 4), 16, 32)) == 0


def test_three_bits_are_packed_across_words() -> None:
    """
    Thirty-two weights of three bits take three words.
    """
    assert Quantization("gptq-int3", 3).parameters(Tensor("a.qweight", "I32", (96, 10), 960, 3840)) == 10240
