"""What rules read: the model, the profile and version, the parameters, the wish and the estimate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from motorpool_controller.domain.fleet import BackendVersion, Profile
from motorpool_controller.domain.parameters import named
from motorpool_controller.domain.workload import DeploymentSpec, Parameter
from motorpool_controller.estimation.needs import Needs
from motorpool_controller.scheduling.demand import Demand
from motorpool_formats.facts import ModelFacts

KV_RAM_RATIO = 1.2
"""Host memory of an extended key/value cache, in device claims, where the user gives none (B3.4)."""

_FALSE = frozenset({"0", "false", "no", "off", "f", "n"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One deployment on nodes that offer the same."""

    spec: DeploymentSpec
    facts: ModelFacts | None
    profile: Profile
    version: BackendVersion | None
    parameters: tuple[Parameter, ...]
    needs: Needs

    @property
    def categories(self) -> tuple[str, ...]:
        """Return what the model is for, the user's word first."""
        return self.spec.categories or (() if self.facts is None else self.facts.categories)

    @property
    def architectures(self) -> tuple[str, ...]:
        """Return the model's architectures."""
        if self.facts is None:
            return ()
        alone = () if self.facts.architecture is None else (self.facts.architecture,)
        return self.facts.architectures or alone

    @property
    def distributed(self) -> bool:
        """Return whether it may span nodes: as the user says, else if the backend can (B1.1)."""
        return bool(self.profile.distributed_styles) and self.spec.distributed is not False

    @property
    def memory(self) -> tuple[int, float]:
        """Return the host memory of each node, and that for each byte claimed of its devices (B3.4)."""
        by_hand, cache = self.spec.claim_memory_bytes, self.spec.extended_kv_cache
        if by_hand is not None:
            return by_hand, 0.0
        if cache is None or not cache.enabled:
            return 0, 0.0
        if cache.memory_bytes is not None:
            return cache.memory_bytes, 0.0
        return 0, KV_RAM_RATIO if cache.memory_ratio is None else cache.memory_ratio

    def integer(self, *names: str) -> int | None:
        """Return the first value of an option as a whole number; None also where it is none (B1.4)."""
        values = named(self.parameters, *names)
        try:
            return int(values[0][:20]) if values else None
        except ValueError:
            return None

    def number(self, *names: str) -> float | None:
        """Return the first value of an option as a number; None also where it is none."""
        values = named(self.parameters, *names)
        try:
            return float(values[0][:40]) if values else None
        except ValueError:
            return None

    def flag(self, *names: str) -> bool:
        """Return whether an option is there and not switched off by its value (B1.4)."""
        values = named(self.parameters, *names)
        return values is not None and (not values or values[0].lower() not in _FALSE)


Rule = Callable[[Wish], Demand]


def counts(number: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the different numbers of heads that the model's layers have, none of them 0."""
    if number is None:
        return ()
    return tuple(sorted({each for each in (number if isinstance(number, tuple) else (number,)) if each > 0}))
