"""Which of the host's files a container sees."""

from __future__ import annotations

from pathlib import Path

from motorpool_agent.runtime.docker.mounts import model_mounts, with_files


def test_folder_of_a_file(tmp_path: Path) -> None:
    """
    A file's folder is mounted at its own path.
    """
    model = tmp_path / "model.gguf"
    model.touch()

    assert {str(tmp_path): str(tmp_path)} == model_mounts(model)


def test_folder_itself(tmp_path: Path) -> None:
    """
    A model that is a folder is mounted, and not what is around it.
    """
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").touch()

    assert {str(model): str(model)} == model_mounts(model)


def test_links_lead_somewhere(tmp_path: Path) -> None:
    """
    Where a model's files are links, as in a hub's cache, the folders that they lead to are mounted too.
    """
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "abc").touch()
    (snapshot / "model.safetensors").symlink_to("../../blobs/abc")

    assert {str(blobs), str(snapshot)} == set(model_mounts(snapshot))
    assert {str(blobs), str(snapshot)} == set(model_mounts(snapshot / "model.safetensors"))


def test_folder_below_the_root_is_not_hidden() -> None:
    """
    A folder right below the root would hide the image's own: the model's files are mounted alone, all its shards.
    """
    names = [f"motorpool-test-mounts-0000{number}-of-00002.gguf" for number in (1, 2)]
    files = [Path("/tmp") / name for name in names]  # the folder that this is about
    try:
        for file in files:
            file.touch()

        assert {str(file): str(file) for file in files} == model_mounts(files[0])
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def test_files_beside_the_model_are_seen_where_they_lie(tmp_path: Path) -> None:
    """
    A projector in another folder than the model's brings its folder along.
    """
    model, projector = tmp_path / "q4" / "m.gguf", tmp_path / "towers" / "mmproj.gguf"
    for file in (model, projector):
        file.parent.mkdir()
        file.touch()

    folders = {str(file.parent): str(file.parent) for file in (model, projector)}
    assert folders == model_mounts(model, (projector,))
    assert {str(model.parent): str(model.parent)} == model_mounts(model)


def test_a_file_that_the_model_lacks_opens_its_folder(tmp_path: Path) -> None:
    """
    A folder that may not be written has no place for one: its entries are mounted, whatever lies above it is not.
    """
    model = tmp_path / "models" / "qwen"
    (model / "more").mkdir(parents=True)
    (tmp_path / "models" / "other").touch()
    (model / "config.json").touch()
    own = {str(tmp_path / "models"): str(tmp_path / "models")}

    there = with_files(own, {str(model / "config.json"): "/a"})
    missing = with_files(own, {str(model / "generation_config.json"): "/a", "/opt/conf.json": "/b"})

    assert {**own, str(model / "config.json"): "/a"} == there
    assert {
        **{str(path): str(path) for path in (model / "config.json", model / "more", tmp_path / "models" / "other")},
        str(model / "generation_config.json"): "/a",
        "/opt/conf.json": "/b",
    } == missing
    assert sorted(missing) == list(missing)
