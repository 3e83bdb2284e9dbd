"""Whole launches, as they are carried out."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from motorpool_sdk import Launch
from motorpool_vox_box.plugin import VoxBox
from tests.plugins.backends.vox_box.requests import GOLDEN

FOLDER = Path(__file__).parent / "launches"


def written(launch: Launch) -> str:
    return json.dumps(asdict(launch), indent=1, default=str) + "\n"


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_a_launch_is_the_one_on_file(name: str) -> None:
    """
    Arguments, environment, files, image, entrypoint, readiness and times are exactly those of the file.
    """
    assert (FOLDER / f"{name}.json").read_text() == written(VoxBox().launch(GOLDEN[name]))


def test_every_file_is_of_a_request() -> None:
    """
    No file is left over from a request that is gone.
    """
    assert sorted(GOLDEN) == sorted(path.stem for path in FOLDER.iterdir())


def test_findings_of_whole_launches_stop_none() -> None:
    """
    What is on file may be launched.
    """
    found = {
        name: [each for each in VoxBox().check(request) if each.severity == "error"] for name, request in GOLDEN.items()
    }

    assert {name: [] for name in GOLDEN} == found
