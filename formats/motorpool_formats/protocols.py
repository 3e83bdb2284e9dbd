"""Where a model's files lie: a folder of this machine, or anything else that can list and read ranges of files.

Readers know these two protocols and nothing of disks or hubs, so that one reader serves both.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol


class ByteSource(Protocol):
    """One file, read by ranges. Blocks; raises OSError or a FormatError where it cannot be read."""

    @property
    def name(self) -> str:
        """Its name inside its folder, with forward slashes."""

    @property
    def size(self) -> int:
        """Its bytes in all."""

    def read(self, offset: int, count: int) -> bytes:
        """Return ``count`` bytes from ``offset``; fewer at the file's end and nowhere else."""


class Folder(Protocol):
    """The files that a model consists of and lies beside."""

    @property
    def name(self) -> str:
        """What errors call it: a path, or repository and revision."""

    def files(self) -> Mapping[str, int]:
        """Return sizes by name inside the folder, e.g. ``unet/config.json``; at most ``MAX_FILES``."""

    def open(self, name: str) -> AbstractContextManager[ByteSource]:
        """Open one of ``files()``."""
