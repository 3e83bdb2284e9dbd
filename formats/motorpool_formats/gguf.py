"""GGUF headers: the key-values and the tensor list of one file, never its weights.

Layout: docs/gguf.md of ggml; where it is silent we do as gguf_init_from_file in ggml/src/gguf.cpp does, as a
file the engine refuses is of no use. Little-endian versions 2 and 3, which share one layout.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import BinaryIO, TypeAlias

from motorpool_formats.errors import ModelCorruptError, ModelFormatUnknownError, shown
from motorpool_formats.ggml import REMOVED_TENSOR_TYPES, TENSOR_TYPES
from motorpool_formats.window import Window

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32

# Bounds on what a file may make us read or keep. The largest real headers are some tens of MB (a tokenizer of
# 256k tokens, and the same once more as JSON), with under a hundred keys and some thousands of tensors.
HEADER_LIMIT_BYTES = 128 << 20
MAX_KEYS = 4_096
MAX_TENSORS = 65_536
MAX_NAME_BYTES = 1_024
MAX_DIMENSIONS = 4
MAX_ELEMENTS = (1 << 63) - 1
KEPT_STRING_BYTES = 4_096
KEPT_ARRAY_ITEMS = 1_024

_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {
    0: ("u8", Struct("<B")),
    1: ("i8", Struct("<b")),
    2: ("u16", Struct("<H")),
    3: ("i16", Struct("<h")),
    4: ("u32", Struct("<I")),
    5: ("i32", Struct("<i")),
    6: ("f32", Struct("<f")),
    7: ("bool", Struct("<?")),
    10: ("u64", Struct("<Q")),
    11: ("i64", Struct("<q")),
    12: ("f64", Struct("<d")),
}
_FLOATS = (6, 12)
_U32, _U64 = Struct("<I"), Struct("<Q")
_PREAMBLE = Struct("<IQQ")
_ELEMENT_KIND_AND_COUNT = Struct("<IQ")
_TYPE_AND_OFFSET = Struct("<IQ")
_SMALLEST_KEY_BYTES = 8 + 4 + 1
_SMALLEST_TENSOR_BYTES = 8 + 4 + 4 + 8


@dataclass(frozen=True, slots=True)
class Skipped:
    """A value passed over because of its size: its kind and length (bytes of a string, items of an array)."""

    kind: str
    count: int


Value: TypeAlias = bool | int | float | str | tuple[int, ...] | Skipped


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor's entry: where its bytes lie, counted from ``data_offset``, and how many they are."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    size_bytes: int

    @property
    def elements(self) -> int:
        """How many numbers the tensor holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """Everything one GGUF file says before its weights begin."""

    name: str
    version: int
    values: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    data_offset: int
    file_bytes: int
    sha256: bytes


def read_header(file: BinaryIO, name: str) -> Header:
    """Return the header of a GGUF file; ``name`` is what errors call the file."""
    window = Window(file, name, HEADER_LIMIT_BYTES)
    if window.take(len(MAGIC), "the magic number") != MAGIC:
        raise ModelCorruptError(name, "it does not begin with GGUF", "download the model again", offset=0)
    version, tensor_count, key_count = _preamble(window)
    values = _read_values(window, key_count)
    alignment = _alignment(window, values)
    tensors = _read_tensors(window, tensor_count, alignment)
    data_offset = _aligned(window.position, alignment)
    header = Header(name, version, values, tensors, data_offset, window.size_bytes, window.sha256())
    _check_complete(window, header)
    return header


def _preamble(window: Window) -> tuple[int, int, int]:
    version, tensor_count, key_count = (int(number) for number in window.unpack(_PREAMBLE, "the preamble"))
    if version and not version & 0xFFFF:
        raise ModelFormatUnknownError(
            window.name,
            "the file is big-endian",
            "convert the model again for little-endian machines",
            offset=4,
        )
    if version not in VERSIONS:
        raise ModelFormatUnknownError(
            window.name,
            f"GGUF version {version} is not supported",
            "convert the model to version 3 (2 works too)",
            offset=4,
        )
    for count, most, smallest, what in (
        (key_count, MAX_KEYS, _SMALLEST_KEY_BYTES, "keys"),
        (tensor_count, MAX_TENSORS, _SMALLEST_TENSOR_BYTES, "tensors"),
    ):
        if count > most:
            raise _corrupt(window, f"it claims {count} {what}, and {most} is the most accepted")
        window.check(count * smallest, f"the list of {count} {what}")
    return version, tensor_count, key_count


def _read_values(window: Window, count: int) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for _ in range(count):
        key = _read_name(window, "a key")
        if key in values:
            raise _corrupt(window, f"key {shown(key)} occurs twice")
        values[key] = _read_value(window, f"key {shown(key)}")
    return values


def _read_value(window: Window, what: str) -> Value:
    kind = int(window.unpack(_U32, what)[0])
    if kind == _STRING:
        return _read_string(window, what)
    if kind == _ARRAY:
        return _read_array(window, what)
    if kind not in _SCALARS:
        raise _corrupt(window, f"{what} has a value of type {kind}, which does not exist")
    return window.unpack(_SCALARS[kind][1], what)[0]


def _read_string(window: Window, what: str) -> str | Skipped:
    length = int(window.unpack(_U64, what)[0])
    if length > KEPT_STRING_BYTES:
        window.skip(length, what)
        return Skipped("string", length)
    return window.take(length, what).decode("utf-8", "replace")


def _read_array(window: Window, what: str) -> tuple[int, ...] | Skipped:
    kind, count = (int(number) for number in window.unpack(_ELEMENT_KIND_AND_COUNT, what))
    if kind == _STRING:
        window.skip_strings(count, what)
        return Skipped("string", count)
    if kind not in _SCALARS:  # an array of arrays is in no file and in no engine
        raise _corrupt(window, f"{what} is an array of type {kind}, which cannot be read")
    name, item = _SCALARS[kind]
    if kind in _FLOATS or count > KEPT_ARRAY_ITEMS:
        window.skip(count * item.size, what)
        return Skipped(name, count)
    return tuple(int(number) for number in window.unpack(Struct(f"<{count}{item.format[1:]}"), what))


def _read_name(window: Window, what: str) -> str:
    length = int(window.unpack(_U64, f"the length of {what}'s name")[0])
    if length > MAX_NAME_BYTES:
        raise _corrupt(window, f"{what} has a name of {length} bytes, and {MAX_NAME_BYTES} is the most accepted")
    return window.take(length, f"{what}'s name").decode("utf-8", "replace")


def _alignment(window: Window, values: Mapping[str, Value]) -> int:
    alignment = values.get("general.alignment", DEFAULT_ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1) or alignment > 1 << 30:
        raise _corrupt(window, f"general.alignment is {shown(str(alignment))}, not a power of two")
    return alignment


def _read_tensors(window: Window, count: int, alignment: int) -> tuple[Tensor, ...]:
    tensors: dict[str, Tensor] = {}
    expected_offset = 0
    for _ in range(count):
        tensor = _read_tensor(window)
        if tensor.name in tensors:
            raise _corrupt(window, f"tensor {shown(tensor.name)} occurs twice")
        # The engine insists on this order, and it makes counting the same bytes twice impossible.
        if tensor.offset != expected_offset:
            raise _corrupt(window, f"tensor {shown(tensor.name)} lies at {tensor.offset}, not at {expected_offset}")
        expected_offset = _aligned(tensor.offset + tensor.size_bytes, alignment)
        tensors[tensor.name] = tensor
    return tuple(tensors.values())


def _read_tensor(window: Window) -> Tensor:
    name = _read_name(window, "a tensor")
    what = f"tensor {shown(name)}"
    dimensions = int(window.unpack(_U32, what)[0])
    if dimensions > MAX_DIMENSIONS:
        raise _corrupt(window, f"{what} has {dimensions} dimensions, and {MAX_DIMENSIONS} is the most there are")
    shape = tuple(int(length) for length in window.unpack(Struct(f"<{dimensions}Q"), what))
    elements = math.prod(shape)
    if elements > MAX_ELEMENTS:
        raise _corrupt(window, f"{what} has {elements} elements")
    kind, offset = (int(number) for number in window.unpack(_TYPE_AND_OFFSET, what))
    if kind not in TENSOR_TYPES:
        raise _unknown_type(window, what, kind)
    layout = TENSOR_TYPES[kind]
    if shape and shape[0] % layout.block_elements:
        raise _corrupt(
            window,
            f"{what} has rows of {shape[0]}, not a multiple of {layout.name}'s {layout.block_elements}",
        )
    blocks = -(-elements // layout.block_elements)
    return Tensor(name, shape, layout.name, offset, blocks * layout.block_bytes)


def _unknown_type(window: Window, what: str, kind: int) -> ModelFormatUnknownError:
    if kind in REMOVED_TENSOR_TYPES:
        return ModelFormatUnknownError(
            window.name,
            f"{what} has type {kind}, which llama.cpp removed",
            "convert the model again with a current llama.cpp",
            offset=window.position,
        )
    return ModelFormatUnknownError(
        window.name,
        f"{what} has the unknown type {kind}",
        "update Motorpool, or repair the file",
        offset=window.position,
    )


def _check_complete(window: Window, header: Header) -> None:
    if not header.tensors:
        return
    last = header.tensors[-1]
    end = header.data_offset + last.offset + last.size_bytes
    if end > window.size_bytes:
        raise window.truncated(f"tensor {shown(last.name)}", end)


def _corrupt(window: Window, what: str) -> ModelCorruptError:
    return ModelCorruptError(window.name, what, "download or convert the model again", offset=window.position)


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
