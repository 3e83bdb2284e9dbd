"""A folder of this machine, as readers of models see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_formats.places import MAX_DEPTH, LocalFolder


def test_lists_regular_files_by_name_inside_the_folder(tmp_path: Path) -> None:
    """
    Files of the folder and of those below it are listed with their sizes; hidden and broken ones are not.
    """
    (tmp_path / "unet").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "model_index.json").write_bytes(b"{}")
    (tmp_path / "unet" / "config.json").write_bytes(b"{ }")
    (tmp_path / ".cache" / "config.json").write_bytes(b"{}")
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    (tmp_path / "linked.json").symlink_to(tmp_path / "model_index.json")

    assert LocalFolder(tmp_path).files() == {"linked.json": 2, "model_index.json": 2, "unet/config.json": 3}


def test_does_not_follow_folders_in_circles_or_for_ever(tmp_path: Path) -> None:
    """
    A folder linked into itself ends the walk, and so does depth.
    """
    (tmp_path / "again").symlink_to(tmp_path)
    deep = tmp_path.joinpath(*(str(level) for level in range(MAX_DEPTH + 1)))
    deep.mkdir(parents=True)
    (deep / "too_deep").write_bytes(b"x")
    (deep.parent / "deep_enough").write_bytes(b"x")

    assert list(LocalFolder(tmp_path).files()) == ["0/1/2/deep_enough"]


def test_reads_ranges_and_less_only_at_the_end(tmp_path: Path) -> None:
    """
    A range is what the file holds there, cut at its end.
    """
    (tmp_path / "file").write_bytes(b"0123456789")

    with LocalFolder(tmp_path).open("file") as source:
        assert (source.name, source.size) == ("file", 10)
        assert source.read(2, 3) == b"234"
        assert source.read(8, 5) == b"89"
        assert source.read(10, 1) == b""


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """
    Nothing at the path is not the same as an empty folder.
    """
    with pytest.raises(FileNotFoundError):
        LocalFolder(tmp_path / "nothing").files()
