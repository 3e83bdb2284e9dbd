from collections.abc import Mapping
from pathlib import Path

import pytest

from motorpool_formats import ModelCorruptError, ModelFacts, ModelIncompleteError, read_model
from motorpool_formats.shards import MAX_SHARDS
from tests.formats.gguf_bytes import I32, LLAMA, U16, Entry, Typed, Values, gguf_bytes

TENSORS = (Entry("output.weight", (8,)), Entry("blk.0.a", (16,)), Entry("blk.1.a", (32,)))


def shard_name(number: int, count: int = 3) -> str:
    return f"m-{number:05}-of-{count:05}.gguf"


def shard(number: int, *, said: int | None = None, count: int = 3, total: int = 3) -> bytes:
    """Return part ``number`` of three as gguf-split writes them, a tensor in each, the facts in the first."""
    values: Values = {
        **({**LLAMA, "llama.block_count": 2} if number == 1 else {}),
        "split.no": Typed(U16, number - 1 if said is None else said),
        "split.count": Typed(U16, count),
        "split.tensors.count": Typed(I32, total),
    }
    return gguf_bytes(values, TENSORS[number - 1 : number])


def facts_of(
    folder: Path, parts: Mapping[int, bytes], *, asked: int = 1, left_out: frozenset[int] = frozenset()
) -> ModelFacts:
    for number in {1, 2, 3} - left_out:
        (folder / shard_name(number)).write_bytes(parts.get(number, shard(number)))
    return read_model(folder / shard_name(asked))


def test_parts_are_summed(tmp_path: Path) -> None:
    """
    A split model has the first part's values and the tensors and bytes of all.
    """
    facts = facts_of(tmp_path, {})

    assert (2, (64, 128), 32, 224) == (
        facts.layers,
        facts.layer_bytes,
        facts.nonlayer_bytes,
        facts.weight_bytes,
    )
    assert tuple(shard_name(number) for number in (1, 2, 3)) == facts.files
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == facts.file_bytes


def test_any_part_stands_for_the_model(tmp_path: Path) -> None:
    """
    Asked for another part than the first, the facts are the same, with the first part first.
    """
    assert facts_of(tmp_path, {}) == facts_of(tmp_path, {}, asked=3)


def test_a_part_alone_may_have_no_tensors(tmp_path: Path) -> None:
    """
    A first part of metadata alone (gguf-split --no-tensor-first-split) is fine where others have tensors.
    """
    first = gguf_bytes({"split.no": Typed(U16, 0), "split.count": Typed(U16, 3)}, ())

    assert facts_of(tmp_path, {1: first}).weight_bytes == 192


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    """
    A missing part is incomplete, and the error names the file.
    """
    with pytest.raises(ModelIncompleteError, match=r"^m-00003-of-00003\.gguf: this part of 3 is missing"):
        facts_of(tmp_path, {}, left_out=frozenset({3}))


def test_missing_parts_are_counted(tmp_path: Path) -> None:
    """
    Of several missing parts the first is named and the others are counted.
    """
    with pytest.raises(ModelIncompleteError, match=r"^m-00002-of-00003\.gguf: this part and 1 more of 3 is missing"):
        facts_of(tmp_path, {}, left_out=frozenset({2, 3}))


def test_a_truncated_part_is_named(tmp_path: Path) -> None:
    """
    A truncated part is incomplete, and the error names that file and not the one asked for.
    """
    with pytest.raises(ModelIncompleteError, match=r"^m-00002-of-00003\.gguf: the file is truncated: tensor blk\.0"):
        facts_of(tmp_path, {2: shard(2)[:-1]})


@pytest.mark.parametrize("name", ["m.gguf", "m-1-of-3.gguf", "m-00001-of-00004.gguf"])
def test_a_renamed_part_does_not_find_the_others(tmp_path: Path, name: str) -> None:
    """
    A part whose name does not tell the others' is incomplete, and the error says what names to give.
    """
    (tmp_path / name).write_bytes(shard(1))

    with pytest.raises(ModelIncompleteError, match=r"model-00001-of-00003\.gguf"):
        read_model(tmp_path / name)


@pytest.mark.parametrize(
    "second",
    [
        shard(2, said=0),
        shard(2, count=2),
        gguf_bytes(),
        gguf_bytes({"split.no": Typed(U16, 1), "split.count": Typed(U16, 3)}, TENSORS[:1]),
        gguf_bytes({"split.no": Typed(U16, 1), "split.count": Typed(U16, 3)}, TENSORS[:2]),
    ],
    ids=["wrong number", "wrong count", "whole model", "tensor of another part", "tensor too many"],
)
def test_parts_of_different_models_do_not_mix(tmp_path: Path, second: bytes) -> None:
    """
    A part that belongs elsewhere makes the model corrupt.
    """
    with pytest.raises(ModelCorruptError):
        facts_of(tmp_path, {2: second})


def test_tensors_left_out_are_noticed(tmp_path: Path) -> None:
    """
    Where the parts hold fewer tensors than the first part says, the model is corrupt.
    """
    with pytest.raises(ModelCorruptError, match="the parts hold 3 tensors instead of 4"):
        facts_of(tmp_path, {1: shard(1, total=4)})


@pytest.mark.parametrize("count", [MAX_SHARDS + 1, Typed(I32, -1), "three"])
def test_an_impossible_count_is_refused(tmp_path: Path, count: int | str | Typed) -> None:
    """
    A number of parts that no model has is corrupt, and no part is looked for.
    """
    path = tmp_path / shard_name(1)
    path.write_bytes(gguf_bytes({**LLAMA, "split.count": count}))

    with pytest.raises(ModelCorruptError, match=r"split\.count"):
        read_model(path)


@pytest.mark.parametrize("count", [0, 1])
def test_a_split_into_one_is_whole(tmp_path: Path, count: int) -> None:
    """
    A model split into one part is read as it is, whatever its name.
    """
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes({**LLAMA, "split.count": Typed(U16, count)}))

    assert ("m.gguf",) == read_model(path).files
