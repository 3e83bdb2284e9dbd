"""What nodes offer a request once every filter let them pass: the same for all that differ in their devices alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from motorpool_controller.domain.fleet import BackendVersion, Profile
from motorpool_controller.domain.placement import Claim, Estimate, Member, Placement
from motorpool_controller.domain.workload import Parameter
from motorpool_controller.estimation.needs import Needs
from motorpool_controller.scheduling.demand import Demand
from motorpool_formats.facts import ModelFacts

CPU = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Terms:
    """On which terms some nodes run the request: with which versions by framework, and what an instance asks for.

    ``facts`` are None where the model's format is not known here and the claim was given by hand.
    """

    profile: Profile
    versions: Mapping[str, BackendVersion]
    parameters: tuple[Parameter, ...]
    facts: ModelFacts | None
    needs: Needs
    demand: Demand

    @property
    def context_option(self) -> str:
        """Return how the user asks for a smaller context; empty where there is no such option."""
        named = (f"--{option.name}" for option in self.profile.options if option.meaning == "context_length")
        return next(named, "")

    def estimate(self, framework: str) -> Estimate:
        """Return the estimate for devices, or for the host's processors."""
        return self.needs.host if framework == CPU else self.needs.device

    def placement(
        self,
        framework: str,
        claims: tuple[tuple[str, Claim], ...],
        *,
        fraction: float | None = None,
        score: float = 0.0,
    ) -> Placement:
        """Return the placement with these claims on these nodes, the first of which leads."""
        demand = self.demand
        spans = len(claims) > 1
        return Placement(
            members=tuple(Member(node=node, claim=claim, rank=rank) for rank, (node, claim) in enumerate(claims)),
            framework=framework,
            backend=self.profile.backend,
            backend_version=self.versions[framework].version,
            offloaded_layers=None if demand.layers is None else 0 if framework == CPU else demand.layers,
            score=score,
            context_length=self.needs.context_length,
            parallel=self.needs.parallel,
            memory_fraction=fraction,
            style=demand.style if spans else "",
            parallelism=demand.parallelism([len(claim.devices) for _, claim in claims]),
        )
