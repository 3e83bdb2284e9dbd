"""The most that instances of one kind were seen to hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

from motorpool_controller.domain.workload import Parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What decides how much an instance holds: two of one kind hold the same.

    ``layers`` are those on a device, None where layers mean nothing.
    """

    model_digest: str
    backend: str
    backend_version: str
    framework: str
    context_length: int | None
    parallel: int | None
    layers: int | None
    parameters: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the kind as a short text: equal kinds have equal names."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The most, in bytes, of host memory and of the one device; None where it was not told."""

    kind: Kind
    time: datetime
    memory_bytes: int | None = None
    device_bytes: int | None = None


def rendered(parameters: Iterable[Parameter]) -> tuple[str, ...]:
    """Return parameters as a kind has them: in one order, whatever theirs was."""
    return tuple(sorted(json.dumps([parameter.option, *parameter.values]) for parameter in parameters))
