"""The devices of an assignment: whether they are there, and how they are handed to what it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from motorpool_agent.reconcile.assignment import Assignment
from motorpool_agent.runtime.errors import LaunchError
from motorpool_sdk.accelerator import Device, Exposure


def claimed(assignment: Assignment, there: Mapping[str, Device]) -> tuple[Device, ...]:
    """Return the assignment's devices in its order; raise ``LaunchError`` if one of them is not there."""
    missing = [claim.device_id for claim in assignment.devices if claim.device_id not in there]
    if missing:
        raise LaunchError(
            "DEVICE_MISSING",
            f"{', '.join(missing)} is claimed for {assignment.instance} and is not on this node, which has "
            f"{', '.join(sorted(there)) or 'no devices'}; bring it back (`motorpool plugins` shows whether its "
            "vendor's plugin answers), or delete the deployment and deploy it anew",
        )
    return tuple(there[claim.device_id] for claim in assignment.devices)


def by_vendor(devices: Sequence[Device]) -> Mapping[str, tuple[str, ...]]:
    """Return the ids of each vendor's devices: what its plugin is asked to hand over."""
    vendors = dict.fromkeys(device.vendor for device in devices)
    return {vendor: tuple(each.device_id for each in devices if each.vendor == vendor) for vendor in vendors}


def environment(
    assignment: Assignment, exposures: Sequence[Exposure], *, in_container: bool = False
) -> Mapping[str, str]:
    """Return the variables that hand the devices over; raise ``LaunchError`` if the deployment sets one of them.

    Nor can a process have what its vendor hands to containers only.
    """
    env: dict[str, str] = {}
    for exposure in exposures:
        if exposure.container_only and not in_container:
            raise LaunchError(
                "DEVICE_CONTAINER_ONLY",
                f"{exposure.container_only}; deploy with an image (--image), or onto other devices",
                final=True,
            )
        anew = exposure.container_env if in_container else None
        env |= exposure.env if anew is None else anew
    for name in sorted(env.keys() & assignment.env.keys()):
        raise LaunchError(
            "POLICY_DENIED",
            f"environment variable {name} says which devices the engine may use, and is set by Motorpool to those "
            "claimed for it; remove it from the deployment",
            final=True,
        )
    return env
