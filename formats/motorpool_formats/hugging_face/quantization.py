"""How a model's weights were quantised, and how many parameters its packed tensors stand for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from motorpool_formats.errors import shown
from motorpool_formats.hugging_face.documents import Document, find_document
from motorpool_formats.hugging_face.safetensors import DTYPE_BITS, Tensor
from motorpool_formats.protocols import Folder

MIXED = "mixed"
"""Of methods that quantise some layers to other widths than the rest."""

_PACKED_NAMES = ("qweight", "weight_packed")
_PACKED_TYPES = frozenset({"U8", "I16", "I32", "U32"})
"""Types that hold several weights each: nobody quantises to 16 or 32 whole bits."""

_NO_PARAMETER = re.compile(
    r"qzeros|scales|biases|zeros|g_idx|absmax|SCB|weight_format|quant_map|nested_\w+|bitsandbytes__\w+|quant_bias"
    r"|deq_scale|weight_offset|input_offset"
    r"|(?:\w+_)?(?:scales?|scale_inv|scale_2|zero_point|weight_shape|weight_g_idx|amax)"
)
"""Last parts of the names of tensors that say how to read the weights, and are none."""

_MODELOPT_TYPES = {"W4A16_AWQ": "int4", "W4A8_AWQ": "int4", "W4A16": "int4", "MIXED_PRECISION": MIXED}
_MODELOPT_BITS = {"nvfp4": 4, "int4": 4, "fp8": 8, "mxfp8": 8, "mxfp4": 4}
_FIXED = {"fp8": 8, "fbgemm_fp8": 8, "mxfp4": 4, "mxfp8": 8, "nvfp4": 4, "eetq": 8, "ptpc_fp8": 8}
"""Methods whose name says the width."""

_EARLIER_FILES = ("quantize_config.json", "quant_config.json")
"""Where AutoGPTQ and AutoAWQ wrote what stands in config.json today."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """A method, and the bits of one weight: None where they are not known, or not the same everywhere."""

    name: str
    bits: int | None = None

    def parameters(self, tensor: Tensor) -> int | None:
        """Return how many of the model's parameters a tensor holds; None where that cannot be told."""
        last = tensor.name.rpartition(".")[2]
        if _NO_PARAMETER.fullmatch(last):
            return 0
        packed = last in _PACKED_NAMES or tensor.dtype in _PACKED_TYPES
        if not packed:
            return tensor.elements
        if self.bits is None:
            return None
        return tensor.elements * DTYPE_BITS[tensor.dtype] // self.bits


def find_quantization(folder: Folder, config: Document, text: Document) -> Quantization | None:
    """Return how the model in a folder is quantised, wherever it says so; None where its weights are as trained."""
    for document in (config, text):
        if found := stated_quantization(document):
            return found
    for name in _EARLIER_FILES:
        if earlier := find_document(folder, name):
            method = "gptq" if name == "quantize_config.json" else "awq"
            return _by_method(earlier.text("quant_method") or method, earlier)
    if (modelopt := find_document(folder, "hf_quant_config.json")) and (section := modelopt.section("quantization")):
        return _modelopt(section)
    return None


def stated_quantization(config: Document) -> Quantization | None:
    """Return the quantisation that a config.json states itself."""
    section = config.section("quantization_config") or config.section("compression_config")
    if section is None:
        if isinstance(config.values.get("quantization"), dict) and (mlx := config.section("quantization")):
            return _mlx(mlx)
        name = config.values.get("quantize")  # as MindIE's converters write it: w8a8, w4a16 …
        return Quantization(shown(name.lower())) if isinstance(name, str) and name else None
    method = section.text("quant_method")
    if method is None and "config_groups" in section:  # as compressed-tensors was written before it was part of others
        method = "compressed-tensors"
    if method is None and "bits" in section and "group_size" in section and "quantization" in config:
        return _mlx(section)
    if method is None:
        return _modelopt(section.section("quantization") or section)
    return _by_method(method, section)


def _by_method(method: str, section: Document) -> Quantization:
    method = method.lower().replace("_", "-")
    match method:
        case "compressed-tensors":
            return _compressed_tensors(section)
        case "bitsandbytes":
            return _bitsandbytes(section)
        case "modelopt" | "modelopt-fp4" | "modelopt-mixed":
            return _modelopt(section.section("quantization") or section)
        case "gptq" | "gptq-marlin" | "gptqmodel":
            return _of_bits("gptq", section)
        case "awq" | "awq-marlin":
            return _of_bits("awq", section)
    width = _FIXED.get(method.replace("-", "_"))
    return Quantization(method, width) if width else _of_bits(method, section)


def _of_bits(method: str, section: Document) -> Quantization:
    stated = next((bits for key in ("bits", "w_bit", "weight_bits") if (bits := section.number(key))), None)
    if stated is None or stated not in range(1, 9):  # exl2's 4.65 is an average
        return Quantization(method)
    bits = int(stated)
    others = {
        rule.whole("bits")
        for key in ("dynamic", "extra_config")  # GPTQModel's and AutoRound's modules with a width of their own
        if (rules := section.section(key))
        for rule in rules.nested()
    } - {None, bits}
    return Quantization(f"{method}-{MIXED}") if others else Quantization(f"{method}-int{bits}", bits)


def _mlx(section: Document) -> Quantization:
    bits = section.whole("bits")
    others = {rule.whole("bits") for rule in section.nested()} - {None, bits}  # modules with a width of their own
    if bits is None or others:
        return Quantization(f"mlx-{MIXED}" if others else "mlx")
    return Quantization(f"mlx-int{bits}", bits)


def _compressed_tensors(section: Document) -> Quantization:
    kinds: set[tuple[str, int]] = set()
    groups = section.section("config_groups")
    for group in groups.nested() if groups else ():
        if weights := group.section("weights"):
            kinds.add((weights.text("type") or "int", weights.whole("num_bits") or 8))
    if len(kinds) != 1:
        return Quantization(f"compressed-tensors-{MIXED}" if kinds else "compressed-tensors")
    ((kind, bits),) = kinds
    short = {"float": "fp"}.get(kind, kind)
    return Quantization(f"compressed-tensors-{short}{bits}", bits)


def _bitsandbytes(section: Document) -> Quantization:
    if section.flag("load_in_8bit") or section.flag("_load_in_8bit"):
        return Quantization("bitsandbytes-int8", 8)
    kind = section.text("bnb_4bit_quant_type") or "fp4"  # the default of transformers' BitsAndBytesConfig
    storage = section.text("bnb_4bit_quant_storage") or "uint8"
    return Quantization(f"bitsandbytes-{kind}", 4 if storage == "uint8" else None)


def _modelopt(section: Document) -> Quantization:
    algorithm = section.text("quant_algo")
    if algorithm is None:
        return Quantization("unknown")
    kind = _MODELOPT_TYPES.get(algorithm.upper()) or algorithm.lower()
    return Quantization(f"modelopt-{kind}", _MODELOPT_BITS.get(kind))
