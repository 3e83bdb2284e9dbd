"""From a path to facts."""

import os
import stat
from pathlib import Path

from motorpool_formats import gguf
from motorpool_formats.errors import (
    FormatError,
    ModelCorruptError,
    ModelFormatUnknownError,
    ModelIncompleteError,
    ModelNotFoundError,
    ModelUnreadableError,
)
from motorpool_formats.facts import ModelFacts
from motorpool_formats.gguf import MAX_TENSORS, Header
from motorpool_formats.gguf_model import model_facts
from motorpool_formats.shards import check_shards, shard_count, shard_paths

SUPPORTED = "GGUF (.gguf) can be read"

_GIT_LFS_POINTER = b"version https://git-lfs"
_BEGINNING_BYTES = len(_GIT_LFS_POINTER)


def read_model(path: Path) -> ModelFacts:
    """Return the facts of the model at ``path``, or raise a FormatError; a split model goes by any part."""
    try:
        return _read_gguf_model(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _read_gguf_model(path: Path) -> ModelFacts:
    header = _read_header(path)
    count = shard_count(header)
    if count == 1:
        return model_facts([header])
    paths = shard_paths(path, count)
    missing = [shard.name for shard in paths if not shard.exists()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelIncompleteError(
            missing[0], f"this part{more} of {count} is missing", "download all parts into one folder"
        )
    headers: list[Header] = []
    for shard in paths:
        headers.append(_read_header(shard))
        if sum(len(header.tensors) for header in headers) > MAX_TENSORS:
            raise ModelCorruptError(
                shard.name, f"the parts hold more than {MAX_TENSORS} tensors", "split the model again"
            )
    check_shards(headers)
    return model_facts(headers)


def _read_header(path: Path) -> Header:
    try:
        status = path.stat()
    except ValueError as error:  # a NUL or a lone surrogate in it: the operating system was not even asked
        raise ModelNotFoundError(str(path), "this is not a path", "check the path") from error
    if stat.S_ISDIR(status.st_mode):
        raise _unknown(path, "it is a directory", "name the model file in it")
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for a writer
        raise _unknown(path, "it is not a regular file")
    with path.open("rb", buffering=0) as file:
        _check_beginning(path, file.read(_BEGINNING_BYTES) or b"")
        return gguf.read_header(file, path.name)


def _check_beginning(path: Path, beginning: bytes) -> None:
    if beginning.startswith(gguf.MAGIC):
        return
    if not beginning:
        raise ModelIncompleteError(path.name, "the file is empty", "finish the download or repeat it")
    if beginning.startswith(_GIT_LFS_POINTER):
        raise ModelIncompleteError(path.name, "it is a Git LFS pointer, not the model", "run git lfs pull")
    if path.suffix.lower() == ".gguf":
        if gguf.MAGIC.startswith(beginning):
            raise ModelIncompleteError(
                path.name, "the file ends in its magic number", "finish the download or repeat it"
            )
        raise ModelCorruptError(path.name, "it does not begin with GGUF", "download the model again", offset=0)
    if path.suffix.lower() == ".safetensors" or beginning[8:9] == b"{":
        raise _unknown(path, "it looks like safetensors")
    raise _unknown(path, "its format is not known")


def _unknown(path: Path, what: str, todo: str = "give another file") -> FormatError:
    return ModelFormatUnknownError(path.name or str(path), f"{what}; {SUPPORTED}", todo)


def _unreadable(path: Path, error: OSError) -> FormatError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ModelNotFoundError(
            str(path), "there is no such file", "check the path, and that this is the node that has it"
        )
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ModelUnreadableError(str(path), f"it cannot be read: {reason}", "check the permissions and the disk")
