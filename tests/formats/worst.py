"""The longest way through a GGUF header: every bound reached, with the values that take the most memory."""

from __future__ import annotations

from collections.abc import Iterator

from motorpool_formats.gguf_bounds import (
    KEPT_ARRAY_ITEMS,
    KEPT_STRING_BYTES,
    MAX_NAME_BYTES,
    MAX_TENSOR_NAME_BYTES,
    Allowance,
)
from tests.formats.gguf_bytes import STRING, U16, U64, Entry, Items, Typed, Values, gguf_bytes

LAYERS = 1_024
SPARE_BYTES = 1 << 20


def worst_header(parts: int) -> dict[str, bytes]:
    """Return a model's files that take all that is allowed."""
    names = ["m.gguf"] if parts == 1 else [f"m-{part + 1:05}-of-{parts:05}.gguf" for part in range(parts)]
    return {name: _part(part, parts) for part, name in enumerate(names)}


def _part(part: int, parts: int) -> bytes:
    allowed = Allowance()
    share = [count // parts for count in (allowed.keys, allowed.numbers, allowed.text_bytes, allowed.tensors)]
    keys, numbers, text_bytes, tensors = share
    values: dict[str, str | int | Typed | Items] = {
        "general.architecture": "llama",
        "llama.block_count": LAYERS,
        "split.no": Typed(U16, part),
        "split.count": Typed(U16, parts),
        "strings": Items(STRING, [""] * (allowed.strings // parts)),
    }
    names = (_wide(f"k{number:x}", MAX_NAME_BYTES) for number in range(keys))
    for _ in range(numbers // KEPT_ARRAY_ITEMS):
        values[next(names)] = Items(U64, range(1 << 62, (1 << 62) + KEPT_ARRAY_ITEMS))
    for _ in range(text_bytes // KEPT_STRING_BYTES - 1):
        values[next(names)] = _wide("", KEPT_STRING_BYTES)
    for name in names:
        if len(values) < keys - 1:
            values[name] = Typed(U64, (1 << 64) - 1)
    entries = list(_entries(part, tensors))
    short = gguf_bytes(values, entries)
    filled: Values = {
        **values,
        "fill": "x" * (allowed.header_bytes // parts - len(short) - SPARE_BYTES // parts),
    }
    return gguf_bytes(filled, entries)


def _entries(part: int, count: int) -> Iterator[Entry]:
    for number in range(count):
        prefix = f"blk.{number % LAYERS}.ffn_up_exps.{part:x}.{number:x}."
        yield Entry(_wide(prefix, MAX_TENSOR_NAME_BYTES), (1, 1, 1, 1))


def _wide(beginning: str, length: int) -> str:
    """Return a text of so many bytes that Python keeps four for each character of."""
    return f"{beginning}\N{GRINNING FACE}".ljust(length - 3, "x")
