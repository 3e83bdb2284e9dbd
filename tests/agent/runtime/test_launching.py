"""What an engine is given of a model that lies in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_agent.reconcile.assignment import Assignment, ModelSource
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.launching import model_path
from motorpool_formats import read_model
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
    given = replace(of_folder(tmp_path), facts=EVERYTHING)

    assert tmp_path / "models" == model_path(given)


@pytest.mark.parametrize("files", [(), ("gone.gguf",), ("../model.gguf",), ("/etc/passwd",)])
def test_a_file_that_is_not_in_the_folder_is_not_served(tmp_path: Path, files: tuple[str, ...]) -> None:
    """
    What the facts name must lie in the folder.
    """
    given = of_folder(tmp_path)
    assert given.facts is not None

    with pytest.raises(LaunchError, match="holds no model file"):
        model_path(replace(given, facts=replace(given.facts, files=files)))
