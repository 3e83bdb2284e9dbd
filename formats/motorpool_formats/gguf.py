"""GGUF headers: the key-values and the tensor list of one file, never its weights.

Layout: docs/gguf.md of ggml; where it is silent we do as gguf_init_from_file in ggml/src/gguf.cpp does, as a
file the engine refuses is of no use. Little-endian versions 2 and 3, which share one layout.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import TypeAlias

from motorpool_formats.beginning import pass_magic
from motorpool_formats.errors import ModelCorruptError, ModelFormatUnknownError, shown
from motorpool_formats.ggml import REMOVED_TENSOR_TYPES, TENSOR_TYPES
from motorpool_formats.gguf_bounds import (
    KEPT_ARRAY_ITEMS,
    KEPT_STRING_BYTES,
    MAX_DIMENSIONS,
    MAX_ELEMENTS,
    MAX_NAME_BYTES,
    MAX_TENSOR_NAME_BYTES,
    Allowance,
)
from motorpool_formats.protocols import ByteSource
from motorpool_formats.window import Window

VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32

_STRING, _ARRAY = 8, 9
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
_SHAPES = tuple(Struct(f"<{dimensions}Q") for dimensions in range(MAX_DIMENSIONS + 1))
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
    """Everything one GGUF file says before its weights begin; ``offsets`` tell where in it each value lies."""

    name: str
    version: int
    values: Mapping[str, Value]
    offsets: Mapping[str, int]
    tensors: tuple[Tensor, ...]
    data_offset: int
    file_bytes: int
    sha256: bytes


def read_header(source: ByteSource, allowance: Allowance | None = None) -> Header:
    """Return the header of a GGUF file, and take what it has from the allowance."""
    return _Reader(source, allowance or Allowance()).read()


class _Reader:
    """One pass over one header, front to back."""

    def __init__(self, source: ByteSource, allowance: Allowance) -> None:
        self._window = Window(source, allowance.header_bytes)
        self._allowance = allowance

    def read(self) -> Header:
        window = self._window
        pass_magic(window)
        version, tensor_count, key_count = self._preamble()
        values, offsets = self._values(key_count)
        alignment = self._alignment(values, offsets)
        tensors = self._tensors(tensor_count, alignment)
        self._allowance.header_bytes -= window.position
        header = Header(
            name=window.name,
            version=version,
            values=values,
            offsets=offsets,
            tensors=tensors,
            data_offset=_aligned(window.position, alignment),
            file_bytes=window.size_bytes,
            sha256=window.sha256(),
        )
        self._check_complete(header)
        return header

    def _preamble(self) -> tuple[int, int, int]:
        window = self._window
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
        self._allowance.keys = self._spent(self._allowance.keys, key_count, "the file", "keys", at=16)
        self._allowance.tensors = self._spent(self._allowance.tensors, tensor_count, "the file", "tensors", at=8)
        window.check(key_count * _SMALLEST_KEY_BYTES, f"the list of {key_count} keys")
        window.check(tensor_count * _SMALLEST_TENSOR_BYTES, f"the list of {tensor_count} tensors")
        return version, tensor_count, key_count

    def _values(self, count: int) -> tuple[dict[str, Value], dict[str, int]]:
        values: dict[str, Value] = {}
        offsets: dict[str, int] = {}
        for _ in range(count):
            at = self._window.position
            key = self._name("a key", MAX_NAME_BYTES)
            if not key:
                raise self._corrupt("a key has no name", at)
            if key in values:
                raise self._corrupt(f"key {shown(key)} occurs twice", at)
            offsets[key] = self._window.position
            values[key] = self._value(f"key {key}")
        return values, offsets

    def _value(self, what: str) -> Value:
        at = self._window.position
        kind = int(self._window.unpack(_U32, what)[0])
        if kind == _STRING:
            return self._string(what)
        if kind == _ARRAY:
            return self._array(what)
        if kind not in _SCALARS:
            raise self._corrupt(f"{shown(what)} has a value of type {kind}, which does not exist", at)
        return self._window.unpack(_SCALARS[kind][1], what)[0]

    def _string(self, what: str) -> str | Skipped:
        at = self._window.position
        length = int(self._window.unpack(_U64, what)[0])
        if length > KEPT_STRING_BYTES:
            self._window.skip(length, what)
            return Skipped("string", length)
        self._allowance.text_bytes = self._spent(self._allowance.text_bytes, length, what, "bytes of short texts", at)
        return self._window.take(length, what).decode("utf-8", "replace")

    def _array(self, what: str) -> tuple[int, ...] | Skipped:
        at = self._window.position
        kind, count = (int(number) for number in self._window.unpack(_ELEMENT_KIND_AND_COUNT, what))
        if kind == _STRING:
            self._window.check(count * _U64.size, what)
            self._allowance.strings = self._spent(self._allowance.strings, count, what, "strings", at)
            self._window.skip_strings(count, what)
            return Skipped("string", count)
        if kind not in _SCALARS:  # an array of arrays is in no file and in no engine
            raise self._corrupt(f"{shown(what)} is an array of type {kind}, which cannot be read", at)
        name, item = _SCALARS[kind]
        if kind in _FLOATS or count > KEPT_ARRAY_ITEMS:
            self._window.skip(count * item.size, what)
            return Skipped(name, count)
        self._allowance.numbers = self._spent(self._allowance.numbers, count, what, "numbers in short lists", at)
        return tuple(int(number) for number in self._window.unpack(Struct(f"<{count}{item.format[1:]}"), what))

    def _name(self, what: str, most: int) -> str:
        at = self._window.position
        length = int(self._window.unpack(_U64, f"the length of {what}'s name")[0])
        if length > most:
            raise self._corrupt(f"{shown(what)} has a name of {length} bytes, and {most} is the most accepted", at)
        return self._window.take(length, f"{what}'s name").decode("utf-8", "replace")

    def _alignment(self, values: Mapping[str, Value], offsets: Mapping[str, int]) -> int:
        key = "general.alignment"
        alignment = values.get(key, DEFAULT_ALIGNMENT)
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1) or alignment > 1 << 30:
            raise self._corrupt(f"key {key} is {shown(str(alignment))}, not a power of two", offsets[key])
        return alignment

    def _tensors(self, count: int, alignment: int) -> tuple[Tensor, ...]:
        tensors: dict[str, Tensor] = {}
        expected_offset = 0
        for _ in range(count):
            at = self._window.position
            tensor = self._tensor(at)
            if tensor.name in tensors:
                raise self._corrupt(f"tensor {shown(tensor.name)} occurs twice", at)
            # The engine insists on this order, and it makes counting the same bytes twice impossible.
            if tensor.offset != expected_offset:
                raise self._corrupt(
                    f"tensor {shown(tensor.name)} lies at {tensor.offset}, not at {expected_offset}", at
                )
            expected_offset = _aligned(tensor.offset + tensor.size_bytes, alignment)
            tensors[tensor.name] = tensor
        return tuple(tensors.values())

    def _tensor(self, at: int) -> Tensor:
        window = self._window
        name = self._name("a tensor", MAX_TENSOR_NAME_BYTES)
        what = f"tensor {name}"
        dimensions = int(window.unpack(_U32, what)[0])
        if dimensions > MAX_DIMENSIONS:
            raise self._corrupt(
                f"{shown(what)} has {dimensions} dimensions, and {MAX_DIMENSIONS} is the most there are", at
            )
        shape = tuple(int(length) for length in window.unpack(_SHAPES[dimensions], what))
        elements = math.prod(shape)
        if elements > MAX_ELEMENTS:
            raise self._corrupt(f"{shown(what)} has {elements} elements", at)
        kind, offset = (int(number) for number in window.unpack(_TYPE_AND_OFFSET, what))
        if kind not in TENSOR_TYPES:
            raise self._unknown_type(what, kind, at)
        layout = TENSOR_TYPES[kind]
        if shape and shape[0] % layout.block_elements:
            raise self._corrupt(
                f"{shown(what)} has rows of {shape[0]}, not a multiple of {layout.name}'s {layout.block_elements}", at
            )
        blocks = -(-elements // layout.block_elements)
        return Tensor(name, shape, layout.name, offset, blocks * layout.block_bytes)

    def _unknown_type(self, what: str, kind: int, at: int) -> ModelFormatUnknownError:
        if kind in REMOVED_TENSOR_TYPES:
            return ModelFormatUnknownError(
                self._window.name,
                f"{shown(what)} has type {kind}, which llama.cpp removed",
                "convert the model again with a current llama.cpp",
                offset=at,
            )
        return ModelFormatUnknownError(
            self._window.name,
            f"{shown(what)} has the unknown type {kind}",
            "update Motorpool, or repair the file",
            offset=at,
        )

    def _check_complete(self, header: Header) -> None:
        if not header.tensors:
            return
        last = header.tensors[-1]
        end = header.data_offset + last.offset + last.size_bytes
        if end > header.file_bytes:
            raise self._window.truncated(f"tensor {last.name}", end)

    def _spent(self, left: int, count: int, what: str, of: str, at: int) -> int:
        """Return what is left of a bound after ``count`` of it."""
        if count > left:
            raise self._corrupt(f"{shown(what)} claims {count} {of}, and {left} is the most accepted here", at)
        return left - count

    def _corrupt(self, what: str, at: int) -> ModelCorruptError:
        return ModelCorruptError(self._window.name, what, "download or convert the model again", offset=at)


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
