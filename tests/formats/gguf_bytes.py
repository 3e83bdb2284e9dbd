"""GGUF files made by hand, byte by byte, so that any of them can be wrong."""

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

U8, U16, U32, I32, F32, BOOL, STRING, ARRAY, U64 = 0, 2, 4, 5, 6, 7, 8, 9, 10
F32_TENSOR, Q4_0_TENSOR, Q4_K_TENSOR = 0, 2, 12
FORMATS = {U8: "B", U16: "H", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q"}


class Typed(NamedTuple):
    """A value with its GGUF type."""

    kind: int
    value: object


class Items(NamedTuple):
    """An array with its element type."""

    kind: int
    items: Sequence[object]


class Entry(NamedTuple):
    """A tensor's entry; without an offset it follows the one before it."""

    name: str
    shape: tuple[int, ...]
    kind: int = F32_TENSOR
    offset: int | None = None


Values: TypeAlias = Mapping[str, str | int | bool | Typed | Items]

LLAMA: Values = {"general.architecture": "llama", "llama.block_count": 1}
ONE_TENSOR = (Entry("blk.0.attn_q.weight", (8, 4)),)  # 128 bytes


def gguf_bytes(
    values: Values = LLAMA,
    tensors: Sequence[Entry] = ONE_TENSOR,
    *,
    version: int = 3,
    key_count: int | None = None,
    tensor_count: int | None = None,
    alignment: int = 32,
) -> bytes:
    """Return a file with these values and tensors, all weights zero."""
    counts = (
        len(tensors) if tensor_count is None else tensor_count,
        len(values) if key_count is None else key_count,
    )
    pieces = [b"GGUF" + struct.pack("<IQQ", version, *counts)]
    pieces += [string(key) + value_bytes(value) for key, value in values.items()]
    data_bytes = 0
    for tensor in tensors:
        offset = aligned(data_bytes, alignment) if tensor.offset is None else tensor.offset
        pieces.append(entry_bytes(tensor, offset))
        data_bytes = aligned(data_bytes, alignment) + tensor_bytes(tensor)
    header = b"".join(pieces)
    return header.ljust(aligned(len(header), alignment), b"\0") + bytes(data_bytes)


def value_bytes(value: str | int | bool | Typed | Items) -> bytes:
    """Return a value: a number without a type is a u32."""
    if isinstance(value, str):
        return struct.pack("<I", STRING) + string(value)
    if isinstance(value, Items):
        items = b"".join(scalar(value.kind, item) for item in value.items)
        return struct.pack("<IIQ", ARRAY, value.kind, len(value.items)) + items
    if isinstance(value, Typed):
        return struct.pack("<I", value.kind) + scalar(value.kind, value.value)
    kind = BOOL if isinstance(value, bool) else U32
    return struct.pack("<I", kind) + scalar(kind, value)


def scalar(kind: int, value: object) -> bytes:
    """Return one string or number; of a kind that does not exist, nothing."""
    if isinstance(value, str):
        return string(value)
    return struct.pack(f"<{FORMATS[kind]}", value) if kind in FORMATS else b""


def string(text: str) -> bytes:
    """Return a text behind its length."""
    encoded = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(encoded)) + encoded


def entry_bytes(tensor: Entry, offset: int) -> bytes:
    """Return one line of the tensor list."""
    shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
    return string(tensor.name) + shape + struct.pack("<IQ", tensor.kind, offset)


def tensor_bytes(tensor: Entry) -> int:
    """Return how many bytes the tensor's weights take."""
    elements = 1
    for length in tensor.shape:
        elements *= length
    per_block = {F32_TENSOR: (1, 4), Q4_0_TENSOR: (32, 18), Q4_K_TENSOR: (256, 144)}
    block_elements, block_bytes = per_block.get(tensor.kind, (1, 4))
    return min(elements // block_elements * block_bytes, 1 << 20)


def aligned(offset: int, alignment: int = 32) -> int:
    """Return the next multiple of the alignment."""
    return -(-offset // alignment) * alignment
