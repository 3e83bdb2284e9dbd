"""Models cut into several GGUF files by llama.cpp's gguf-split: name-00001-of-00003.gguf and so on."""

import re
from collections.abc import Sequence

from motorpool_formats.errors import ModelCorruptError, ModelIncompleteError
from motorpool_formats.gguf import Header

MAX_SHARDS = 256
"""Parts of one model; the largest published have some sixty."""

_SHARD_NAME = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


def shard_count(header: Header) -> int:
    """Return of how many files the model consists, as one of them says."""
    count = header.values.get("split.count", 1)
    if type(count) is not int or not 0 <= count <= MAX_SHARDS:
        raise ModelCorruptError(
            header.name,
            f"key split.count is not a number up to {MAX_SHARDS}",
            "split the model again",
            offset=header.offsets["split.count"],
        )
    return count or 1


def shard_names(name: str, count: int) -> tuple[str, ...]:
    """Return what the shards must be called, given the name of one of them."""
    parts = _SHARD_NAME.fullmatch(name)
    if parts is None or int(parts["count"]) != count:
        raise ModelIncompleteError(
            name,
            f"it is one of {count} parts, and its name does not tell where the others are",
            f"give the parts the names that gguf-split gave them, like model-00001-of-{count:05}.gguf",
        )
    return tuple(f"{parts['stem']}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1))


def check_shards(headers: Sequence[Header]) -> None:
    """Raise unless the headers are those of one model's shards, in order and without one left out."""
    for number, header in enumerate(headers):
        if (shard_count(header), header.values.get("split.no")) != (len(headers), number):
            raise ModelCorruptError(
                header.name,
                f"it does not say that it is part {number + 1} of {len(headers)}",
                "split the model again",
                offset=header.offsets.get("split.no"),
            )
    tensors = sum(len(header.tensors) for header in headers)
    expected = headers[0].values.get("split.tensors.count", tensors)
    if expected != tensors:
        raise ModelCorruptError(
            headers[0].name,
            f"the parts hold {tensors} tensors instead of {expected}",
            "download or split the model again",
            offset=headers[0].offsets["split.tensors.count"],
        )
    names = {tensor.name for header in headers for tensor in header.tensors}
    if len(names) != tensors:
        raise ModelCorruptError(headers[0].name, "a tensor lies in two parts", "download or split the model again")
