from collections.abc import Mapping
from pathlib import Path

import pytest

from motorpool_formats import (
    ModelCorruptError,
    ModelFacts,
    ModelFormatUnknownError,
    ModelIncompleteError,
    ModelNotFoundError,
    read_folder,
    read_model,
)
from motorpool_formats.places import CountedFolder
from tests.formats.gguf_bytes import LLAMA, STRING, U16, Entry, Items, Typed, Values, gguf_bytes
from tests.formats.hugging_face.folders import tensor_file
from tests.formats.sources import MemoryFolder

MODEL: Values = {**LLAMA, "llama.embedding_length": 64, "tokenizer.ggml.model": "gpt2"}


def model(width: int = 64, **more: str | int) -> bytes:
    return gguf_bytes({**MODEL, "llama.embedding_length": width, **more})


def mmproj(width: int | None = 64, *, heads: int = 16, group: str = "vision", padding: int = 8) -> bytes:
    values: dict[str, str | int] = {"general.architecture": "clip", f"clip.{group}.attention.head_count": heads}
    if width is not None:
        values[f"clip.{group}.projection_dim"] = width
    return gguf_bytes(values, (Entry("v.blk.0.attn_q.weight", (padding,)),))


def part(number: int) -> bytes:
    values: Values = {**(MODEL if number == 1 else {}), "split.no": Typed(U16, number - 1), "split.count": 2}
    return gguf_bytes(values, (Entry(f"blk.{number}.a", (8,)),))


def facts_of(files: Mapping[str, bytes], pattern: str = "", projector: str = "") -> ModelFacts:
    return read_folder(MemoryFolder(files), pattern, projector=projector)


def test_one_file_is_the_model() -> None:
    """
    A repository with one GGUF file is that model; what lies beside it does not matter.
    """
    facts = facts_of({"README.md": b"#", "config.json": b"{}", "m.gguf": model()})

    assert ("m.gguf",) == facts.files


@pytest.mark.parametrize(
    ("expected", "names"),
    [
        ("m-IQ3_XS.gguf", ["m-Q2_K.gguf", "m-IQ3_XS.gguf", "m-Q8_0.gguf"]),
        ("m-Q2_K.gguf", ["m-Q8_0.gguf", "m-Q2_K.gguf", "m-Q4_K_M.gguf"]),
        ("m-Q4_0.gguf", ["m-Q4_K_M.gguf", "m-Q4_0.gguf"]),
        ("m.Q5_K_S.gguf", ["m.Q5_K_S.gguf", "m.f16.gguf"]),
        ("m-q6_k.gguf", ["a-bf16.gguf", "m-q6_k.gguf"]),
        ("a.gguf", ["b.gguf", "a.gguf"]),
    ],
)
def test_the_lowest_quantisation_is_taken_where_none_is_named(expected: str, names: list[str]) -> None:
    """
    B15.2-2: without a file's name it is the lowest quantisation by name, else the first file.
    """
    assert (expected,) == facts_of(dict.fromkeys(names, model())).files


@pytest.mark.parametrize(
    ("expected", "pattern"),
    [
        ("Q4_K_M/m.gguf", "Q4_K_M/m.gguf"),
        ("Q4_K_M/m.gguf", "*Q4_K_M*.gguf"),
        ("m-Q8_0.gguf", "*Q8_0*.gguf"),
        ("m-Q8_0.gguf", "m-Q[68]_*"),
        ("Q4_K_M/m.gguf", "m.gguf"),
        ("Q4_K_M/m.gguf", "*.gguf"),
        ("mmproj-F16.gguf", "mmproj-*.gguf"),
    ],
)
def test_a_name_or_glob_chooses(expected: str, pattern: str) -> None:
    """
    B9.1: the first file that the glob matches is the model; a projector only where nothing else matches.
    """
    files = {"Q4_K_M/m.gguf": model(), "m-Q8_0.gguf": model(), "imatrix.gguf": model(), "mmproj-F16.gguf": mmproj()}

    assert (expected,) == facts_of(files, pattern).files


def test_a_glob_that_matches_nothing_says_what_there_is() -> None:
    """
    The error for a name that no file has lists the files.
    """
    with pytest.raises(ModelNotFoundError, match=r"called \*Q9\*; name one of them: a\.gguf, b\.gguf") as caught:
        facts_of({"a.gguf": model(), "b.gguf": model(), "c.bin": b""}, "*Q9*")

    assert str(caught.value).startswith("owner/model: ")


def test_many_files_are_not_listed_in_full() -> None:
    """
    Of very many files an error names five, and counts the others.
    """
    with pytest.raises(ModelNotFoundError, match=r"e\.gguf and 3 more"):
        facts_of({f"{letter}.gguf": model() for letter in "abcdefgh"}, "z")


def test_a_split_model_in_a_folder_below_is_whole() -> None:
    """
    Parts in a folder of their own are one model, by any part, and only the files of the model are opened.
    """
    folder = MemoryFolder({f"Q8_0/m-0000{number}-of-00002.gguf": part(number) for number in (1, 2)} | {"z.gguf": b"?"})

    facts = read_folder(folder, "*Q8_0*")

    assert facts.files == tuple(folder.opened) == ("Q8_0/m-00001-of-00002.gguf", "Q8_0/m-00002-of-00002.gguf")
    assert 64 == facts.weight_bytes


def test_a_missing_part_of_a_repository_is_incomplete() -> None:
    """
    A repository that lacks a part of a split model says which.
    """
    with pytest.raises(ModelIncompleteError, match=r"m-00002-of-00002\.gguf: this part of 2 is missing"):
        facts_of({"m-00001-of-00002.gguf": part(1)})


def test_a_projector_is_a_companion() -> None:
    """
    The projector beside a model is its companion, with bytes and heads, and no part of its weights.
    """
    alone, facts = facts_of({"m.gguf": model()}), facts_of({"m.gguf": model(), "mmproj-m-f16.gguf": mmproj()})

    (companion,) = facts.companions
    assert ("projector", "mmproj-m-f16.gguf", len(mmproj()), 32, 16) == (
        companion.kind,
        companion.file,
        companion.file_bytes,
        companion.weight_bytes,
        companion.heads,
    )
    assert (16, None) == (facts.vision_heads, facts.audio_heads)
    assert (alone.files, alone.weight_bytes, alone.digest) == (facts.files, facts.weight_bytes, facts.digest)
    assert () == alone.companions


def test_a_projector_for_sound_has_audio_heads() -> None:
    """
    A projector of a tower for sound tells the heads of that tower.
    """
    facts = facts_of({"m.gguf": model(), "mmproj.gguf": mmproj(group="audio", heads=20)})

    assert (None, 20, 20) == (facts.vision_heads, facts.audio_heads, facts.companions[0].heads)


@pytest.mark.parametrize(
    ("expected", "names"),
    [
        ("mmproj-f32.gguf", ["mmproj-f16.gguf", "mmproj-f32.gguf", "mmproj-BF16.gguf"]),
        ("mmproj-F16.gguf", ["mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-Q8_0.gguf"]),
        ("m.mmproj-bf16.gguf", ["m.mmproj-q8_0.gguf", "m.mmproj-bf16.gguf"]),
        ("MMPROJ.GGUF", ["MMPROJ.GGUF"]),
    ],
)
def test_the_most_precise_projector_is_taken(expected: str, names: list[str]) -> None:
    """
    Seed 003: of several projectors it is the one of higher precision, F32 before F16 before BF16; the others follow,
    for whoever names one of them.
    """
    folder = MemoryFolder({"m.gguf": model()} | dict.fromkeys(names, mmproj()))

    facts = read_folder(folder)

    assert expected == facts.projectors[0].file
    assert sorted(names) == sorted(each.file for each in facts.projectors)
    assert ["m.gguf", *(each.file for each in facts.projectors)] == folder.opened


def test_a_projector_for_another_width_gives_way_to_one_that_fits() -> None:
    """
    Where the most precise projector is made for a wider model, the one that fits is taken; beside the model first.
    """
    files = {
        "small/m.gguf": model(),
        "small/mmproj-F16.gguf": mmproj(),
        "small/mmproj-F32.gguf": mmproj(128),
        "mmproj-F32.gguf": mmproj(),
    }

    assert "small/mmproj-F16.gguf" == facts_of(files, "small/m.gguf").companions[0].file


def test_a_repositorys_only_projector_is_taken_whatever_it_says() -> None:
    """
    Old converters wrote the tower's own width: the projector of a repository with one model is still its projector.
    """
    assert "mmproj.gguf" == facts_of({"m.gguf": model(), "mmproj.gguf": mmproj(768)}).companions[0].file
    assert "mmproj.gguf" == facts_of({"m.gguf": model(), "mmproj.gguf": mmproj(None)}).companions[0].file


def test_a_projector_may_be_named() -> None:
    """
    A named projector is taken, whatever it is called; one that is not there is an error that lists the others.
    """
    files = {"m.gguf": model(), "tower.gguf": mmproj(), "mmproj-F32.gguf": mmproj()}

    assert "tower.gguf" == facts_of(files, "m.gguf", "tower.gguf").companions[0].file
    with pytest.raises(ModelNotFoundError, match=r"no projector in it is called x\.gguf; name one of them: mmproj-F32"):
        facts_of(files, "m.gguf", "x.gguf")


def test_a_file_called_projector_that_is_none_is_left_alone() -> None:
    """
    What is called mmproj and is a language model is nobody's companion.
    """
    assert () == facts_of({"m.gguf": model(), "mmproj.gguf": model()}, "m.gguf").companions


def test_a_broken_projector_of_a_repository_is_an_error() -> None:
    """
    An engine would load the projector: one that is cut off is as bad as a model that is.
    """
    with pytest.raises(ModelIncompleteError, match=r"mmproj\.gguf: the file is truncated"):
        facts_of({"m.gguf": model(), "mmproj.gguf": mmproj()[:-1]})


def test_a_file_takes_the_one_projector_beside_it_that_fits(tmp_path: Path) -> None:
    """
    In a folder with many models, a file's projector is the one made for its width, and broken ones are others'.
    """
    (tmp_path / "m.gguf").write_bytes(model())
    (tmp_path / "other-mmproj-f32.gguf").write_bytes(mmproj(128))
    (tmp_path / "broken-mmproj-f32.gguf").write_bytes(mmproj()[:-1])
    (tmp_path / "unknown-mmproj-f32.gguf").write_bytes(mmproj(None))
    (tmp_path / "wide.gguf").write_bytes(model(256))
    (tmp_path / "m-mmproj-f16.gguf").write_bytes(mmproj())

    assert ["m-mmproj-f16.gguf"] == [each.file for each in read_model(tmp_path / "m.gguf").companions]
    assert () == read_model(tmp_path / "wide.gguf").companions


def test_a_folder_on_disk_is_read_as_a_repository_is(tmp_path: Path) -> None:
    """
    The path of a folder gives what a hub with the same files gives.
    """
    files = {"m-Q4_0.gguf": model(), "m-Q8_0.gguf": model(), "mmproj-f16.gguf": mmproj()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    assert facts_of(files, "*Q8_0*") == read_model(tmp_path, "*Q8_0*")
    assert facts_of(files) == read_model(tmp_path)


def test_weights_are_not_fetched() -> None:
    """
    Of a model whose weights are large nothing but the header is read, and what is read can be counted.
    """
    values: Values = {**MODEL, "tokenizer.ggml.tokens": Items(STRING, [f"token {number}" for number in range(10_000)])}
    content = gguf_bytes(values, (Entry("blk.0.a", (1 << 18,)), Entry("blk.0.b", (1 << 18,))))
    header_bytes = len(content) - (2 << 20)
    folder = CountedFolder(MemoryFolder({"m.gguf": content}))

    read_folder(folder)

    assert header_bytes <= folder.bytes_read < 2 * header_bytes
    assert 2 == folder.reads


def test_a_hugging_face_layout_with_gguf_beside_is_not_gguf() -> None:
    """
    Where a repository has safetensors and GGUF, the GGUF file has to be named.
    """
    weights = tensor_file({"lm_head.weight": ("U8", (2,))})
    files = {"config.json": b"{}", "model.safetensors": weights.head.ljust(weights.size), "m.gguf": model()}

    assert "safetensors" == facts_of(files).format
    assert "gguf" == facts_of(files, "m.gguf").format


@pytest.mark.parametrize(
    ("error", "files", "pattern"),
    [
        (ModelNotFoundError, {}, ""),
        (ModelNotFoundError, {"model.safetensors": b""}, "m.gguf"),
        (ModelFormatUnknownError, {"README.md": b""}, ""),
        (ModelCorruptError, {"m.gguf": b"<html>"}, ""),
    ],
)
def test_a_folder_without_a_model_is_told_apart(
    error: type[Exception], files: Mapping[str, bytes], pattern: str
) -> None:
    """
    An empty folder, one without GGUF, and one whose GGUF is none are different errors.
    """
    with pytest.raises(error):
        facts_of(files, pattern)


def test_a_folder_that_is_gone_is_not_found(tmp_path: Path) -> None:
    """
    The path of a folder that does not exist is not found.
    """
    with pytest.raises(ModelNotFoundError):
        read_model(tmp_path / "nothing")
