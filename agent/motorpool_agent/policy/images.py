"""Which images containers are made of."""

from __future__ import annotations

from fnmatch import fnmatchcase

from motorpool_agent.policy.denials import DeniedError
from motorpool_agent.policy.rules import Policy


def check_image(policy: Policy, image: str, backend: str, *, host_network: bool = False) -> None:
    """Raise ``DeniedError`` unless a container of an image may run for a backend, on the machine's network if so."""
    if not any(fnmatchcase(image, pattern) for pattern in policy.images_of(backend)):
        raise DeniedError(
            f"image {image} is none that backend {backend} may run on this node; deploy another, or "
            + policy.line(f"backends.{backend}.images", image)
        )
    if host_network and not policy.host_network:
        raise DeniedError(
            "the instance spans nodes, so that its container would use the machine's own network, and this node lets "
            f"none; write host_network = true into {policy.source}, or deploy it elsewhere"
        )
