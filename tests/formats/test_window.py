import hashlib
import io
from collections.abc import Iterator
from itertools import cycle
from struct import Struct

import pytest

from motorpool_formats import ModelCorruptError, ModelIncompleteError
from motorpool_formats.window import CHUNK_BYTES, Window
from tests.formats.gguf_bytes import string

TEXTS = ["", "a", "bcd", "e" * 20, "", "f" * 9]
STRINGS = b"".join(string(text) for text in TEXTS)


class DribblingFile(io.BytesIO):
    """A file that gives fewer bytes than one asks for, as the operating system may."""

    def __init__(self, content: bytes, steps: list[int]) -> None:
        super().__init__(content)
        self._steps: Iterator[int] = cycle(steps)

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(next(self._steps))


@pytest.mark.parametrize("steps", [[1], [2], [7], [8], [9], [3, 11], [1000]])
def test_strings_are_passed_over_wherever_a_read_ends(steps: list[int]) -> None:
    """
    However a file comes in pieces, what follows the strings is found, and the digest is that of all bytes.
    """
    content = STRINGS + b"then" + b"more"
    window = Window(DribblingFile(content, steps), "m", 1 << 20)

    window.skip_strings(len(TEXTS), "strings")

    assert b"then" == window.take(4, "what follows")
    assert len(STRINGS) + 4 == window.position
    assert hashlib.sha256(STRINGS + b"then").digest() == window.sha256()


def test_long_passages_are_passed_over_in_chunks() -> None:
    """
    What is longer than a chunk is passed over, and its bytes are in the digest.
    """
    content = bytes(range(256)) * (CHUNK_BYTES // 64) + b"\x07\x00end"
    window = Window(io.BytesIO(content), "m", 1 << 30)

    window.skip(len(content) - 5, "a passage")

    assert (7,) == window.unpack(Struct("<H"), "a number")
    assert b"end" == window.take(3, "the end")
    assert hashlib.sha256(content).digest() == window.sha256()


def test_no_step_leads_beyond_the_file() -> None:
    """
    A step beyond the file's end is incomplete, and tells where it began.
    """
    window = Window(io.BytesIO(b"123456"), "m", 1 << 20)
    window.take(4, "four")

    with pytest.raises(ModelIncompleteError, match="three ends at byte 7, the file has 6") as caught:
        window.take(3, "three")

    assert caught.value.offset == 4


def test_no_step_leads_beyond_the_limit() -> None:
    """
    A step beyond the limit is corrupt, also where the file has the bytes.
    """
    window = Window(io.BytesIO(bytes(20)), "m", 10)
    window.take(4, "four")

    with pytest.raises(ModelCorruptError, match="no header is longer than 10 bytes"):
        window.skip(7, "seven")


def test_a_string_beyond_the_file_is_found_out_at_its_length() -> None:
    """
    In a list of strings, one that claims more than the file has is incomplete.
    """
    window = Window(io.BytesIO(STRINGS + (99).to_bytes(8, "little") + b"x"), "m", 1 << 20)

    with pytest.raises(ModelIncompleteError):
        window.skip_strings(len(TEXTS) + 1, "strings")
