"""Whatever the bytes are: facts or a clear error, in little memory and few steps."""

import contextlib
import struct
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_agent.convert.facts import facts_message
from motorpool_formats import FormatError, ModelFacts, read_model
from motorpool_formats.beginning import MAGIC
from motorpool_formats.gguf import read_header
from motorpool_formats.gguf_bounds import Allowance
from motorpool_formats.gguf_model import model_facts
from tests.formats.gguf_bytes import STRING, U32, Items, Values, gguf_bytes
from tests.formats.sources import BytesSource, MemoryFolder
from tests.formats.worst import worst_header
from tests.fuzz.headers import CLAIMED_BYTES, facts_or_error
from tests.models.tiny_gguf import make_tiny_gguf

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
CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus" / "gguf"
MOST_BYTES = 8 << 20
"""Some read-ahead, the digest, a few tuples: none of it for a file of some kilobytes to choose."""
MOST_BYTES_WHATEVER = 64 << 20

NUMBERS = st.sampled_from(
    [
        0,
        1,
        2,
        7,
        8,
        9,
        31,
        255,
        256,
        1023,
        1024,
        1025,
        65_535,
        1 << 20,
        1 << 31,
        1 << 32,
        1 << 61,
        (1 << 63) - 1,
        1 << 63,
    ]
)


def read_within_bounds(files: Mapping[str, bytes], *, most_bytes: int = MOST_BYTES) -> ModelFacts | FormatError:
    """Read as a model what may be anything: facts that fit our messages, or a FormatError that fits a terminal."""
    return folder_within_bounds(MemoryFolder(files, claimed_bytes=CLAIMED_BYTES), most_bytes=most_bytes)


def folder_within_bounds(folder: MemoryFolder, *, most_bytes: int = MOST_BYTES) -> ModelFacts | FormatError:
    """Read a folder so."""
    tracemalloc.start()
    try:
        found = facts_or_error(folder)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < most_bytes
    if isinstance(found, FormatError):
        assert str(found).isprintable()
        assert found.offset is None or 0 <= found.offset <= CLAIMED_BYTES
    else:
        facts_message(found).SerializeToString()
    return found


@given(st.binary(max_size=512))
def test_any_bytes_give_facts_or_a_clear_error(content: bytes) -> None:
    """
    Any bytes behind the magic number are read or refused, in little memory.
    """
    read_within_bounds({"m.gguf": MAGIC + b"\3\0\0\0" + content})


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

    read_within_bounds({"m.gguf": bytes(content[: len(content) - cut])})


def test_every_single_byte_may_be_wrong() -> None:
    """
    Each byte of a good file, set to each of four values, leaves a file that is read or refused.
    """
    for at in range(len(WHOLE)):
        for value in (0x00, 0x01, 0x80, 0xFF):
            with contextlib.suppress(FormatError):
                model_facts([read_header(BytesSource(WHOLE[:at] + bytes([value]) + WHOLE[at + 1 :]))])


@pytest.fixture(name="real", scope="module")
def make_real(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """Headers to damage: what the gguf package writes, and one of each kind of architecture."""
    tiny = make_tiny_gguf(tmp_path_factory.mktemp("real") / "tiny.gguf").read_bytes()
    tiny = tiny[: read_header(BytesSource(tiny)).data_offset]
    return {"tiny": tiny, **{path.name: path.read_bytes() for path in sorted(CORPUS.iterdir())}}


@given(data=st.data())
def test_any_mutation_of_a_real_header_gives_facts_or_a_clear_error(
    real: Mapping[str, bytes], data: st.DataObject
) -> None:
    """
    Real headers with numbers replaced, passages cut, repeated, moved and joined are read or refused, in little memory.
    """
    content = bytearray(real[data.draw(st.sampled_from(sorted(real)), label="header")])
    for _ in range(data.draw(st.integers(1, 4), label="mutations")):
        at = data.draw(st.integers(0, len(content)), label="at")
        length = data.draw(st.integers(0, 64), label="length")
        match data.draw(st.sampled_from(["u32", "u64", "bytes", "cut", "repeat", "join"]), label="mutation"):
            case "u32":
                content[at : at + 4] = struct.pack("<I", data.draw(NUMBERS) & 0xFFFFFFFF)
            case "u64":
                content[at : at + 8] = struct.pack("<Q", data.draw(NUMBERS))
            case "bytes":
                content[at : at + length] = data.draw(st.binary(max_size=length))
            case "cut":
                del content[at : at + length]
            case "repeat":
                content[at:at] = content[at : at + length]
            case _:
                content[at:] = real[data.draw(st.sampled_from(sorted(real)))][at:]
    mutated = bytes(content)

    folder = MemoryFolder({"m.gguf": mutated}, claimed_bytes=CLAIMED_BYTES)
    folder_within_bounds(folder)
    read_within_bounds({"m.gguf": WHOLE, "mmproj.gguf": mutated})
    read_within_bounds({f"m-0000{number}-of-00002.gguf": mutated for number in (1, 2)})

    assert 2 >= sum(source.reads for source in folder.sources), "what is short is read at once"


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 8])
def test_the_worst_header_is_within_bounds(parts: int) -> None:
    """
    A header at all bounds at once is read within 64 MiB and with no byte read twice, whole or in parts.
    """
    folder = MemoryFolder(worst_header(parts), claimed_bytes=CLAIMED_BYTES)

    found = folder_within_bounds(folder, most_bytes=MOST_BYTES_WHATEVER)

    assert isinstance(found, ModelFacts), found

    limit_bytes = Allowance().header_bytes
    assert parts == len(folder.sources)
    assert 0.9 * limit_bytes < sum(source.bytes_read for source in folder.sources) < limit_bytes + parts * (1 << 20)
    assert limit_bytes / (1 << 20) + 8 * parts > sum(source.reads for source in folder.sources)


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
