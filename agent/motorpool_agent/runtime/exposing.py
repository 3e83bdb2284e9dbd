"""The devices of an assignment: whether they are there, and how they are handed to its process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from motorpool_agent.reconcile.assignment import Assignment
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.launching import Backends, asked
from motorpool_sdk.accelerator import Device


def claimed(assignment: Assignment, there: Mapping[str, Device]) -> tuple[Device, ...]:
    """Return the assignment's devices in its order; raise ``LaunchError`` if one of them is not there."""
    missing = [claim.device_id for claim in assignment.devices if claim.device_id not in there]
    if missing:
        raise LaunchError(
            "DEVICE_MISSING",
            f"{', '.join(missing)} is claimed for {assignment.instance} and is not on this node, which has "
            f"{', '.join(sorted(there)) or 'no devices'}; bring it back (`motorpool plugins` shows whether its "
            "vendor's plugin answers), or delete the instance to have it placed anew",
        )
    return tuple(there[claim.device_id] for claim in assignment.devices)


async def environment(backends: Backends, assignment: Assignment, devices: Sequence[Device]) -> Mapping[str, str]:
    """Return the variables that hand over exactly these devices; raise ``LaunchError`` if the user's set one of them.

    What a vendor says of containers is not for a process.
    """
    env: dict[str, str] = {}
    for vendor in dict.fromkeys(device.vendor for device in devices):
        ids = [device.device_id for device in devices if device.vendor == vendor]
        env.update((await asked(backends.expose(vendor, ids))).env)
    for name in sorted(env.keys() & assignment.env.keys()):
        raise LaunchError(
            "POLICY_DENIED",
            f"environment variable {name} says which devices the engine may use, and is set by Motorpool to those "
            "claimed for it; remove it from the deployment, and choose devices with its placement rules",
            final=True,
        )
    return env
