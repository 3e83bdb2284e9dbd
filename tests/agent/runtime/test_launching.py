"""What an engine is given of a model that lies in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_agent.reconcile.assignment import Adapter, Assignment, ModelSource
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.launching import request
from motorpool_agent.runtime.modelpaths import adapters_of, model_path, projector_paths
from motorpool_formats import read_model
from motorpool_formats.facts import Companion
from tests.agent.runtime.fakes import assignment
from tests.models.facts import EVERYTHING
from tests.models.tiny_gguf import make_tiny_gguf


def of_folder(tmp_path: Path) -> Assignment:
    folder = tmp_path / "models"
    folder.mkdir()
    make_tiny_gguf(folder / "b-Q8_0.gguf")
    make_tiny_gguf(folder / "a-f16.gguf")
    source = ModelSource(kind="local_path", path=str(folder))
    return replace(assignment(tmp_path), model=source, facts=read_model(folder))


def test_of_a_folder_with_gguf_files_the_engine_is_given_the_file_that_was_read(tmp_path: Path) -> None:
    """
    The file whose facts placed the model is the one that is served.
    """
    assert tmp_path / "models" / "b-Q8_0.gguf" == model_path(of_folder(tmp_path))


def test_other_formats_are_given_as_a_folder(tmp_path: Path) -> None:
    """
    Engines for other formats take the folder.
    """
    given = replace(of_folder(tmp_path), facts=replace(EVERYTHING, files=("one.safetensors", "two.safetensors")))
    for name in ("one.safetensors", "two.safetensors"):
        (tmp_path / "models" / name).touch()

    assert tmp_path / "models" == model_path(given)


def test_a_model_of_which_a_part_is_gone_is_not_launched(tmp_path: Path) -> None:
    """
    Which one is missing is told, before an engine is asked for anything.
    """
    given = replace(of_folder(tmp_path), facts=replace(EVERYTHING, files=("one.safetensors", "two.safetensors")))
    (tmp_path / "models" / "one.safetensors").touch()
    with pytest.raises(LaunchError, match=r"has 1 of the model's 2 files: two\.safetensors is not there") as failed:
        model_path(given)

    assert "MODEL_INCOMPLETE" == failed.value.reason


@pytest.mark.parametrize(
    ("config", "rank"),
    [
        ('{"r": 12}', 12),
        ("{}", None),
        ('{"r": "12"}', None),
        ('{"r": true}', None),
        ("[]", None),
        ("{", None),
        ("", None),
    ],
)
def test_an_adapters_rank_is_what_its_own_file_says(tmp_path: Path, config: str, rank: int | None) -> None:
    """
    A file that is not there, no JSON, or says something else tells none.
    """
    folder = tmp_path / "law"
    folder.mkdir()
    if config:
        (folder / "adapter_config.json").write_text(config)
    source = ModelSource(kind="local_path", path=str(folder))
    given = replace(assignment(tmp_path), adapters=(Adapter(name="law", source=source),))

    assert [("law", folder, rank)] == [(each.name, each.path, each.rank) for each in adapters_of(given)]


def test_a_backend_is_told_what_the_model_is_for(tmp_path: Path) -> None:
    """
    The categories of the model's headers; none where the headers were not read.
    """

    def told(given: Assignment) -> tuple[str, ...]:
        asked = request(given, path=tmp_path, address="127.0.0.1", port=4000, engine_dir=None)
        return asked.categories

    given = assignment(tmp_path)

    assert ("embedding",) == told(replace(given, facts=replace(EVERYTHING, categories=("embedding",))))
    assert () == told(replace(given, facts=None))


@pytest.mark.parametrize("files", [(), ("gone.gguf",), ("../model.gguf",), ("/etc/passwd",)])
def test_a_file_that_is_not_in_the_folder_is_not_served(tmp_path: Path, files: tuple[str, ...]) -> None:
    """
    What the facts name must lie in the folder.
    """
    given = of_folder(tmp_path)
    assert given.facts is not None

    with pytest.raises(LaunchError, match="holds no model file"):
        model_path(replace(given, facts=replace(given.facts, files=files)))


def test_a_pattern_after_the_folder_is_no_part_of_its_path(tmp_path: Path) -> None:
    """
    The folder is the one before the colon, and its file the one that was read.
    """
    given = of_folder(tmp_path)
    word = f"{given.model.path}:*f16*"
    given = replace(given, model=replace(given.model, path=word), facts=read_model(Path(word)))

    assert tmp_path / "models" / "a-f16.gguf" == model_path(given)


def test_of_a_model_in_parts_the_engine_is_given_the_first(tmp_path: Path) -> None:
    """
    Whichever part was named, llama.cpp wants the first.
    """
    for part in (1, 2):
        (tmp_path / f"m-0000{part}-of-00002.gguf").touch()
    names = ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf")
    source = ModelSource(kind="local_path", path=str(tmp_path / names[1]))
    given = replace(assignment(tmp_path), model=source, facts=replace(EVERYTHING, format="gguf", files=names))

    assert tmp_path / names[0] == model_path(given)


def test_projectors_beside_the_model_are_told_in_order(tmp_path: Path) -> None:
    """
    The files that were read, by their paths; one that is gone, or would lie elsewhere, is left out.
    """
    towers = tmp_path / "models" / "towers"
    towers.mkdir(parents=True)
    (towers / "a.gguf").touch()
    (towers / "b.gguf").touch()
    (tmp_path / "outside.gguf").touch()
    names = ("towers/b.gguf", "towers/gone.gguf", "../outside.gguf", "towers/a.gguf")
    companions = tuple(Companion(kind="projector", file=name, file_bytes=1) for name in names)
    facts = replace(EVERYTHING, format="gguf", files=("q4/m.gguf",), companions=companions)

    found = projector_paths(replace(assignment(tmp_path), facts=facts), tmp_path / "models" / "q4" / "m.gguf")

    assert (towers / "b.gguf", towers / "a.gguf") == found
