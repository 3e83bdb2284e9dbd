"""Views of a folder: listed once, or from one of the folders inside it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from motorpool_formats.protocols import ByteSource, Folder


class Listed:
    """A folder as it was when it was first looked at: what asks again gets the same answer, and at once."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._files = folder.files()

    @property
    def name(self) -> str:
        """What errors call it."""
        return self._folder.name

    def files(self) -> Mapping[str, int]:
        """Return sizes by name."""
        return self._files

    def open(self, name: str) -> AbstractContextManager[ByteSource]:
        """Open one of its files."""
        return self._folder.open(name)


class Subfolder:
    """A folder inside another, as if it stood alone."""

    def __init__(self, folder: Folder, inside: str) -> None:
        self._folder = folder
        self._prefix = f"{inside}/"
        self._files = {
            name.removeprefix(self._prefix): size
            for name, size in folder.files().items()
            if name.startswith(self._prefix)
        }

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"{self._folder.name}/{self._prefix[:-1]}"

    def files(self) -> Mapping[str, int]:
        """Return sizes by name inside it."""
        return self._files

    def open(self, name: str) -> AbstractContextManager[ByteSource]:
        """Open one of its files."""
        return self._folder.open(self._prefix + name)
