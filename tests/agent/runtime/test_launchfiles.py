"""Files that an engine is told by."""

import json
import stat
from pathlib import Path

import pytest

from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.launchfiles import folder_of, write
from motorpool_sdk import Launch, LaunchFile


@pytest.fixture(name="model")
def make_model(tmp_path: Path) -> Path:
    """A model's folder with a config.json."""
    folder = tmp_path / "models" / "some"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"torch_dtype": "bfloat16", "vocab_size": 7}))
    return folder


def launch(*files: LaunchFile, image: str = "engine:1") -> Launch:
    return Launch(argv=("serve",), files=files, image=image)


def test_a_file_is_mounted_where_the_engine_looks(tmp_path: Path, model: Path) -> None:
    """
    What a container's engine reads at its own place lies in the instance's folder, unreadable for others.
    """
    mounts = write(tmp_path / "a1", launch(LaunchFile(path=Path("/opt/conf/config.json"), text="{}")), model)

    path = Path(mounts["/opt/conf/config.json"])
    assert (folder_of(tmp_path / "a1"), "{}") == (path.parent, path.read_text())
    assert 0o640 == stat.S_IMODE(path.stat().st_mode)


def test_a_processes_file_lies_in_its_folder_alone(tmp_path: Path, model: Path) -> None:
    """
    A process is told the folder's own path; a plugin that names another place is refused.
    """
    folder = folder_of(tmp_path / "a1")
    key = LaunchFile(path=folder / "key.yaml", text="api-key: x", secret=True)

    write(tmp_path / "a1", launch(key, image=""), model)

    assert ("api-key: x", 0o600) == (key.path.read_text(), stat.S_IMODE(key.path.stat().st_mode))
    with pytest.raises(LaunchError, match="/etc/passwd"):
        write(tmp_path / "a1", launch(LaunchFile(path=Path("/etc/passwd"), text=""), image=""), model)


def test_a_models_file_is_changed_for_this_instance_alone(tmp_path: Path, model: Path) -> None:
    """
    Keys are set in a copy that is mounted over the model's file, and the model stays as it is.
    """
    before = (model / "config.json").read_text()
    file = LaunchFile(path=model / "config.json", text='{"torch_dtype": "float16"}', onto=model / "config.json")

    mounts = write(tmp_path / "a1", launch(file), model)

    changed = json.loads(Path(mounts[str(model / "config.json")]).read_text())
    assert {"torch_dtype": "float16", "vocab_size": 7} == changed
    assert before == (model / "config.json").read_text()


def test_a_file_that_the_model_lacks_begins_empty(tmp_path: Path, model: Path) -> None:
    """
    A model without generation_config.json gets one of the keys that were given.
    """
    path = model / "generation_config.json"

    mounts = write(tmp_path / "a1", launch(LaunchFile(path=path, text='{"top_k": 1}', onto=path)), model)

    assert {"top_k": 1} == json.loads(Path(mounts[str(path)]).read_text())


@pytest.mark.parametrize(
    ("onto", "content", "reason"),
    [
        ("../../secret.json", "{}", "LAUNCH_INVALID"),
        ("config.json", "[]", "MODEL_CORRUPT"),
        ("config.json", "{", "MODEL_CORRUPT"),
    ],
)
def test_what_cannot_be_changed_is_said(tmp_path: Path, model: Path, onto: str, content: str, reason: str) -> None:
    """
    A file outside the model, or one that is no JSON object, is an error that says whose.
    """
    (model / "config.json").write_text(content)
    path = model / onto

    with pytest.raises(LaunchError) as caught:
        write(tmp_path / "a1", launch(LaunchFile(path=path, text="{}", onto=path)), model)

    assert reason == caught.value.reason


def test_a_second_launch_writes_its_files_anew(tmp_path: Path, model: Path) -> None:
    """
    A restart with another port finds no file of the run before in its way.
    """
    write(tmp_path / "a1", launch(LaunchFile(path=Path("/conf"), text="one")), model)
    mounts = write(tmp_path / "a1", launch(LaunchFile(path=Path("/conf"), text="two")), model)

    assert "two" == Path(mounts["/conf"]).read_text()
