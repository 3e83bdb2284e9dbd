"""Headers of safetensors files: what the format's own package writes and refuses, and what errors say."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from motorpool_formats import FormatError, ModelCorruptError, ModelIncompleteError
from motorpool_formats.hugging_face.safetensors import (
    DTYPE_BITS,
    FIRST_READ_BYTES,
    MAX_HEADER_BYTES,
    MAX_TENSORS,
    Tensor,
    read_header,
    tensors,
)
from motorpool_formats.places import LocalFile
from tests.formats.hugging_face.folders import MadeFile, MadeFolder, tensor_file

ONE = '{"dtype":"U8","shape":[2],"data_offsets":[0,2]}'


def file_of(header: str | bytes, data: int = 2) -> MadeFile:
    text = header.encode() if isinstance(header, str) else header
    return MadeFile(struct.pack("<Q", len(text)) + text, 8 + len(text) + data)


def read(file: MadeFile) -> list[Tensor]:
    with MadeFolder({"m.safetensors": file}).open("m.safetensors") as source:
        return list(tensors(read_header(source)))


def test_reads_what_the_package_writes(tmp_path: Path) -> None:
    """
    Names, types, shapes and sizes are those of the arrays that were saved.
    """
    arrays: dict[str, np.ndarray] = {
        "model.layers.0.weight": np.zeros((3, 5), np.float16),
        'ä "quoted"\\\n': np.zeros((2,), np.int64),
        "scalar": np.zeros((), np.float32),
        "empty": np.zeros((0, 4), np.uint8),
        "flags": np.zeros((7,), np.bool_),
    }
    save_file(arrays, tmp_path / "m.safetensors", metadata={"format": "pt", 'quote"': "\\"})

    with LocalFile(tmp_path / "m.safetensors") as source:
        header = read_header(source)
        found = {tensor.name: tensor for tensor in tensors(header)}

    assert {name: (array.shape, array.size, array.nbytes) for name, array in arrays.items()} == {
        name: (tensor.shape, tensor.elements, tensor.size_bytes) for name, tensor in found.items()
    }
    assert [found[name].dtype for name in arrays] == ["F16", "I64", "F32", "U8", "BOOL"]
    assert header.file_bytes == (tmp_path / "m.safetensors").stat().st_size


@pytest.mark.parametrize("dtype", sorted(DTYPE_BITS))
def test_knows_the_packages_types(tmp_path: Path, dtype: str) -> None:
    """
    The package opens a file of each type that we know, with the size that we give it.
    """
    path = tmp_path / "m.safetensors"
    made = tensor_file({"a": (dtype, (8, 2))})
    path.write_bytes(made.head.ljust(made.size, b"\0"))

    with LocalFile(path) as source:
        assert [(8, 2)] == [tensor.shape for tensor in tensors(read_header(source))]
    with safe_open(path, framework="numpy") as opened:
        assert dtype == opened.get_slice("a").get_dtype()


ODD_BUT_GOOD = [
    ' {"a":' + ONE + "}",
    '{"a":' + ONE + "}",
    '{ "a" : { "shape" : [ 2 ] , "data_offsets" : [ 0 , 2 ] , "dtype" : "U8" } }   ',
    '{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
    '{"a":' + ONE + ',"z":{"dtype":"F32","shape":[3,0],"data_offsets":[2,2]}}',
    '{"z":{"dtype":"F32","shape":[0],"data_offsets":[2,2]},"a":' + ONE + "}",
    '{"__metadata__":{},"a":' + ONE + "}",
    '{"__metadata__":{"x":"}","y":"\\"\\\\"},"a":' + ONE + "}",
    '{"\\u00e4":' + ONE + "}",
]
BAD = [
    ("", "does not begin with {", 8),
    ("[]", "does not begin with {", 8),
    ('{"a":' + ONE, "a comma or }", 60),
    ('{"a":' + ONE + ",}", "a tensor's name", 61),
    ('{"a":' + ONE + "}x", "does not end with }", 60),
    ("{a:" + ONE + "}", "a tensor's name", 9),
    ('{"a\n":' + ONE + "}", "a tensor's name", 9),
    ('{"\\ud800":' + ONE + "}", "name is not a text", 9),
    ('{"\\x":' + ONE + "}", "name is not a text", 9),
    (b'{"\xff":' + ONE.encode() + b"}", "name is not a text", 9),
    ('{"a":3}', "tensor a is not an object", 13),
    ('{"a":{}}', "tensor a: dtype is missing", 14),
    ('{"a":{"dtype":"U8","shape":[2]}}', "tensor a: data_offsets is missing", 38),
    ('{"a":{"dtype":"U8","dtype":"U8","shape":[2]}}', "field dtype is given twice", 27),
    ('{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":1}}', "field x is not", 60),
    ('{"a":{"dtype":"U9","shape":[2],"data_offsets":[0,2]}}', "dtype U9 is not known", 23),
    ('{"a":{"dtype":8,"shape":[2],"data_offsets":[0,2]}}', "field dtype has the wrong form", 22),
    ('{"a":{"dtype":"U8","shape":[-2],"data_offsets":[0,2]}}', "field shape has the wrong form", 35),
    ('{"a":{"dtype":"U8","shape":[02],"data_offsets":[0,2]}}', "field shape has the wrong form", 35),
    ('{"a":{"dtype":"U8","shape":[2.0],"data_offsets":[0,2]}}', "field shape has the wrong form", 35),
    ('{"a":{"dtype":"U8","shape":[2],"data_offsets":[0]}}', "field data_offsets has the wrong form", 54),
    ('{"a":{"dtype":"U8","shape":[2],"data_offsets":[2,0]}}', "give it -2 bytes", 55),
    ('{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,2]}}', "dtype and shape 3", 55),
    ('{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}', "dtype and shape 1.5", 55),
    ('{"a":{"dtype":"U8","shape":[9999999999,9999999999,0],"data_offsets":[0,0]}}', "too many elements", 36),
    ('{"a":' + ONE + ',"a":' + ONE + "}", "tensor a is given twice", 61),
    ('{"a":' + ONE + ',"b":' + ONE + "}", "overlaps", 8),
    ('{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', "leaves a gap", 8),
    ('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', "the tensors end at 1 and the data at 2", 8),
    ('{"__metadata__":{"a":1},"a":' + ONE + "}", "__metadata__ is not texts", 24),
    ('{"__metadata__":{},"__metadata__":{},"a":' + ONE + "}", "__metadata__ is given twice", 42),
]


@pytest.mark.parametrize("header", ODD_BUT_GOOD)
def test_accepts_what_the_package_accepts(tmp_path: Path, header: str) -> None:
    """
    White space, order of fields, order of tensors and empty tensors are a writer's choice.
    """
    file = file_of(header)
    path = tmp_path / "m.safetensors"
    path.write_bytes(file.head.ljust(file.size, b"\0"))

    with safe_open(path, framework="numpy") as opened:
        assert sorted(opened.keys()) == sorted(tensor.name for tensor in read(file))


@pytest.mark.parametrize(("header", "message", "offset"), BAD)
def test_refuses_with_place_and_field(header: str | bytes, message: str, offset: int) -> None:
    """
    What is wrong is named, with the byte at which it stands.
    """
    with pytest.raises(ModelCorruptError, match=message) as caught:
        read(file_of(header))

    assert offset == caught.value.offset
    assert f"(at byte {offset})" in str(caught.value)


AMBIGUOUS = ("is given twice", "field x is not")
"""The package takes the last of two of the same name, and passes over fields that it does not know."""


@pytest.mark.parametrize(
    "header", [header for header, message, _ in BAD if not any(words in message for words in AMBIGUOUS)]
)
def test_refuses_what_the_package_refuses(tmp_path: Path, header: str | bytes) -> None:
    """
    Nothing is refused here that an engine would load, but ambiguity.
    """
    file = file_of(header)
    path = tmp_path / "m.safetensors"
    path.write_bytes(file.head.ljust(file.size, b"\0"))

    with pytest.raises(SafetensorError), safe_open(path, framework="numpy"):
        pass


@pytest.mark.parametrize(
    ("content", "size", "message"),
    [
        (b"", 0, "the file is empty"),
        (b"\5\0\0", 3, "ends inside the header's length"),
        (struct.pack("<Q", 100) + b"{", 9, "ends inside its header of 100 bytes"),
        (
            file_of('{"a":' + ONE + "}").head,
            len(file_of("").head) + 60,
            "ends at byte 2 of the data, of which there are",
        ),
    ],
)
def test_a_file_that_ends_early_is_incomplete(content: bytes, size: int, message: str) -> None:
    """
    What runs over the file's end is an interrupted download, for which the remedy is another.
    """
    file = MadeFile(content, min(size, len(content)))

    with pytest.raises(ModelIncompleteError, match=message):
        read(file)


def test_a_header_longer_than_read_at_first_takes_one_more_read() -> None:
    """
    Large headers take two reads, and no byte twice.
    """
    made = tensor_file({f"model.layers.{layer}.weight": ("BF16", (1, 1)) for layer in range(3000)})
    folder = MadeFolder({"m.safetensors": made})
    assert len(made.head) > FIRST_READ_BYTES
    with folder.open("m.safetensors") as source:
        header = read_header(source)

    assert json.loads(header.content).keys() == {tensor.name for tensor in tensors(header)}
    assert (folder.reads["m.safetensors"], folder.bytes_read["m.safetensors"]) == (2, len(made.head))


@pytest.mark.parametrize("length", [MAX_HEADER_BYTES + 1, 100_000_001, (1 << 64) - 1])
def test_a_length_beyond_the_bound_is_refused_unread(length: int) -> None:
    """
    What a header claims to take is not allocated before it is believed.
    """
    folder = MadeFolder({"m.safetensors": MadeFile(struct.pack("<Q", length), 1 << 62)})

    with folder.open("m.safetensors") as source, pytest.raises(FormatError, match="the header's length"):
        read_header(source)

    assert folder.bytes_read["m.safetensors"] == FIRST_READ_BYTES


def test_too_many_tensors_are_refused() -> None:
    """
    A header within the bound on bytes can still hold more tensors than any model.
    """
    with pytest.raises(FormatError, match=f"more than {MAX_TENSORS} tensors"):
        read(tensor_file({f"{number:x}": ("U8", (1,)) for number in range(MAX_TENSORS + 1)}))
