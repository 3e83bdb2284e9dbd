"""The header of a safetensors file: names, types and places of its tensors, and nothing of their content.

A file is eight bytes of length, that much JSON, then the tensors without gaps. The JSON has one shape only, so it is
scanned for that shape and never built as objects: what a header costs is bounded by what is kept of each tensor.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from motorpool_formats.errors import FormatError, ModelCorruptError, ModelIncompleteError, shown
from motorpool_formats.protocols import ByteSource

MAX_HEADER_BYTES = 12 << 20
"""The format allows 100 MB; those in use have up to 10 MB, and longer ones could not be scanned in a second."""

MAX_TENSORS = 80_000
"""Of one file; the largest mixtures of experts have twice as many, in a hundred files."""

FIRST_READ_BYTES = 128 << 10
"""Nearly all headers are smaller, and then one range is all that is asked of a hub."""

DTYPE_BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "I16": 16,
    "U16": 16,
    "I32": 32,
    "U32": 32,
    "I64": 64,
    "U64": 64,
    "F16": 16,
    "BF16": 16,
    "F32": 32,
    "F64": 64,
    "C64": 64,
    "F8_E4M3": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2": 8,
    "F8_E5M2FNUZ": 8,
    "F8_E8M0": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
}
"""Bits of one element (safetensors 0.8)."""

_LENGTH_BYTES = 8
_MAX_ELEMENTS = (1 << 64) - 1
_DOWNLOAD = "download or convert the model again"

_SPACE = rb"[ \t\r\n]*+"
_STRING = rb'"((?:[^"\\\x00-\x1f]++|\\.)*+)"'
_WHOLE = rb"(?:0|[1-9][0-9]{0,18})"


def _pattern(text: bytes) -> re.Pattern[bytes]:
    """Return a pattern in which blanks stand for JSON's white space."""
    return re.compile(text.replace(b" ", _SPACE), re.DOTALL)


_OPEN = _pattern(rb" \{ ")
_CLOSE = _pattern(rb" \} \Z")
_NAME = _pattern(_STRING + rb" : ")
_NEXT = _pattern(rb" (,) |(?= \})")
_DTYPE = rb'"dtype" : "([A-Z0-9_]{1,16})"'
_SHAPE = rb'"shape" : \[ ((?:' + _WHOLE + rb" (?:, " + _WHOLE + rb" ){0,31})?)\]"
_OFFSETS = rb'"data_offsets" : \[ (' + _WHOLE + rb") , (" + _WHOLE + rb") \]"
_TENSOR = _pattern(rb"\{ (?:(?:" + _DTYPE + rb"|" + _SHAPE + rb"|" + _OFFSETS + rb') (?:, (?=")|(?=\}))){3}\}')
_METADATA = _pattern(rb"\{ (?:" + _STRING + rb" : " + _STRING + rb' (?:, (?=")|(?=\})))*+\}')
_FIELDS = {b"dtype": _pattern(_DTYPE), b"shape": _pattern(_SHAPE), b"data_offsets": _pattern(_OFFSETS)}
"""The fields of a tensor one by one, to say which of them is wrong where the whole does not match."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as its file's header describes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    elements: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Header:
    """A header as it was read, not looked at yet."""

    file: str
    file_bytes: int
    content: bytes

    @property
    def sha256(self) -> bytes:
        """What identifies the tensors' names, types and places."""
        return hashlib.sha256(self.content).digest()


def read_header(source: ByteSource) -> Header:
    """Return the header of a file: one read for nearly all, never more than two."""
    first = source.read(0, min(source.size, FIRST_READ_BYTES))
    if first.startswith(b"version https://git-lfs"):
        raise ModelIncompleteError(source.name, "it is a Git LFS pointer, not the model", "run git lfs pull")
    if len(first) < _LENGTH_BYTES:
        what = "ends inside the header's length" if first else "is empty"
        raise ModelIncompleteError(source.name, f"the file {what}", "repeat the download", offset=len(first))
    length = int.from_bytes(first[:_LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise ModelCorruptError(
            source.name, f"the header's length is {length}, {MAX_HEADER_BYTES} is the most read", _DOWNLOAD, offset=0
        )
    end = _LENGTH_BYTES + length
    content = first[_LENGTH_BYTES:end]
    if len(content) < length and end <= source.size:
        content += source.read(len(first), end - len(first))
    if len(content) < length:
        raise ModelIncompleteError(
            source.name, f"the file ends inside its header of {length} bytes", "repeat the download", offset=source.size
        )
    return Header(source.name, source.size, content)


def tensors(header: Header) -> Iterator[Tensor]:
    """Return the header's tensors in its order; what is wrong anywhere in it raises before the last is returned."""
    content = header.content
    places = _Places(header)
    names: set[int] = set()
    has_metadata = False
    position = _after(_OPEN, header, 0, "the header does not begin with {")
    more = not content.startswith(b"}", position)
    while more:
        name, start = _name(header, position)
        if name == "__metadata__":
            match = _METADATA.match(content, start)
            if match is None or has_metadata:
                raise _corrupt(header, start, "__metadata__ is given twice" if match else "__metadata__ is not texts")
            has_metadata = True
        else:
            match = _TENSOR.match(content, start)
            if match is None:
                raise _malformed(header, name, start)
            tensor, begin, end = _tensor(header, name, match)
            names.add(hash(name))  # 64 bits of each: a hundred thousand names would take too much memory
            places.add(name, begin, end, position)
            if len(places) != len(names):
                raise _corrupt(header, position, f"tensor {shown(name)} is given twice")
            yield tensor
        position, more = _next(header, match.end())
    _after(_CLOSE, header, position, "the header does not end with }")
    places.check()


class _Places:
    """Where tensors lie: one after the other, from the first byte after the header to the file's last."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._available = header.file_bytes - _LENGTH_BYTES - len(header.content)
        self._begins = array("Q")
        self._ends = array("Q")

    def __len__(self) -> int:
        return len(self._begins)

    def add(self, name: str, begin: int, end: int, position: int) -> None:
        """Take in one tensor."""
        if len(self) == MAX_TENSORS:
            raise _corrupt(self._header, position, f"there are more than {MAX_TENSORS} tensors")
        if end > self._available:
            raise ModelIncompleteError(
                self._header.file,
                f"tensor {shown(name)} ends at byte {end} of the data, of which there are {self._available}",
                "finish the download or repeat it",
                offset=_LENGTH_BYTES + position,
            )
        self._begins.append(begin)
        self._ends.append(end)

    def check(self) -> None:
        """Raise where tensors overlap, leave a gap, or end before the file does."""
        expected = 0
        for begin, end in sorted(zip(self._begins, self._ends, strict=True)):
            if begin != expected:
                what = "overlaps the one before" if begin < expected else "leaves a gap before it"
                raise _corrupt(
                    self._header, 0, f"data_offsets: the tensor from {begin} to {end} {what}, which ends at {expected}"
                )
            expected = end
        if expected != self._available:
            raise _corrupt(
                self._header, 0, f"data_offsets: the tensors end at {expected} and the data at {self._available}"
            )


def _tensor(header: Header, name: str, match: re.Match[bytes]) -> tuple[Tensor, int, int]:
    dtype_text, shape_text, begin_text, end_text = match.groups()
    if dtype_text is None or shape_text is None or begin_text is None:  # one of them twice
        raise _malformed(header, name, match.start())
    dtype, begin, end = dtype_text.decode(), int(begin_text), int(end_text)
    shape = tuple(map(int, shape_text.split(b","))) if shape_text else ()
    bits = DTYPE_BITS.get(dtype)
    if bits is None:
        raise _corrupt(header, match.start(1), f"tensor {shown(name)}: dtype {dtype} is not known")
    elements = 1
    for size in shape:
        elements *= size
        if elements > _MAX_ELEMENTS:
            raise _corrupt(header, match.start(2), f"tensor {shown(name)}: shape has too many elements")
    if elements * bits != (end - begin) * 8:
        raise _corrupt(
            header,
            match.start(3),
            f"tensor {shown(name)}: data_offsets give it {end - begin} bytes, dtype and shape {elements * bits / 8:g}",
        )
    return Tensor(name, dtype, shape, elements, end - begin), begin, end


def _name(header: Header, position: int) -> tuple[str, int]:
    match = _NAME.match(header.content, position)
    if match is None:
        raise _corrupt(header, position, "a tensor's name and a colon should stand here")
    try:
        text = match[1].decode()
        if "\\" in text:
            text = json.loads(f'"{text}"')
            text.encode()
    except ValueError as error:  # no UTF-8, no such escape, half of a surrogate pair
        raise _corrupt(header, position, "the tensor's name is not a text") from error
    return text, match.end()


def _next(header: Header, position: int) -> tuple[int, bool]:
    match = _NEXT.match(header.content, position)
    if match is None:
        raise _corrupt(header, position, "a comma or } should stand here")
    return match.end(), match[1] is not None


def _after(pattern: re.Pattern[bytes], header: Header, position: int, what: str) -> int:
    match = pattern.match(header.content, position)
    if match is None:
        raise _corrupt(header, position, what)
    return match.end()


def _malformed(header: Header, name: str, start: int) -> FormatError:
    """Return the error that names the first field of a tensor that is not as it should be."""
    tensor, content = f"tensor {shown(name)}", header.content
    seen: set[bytes] = set()
    position = start
    if not content.startswith(b"{", start):
        return _corrupt(header, start, f"{tensor} is not an object")
    position = _after(_OPEN, header, start, tensor)
    while match := _NAME.match(content, position):
        field = match[1]
        if field not in _FIELDS or field in seen:
            why = "is given twice" if field in seen else "is not dtype, shape or data_offsets"
            return _corrupt(header, position, f"{tensor}: field {shown(field.decode(errors='replace'))} {why}")
        value = _FIELDS[field].match(content, position)
        if value is None:
            return _corrupt(header, match.end(), f"{tensor}: field {field.decode()} has the wrong form")
        seen.add(field)
        position, more = _next(header, value.end())
        if not more:
            break
    missing = next((field.decode() for field in _FIELDS if field not in seen), None)
    return _corrupt(header, position, f"{tensor}: " + (f"{missing} is missing" if missing else "it does not end here"))


def _corrupt(header: Header, position: int, what: str) -> ModelCorruptError:
    return ModelCorruptError(header.file, what, _DOWNLOAD, offset=_LENGTH_BYTES + position)
