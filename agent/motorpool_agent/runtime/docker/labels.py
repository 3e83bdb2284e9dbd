"""What a container says of itself: whose it is, and for which launch it was made."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

CLUSTER = "motorpool.cluster"
DATA_DIR = "motorpool.data-dir"
ASSIGNMENT = "motorpool.assignment"
INSTANCE = "motorpool.instance"
GENERATION = "motorpool.generation"
DIGEST = "motorpool.digest"
RUN = "motorpool.run"


class Owner:
    """The agent as its containers name it: by its data directory, which is one agent's alone, and its cluster."""

    def __init__(self, data_dir: Path, cluster: str) -> None:
        self._data_dir = str(data_dir.absolute())
        self._cluster = cluster
        self._short = sha256(self._data_dir.encode("utf-8", "surrogateescape")).hexdigest()[:8]

    def labels(self, assignment_id: str, run: int, launch: Mapping[str, str]) -> dict[str, str]:
        """Return the labels of a run's container; ``launch`` are those that the launch record holds."""
        return {
            **launch,
            CLUSTER: self._cluster,
            DATA_DIR: self._data_dir,
            ASSIGNMENT: assignment_id,
            RUN: str(run),
        }

    def filters(self, assignment_id: str | None = None) -> dict[str, list[str]]:
        """Return what finds all of this agent's containers, or one assignment's."""
        wanted = [f"{DATA_DIR}={self._data_dir}"]
        wanted.append(ASSIGNMENT if assignment_id is None else f"{ASSIGNMENT}={assignment_id}")
        return {"label": wanted}

    def name(self, assignment_id: str, run: int) -> str:
        """Return a run's container's name: one run has one container, whatever happens in between."""
        return f"motorpool-{self._short}-{assignment_id}-{run}"


def run_of(labels: Mapping[str, str]) -> int:
    """Return the run that a container was made for, 0 if its label makes no sense."""
    text = labels.get(RUN, "")
    return int(text) if text.isascii() and text.isdigit() else 0
