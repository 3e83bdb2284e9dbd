"""What a local hub holds: repositories, their commits, and files that may be far larger than what is kept of them."""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np

LFS_BYTES = 10 << 20
"""Files from this size on are served by the other host, as large files of hubs are."""


DIGESTED_BYTES = 1 << 30


@functools.cache
def _digest(name: str, prefix: bytes, head: bytes, size: int) -> str:
    made = hashlib.new(name, prefix + head[:size], usedforsecurity=False)
    left, zeros = max(0, size - len(head)), bytes(1 << 20)
    while left:
        made.update(zeros[: min(left, len(zeros))])
        left -= min(left, len(zeros))
    return made.hexdigest()


@dataclass(frozen=True)
class Content:
    """A file: its first bytes, and zeros up to its size."""

    head: bytes
    size: int

    @property
    def sha256(self) -> str:
        """Its digest; of what is too large to be made, a name for it."""
        if self.size > DIGESTED_BYTES:
            return hashlib.sha256(self.head + str(self.size).encode()).hexdigest()
        return _digest("sha256", b"", self.head, self.size)

    @property
    def git_sha1(self) -> str:
        """Its digest as git counts it; see ``sha256``."""
        if self.size > DIGESTED_BYTES:
            return self.sha256[:40]
        return _digest("sha1", f"blob {self.size}\0".encode(), self.head, self.size)

    @property
    def large(self) -> bool:
        """Whether it lies with the other host."""
        return self.size >= LFS_BYTES

    def read(self, offset: int, count: int) -> bytes:
        """Return some of it."""
        count = max(0, min(count, self.size - offset))
        some = self.head[offset : offset + count]
        return some + bytes(count - len(some))


def content_of(given: bytes | Path | Content) -> Content:
    """Return a file's content, given as such, as bytes or as a file of this machine."""
    if isinstance(given, Content):
        return given
    data = given if isinstance(given, bytes) else given.read_bytes()
    return Content(data, len(data))


@dataclass
class Repository:
    """A repository: files by commit, and commits by branch."""

    name: str
    commits: dict[str, dict[str, Content]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tokens: frozenset[str] | None = None
    """Who may see it; None for everybody."""
    gated: frozenset[str] | None = None
    """Who may read its files, though everybody sees it; None for everybody."""

    def commit(self, files: Mapping[str, bytes | Path | Content], branch: str = "main") -> str:
        """Add a commit of all these files to a branch, and return its id."""
        contents = {name: content_of(given) for name, given in files.items()}
        identity = repr((self.name, branch, sorted((name, each.sha256) for name, each in contents.items())))
        commit = hashlib.sha1(identity.encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = contents
        self.branches[branch] = commit
        return commit

    def resolve(self, revision: str) -> str | None:
        """Return the commit of a branch or a commit; None where there is none."""
        if revision in self.commits:
            return revision
        return self.branches.get(revision)


def large_gguf(folder: Path, *, tokens: int = 30_000, tensor_bytes: int = 50 << 20) -> tuple[Content, int]:
    """Return a GGUF model of so many tokens and bytes of weights, all zero, and how long its header is."""
    path = folder / "large.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("large")
    writer.add_context_length(4096)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(128)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"token number {number}" for number in range(tokens)])
    rows = tensor_bytes // (64 * 4)
    for name, shape in (("token_embd.weight", (rows, 64)), ("blk.0.attn_q.weight", (64, 64))):
        writer.add_tensor_info(name, shape, np.dtype(np.float32), int(np.prod(shape)) * 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    head = path.read_bytes()
    path.unlink()
    alignment = 32
    start = (len(head) + alignment - 1) // alignment * alignment
    return Content(head, start + rows * 64 * 4 + 64 * 64 * 4), len(head)


def safetensors(tensors: Mapping[str, tuple[str, tuple[int, ...], int]]) -> Content:
    """Return a safetensors file of zeros: by tensor's name its type, its shape and its bytes."""
    entries: list[str] = []
    offset = 0
    for name, (kind, shape, size) in tensors.items():
        entries.append(f'"{name}":{{"dtype":"{kind}","shape":{list(shape)},"data_offsets":[{offset},{offset + size}]}}')
        offset += size
    header = ("{" + ",".join(entries) + "}").encode()
    header += b" " * (-len(header) % 8)
    head = struct.pack("<Q", len(header)) + header
    return Content(head, len(head) + offset)
