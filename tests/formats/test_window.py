import hashlib
from struct import Struct

import pytest

from motorpool_formats import ModelCorruptError, ModelIncompleteError
from motorpool_formats.window import CHUNK_BYTES, Window
from tests.formats.gguf_bytes import string
from tests.formats.sources import BytesSource

TEXTS = ["", "a", "bcd", "e" * 20, "", "f" * 9]
STRINGS = b"".join(string(text) for text in TEXTS)


@pytest.mark.parametrize("step", [1, 2, 7, 8, 9, 11, 1000])
def test_strings_are_passed_over_wherever_a_read_ends(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Wherever a read ends, what follows the strings is found, and the digest is that of all bytes.
    """
    monkeypatch.setattr("motorpool_formats.window.FIRST_BYTES", step)
    monkeypatch.setattr("motorpool_formats.window.CHUNK_BYTES", step)
    content = STRINGS + b"then" + b"more"
    window = Window(BytesSource(content), 1 << 20)

    window.skip_strings(len(TEXTS), "strings")

    assert b"then" == window.take(4, "what follows")
    assert len(STRINGS) + 4 == window.position
    assert hashlib.sha256(STRINGS + b"then").digest() == window.sha256()


def test_long_passages_are_passed_over_in_chunks() -> None:
    """
    What is longer than a chunk is passed over, and its bytes are in the digest.
    """
    content = bytes(range(256)) * (CHUNK_BYTES // 64) + b"\x07\x00end"
    window = Window(BytesSource(content), 1 << 30)

    window.skip(len(content) - 5, "a passage")

    assert (7,) == window.unpack(Struct("<H"), "a number")
    assert b"end" == window.take(3, "the end")
    assert hashlib.sha256(content).digest() == window.sha256()


def test_reads_grow_and_end_with_what_is_wanted() -> None:
    """
    Each read is twice the one before up to a chunk, and no more than one of them is beyond what was asked for.
    """
    source = BytesSource(bytes(8 << 20))
    window = Window(source, 1 << 30)

    for _ in range(3 << 10):
        window.take(1 << 10, "a KiB")

    assert 7 == source.reads
    assert CHUNK_BYTES == source.largest_read
    assert 3 << 20 <= source.bytes_read < 4 << 20


def test_peeking_passes_nothing() -> None:
    """
    What was looked at comes again, and no more than there is.
    """
    window = Window(BytesSource(b"abc"), 1 << 20)

    assert b"abc" == window.peek(9)
    assert b"ab" == window.take(2, "two")
    assert b"c" == window.peek(1)


def test_no_step_leads_beyond_the_file() -> None:
    """
    A step beyond the file's end is incomplete, and tells where it began.
    """
    window = Window(BytesSource(b"123456"), 1 << 20)
    window.take(4, "four")

    with pytest.raises(ModelIncompleteError, match="three ends at byte 7, the file has 6") as caught:
        window.take(3, "three")

    assert caught.value.offset == 4


def test_no_step_leads_beyond_the_limit() -> None:
    """
    A step beyond the limit is corrupt, also where the file has the bytes.
    """
    window = Window(BytesSource(bytes(20)), 10)
    window.take(4, "four")

    with pytest.raises(ModelCorruptError, match="no header is longer than 10 bytes"):
        window.skip(7, "seven")


def test_a_string_beyond_the_file_is_found_out_at_its_length() -> None:
    """
    In a list of strings, one that claims more than the file has is incomplete.
    """
    window = Window(BytesSource(STRINGS + (99).to_bytes(8, "little") + b"x"), 1 << 20)

    with pytest.raises(ModelIncompleteError):
        window.skip_strings(len(TEXTS) + 1, "strings")
