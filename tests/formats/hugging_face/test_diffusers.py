"""Pipelines in the layout of diffusers."""

from __future__ import annotations

from typing import Any

import pytest

from motorpool_formats import FormatError, ModelCorruptError, ModelIncompleteError
from motorpool_formats.facts import Component
from motorpool_formats.hugging_face import read
from tests.formats.hugging_face.folders import MadeFolder, tensor_file

INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionXLPipeline",
    "_diffusers_version": "0.19.0.dev0",
    "feature_extractor": [None, None],
    "force_zeros_for_empty_prompt": True,
    "image_encoder": [None, None],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
UNET = tensor_file({"down_blocks.0.resnets.0.conv1.weight": ("F16", (320, 320, 3, 3))})
TEXT = tensor_file({"text_model.encoder.layers.0.mlp.fc1.weight": ("F16", (64, 16))})
FILES: dict[str, object] = {
    "model_index.json": INDEX,
    "scheduler/scheduler_config.json": {},
    "text_encoder/config.json": {"architectures": ["CLIPTextModel"]},
    "text_encoder/model.safetensors": TEXT,
    "text_encoder/pytorch_model.bin": b"PK" * 999,
    "tokenizer/vocab.json": {},
    "unet/config.json": {"_class_name": "UNet2DConditionModel"},
    "unet/diffusion_pytorch_model.fp16.safetensors": UNET,
    "unet/diffusion_pytorch_model.safetensors": UNET,
    "vae/config.json": {},
    "vae/diffusion_pytorch_model.bin": b"PK" * 50,
    "sd_xl_base_1.0.safetensors": b"x" * 10_000,
}
UNET_BYTES = 320 * 320 * 9 * 2


def test_adds_up_a_pipelines_components() -> None:
    """
    B3.2, A13: each component's weights once; a scheduler and a tokenizer have none; a null component is not used.
    """
    facts = read(MadeFolder(FILES))

    assert (facts.format, facts.architecture, facts.categories) == (
        "diffusers",
        "StableDiffusionXLPipeline",
        ("image",),
    )
    assert facts.components == (
        Component(name="scheduler", type="EulerDiscreteScheduler", weight_bytes=0),
        Component(name="text_encoder", type="CLIPTextModel", weight_bytes=2048),
        Component(name="tokenizer", type="CLIPTokenizer", weight_bytes=0),
        Component(name="unet", type="UNet2DConditionModel", weight_bytes=UNET_BYTES),
        Component(name="vae", type="AutoencoderKL", weight_bytes=100),
    )
    assert facts.weight_bytes == UNET_BYTES + 2048 + 100
    assert facts.files == (
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.bin",
    )
    assert facts.parameters is None  # the vae's file does not say
    assert facts.dtype == "float16"


def test_knows_the_parameters_where_all_headers_tell() -> None:
    """
    Parameters are the sum over components, if each of them tells.
    """
    vae = tensor_file({"decoder.conv_in.weight": ("F32", (4, 4))})
    files = FILES | {"vae/diffusion_pytorch_model.safetensors": vae}

    assert read(MadeFolder(files)).parameters == UNET_BYTES // 2 + 1024 + 16


def test_reads_a_sharded_and_quantised_transformer() -> None:
    """
    A component may be sharded, with an index in its own folder, and quantised, as its own config.json says.
    """
    part = tensor_file({"transformer_blocks.0.attn.to_q.weight": ("U8", (128, 1))})
    facts = read(
        MadeFolder(
            {
                "model_index.json": {
                    "_class_name": "FluxPipeline",
                    "transformer": ["diffusers", "FluxTransformer2DModel"],
                },
                "transformer/config.json": {
                    "quantization_config": {"quant_method": "bitsandbytes", "bnb_4bit_quant_type": "nf4"}
                },
                "transformer/diffusion_pytorch_model.safetensors.index.json": {"weight_map": {"a": "1.safetensors"}},
                "transformer/1.safetensors": part,
            }
        )
    )

    assert (facts.quantization, facts.parameters, facts.weight_bytes) == ("bitsandbytes-nf4", 256, 128)


def test_a_pipeline_for_sound_is_no_image_model() -> None:
    """
    What a pipeline that makes sound is for has no category yet.
    """
    index = {**INDEX, "_class_name": "StableAudioPipeline"}

    assert read(MadeFolder(FILES | {"model_index.json": index})).categories == ()


@pytest.mark.parametrize("missing", ["unet", "text_encoder", "vae"])
def test_a_component_without_weights_is_missing(missing: str) -> None:
    """
    Where a component's weights are not there the sum would be too small: that is an error, and names it.
    """
    files = {name: file for name, file in FILES.items() if not name.startswith(f"{missing}/")}

    with pytest.raises(ModelIncompleteError, match=f"{missing}: model_index.json names this component"):
        read(MadeFolder(files))


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        ({"_class_name": "X"}, ModelIncompleteError, "no component that it names has weights"),
        ({"../x": ["diffusers", "Y"]}, ModelCorruptError, "names a component with a path"),
        ({f"c{number}": ["d", "Y"] for number in range(100)}, FormatError, "names this component|more than 64"),
        ({f"c{number}": ["d", "YScheduler"] for number in range(100)}, FormatError, "more than 64 components"),
        ([], ModelCorruptError, "it is not a JSON object"),
    ],
)
def test_a_broken_index_is_told(index: object, error: type[Exception], message: str) -> None:
    """
    An index that names nothing, too much or what is outside the folder is refused.
    """
    with pytest.raises(error, match=message):
        read(MadeFolder({"model_index.json": index}))


def test_errors_of_components_name_the_file() -> None:
    """
    What is wrong with a component's file is told with the folder it is in.
    """
    with pytest.raises(ModelCorruptError, match=r"^unet/config\.json: it is not JSON"):
        read(MadeFolder(FILES | {"unet/config.json": b"{"}))
