"""Any bytes as a model's files are read or refused, in little memory (promise P9)."""

from __future__ import annotations

import contextlib
import copy
import json
import struct
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from motorpool_formats import FormatError
from motorpool_formats.facts import ModelFacts
from motorpool_formats.hugging_face import overridden, read
from motorpool_formats.hugging_face.documents import MAX_DOCUMENT_BYTES
from motorpool_formats.hugging_face.safetensors import MAX_HEADER_BYTES, MAX_TENSORS, read_header, tensors
from motorpool_formats.hugging_face.weights import MAX_INDEX_BYTES, index_files
from tests.formats.hugging_face.folders import MadeFile, MadeFolder, tensor_file
from tests.formats.hugging_face.zoo.every import ZOO

pytestmark = pytest.mark.promise("P9")

MOST_BYTES = 64 << 20
SMALL_BYTES = 8 << 20
"""Files of some hundred bytes have no business with more."""

WHOLE = tensor_file(
    {"model.layers.0.mlp.up_proj.weight": ("BF16", (2, 3)), "b": ("U8", ()), "ä": ("F4", (2, 0))}, {"format": "pt"}
)
CONTENT = WHOLE.head.ljust(WHOLE.size, b"\0")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KEYS = sorted(
    {key for published in ZOO for key in published.config}
    | {key for published in ZOO for part in published.config.values() if isinstance(part, dict) for key in part}
)


def read_within_bounds(files: dict[str, object], most: int = SMALL_BYTES) -> ModelFacts | FormatError:
    folder = MadeFolder(files)
    tracemalloc.start()
    try:
        return read(folder)
    except FormatError as error:
        return error
    finally:
        assert tracemalloc.get_traced_memory()[1] < most
        tracemalloc.stop()


@given(st.binary(max_size=512), st.booleans())
def test_any_bytes_are_read_or_refused(content: bytes, behind_a_length: bool) -> None:
    """
    Any bytes as a file of weights give facts or a clear error.
    """
    if behind_a_length:
        content = struct.pack("<Q", len(content)) + content
    found = read_within_bounds({"config.json": {}, "model.safetensors": content})

    assert isinstance(found, ModelFacts) or str(found).isprintable()


@given(
    st.lists(
        st.tuples(st.integers(0, len(CONTENT) - 1), st.binary(min_size=1, max_size=4)),
        max_size=4,
    ),
    st.integers(0, len(CONTENT)),
)
def test_what_is_read_of_damaged_headers_is_what_the_package_reads(damage: list[tuple[int, bytes]], cut: int) -> None:
    """
    A good file, changed anywhere and cut anywhere, is refused, or read as the format's own package reads it.
    """
    changed = bytearray(CONTENT)
    for at, new in damage:
        changed[at : at + len(new)] = new
    content = bytes(changed[: max(0, len(changed) - (cut if cut > len(CONTENT) // 2 else 0))])
    folder = MadeFolder({"m.safetensors": content})
    with contextlib.suppress(FormatError), folder.open("m.safetensors") as source:
        found = {tensor.name: (tensor.dtype, tensor.shape) for tensor in tensors(read_header(source))}

        assert found == _as_the_package_reads(content)


def _as_the_package_reads(content: bytes) -> dict[str, tuple[str, tuple[int, ...]]]:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "m.safetensors"
        path.write_bytes(content)
        with safe_open(path, framework="numpy") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
            return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


def test_every_single_byte_may_be_wrong() -> None:
    """
    Each byte of a good file, set to each of some values, leaves a file that is read or refused.
    """
    for at in range(len(WHOLE.head)):
        for value in (0x00, 0x20, 0x22, 0x30, 0x5C, 0x7D, 0x80, 0xFF):
            content = CONTENT[:at] + bytes([value]) + CONTENT[at + 1 :]
            with contextlib.suppress(FormatError):
                read(MadeFolder({"config.json": {}, "model.safetensors": content}))


@given(st.sampled_from(ZOO), st.data())
def test_any_config_is_read_or_refused(published: Any, data: st.DataObject) -> None:
    """
    A published config.json with any values in any of its places gives facts that can travel, or a clear error.
    """
    config = copy.deepcopy(published.config)
    for key, value in data.draw(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4)).items():
        sections = [config, *(part for part in config.values() if isinstance(part, dict))]
        data.draw(st.sampled_from(sections))[key] = value
    found = read_within_bounds({"config.json": config, "model.safetensors": WHOLE})

    if isinstance(found, ModelFacts):
        check_can_travel(found)
        assert found == overridden(found, {"nothing": 0})
    else:
        assert str(found).isprintable()


@given(st.sampled_from(["config.json", "model_index.json", "modules.json", "adapter_config.json"]), JSON)
def test_any_json_is_read_or_refused(name: str, value: object) -> None:
    """
    Any JSON in any of the small files gives facts or a clear error.
    """
    read_within_bounds(
        {
            "config.json": {},
            "1_Pooling/config.json": {},
            "model.safetensors": WHOLE,
            "adapter_model.safetensors": WHOLE,
            name: value,
        }
    )


def check_can_travel(facts: ModelFacts) -> None:
    """
    Numbers fit the messages they travel in.
    """
    for number in (facts.layers, facts.hidden_size, facts.key_length, facts.value_length, facts.context_length):
        assert number is None or 0 <= number < 1 << 31
    assert facts.vision_heads is None or facts.vision_heads < 1 << 31
    assert facts.recurrent is None or max(facts.recurrent.convolution, facts.recurrent.state) < 1 << 63


def header_of(text: bytes, data: int = 0) -> MadeFile:
    return MadeFile(struct.pack("<Q", len(text)) + text, 8 + len(text) + data)


LARGEST = {
    "tensors out of order": header_of(
        b"{"
        + b",".join(
            b'"model.layers.%d.mlp.experts.%d.gate_proj.weight":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}'
            % (number % 64, number, number, number + 1)
            for number in reversed(range(MAX_TENSORS))
        )
        + b"}",
        MAX_TENSORS,
    ),
    "one name": header_of(b'{"' + b"a" * (MAX_HEADER_BYTES - 3)),
    "one name of escapes": header_of(b'{"' + b"\\n" * (MAX_HEADER_BYTES // 2 - 2)),
    "nesting": header_of(b'{"a":' * (MAX_HEADER_BYTES // 5)),
    "white space": header_of(b"{" + b" " * (MAX_HEADER_BYTES - 1)),
    "metadata": header_of(b'{"__metadata__":{' + b'"a":"b",' * (MAX_HEADER_BYTES // 8 - 3)),
    "one shape": header_of(b'{"a":{"dtype":"U8","shape":[' + b"1," * (MAX_HEADER_BYTES // 2 - 20)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LARGEST)
def test_the_largest_headers_take_bounded_memory(kind: str) -> None:
    """
    A header as large as is read takes under 64 MiB, whatever is in it.
    """
    read_within_bounds({"config.json": {"num_hidden_layers": 64}, "model.safetensors": LARGEST[kind]}, MOST_BYTES)


@pytest.mark.slow
@pytest.mark.parametrize("piece", [b"[],", b'{"a":0},', b"1.5,"])
def test_the_largest_documents_take_bounded_memory(piece: bytes) -> None:
    """
    A JSON file as large as is read takes under 64 MiB, whatever is in it.
    """
    count = (MAX_DOCUMENT_BYTES - 20) // len(piece)
    content = b'{"a":[' + piece * (count - 1) + piece[:-1] + b"]}"
    json.loads(content)

    read_within_bounds({"config.json": content, "model.safetensors": WHOLE}, MOST_BYTES)


@pytest.mark.slow
@pytest.mark.parametrize("piece", [b'"%x":"a",', b'"a%x":"%x",'])
def test_the_largest_index_takes_bounded_memory(piece: bytes) -> None:
    """
    An index as large as is read takes little more than itself.
    """
    filled = b"".join(piece.replace(b"%x", b"%x" % number) for number in range(MAX_INDEX_BYTES // 64))
    content = (b'{"weight_map":{' + filled * 8)[:MAX_INDEX_BYTES]
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            index_files("i.json", content)
        assert tracemalloc.get_traced_memory()[1] < SMALL_BYTES
    finally:
        tracemalloc.stop()
