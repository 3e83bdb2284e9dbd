"""Headers of models, and the small files beside weights: any bytes are facts, or an error in words."""

from __future__ import annotations

from collections.abc import Mapping

from motorpool_formats import FormatError, ModelFacts, read_folder
from motorpool_formats.hugging_face import overridden
from motorpool_formats.protocols import Folder
from tests.formats.gguf_bytes import gguf_bytes
from tests.formats.hugging_face.folders import MadeFolder, tensor_file
from tests.formats.sources import MemoryFolder

CLAIMED_BYTES = 1 << 50
"""What files say they have: weights need not be there for a reader to come to the end of a header."""

MODEL = gguf_bytes()

CONFIG = {"model_type": "llama", "num_hidden_layers": 1}
WEIGHTS = tensor_file({"model.layers.0.mlp.up_proj.weight": ("BF16", (2, 3)), "lm_head.weight": ("U8", (4,))})
FILES_BESIDE: Mapping[str, object] = {
    "1_Pooling/config.json": {},
    "adapter_model.safetensors": WEIGHTS,
    "model.safetensors": WEIGHTS,
    "sub/model.safetensors": WEIGHTS,
    "unet/model.safetensors": WEIGHTS,
}
SMALL_FILES = (
    "config.json",
    "config_sentence_transformers.json",
    "configuration.json",
    "hf_quant_config.json",
    "model.safetensors.index.json",
    "model_index.json",
    "modules.json",
    "quantize_config.json",
    "sentence_bert_config.json",
    "tokenizer_config.json",
)


def gguf(content: bytes) -> None:
    """Read any bytes as a GGUF model, as the projector of another, and as both parts of a split one."""
    read(MemoryFolder({"m.gguf": content}, claimed_bytes=CLAIMED_BYTES))
    read(MemoryFolder({"m.gguf": MODEL, "mmproj.gguf": content}, claimed_bytes=CLAIMED_BYTES))
    parts = {f"m-0000{number}-of-00002.gguf": content for number in (1, 2)}
    read(MemoryFolder(parts, claimed_bytes=CLAIMED_BYTES))


def safetensors(content: bytes) -> None:
    """Read any bytes as a model's only file, and as one of two."""
    read(MadeFolder({"config.json": CONFIG, "model.safetensors": content}))
    read(MadeFolder({"config.json": CONFIG, "a.safetensors": content, "b.safetensors": WEIGHTS}))


def config(content: bytes) -> None:
    """Read any bytes as each of the small files beside weights, in a folder that has all sorts of them."""
    for name in SMALL_FILES:
        read(MadeFolder({"config.json": CONFIG, **FILES_BESIDE, name: content}))
    read(MadeFolder({"adapter_config.json": content, "adapter_model.safetensors": WEIGHTS}))


def read(folder: Folder) -> None:
    """Read a folder, and let nothing pass but facts that agree with themselves or a readable FormatError."""
    found = facts_or_error(folder)
    if isinstance(found, FormatError):
        assert str(found).isprintable(), "an error has what a terminal would obey"
        assert len(str(found)) < 1_000, "an error is too long to read"
    else:
        assert found.layer_bytes is None or sum(found.layer_bytes) + (found.nonlayer_bytes or 0) == found.weight_bytes
        assert found.format == "gguf" or found == overridden(found, {"nothing": 0}), "nothing was overridden"


def facts_or_error(folder: Folder) -> ModelFacts | FormatError:
    """Return the one or the other; anything else is a fault of the reader."""
    try:
        return read_folder(folder)
    except FormatError as error:
        return error
