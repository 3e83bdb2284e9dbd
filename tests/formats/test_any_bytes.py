import contextlib
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_formats import FormatError, read_model
from motorpool_formats.beginning import MAGIC
from motorpool_formats.gguf import read_header
from motorpool_formats.gguf_model import model_facts
from tests.formats.gguf_bytes import STRING, U32, Items, Values, gguf_bytes
from tests.formats.sources import BytesSource

pytestmark = pytest.mark.promise("P9")

VALUES: Values = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.attention.head_count": Items(U32, [4, 4]),
    "llama.embedding_length": 64,
    "tokenizer.ggml.tokens": Items(STRING, ["a", "bc"]),
    "split.count": 1,
}
WHOLE = gguf_bytes(VALUES)
MOST_BYTES = 8 << 20
"""Some read-ahead, the digest, a few tuples: none of it for a file of some hundred bytes to choose."""


def read(content: bytes) -> None:
    """Read as facts what may be anything, and let only a FormatError pass."""
    with contextlib.suppress(FormatError):
        model_facts([read_header(BytesSource(content))])


def read_within_bounds(content: bytes) -> None:
    tracemalloc.start()
    try:
        read(content)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=512))
def test_any_bytes_give_facts_or_a_clear_error(content: bytes) -> None:
    """
    Any bytes behind the magic number are read or refused, in little memory.
    """
    read_within_bounds(MAGIC + b"\3\0\0\0" + content)


@given(
    st.lists(
        st.tuples(st.integers(0, len(WHOLE) - 1), st.sampled_from([b"\0", b"\1", b"\x7f", b"\xff", b"\xff" * 8])),
        max_size=4,
    ),
    st.integers(0, len(WHOLE)),
)
def test_any_damage_gives_facts_or_a_clear_error(damage: list[tuple[int, bytes]], cut: int) -> None:
    """
    A good file, changed anywhere and cut anywhere, is read or refused, in little memory.
    """
    content = bytearray(WHOLE)
    for at, new in damage:
        content[at : at + len(new)] = new

    read_within_bounds(bytes(content[: len(content) - cut]))


def test_every_single_byte_may_be_wrong() -> None:
    """
    Each byte of a good file, set to each of four values, leaves a file that is read or refused.
    """
    for at in range(len(WHOLE)):
        for value in (0x00, 0x01, 0x80, 0xFF):
            read(WHOLE[:at] + bytes([value]) + WHOLE[at + 1 :])


@given(st.binary(max_size=64), st.sampled_from(["", ".gguf", ".safetensors", ".bin"]))
def test_any_file_gives_facts_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    """
    Any file under any suffix is read or refused, with words fit for a terminal.
    """
    path: Path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)

    with pytest.raises(FormatError) as caught:
        read_model(path)

    assert str(caught.value).isprintable()
