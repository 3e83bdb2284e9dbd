"""Which files of a folder are its weights (scheduling A13)."""

from __future__ import annotations

import pytest

from motorpool_formats import FormatError, ModelCorruptError, ModelIncompleteError
from motorpool_formats.hugging_face.weights import MAX_PARTS, Weights, find_weights, index_files
from tests.formats.hugging_face.folders import MadeFolder


def found(*names: str, **indices: dict[str, str]) -> Weights | None:
    files: dict[str, object] = dict.fromkeys(names, b"x")
    for index, places in indices.items():
        files[index.replace("_json", ".json").replace("__", ".")] = {"weight_map": places}
    return find_weights(MadeFolder(files))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["model.safetensors"], ["model.safetensors"]),
        # A13: the same weights in another format, which the published system counts as well
        (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (["a.safetensors", "b.safetensors", "flax_model.bin"], ["a.safetensors", "b.safetensors"]),
        (["model.safetensors", "consolidated.safetensors"], ["model.safetensors"]),
        (
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "consolidated.safetensors"],
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
        ),
        (["consolidated.safetensors"], ["consolidated.safetensors"]),
        (["model.safetensors", "model.fp16.safetensors"], ["model.safetensors"]),
        (["model.fp16.safetensors"], ["model.fp16.safetensors"]),
        (["model.safetensors", "adapter_model.safetensors"], ["model.safetensors"]),
        (["model.safetensors", "onnx/model.safetensors"], ["model.safetensors"]),
        (["pytorch_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt"], ["pytorch_model.bin"]),
        (["model.pth", "tokenizer.bin", "ggml-model.bin"], ["model.pth"]),
        (["llm.pt", "flow.pt"], ["flow.pt", "llm.pt"]),
    ],
)
def test_chooses_each_weight_once(names: list[str], expected: list[str]) -> None:
    """
    A13: safetensors where there are any, else PyTorch's files; no copy in another format or precision.
    """
    weights = found(*names)

    assert weights is not None
    assert tuple(expected) == weights.files
    assert weights.format == ("safetensors" if expected[0].endswith("safetensors") else "pytorch")


def test_there_may_be_none() -> None:
    """
    Files of other programs and of adapters are no weights of a model.
    """
    assert found("config.json", "tokenizer.json", "adapter_model.bin", "sub/model.safetensors") is None


def test_an_index_names_the_files_also_in_folders() -> None:
    """
    A13: what an index names counts, in folders below too, and nothing else.
    """
    weights = find_weights(
        MadeFolder(
            {
                "model.safetensors.index.json": {"weight_map": {"a": "parts/1.safetensors", "b": "2.safetensors"}},
                "parts/1.safetensors": b"x",
                "2.safetensors": b"x",
                "other.safetensors": b"x",
            }
        )
    )

    assert weights == Weights("safetensors", ("2.safetensors", "parts/1.safetensors"))


def test_the_models_index_goes_before_its_copies() -> None:
    """
    Of several indices the one without a variant is the model's.
    """
    weights = find_weights(
        MadeFolder(
            {
                "consolidated.safetensors.index.json": {"weight_map": {"a": "1.safetensors"}},
                "model.fp16.safetensors.index.json": {"weight_map": {"a": "2.safetensors"}},
                "model.safetensors.index.json": {"weight_map": {"a": "3.safetensors"}},
                **dict.fromkeys(("1.safetensors", "2.safetensors", "3.safetensors"), b"x"),
            }
        )
    )

    assert weights == Weights("safetensors", ("3.safetensors",))


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        (
            {"model.safetensors.index.json": {"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}},
            ModelIncompleteError,
            "1.safetensors: this file and 1 more of the 2 that model.safetensors.index.json names is missing",
        ),
        (
            {"model.safetensors.index.json": {"weight_map": {"a": "../../etc/passwd"}}},
            ModelIncompleteError,
            "../../etc/passwd: this file of the 1",
        ),
        (
            {"model-00001-of-00003.safetensors": b"x", "model-00003-of-00003.safetensors": b"x"},
            ModelIncompleteError,
            "model-00002-of-00003.safetensors: this part of 3 is missing",
        ),
        (
            {"model-00001-of-99999.safetensors": b"x"},
            ModelCorruptError,
            f"it has 99999 parts, {MAX_PARTS} are the most",
        ),
    ],
)
def test_says_what_is_missing(files: dict[str, object], error: type[Exception], message: str) -> None:
    """
    A part that is not there is named, and an index leads to no file outside the folder.
    """
    with pytest.raises(error, match=message):
        find_weights(MadeFolder(files))


def test_an_index_may_be_written_as_one_likes() -> None:
    """
    White space, escapes and other keys of an index change nothing.
    """
    text = b'{"metadata": {},\n "weight_map" :\t{ "a\\"}" : "x\\u0031.safetensors" ,\n"b":"x1.safetensors"}}'

    assert {"x1.safetensors"} == index_files("i.json", text)


@pytest.mark.parametrize(
    ("text", "message", "offset"),
    [
        (b"{}", "it has no weight_map", 0),
        (b"{", "it is not JSON", 1),
        (b'{"weight_map":{"a":1}}', "a tensor's name and its file should stand here", 15),
        (b'{"weight_map":{"a":"b",', "a tensor's name and its file should stand here", 23),
        (b'{"weight_map":{}}', "a tensor's name and its file should stand here", 15),
        (b'{"weight_map":{"a":"\\x"}}', "it is not JSON", None),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull", None),
    ],
)
def test_a_broken_index_is_told_with_its_place(text: bytes, message: str, offset: int | None) -> None:
    """
    An index that is none says where it stops being one.
    """
    with pytest.raises(FormatError, match=message) as caught:
        index_files("i.json", text)

    assert offset is None or offset == caught.value.offset
