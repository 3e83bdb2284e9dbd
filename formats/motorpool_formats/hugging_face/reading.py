"""Weights read from a folder: what their headers add up to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from motorpool_formats.errors import ModelIncompleteError
from motorpool_formats.facts import RoleBytes
from motorpool_formats.hugging_face.fingerprint import Fingerprint
from motorpool_formats.hugging_face.safetensors import Header, read_header
from motorpool_formats.hugging_face.tally import Tally
from motorpool_formats.hugging_face.weights import Weights
from motorpool_formats.protocols import Folder

_GIT_LFS_POINTER = b"version https://git-lfs"

Spread = Callable[[Callable[[str], Header], Iterable[str]], Iterable[Header]]
"""``map``, or that of a pool of threads: headers of a hub's hundred files need not be awaited one after the other."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the weights of a model or of a pipeline's component come to; the fields are those of ``ModelFacts``."""

    file_bytes: int
    weight_bytes: int
    parameters: int | None = None
    layer_bytes: tuple[int, ...] | None = None
    layer_expert_bytes: tuple[int, ...] | None = None
    roles: RoleBytes | None = None
    dtype: str | None = None


def measure(folder: Folder, weights: Weights, tally: Tally, fingerprint: Fingerprint, spread: Spread = map) -> Measured:
    """Return what weights come to: safetensors by their headers, others by their size."""
    sizes = folder.files()
    file_bytes = sum(sizes[name] for name in weights.files)
    if weights.format != "safetensors":
        for name in weights.files:
            _check_content(folder, name)
            fingerprint.add_tail(folder, name)
        return Measured(file_bytes, file_bytes)

    def read(name: str) -> Header:
        with folder.open(name) as source:
            return read_header(source)

    def digested(headers: Iterable[Header]) -> Iterator[Header]:
        for header in headers:
            fingerprint.add(header.file, header.file_bytes, header.sha256)
            yield header

    tally.add_headers(digested(spread(read, weights.files)))
    if not tally.weight_bytes:
        raise ModelIncompleteError(weights.files[0], "there are no tensors in it", "name the folder with the weights")
    return Measured(
        file_bytes=file_bytes,
        weight_bytes=tally.weight_bytes,
        parameters=tally.parameters,
        layer_bytes=tally.layer_bytes,
        layer_expert_bytes=tally.layer_expert_bytes,
        roles=tally.roles,
        dtype=tally.dtype,
    )


def _check_content(folder: Folder, name: str) -> None:
    with folder.open(name) as source:
        beginning = source.read(0, min(source.size, len(_GIT_LFS_POINTER)))
    if not beginning:
        raise ModelIncompleteError(name, "the file is empty", "finish the download or repeat it")
    if beginning.startswith(_GIT_LFS_POINTER):
        raise ModelIncompleteError(name, "it is a Git LFS pointer, not the model", "run git lfs pull")
