"""What the controller found of a model on a hub: the commit, and the files that an engine needs of it."""

from __future__ import annotations

from dataclasses import dataclass

from motorpool_formats.facts import ModelFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file that lies on a hub; digests in hex, empty where the hub tells none."""

    path: str
    size_bytes: int
    sha256: str = ""
    git_sha1: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubModel:
    """A model as it was on its hub when it was looked up. ``commit`` names the content, and never comes to mean other.

    ``files`` are those that are fetched; ``facts`` are left out where they stand beside.
    """

    commit: str
    files: tuple[HubFile, ...]
    facts: ModelFacts | None = None

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)
