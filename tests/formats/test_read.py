import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import motorpool_formats
from motorpool_formats import (
    FormatError,
    ModelCorruptError,
    ModelFormatUnknownError,
    ModelIncompleteError,
    ModelNotFoundError,
    ModelUnreadableError,
    read_folder,
    read_model,
)
from motorpool_formats.errors import OverridesError
from motorpool_formats.places import LocalFile, LocalFolder
from tests.formats.gguf_bytes import gguf_bytes
from tests.formats.hugging_face.folders import tensor_file
from tests.models.tiny_gguf import make_tiny_gguf


def refusal(path: Path) -> FormatError:
    with pytest.raises(FormatError) as caught:
        read_model(path)
    return caught.value


def test_public_names_are_few() -> None:
    """
    The package offers the reader, its facts and its errors.
    """
    assert motorpool_formats.__all__ == [
        "FormatError",
        "ModelCorruptError",
        "ModelFacts",
        "ModelFormatUnknownError",
        "ModelIncompleteError",
        "ModelNotFoundError",
        "ModelUnreadableError",
        "read_folder",
        "read_model",
    ]


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("MODEL_NOT_FOUND", ModelNotFoundError),
        ("MODEL_UNREADABLE", ModelUnreadableError),
        ("MODEL_FORMAT_UNKNOWN", ModelFormatUnknownError),
        ("MODEL_CORRUPT", ModelCorruptError),
        ("MODEL_INCOMPLETE", ModelIncompleteError),
        ("OVERRIDES_INVALID", OverridesError),
    ],
)
def test_reasons_are_stable(reason: str, error: type[FormatError]) -> None:
    """
    Each kind of error has a reason that programs may rely on.
    """
    assert reason == error.reason


@pytest.mark.parametrize("name", ["absent.gguf", "file/below.gguf", "nul\0.gguf", "lone\ud800.gguf"])
def test_a_missing_file_is_not_found(tmp_path: Path, name: str) -> None:
    """
    Where there is no such file, or cannot be one, nothing is found.
    """
    (tmp_path / "file").write_bytes(b"")

    error = refusal(tmp_path / name)

    assert isinstance(error, ModelNotFoundError)
    assert str(error).isprintable()


def test_a_file_the_system_withholds_is_unreadable(tmp_path: Path) -> None:
    """
    A file that exists and cannot be reached is unreadable, with the system's own words.
    """
    loop = tmp_path / "loop.gguf"
    loop.symlink_to(loop)

    error = refusal(loop)

    assert isinstance(error, ModelUnreadableError)
    assert "symbolic links" in error.what


def test_a_forbidden_file_is_unreadable(
    tmp_path: Path, as_ordinary_user: Callable[[], AbstractContextManager[None]]
) -> None:
    """
    A file without permission to read is unreadable.
    """
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes())
    path.chmod(0)

    with as_ordinary_user():
        assert isinstance(refusal(path), ModelUnreadableError)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """
    A pipe is refused at once; opening it would wait for a writer.
    """
    os.mkfifo(tmp_path / "m.gguf")

    assert isinstance(refusal(tmp_path / "m.gguf"), ModelFormatUnknownError)


@pytest.mark.parametrize(
    ("error", "name", "content"),
    [
        (ModelIncompleteError, "m.gguf", b""),
        (ModelIncompleteError, "m.safetensors", b""),
        (ModelIncompleteError, "m.gguf", b"GG"),
        (ModelIncompleteError, "m.gguf", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
        (ModelCorruptError, "m.gguf", b"<!doctype html>"),
        (ModelFormatUnknownError, "m.safetensors", b"\x40\0\0\0\0\0\0\0{"),
        (ModelFormatUnknownError, "m.bin", b"\x40\0\0\0\0\0\0\0{"),
        (ModelFormatUnknownError, "m.bin", b"PK\x03\x04"),
        (ModelFormatUnknownError, "m.txt", b"G"),
    ],
)
def test_what_is_no_gguf_is_told_apart(tmp_path: Path, error: type[FormatError], name: str, content: bytes) -> None:
    """
    An empty or unfinished file, a wrong file under a right name and another format are different errors.
    """
    path = tmp_path / name
    path.write_bytes(content)

    assert error is type(refusal(path))


def test_an_unknown_format_names_the_supported_ones(tmp_path: Path) -> None:
    """
    The error for another format says what can be read.
    """
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"\x40\0\0\0\0\0\0\0{")

    assert "safetensors; GGUF files (.gguf) and folders" in refusal(path).what


def test_content_counts_more_than_the_name(tmp_path: Path) -> None:
    """
    GGUF under any name is read: a content store has no suffixes.
    """
    path = tmp_path / "0d1e2f"
    path.write_bytes(gguf_bytes())

    assert read_model(path).format == "gguf"


def test_an_error_says_which_file_what_where_and_what_to_do(tmp_path: Path) -> None:
    """
    An error's text is the file, the defect, the byte and the remedy.
    """
    path = tmp_path / "m.gguf"
    path.write_bytes(b"<html>")

    assert "m.gguf: it does not begin with GGUF (at byte 0); download the model again" == str(refusal(path))


CONFIG = b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 1}'
WEIGHTS = tensor_file({"model.layers.0.mlp.up_proj.weight": ("BF16", (2, 3))})


def test_a_folder_of_safetensors_is_read(tmp_path: Path) -> None:
    """
    A folder in the layout of the Hugging Face hub is a model, read from this disk or from elsewhere.
    """
    (tmp_path / "config.json").write_bytes(CONFIG)
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS.head.ljust(WEIGHTS.size))

    facts = read_model(tmp_path)
    assert ("safetensors", ("llm",), 12) == (facts.format, facts.categories, facts.weight_bytes)
    assert facts == read_folder(LocalFolder(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        assert facts == read_folder(LocalFolder(tmp_path), spread=pool.map)


def test_a_folder_of_something_else_names_what_was_looked_for(tmp_path: Path) -> None:
    """
    The error for a folder that holds no model says what would have been one.
    """
    (tmp_path / "notes.txt").write_bytes(b"x")

    assert "it holds no GGUF file, no config.json, no model_index.json" in refusal(tmp_path).what


def test_a_file_that_goes_while_it_is_read_is_not_found(tmp_path: Path) -> None:
    """
    What a folder lists and does not have any more is an error of ours, and not the system's.
    """

    class Leaving(LocalFolder):
        def open(self, name: str) -> LocalFile:
            (tmp_path / name).unlink()
            return super().open(name)

    (tmp_path / "config.json").write_bytes(CONFIG)
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS.head.ljust(WEIGHTS.size))

    with pytest.raises(ModelNotFoundError):
        read_folder(Leaving(tmp_path))


def test_a_path_may_end_in_a_pattern(tmp_path: Path) -> None:
    """
    After a colon a folder's path names one of its models; what exists as it is written comes first.
    """
    folder = tmp_path / "models"
    folder.mkdir()
    make_tiny_gguf(folder / "m-Q4_0.gguf")
    make_tiny_gguf(folder / "m-Q8_0.gguf", width=128)

    assert ("m-Q4_0.gguf",) == read_model(folder).files
    assert ("m-Q8_0.gguf",) == read_model(Path(f"{folder}:*Q8_0*")).files
    with pytest.raises(ModelNotFoundError, match=r"no GGUF file in it is called \*Q5\*; name one of them: m-Q4_0"):
        read_model(Path(f"{folder}:*Q5*"))

    named = tmp_path / "models:latest"
    named.mkdir()
    make_tiny_gguf(named / "other.gguf")
    assert ("other.gguf",) == read_model(named).files
    with pytest.raises(ModelNotFoundError, match="there is no such file"):
        read_model(tmp_path / "nowhere:*Q8_0*")
