"""JSON files of strangers: typed access, and bounds."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from motorpool_formats import FormatError, ModelCorruptError, ModelIncompleteError
from motorpool_formats.hugging_face.documents import MAX_DOCUMENT_BYTES, Document, find_document, read_document
from tests.formats.hugging_face.folders import MadeFile, MadeFolder


def test_absent_and_null_are_none() -> None:
    """
    What is not there is None or empty, whatever type was asked for.
    """
    document = Document("c.json", {"a": None})

    for key in ("a", "b"):
        assert document.whole(key) is None
        assert document.whole_or_list(key) is None
        assert document.number(key) is None
        assert document.flag(key) is None
        assert document.text(key) is None
        assert document.texts(key) == ()
        assert document.section(key) is None
        assert document.items(key) == ()


def test_the_first_key_with_a_value_counts() -> None:
    """
    Synonyms are asked for in their order, and null is no value.
    """
    assert Document("c.json", {"a": None, "b": 0, "c": 3}).whole("a", "b", "c") == 0


def test_whole_numbers_may_be_written_as_floats() -> None:
    """
    131072.0 is a whole number, as some exporters write them.
    """
    assert Document("c.json", {"a": 131072.0}).whole("a") == 131072


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (lambda document: document.whole("a"), True, "key a is true, not a whole number"),
        (lambda document: document.whole("a"), 1.5, "key a is 1.5, not a whole number"),
        (lambda document: document.whole("a"), "8", 'key a is "8", not a whole number'),
        (lambda document: document.whole("a"), [8], r"key a is \[8\], not a whole number"),
        (lambda document: document.whole("a"), math.inf, "key a is Infinity, not a whole number"),
        (lambda document: document.whole("a"), -1, "key a is -1, not between 0 and 2147483647"),
        (lambda document: document.whole("a"), 1 << 31, "not between 0 and 2147483647"),
        (lambda document: document.whole_or_list("a"), [1, -1], "not between 0"),
        (lambda document: document.whole_or_list("a"), [1] * 5000, "key a has 5000 values, 4096 is the most"),
        (lambda document: document.number("a"), math.nan, "key a is NaN, not a finite number"),
        (lambda document: document.number("a"), 10**400, "not a finite number"),
        (lambda document: document.number("a"), "x", "not a number"),
        (lambda document: document.flag("a"), 1, "neither true nor false"),
        (lambda document: document.text("a"), 1, "not a text"),
        (lambda document: document.texts("a"), "x", "not a list of texts"),
        (lambda document: document.texts("a"), ["x", 1], "not a list of texts"),
        (lambda document: document.section("a"), [], "not an object"),
        (lambda document: document.items("a"), [1], "not a list of objects"),
    ],
)
def test_the_wrong_type_is_an_error_that_names_the_key(
    read: Callable[[Document], object], value: object, message: str
) -> None:
    """
    The error says which key has which value, and what it should be.
    """
    with pytest.raises(ModelCorruptError, match=message):
        read(Document("c.json", {"a": value}))


def test_errors_name_the_path_to_a_key() -> None:
    """
    A key inside a section is named with the section, and a long value cut.
    """
    document = Document("c.json", {"text_config": {"a": "x" * 1000}}).section("text_config")

    assert document is not None
    with pytest.raises(ModelCorruptError, match=r"^c\.json: key text_config\.a is ") as caught:
        document.whole("a")
    assert len(str(caught.value)) < 250


def test_numbers_that_are_none_are_read() -> None:
    """
    Mamba-2's config.json says Infinity, which JSON does not have.
    """
    folder = MadeFolder({"c.json": b'{"time_step_limit": [0.0, Infinity], "n": 1}'})

    assert read_document(folder, "c.json").whole("n") == 1
    assert find_document(folder, "other.json") is None


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", ModelCorruptError, r"it is not JSON: .* \(at byte 0\)"),
        (b"{", ModelCorruptError, r"it is not JSON: .* \(at byte 1\)"),
        ('{"ä": '.encode(), ModelCorruptError, r"it is not JSON: .* \(at byte 7\)"),
        (b'{"a": "\xff"}', ModelCorruptError, r"it is not UTF-8 \(at byte 7\)"),
        (b"[]", ModelCorruptError, "it is not a JSON object"),
        (b"[" * 100_000, ModelCorruptError, "it is nested too deep"),
        (b'{"a":' * 100_000, ModelCorruptError, "it is nested too deep"),
        (b"1" * 5000, ModelCorruptError, "too many digits"),
        (b"version https://git-lfs.github.com/spec/v1", ModelIncompleteError, "git lfs pull"),
        (MadeFile(b"{", MAX_DOCUMENT_BYTES + 1), ModelCorruptError, "more than the 1048576 that are read"),
    ],
)
def test_what_is_no_document_is_told(content: bytes | MadeFile, error: type[FormatError], message: str) -> None:
    """
    Anything else than a JSON object of reasonable size is refused, with its place.
    """
    with pytest.raises(error, match=message):
        read_document(MadeFolder({"c.json": content}), "c.json")
