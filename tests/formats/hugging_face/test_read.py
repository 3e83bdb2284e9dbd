"""Whole models, by their headers: bytes and parameters as their authors publish them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from motorpool_formats import ModelFormatUnknownError, ModelIncompleteError
from motorpool_formats.facts import Companion, ModelFacts, RoleBytes
from motorpool_formats.hugging_face import read
from motorpool_formats.hugging_face.safetensors import FIRST_READ_BYTES
from tests.formats.hugging_face import checkpoints
from tests.formats.hugging_face.checkpoints import Tensors
from tests.formats.hugging_face.folders import MadeFolder, tensor_file
from tests.formats.hugging_face.zoo.every import ZOO

CONFIGS: dict[str, dict[str, Any]] = {published.model: published.config for published in ZOO}
LLAMA = CONFIGS["meta-llama/Llama-3.1-8B-Instruct"]
QWEN = CONFIGS["Qwen/Qwen2.5-7B-Instruct"]
TINY: Tensors = {
    "model.embed_tokens.weight": ("BF16", (100, 8)),
    "model.layers.0.mlp.up_proj.weight": ("BF16", (4, 8)),
    "model.layers.1.mlp.up_proj.weight": ("BF16", (4, 8)),
    "lm_head.weight": ("BF16", (100, 8)),
}


def sharded(tensors: Tensors, parts: int) -> dict[str, object]:
    """
    The files of a model in several parts, with their index.
    """
    names = list(tensors)
    size = -(-len(names) // parts)
    files: dict[str, object] = {}
    places: dict[str, str] = {}
    for part in range(parts):
        file = f"model-{part + 1:05}-of-{parts:05}.safetensors"
        held = names[part * size : (part + 1) * size]
        files[file] = tensor_file({name: tensors[name] for name in held})
        places |= dict.fromkeys(held, file)
    return files | {"model.safetensors.index.json": {"metadata": {}, "weight_map": places}}


def check_sums(facts: ModelFacts) -> None:
    """
    The parts of a model's bytes are the whole, by role and by layer.
    """
    roles = facts.roles
    assert roles is not None
    assert facts.layer_bytes is not None
    assert facts.weight_bytes == (
        roles.embedding + roles.layers + roles.experts + roles.output + roles.vision + roles.other
    )
    assert sum(facts.layer_bytes) == roles.layers + roles.experts
    assert facts.weight_bytes == sum(facts.layer_bytes) + (facts.nonlayer_bytes or 0)
    assert sum(facts.layer_expert_bytes or ()) == roles.experts


def test_reads_a_sharded_model() -> None:
    """
    Llama 3.1 8B in four parts: its parameters, and bytes by layer and role.
    """
    facts = read(MadeFolder({"config.json": LLAMA, **sharded(checkpoints.llama_8b(), 4)}))

    assert facts.format == "safetensors"
    assert facts.parameters == 8_030_261_248
    assert facts.weight_bytes == 2 * 8_030_261_248
    assert facts.layer_bytes == (2 * 218_112_000,) * 32
    assert facts.roles == RoleBytes(
        embedding=2 * 128256 * 4096, layers=32 * 2 * 218_112_000, output=2 * 128256 * 4096, other=2 * 4096
    )
    assert facts.layer_expert_bytes is None
    assert facts.quantization is None
    assert facts.dtype == "bfloat16"
    assert len(facts.files) == 4
    check_sums(facts)


@pytest.mark.parametrize(
    ("name", "linear", "quantization"),
    [
        ("gptq-int4", checkpoints.gptq, {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}),
        ("awq-int4", checkpoints.awq, {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}),
        (
            "compressed-tensors-int4",
            checkpoints.packed,
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}},
            },
        ),
        (
            "compressed-tensors-int8",
            checkpoints.int8,
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "int"}}},
            },
        ),
        (
            "bitsandbytes-nf4",
            checkpoints.nf4,
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        ),
        ("fp8", checkpoints.fp8, {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}),
        ("modelopt-nvfp4", checkpoints.nvfp4, {"quant_method": "modelopt", "quant_algo": "NVFP4"}),
    ],
)
def test_counts_the_parameters_that_packed_tensors_stand_for(
    name: str, linear: Any, quantization: dict[str, object]
) -> None:
    """
    Qwen2.5 7B has as many parameters however its weights are packed, and takes the bytes that its tensors have.
    """
    tensors = checkpoints.qwen_7b(linear)
    file = tensor_file(tensors)
    facts = read(MadeFolder({"config.json": {**QWEN, "quantization_config": quantization}, "model.safetensors": file}))

    assert facts.quantization == name
    assert facts.parameters == 7_615_616_512
    assert facts.weight_bytes == file.size - len(file.head)
    check_sums(facts)


def test_counts_mlx_models() -> None:
    """
    MLX states its quantisation in a key of its own, and packs into 32 bits.
    """
    facts = read(
        MadeFolder(
            {
                "config.json": {**QWEN, "quantization": {"group_size": 64, "bits": 4}},
                "model.safetensors": tensor_file(checkpoints.qwen_7b(checkpoints.mlx, "BF16")),
            }
        )
    )

    assert (facts.quantization, facts.parameters) == ("mlx-int4", 7_615_616_512)


def test_reads_a_mixture_of_experts() -> None:
    """
    Mixtral 8x7B: its experts are counted apart from the layers' other tensors.
    """
    facts = read(
        MadeFolder(
            {
                "config.json": CONFIGS["mistralai/Mixtral-8x7B-Instruct-v0.1"],
                **sharded(checkpoints.mixtral_8x7b(), 19),
            }
        )
    )

    assert facts.parameters == 46_702_792_704
    assert facts.layer_expert_bytes == (2 * 8 * 3 * 4096 * 14336,) * 32
    check_sums(facts)


def test_reads_packed_experts() -> None:
    """
    gpt-oss 20B: two parameters to a byte of its experts, whose scales are none.
    """
    facts = read(
        MadeFolder(
            {
                "config.json": CONFIGS["openai/gpt-oss-20b"],
                "model.safetensors": tensor_file(checkpoints.gpt_oss_20b()),
            }
        )
    )

    assert (facts.quantization, facts.parameters) == ("mxfp4", 20_914_757_184)
    assert facts.weight_bytes == 13_761_264_768
    assert facts.roles is not None
    assert facts.roles.experts == 24 * 423_567_360
    check_sums(facts)


def test_reads_the_largest() -> None:
    """
    DeepSeek-V3: 671 billion parameters, and 14 more in the layer that predicts ahead, which is not one of the 61.
    """
    facts = read(
        MadeFolder({"config.json": CONFIGS["deepseek-ai/DeepSeek-V3"], **sharded(checkpoints.deepseek_v3(), 163)})
    )

    assert facts.quantization == "fp8"
    assert facts.parameters == 684_489_845_504
    assert facts.layer_bytes is not None
    assert len(facts.layer_bytes) == 61
    assert facts.roles is not None
    assert 11e9 < facts.roles.other < 16e9
    assert facts.custom_code
    check_sums(facts)


def test_reads_an_encoder() -> None:
    """
    BGE-M3 is an embedder of 568 million parameters.
    """
    facts = read(
        MadeFolder(
            {
                "1_Pooling/config.json": {"pooling_mode_cls_token": True},
                "config.json": CONFIGS["BAAI/bge-m3"],
                "model.safetensors": tensor_file(checkpoints.bge_m3()),
                "modules.json": [{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}],
                "pytorch_model.bin": b"PK" * 500,
                "sentence_bert_config.json": {"max_seq_length": 8192, "do_lower_case": False},
            }
        )
    )

    assert facts.parameters == 567_754_752
    assert facts.categories == ("embedding",)
    assert facts.context_length == 8192
    assert facts.dtype == "float32"
    check_sums(facts)


def test_towers_are_not_layers() -> None:
    """
    Layers of a tower for pictures, and its projector, are no layers of the language model.
    """
    tensors: Tensors = {
        "language_model.model.embed_tokens.weight": ("BF16", (10, 4)),
        "language_model.model.layers.0.mlp.up_proj.weight": ("BF16", (3, 4)),
        "language_model.model.norm.weight": ("BF16", (4,)),
        "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight": ("BF16", (5, 4)),
        "multi_modal_projector.mm_input_projection_weight": ("BF16", (2, 4)),
    }
    config = CONFIGS["google/gemma-3-4b-it"]
    facts = read(MadeFolder({"config.json": config, "model.safetensors": tensor_file(tensors)}))

    assert facts.roles == RoleBytes(embedding=80, layers=24, vision=40 + 16, other=8)
    assert facts.layer_bytes == (24, *(0,) * 33)


def test_reads_headers_alone() -> None:
    """
    One read of each part, and of the weights at most what comes along with its header.
    """
    folder = MadeFolder({"config.json": LLAMA, **sharded(checkpoints.llama_8b(), 4)})

    read(folder)

    parts = [name for name in folder.files() if name.endswith(".safetensors")]
    assert [1] * 4 == [folder.reads[part] for part in parts]
    assert sum(folder.bytes_read[part] for part in parts) <= 4 * FIRST_READ_BYTES
    assert not folder.bytes_read.keys() - {"config.json", "model.safetensors.index.json", *parts}


def test_headers_can_be_read_at_once() -> None:
    """
    A pool's map gives the same facts.
    """
    folder = MadeFolder({"config.json": LLAMA, **sharded(checkpoints.llama_8b(), 8)})
    with ThreadPoolExecutor(4) as pool:
        assert read(folder) == read(folder, spread=pool.map)


def test_the_digest_is_of_headers_sizes_and_config() -> None:
    """
    Another tensor, another value in config.json and another file each make another model; reading again does not.
    """
    changed = TINY | {"lm_head.weight": ("F32", (100, 8))}

    def digest(config: dict[str, Any], tensors: Tensors) -> str:
        return read(MadeFolder({"config.json": config, "model.safetensors": tensor_file(tensors)})).digest

    digests = {digest(LLAMA, TINY), digest(LLAMA, changed), digest({**LLAMA, "rope_theta": 1.0}, TINY)}
    assert len(digests) == 3
    assert digest(LLAMA, TINY) in digests


def test_a_tensor_of_two_files_counts_once() -> None:
    """
    What two files hold is loaded once.
    """
    half = {name: TINY[name] for name in list(TINY)[:2]}
    once = read(MadeFolder({"config.json": LLAMA, "a.safetensors": tensor_file(TINY)}))
    twice = read(
        MadeFolder({"config.json": LLAMA, "a.safetensors": tensor_file(TINY), "b.safetensors": tensor_file(half)})
    )

    assert once.weight_bytes == twice.weight_bytes


def test_pytorch_files_go_by_their_size() -> None:
    """
    Of files without a header only the size is known, and so no parameters and no layers.
    """
    facts = read(MadeFolder({"config.json": LLAMA, "pytorch_model.bin": b"PK" * 500, "training_args.bin": b"x"}))

    assert (facts.format, facts.files, facts.weight_bytes) == ("pytorch", ("pytorch_model.bin",), 1000)
    assert (facts.parameters, facts.layer_bytes, facts.nonlayer_bytes, facts.roles) == (None, None, None, None)
    assert facts.layers == 32


def test_names_of_no_known_layers_give_no_layers() -> None:
    """
    Where no tensor's name is of a layer, bytes by layer and role are unknown, and not zero.
    """
    facts = read(MadeFolder({"config.json": LLAMA, "model.safetensors": tensor_file({"a.b": ("F16", (3, 3))})}))

    assert (facts.weight_bytes, facts.layer_bytes, facts.roles, facts.nonlayer_bytes) == (18, None, None, None)


@pytest.mark.parametrize(
    "files",
    [
        {"chat_template.jinja": b"{{ messages }}"},
        {"tokenizer_config.json": {"chat_template": "{{ messages }}"}},
        {"tokenizer_config.json": {"chat_template": [{"name": "default", "template": "x"}]}},
    ],
)
def test_knows_a_chat_template(files: dict[str, object]) -> None:
    """
    A template stands in a file of its own, or in the tokenizer's.
    """
    weights = {"config.json": LLAMA, "model.safetensors": tensor_file(TINY)}

    assert read(MadeFolder({**weights, **files})).chat_template
    assert not read(MadeFolder({**weights, "tokenizer_config.json": {"chat_template": None}})).chat_template


def test_reads_an_adapter() -> None:
    """
    A folder with LoRA weights alone is an adapter.
    """
    tensors: Tensors = {
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": ("F32", (8, 64)),
        "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": ("F32", (64, 8)),
    }
    facts = read(
        MadeFolder(
            {
                "adapter_config.json": {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "Qwen/Qwen3-8B"},
                "adapter_model.safetensors": tensor_file(tensors),
            }
        )
    )

    assert (facts.categories, facts.model_type, facts.parameters) == (("adapter",), "lora", 1024)


def test_an_adapter_beside_a_model_is_its_companion() -> None:
    """
    The model's weights are counted without those of the adapter in its folder.
    """
    adapter = tensor_file({"lora_A": ("F32", (8, 64))})
    facts = read(
        MadeFolder({"config.json": LLAMA, "model.safetensors": tensor_file(TINY), "adapter_model.safetensors": adapter})
    )

    assert facts.files == ("model.safetensors",)
    assert facts.companions == (Companion(kind="adapter", file="adapter_model.safetensors", file_bytes=adapter.size),)


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"README.md": b"x"}, ModelFormatUnknownError, "made: it holds no GGUF file, no config.json"),
        ({"config.json": LLAMA}, ModelIncompleteError, "made: there is a config.json, but no weights"),
        ({"config.json": LLAMA, "model.safetensors": b""}, ModelIncompleteError, "the file is empty"),
        ({"config.json": LLAMA, "pytorch_model.bin": b""}, ModelIncompleteError, "the file is empty"),
        (
            {"config.json": LLAMA, "model.safetensors": b"version https://git-lfs.github.com/spec/v1\noid"},
            ModelIncompleteError,
            "git lfs pull",
        ),
        (
            {"config.json": LLAMA, "pytorch_model.bin": b"version https://git-lfs.github.com/spec/v1\noid"},
            ModelIncompleteError,
            "git lfs pull",
        ),
        (
            {"config.json": LLAMA, "model.safetensors": tensor_file({})},
            ModelIncompleteError,
            "there are no tensors in it",
        ),
    ],
)
def test_says_what_a_folder_lacks(files: dict[str, object], error: type[Exception], message: str) -> None:
    """
    A folder that is no model, or half of one, gets an error that says which.
    """
    with pytest.raises(error, match=message):
        read(MadeFolder(files))
