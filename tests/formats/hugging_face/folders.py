"""Folders of models made of what a reader may see: small files whole, tensors by header alone."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from motorpool_formats.hugging_face.safetensors import DTYPE_BITS

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""Types and shapes by name."""


@dataclass(frozen=True)
class MadeFile:
    """
    A file whose first bytes are given, and whose others, up to its size, are zeros that take no memory.
    """

    head: bytes
    size: int


def tensor_file(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> MadeFile:
    """
    A safetensors file of these tensors, in this order.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + math.prod(shape) * DTYPE_BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    return MadeFile(struct.pack("<Q", len(text)) + text, 8 + len(text) + end)


class MadeFolder:
    """
    A folder that counts what is read of it. Texts and objects stand for the files that have them.
    """

    def __init__(self, files: Mapping[str, bytes | MadeFile | object], name: str = "made") -> None:
        self.name = name
        self.bytes_read: dict[str, int] = {}
        self.reads: dict[str, int] = {}
        self._files = {file: _made(content) for file, content in files.items()}

    def files(self) -> Mapping[str, int]:
        return {name: file.size for name, file in self._files.items()}

    def open(self, name: str) -> MadeSource:
        return MadeSource(self, name, self._files[name])


class MadeSource:
    def __init__(self, folder: MadeFolder, name: str, file: MadeFile) -> None:
        self._folder = folder
        self._file = file
        self.name = name
        self.size = file.size

    def read(self, offset: int, count: int) -> bytes:
        assert 0 <= offset
        assert 0 <= count <= self.size - offset, "asked for more than there is"
        self._folder.bytes_read[self.name] = self._folder.bytes_read.get(self.name, 0) + count
        self._folder.reads[self.name] = self._folder.reads.get(self.name, 0) + 1
        return self._file.head[offset : offset + count].ljust(count, b"\0")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def _made(content: object) -> MadeFile:
    if isinstance(content, MadeFile):
        return content
    whole = content if isinstance(content, bytes) else json.dumps(content).encode()
    return MadeFile(whole, len(whole))
