import struct
from collections.abc import Callable

import pytest

from motorpool_formats.errors import (
    FormatError,
    ModelCorruptError,
    ModelFormatUnknownError,
    ModelIncompleteError,
)
from motorpool_formats.gguf import Header, Skipped, read_header
from motorpool_formats.gguf_bounds import (
    KEPT_ARRAY_ITEMS,
    KEPT_STRING_BYTES,
    MAX_NAME_BYTES,
    MAX_TENSOR_NAME_BYTES,
    Allowance,
)
from tests.formats.gguf_bytes import (
    ARRAY,
    BOOL,
    F32,
    I32,
    LLAMA,
    ONE_TENSOR,
    Q4_0_TENSOR,
    Q4_K_TENSOR,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Entry,
    Items,
    Typed,
    Values,
    gguf_bytes,
)
from tests.formats.sources import BytesSource


def header_of(content: bytes) -> Header:
    return read_header(BytesSource(content))


def refusal(content: bytes) -> FormatError:
    with pytest.raises(FormatError) as caught:
        header_of(content)
    return caught.value


@pytest.mark.parametrize("version", [2, 3])
def test_versions_2_and_3_are_read(version: int) -> None:
    """
    GGUF versions 2 and 3 share one layout, and both are read.
    """
    header = header_of(gguf_bytes(version=version))

    assert (version, "llama") == (header.version, header.values["general.architecture"])


@pytest.mark.parametrize("version", [1, 4, 0])
def test_other_versions_are_refused(version: int) -> None:
    """
    Another version is an unknown format, and the error names it.
    """
    error = refusal(gguf_bytes(version=version))

    assert isinstance(error, ModelFormatUnknownError)
    assert f"version {version}" in error.what


def test_big_endian_is_refused() -> None:
    """
    A big-endian file is refused by that name.
    """
    error = refusal(b"GGUF" + struct.pack(">IQQ", 3, 1, 2) + bytes(64))

    assert isinstance(error, ModelFormatUnknownError)
    assert "big-endian" in error.what


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (Typed(U8, 255), 255),
        (Typed(U16, 65535), 65535),
        (Typed(U32, 2**32 - 1), 2**32 - 1),
        (Typed(I32, -5), -5),
        (Typed(U64, 2**63), 2**63),
        (Typed(F32, 0.5), 0.5),
        (True, True),
        ("naïve", "naïve"),
        ("\udcff", "\N{REPLACEMENT CHARACTER}"),
        (Items(I32, [3, -1]), (3, -1)),
        (Items(BOOL, [True, False]), (1, 0)),
        (Items(U32, []), ()),
        (Items(F32, [1.0]), Skipped("f32", 1)),
        (Items(STRING, ["a", ""]), Skipped("string", 2)),
        ("x" * (KEPT_STRING_BYTES + 1), Skipped("string", KEPT_STRING_BYTES + 1)),
        (Items(U8, [0] * (KEPT_ARRAY_ITEMS + 1)), Skipped("u8", KEPT_ARRAY_ITEMS + 1)),
    ],
)
def test_values_are_read(stored: str | Typed | Items, expected: object) -> None:
    """
    Small values are kept as they are, large ones as their type and length, and what follows is still found.
    """
    header = header_of(gguf_bytes({"a": stored, "b": 7}))

    assert {"a": expected, "b": 7} == header.values


def test_tensors_are_sized_by_their_blocks() -> None:
    """
    A tensor's bytes follow from its elements and the block size of its type.
    """
    tensors = [Entry("a", (64, 3), Q4_0_TENSOR), Entry("b", (256, 2), Q4_K_TENSOR), Entry("c", (5,))]

    header = header_of(gguf_bytes(tensors=tensors))

    assert [("Q4_0", 108, 0), ("Q4_K", 288, 128), ("F32", 20, 416)] == [
        (tensor.type, tensor.size_bytes, tensor.offset) for tensor in header.tensors
    ]


def test_alignment_is_the_files_own() -> None:
    """
    Tensors lie where general.alignment says.
    """
    values: Values = {**LLAMA, "general.alignment": 4096}
    tensors = [*ONE_TENSOR, Entry("z", (1,))]

    header = header_of(gguf_bytes(values, tensors, alignment=4096))

    assert (0, 4096) == (header.data_offset % 4096, header.tensors[1].offset)


@pytest.mark.parametrize("alignment", [0, 3, "32", Typed(F32, 32.0), Typed(U64, 2**40)])
def test_impossible_alignment_is_refused(alignment: int | str | Typed) -> None:
    """
    An alignment that is no power of two is corrupt.
    """
    assert isinstance(refusal(gguf_bytes({**LLAMA, "general.alignment": alignment})), ModelCorruptError)


CORRUPT: dict[str, Callable[[], bytes]] = {
    "not GGUF": lambda: b"GGML" + gguf_bytes()[4:],
    "too many keys": lambda: gguf_bytes(key_count=Allowance().keys + 1),
    "too many tensors": lambda: gguf_bytes(tensor_count=Allowance().tensors + 1),
    "endless keys": lambda: gguf_bytes(key_count=2**64 - 1),
    "endless tensors": lambda: gguf_bytes(tensor_count=2**64 - 1),
    "a key's name too long": lambda: gguf_bytes({"k" * (MAX_NAME_BYTES + 1): 1}),
    "a key of no name": lambda: gguf_bytes({"": 1}),
    "too much short text": lambda: gguf_bytes({f"k{n}": "x" * KEPT_STRING_BYTES for n in range(1_025)}),
    "too many short lists": lambda: gguf_bytes({f"k{n}": Items(U8, [0] * KEPT_ARRAY_ITEMS) for n in range(65)}),
    "a tensor's name too long": lambda: gguf_bytes(tensors=[Entry("t" * (MAX_TENSOR_NAME_BYTES + 1), (1,))]),
    "a key twice": lambda: gguf_bytes({"a": 1, "b": 1}).replace(b"\x01\0\0\0\0\0\0\0b", b"\x01\0\0\0\0\0\0\0a"),
    "a value of no type": lambda: gguf_bytes({"a": Typed(13, 0)}),
    "an array of no type": lambda: gguf_bytes({"a": Items(13, [])}),
    "an array of arrays": lambda: gguf_bytes({"a": Items(ARRAY, [])}),
    "a tensor twice": lambda: gguf_bytes(tensors=[*ONE_TENSOR, *ONE_TENSOR]),
    "a tensor of five dimensions": lambda: gguf_bytes(tensors=[Entry("a", (1, 1, 1, 1, 1))]),
    "a tensor past all counting": lambda: gguf_bytes(tensors=[Entry("a", (2**40, 2**40))]),
    "a row that is no whole block": lambda: gguf_bytes(tensors=[Entry("a", (33,), Q4_0_TENSOR)]),
    "tensors that overlap": lambda: gguf_bytes(tensors=[*ONE_TENSOR, Entry("b", (8,), offset=0)]),
    "a hole between tensors": lambda: gguf_bytes(tensors=[*ONE_TENSOR, Entry("b", (8,), offset=256)]),
}


@pytest.mark.parametrize("content", CORRUPT.values(), ids=CORRUPT.keys())
def test_contradictions_are_corrupt(content: Callable[[], bytes]) -> None:
    """
    What contradicts the format is corrupt, and the error says at which byte.
    """
    error = refusal(content())

    assert isinstance(error, ModelCorruptError)
    assert error.offset is not None
    assert f"at byte {error.offset}" in str(error)


CLAIMS = {
    "a string": struct.pack("<I", STRING),
    "an array of numbers": struct.pack("<II", ARRAY, U64),
    "an array of strings": struct.pack("<II", ARRAY, STRING),
    "a string in an array": struct.pack("<IIQ", ARRAY, STRING, 1),
}


@pytest.mark.parametrize(
    ("length", "error"), [(2**62, ModelCorruptError), (2**20, ModelIncompleteError)], ids=["endless", "long"]
)
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
@pytest.mark.promise("P9")
def test_a_claim_is_refused_before_it_is_read(claim: bytes, length: int, error: type[FormatError]) -> None:
    """
    A length that no header, or not this file, can have is refused without reading or holding anything of it.
    """
    beginning = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k"
    file = BytesSource(beginning + claim + struct.pack("<Q", length) + bytes(64))

    with pytest.raises(error):
        read_header(file)

    assert file.reads == 1


def test_a_header_beyond_the_limit_is_refused() -> None:
    """
    A header that would go on for longer than any real one is refused, though the file is that long.
    """
    claim = struct.pack("<IQ", STRING, Allowance().header_bytes)
    content = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + claim
    file = BytesSource(content, size=2**50)

    with pytest.raises(ModelCorruptError, match="no header is longer"):
        read_header(file)

    assert file.reads == 1


def test_every_truncation_is_reported() -> None:
    """
    A file cut at any byte is incomplete: never read as a smaller model, never taken for anything else.
    """
    values: Values = {
        **LLAMA,
        "llama.attention.head_count_kv": Items(U32, [2]),
        "tokenizer.ggml.tokens": Items(STRING, ["a", "bc", ""]),
        "tokenizer.chat_template": "t" * (KEPT_STRING_BYTES + 1),
    }
    whole = gguf_bytes(values, [*ONE_TENSOR, Entry("output.weight", (32, 2), Q4_0_TENSOR)])
    header_of(whole)

    errors = [refusal(whole[:length]) for length in range(len(whole))]

    assert {ModelIncompleteError} == {type(error) for error in errors}


def test_truncated_weights_are_named() -> None:
    """
    Where weights are missing, the error tells the tensor, where it should end and how long the file is.
    """
    whole = gguf_bytes()

    error = refusal(whole[:-1])

    assert "blk.0.attn_q.weight" in error.what
    assert f"ends at byte {len(whole)}, the file has {len(whole) - 1}" in error.what


def test_a_file_that_shrinks_while_it_is_read_is_incomplete() -> None:
    """
    A file found shorter than it was at first is incomplete, not a crash.
    """
    content = gguf_bytes()

    with pytest.raises(ModelIncompleteError):
        read_header(BytesSource(content[:40], size=len(content)))


@pytest.mark.parametrize("kind", [4, 5, 31, 36, 43, 2**32 - 1])
def test_unknown_tensor_types_are_refused(kind: int) -> None:
    """
    A tensor type not in the table, or removed from the engine, is an unknown format and not a wrong size.
    """
    error = refusal(gguf_bytes(tensors=[Entry("a", (256,), kind)]))

    assert isinstance(error, ModelFormatUnknownError)
    assert f"type {kind}" in error.what


def test_names_in_errors_are_fit_for_a_terminal() -> None:
    """
    A name from the file reaches an error message without its control characters, and cut.
    """
    error = refusal(gguf_bytes(tensors=[Entry("\x1b[31m" + "n" * 500, (1,), 43)]))

    assert str(error).isprintable()
    assert len(str(error)) < 300


def test_a_big_vocabulary_is_passed_over_in_few_reads() -> None:
    """
    A tokenizer of 256k tokens and as many merges costs four small reads and one per MiB, and no string is kept.
    """
    count = 256_000
    values: Values = {
        **LLAMA,
        "tokenizer.ggml.tokens": Items(STRING, [f"token{number}" for number in range(count)]),
        "tokenizer.ggml.merges": Items(STRING, [f"to ken{number}" for number in range(count)]),
        "tokenizer.ggml.scores": Items(F32, [0.0] * count),
    }
    content = gguf_bytes(values)
    file = BytesSource(content)

    header = read_header(file)

    assert Skipped("string", count) == header.values["tokenizer.ggml.tokens"]
    assert file.reads <= len(content) / 2**20 + 5
    assert file.largest_read <= 2**20
