"""What is fuzzed: each target takes any bytes, and raises where one of ours should have answered with an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from motorpool_formats import FormatError, ModelFacts, read_folder
from motorpool_formats.places import Folder
from tests.formats.gguf_bytes import gguf_bytes
from tests.formats.sources import MemoryFolder

CLAIMED_BYTES = 1 << 50
"""What files say they have: weights need not be there for a reader to come to the end of a header."""

MODEL = gguf_bytes()


def gguf(content: bytes) -> None:
    """Read any bytes as a GGUF model, as the projector of another, and as both parts of a split one."""
    read(MemoryFolder({"m.gguf": content}, claimed_bytes=CLAIMED_BYTES))
    read(MemoryFolder({"m.gguf": MODEL, "mmproj.gguf": content}, claimed_bytes=CLAIMED_BYTES))
    parts = {f"m-0000{number}-of-00002.gguf": content for number in (1, 2)}
    read(MemoryFolder(parts, claimed_bytes=CLAIMED_BYTES))


def read(folder: Folder) -> None:
    """Read a folder, and let nothing pass but facts that agree with themselves or a readable FormatError."""
    found = facts_or_error(folder)
    if isinstance(found, FormatError):
        assert str(found).isprintable(), "an error has what a terminal would obey"
        assert len(str(found)) < 1_000, "an error is too long to read"
    else:
        assert found.layer_bytes is None or sum(found.layer_bytes) + (found.nonlayer_bytes or 0) == found.weight_bytes


def facts_or_error(folder: Folder) -> ModelFacts | FormatError:
    """Return the one or the other; anything else is a fault of the reader."""
    try:
        return read_folder(folder)
    except FormatError as error:
        return error


TARGETS: Mapping[str, Callable[[bytes], None]] = {"gguf": gguf}
"""By name; the corpus of each is the folder of that name in ``corpus``."""
