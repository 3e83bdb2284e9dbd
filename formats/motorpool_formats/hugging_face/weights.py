"""Which files of a folder are the model's weights: each tensor once, in the format that engines prefer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from motorpool_formats.errors import ModelCorruptError, ModelIncompleteError, shown
from motorpool_formats.hugging_face.documents import MAX_DOCUMENT_BYTES, parsed, read_whole
from motorpool_formats.hugging_face.tally import MAX_TENSORS
from motorpool_formats.protocols import Folder

MAX_INDEX_BYTES = 32 << 20
"""Of the largest mixture of experts it has 20 MB."""

MAX_PARTS = 1_000

SAFETENSORS = ".safetensors"
PYTORCH = (".bin", ".pt", ".pth")

_ADAPTER = re.compile(r"^adapter_model\.")
_SHARD = re.compile(r"^(.*)-(\d{5})-of-(\d{5})(\.\w+)$")
_VARIANT = re.compile(r"\.(?:fp16|bf16|fp32|ema|non_ema)(?:-\d{5}-of-\d{5})?\.\w+$")
_OTHER_PROGRAMS = re.compile(
    r"^(?:training_args|optimizer|scheduler|scaler|rng_state|random_states|tokenizer|spk2info|ggml|openvino|tf_|flax_)"
)
"""What trainers leave beside a model, and models for other programs under the same suffix."""

_AGAIN = "download the index again"
_WEIGHT_MAP = re.compile(rb'"weight_map"\s*+:\s*+\{')
_ENTRY = re.compile(rb'\s*+"(?:[^"\\]++|\\.)*+"\s*+:\s*+"((?:[^"\\]++|\\.)*+)"\s*+(,|\})', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Weights:
    """The files with a model's weights, and their format: safetensors or pytorch."""

    format: str
    files: tuple[str, ...]


def find_weights(folder: Folder) -> Weights | None:
    """Return the weights in a folder: safetensors if there are any, else PyTorch's; None where there are neither."""
    names = [name for name in folder.files() if "/" not in name and not _ADAPTER.match(name)]
    safetensors = [name for name in names if name.endswith(SAFETENSORS)]
    if files := _chosen(folder, safetensors, "model" + SAFETENSORS, SAFETENSORS + ".index.json"):
        return Weights("safetensors", files)
    pytorch = [name for name in names if name.endswith(PYTORCH) and not _OTHER_PROGRAMS.match(name)]
    if files := _chosen(folder, pytorch, "pytorch_model.bin", ".bin.index.json"):
        return Weights("pytorch", files)
    return None


def _chosen(folder: Folder, candidates: Sequence[str], usual: str, index_suffix: str) -> tuple[str, ...]:
    indices = sorted(
        (name for name in folder.files() if name.endswith(index_suffix) and "/" not in name),
        key=lambda name: (name.startswith("consolidated"), _VARIANT.search(_unindexed(name)) is not None, name),
    )
    if indices:
        return _indexed(folder, indices[0])
    if usual in candidates:
        return (usual,)
    # Mistral publishes its own copy of what the other files hold, others copies in another precision.
    originals = [name for name in candidates if not name.startswith("consolidated")] or candidates
    chosen = [name for name in originals if not _VARIANT.search(name)] or originals
    _check_shards(chosen)
    return tuple(sorted(chosen))


def _unindexed(name: str) -> str:
    return name.removesuffix(".index.json")


def _indexed(folder: Folder, index: str) -> tuple[str, ...]:
    """Return the files that an index names; it may name files of folders below."""
    names = sorted(index_files(*read_whole(folder, index, MAX_INDEX_BYTES)))
    files = folder.files()
    if missing := [name for name in names if name not in files]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelIncompleteError(
            shown(missing[0]),
            f"this file{more} of the {len(names)} that {index} names is missing",
            "download all files into one folder",
        )
    return tuple(names)


def index_files(name: str, content: bytes) -> set[str]:
    """Return the files that an index names, scanned and not parsed: an index can be a hundred times its answer."""
    match = _WEIGHT_MAP.search(content)
    if match is None:
        if len(content) <= MAX_DOCUMENT_BYTES:
            parsed(name, content)  # says where it stops being JSON, if it does
        raise ModelCorruptError(name, "it has no weight_map", _AGAIN, offset=0)
    files: set[bytes] = set()
    position = match.end()
    for _ in range(MAX_TENSORS):
        entry = _ENTRY.match(content, position)
        if entry is None:
            raise ModelCorruptError(
                name, "weight_map: a tensor's name and its file should stand here", _AGAIN, offset=position
            )
        files.add(entry[1])
        if len(files) > MAX_PARTS:
            raise ModelCorruptError(name, f"it names more than {MAX_PARTS} files", _AGAIN, offset=position)
        position = entry.end()
        if entry[2] == b"}":
            return {_text(name, file) for file in files}
    raise ModelCorruptError(name, f"weight_map has more than {MAX_TENSORS} tensors", _AGAIN, offset=position)


def _text(name: str, quoted: bytes) -> str:
    text = parsed(name, b'"' + quoted + b'"')
    return text if isinstance(text, str) else ""


def _check_shards(names: Sequence[str]) -> None:
    """Raise where files are numbered parts of a whole and one of them is missing."""
    wholes = {match.group(1, 3, 4) for name in names if (match := _SHARD.match(name))}
    for stem, count, suffix in sorted(wholes):
        if int(count) > MAX_PARTS:
            raise ModelCorruptError(
                f"{stem}-…-of-{count}{suffix}", f"it has {int(count)} parts, {MAX_PARTS} are the most", "check the name"
            )
        parts = (f"{stem}-{number:05}-of-{count}{suffix}" for number in range(1, int(count) + 1))
        if missing := next((part for part in parts if part not in names), None):
            raise ModelIncompleteError(
                missing, f"this part of {int(count)} is missing", "download all parts into one folder"
            )
