"""A node on its way through the filters, and what it has answered about the files that a request wants there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from motorpool_controller.domain.fleet import BackendVersion, Device, Node, Profile
from motorpool_controller.domain.placement import Refusal
from motorpool_controller.domain.workload import DeploymentSpec, Parameter
from motorpool_controller.scheduling.snapshot import Reading, Snapshot


@dataclass(slots=True)
class Passing:
    """A node on its way through the filters.

    ``reading`` and ``readings``, by path, are its answers about the model and about what is loaded beside it; None is
    looked up in the snapshot. ``asked`` are the paths that it is to be asked about.
    """

    node: Node
    spec: DeploymentSpec
    snapshot: Snapshot
    devices: tuple[Device, ...] = ()
    profile: Profile | None = None
    versions: dict[str, BackendVersion] = field(default_factory=dict)
    reading: Reading | None = None
    readings: Mapping[str, Reading] | None = None
    parameters: tuple[Parameter, ...] = ()
    asked: tuple[str, ...] = ()

    def row(self, stage: str, reason: str, message: str) -> Refusal:
        """Return why the node is removed."""
        return Refusal(stage=stage, reason=reason, subject=self.node.name, message=message)

    def answer(self, path: str) -> Reading:
        """Return what the node answered about something that is loaded beside the model."""
        if self.readings is not None:
            return self.readings.get(path, Reading())
        return self.snapshot.answer(self.node.name, path)
