"""What of the host's files a container sees: the model's, at their own paths, read-only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_SHARD = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})(?P<suffix>\.[A-Za-z]+)")


def model_mounts(path: Path, beside: Sequence[Path] = ()) -> dict[str, str]:
    """Return what to mount for a model, host path by container path: its folder, and the folders that links lead to.

    ``beside`` are files that are loaded with it, wherever they lie. A folder right below the root (``/tmp``, ``/etc``)
    would hide the image's own: there, the model's files alone.
    """
    folder = path if path.is_dir() else path.parent
    files = [*_files(path), *beside]
    folders = {folder, *(file.parent for file in beside)}
    places = {*folders, *(target.parent for file in files if (target := file.resolve()).parent not in folders)}
    wanted: set[Path] = set()
    for place in places:
        if len(place.parts) > 2:
            wanted.add(place)
        else:
            wanted |= {one for file in files for one in (file, file.resolve()) if one.parent == place}
    # A folder within a mounted one is there already.
    roots = [one for one in wanted if not any(other in one.parents for other in wanted)]
    return {str(one): str(one) for one in sorted(roots)}


def with_files(mounts: Mapping[str, str], files: Mapping[str, str]) -> dict[str, str]:
    """Return the mounts with files of a launch's own among them, in order of their targets: what lies on what.

    A file can lie on one that is there. For one that the model lacks there is no place in a folder that may not be
    written: that folder's entries are mounted in its stead.
    """
    together = dict(mounts)
    for target in files:
        folder = Path(target).parent
        root = next((each for each in (folder, *folder.parents) if str(each) in together), None)
        if root is not None and root.is_dir() and not Path(target).exists():
            del together[str(root)]
            together |= {str(entry): str(entry) for entry in _opened(root, folder)}
    return dict(sorted({**together, **files}.items()))


def _opened(root: Path, folder: Path) -> Iterator[Path]:
    """Yield the entries of a folder, and of those in it on the way to another."""
    for entry in root.iterdir():
        if entry == folder or entry in folder.parents:
            yield from _opened(entry, folder)
        else:
            yield entry


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in path.iterdir() if file.is_file())
        return
    yield path
    shard = _SHARD.fullmatch(path.name)
    if shard is not None:
        for other in path.parent.glob(f"*-of-{shard['count']}{shard['suffix']}"):
            if other != path and other.name.startswith(f"{shard['stem']}-"):
                yield other
