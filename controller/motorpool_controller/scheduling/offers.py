"""What a node offers a request, once every filter has let it pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from motorpool_controller.domain.fleet import BackendVersion, Device, Node, Profile
from motorpool_controller.domain.workload import Parameter
from motorpool_controller.estimation.needs import Needs
from motorpool_formats.facts import ModelFacts

CPU = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A node that may run the request: with which versions by framework (the node's default first), on which devices.

    ``facts`` are None where the model's format is not known here and the claim was given by hand. ``pinned`` says that
    the devices were chosen by the user, and that host memory alone will not do.
    """

    node: Node
    profile: Profile
    versions: Mapping[str, BackendVersion]
    devices: tuple[Device, ...]
    pinned: bool
    parameters: tuple[Parameter, ...]
    facts: ModelFacts | None
    needs: Needs

    @property
    def context_option(self) -> str:
        """Return how the user asks for a smaller context; empty where there is no such option."""
        named = (f"--{option.name}" for option in self.profile.options if option.meaning == "context_length")
        return next(named, "")
