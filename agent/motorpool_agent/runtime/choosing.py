"""What an assignment is run by: which version of its backend, in which image or none, by which executor."""

from __future__ import annotations

from collections.abc import Mapping

from motorpool_agent.reconcile.assignment import Assignment
from motorpool_agent.reconcile.observation import ExecutorStatus
from motorpool_agent.runtime.errors import LaunchError
from motorpool_sdk.backend import Profile, Version

AUTO = "auto"
PROCESS, SYSTEMD, DOCKER = "process", "systemd", "docker"
"""Names of executors, as profiles have them."""


def version_of(profile: Profile | None, assignment: Assignment) -> Version:
    """Return the version that an assignment names; raise ``LaunchError`` if this node has none such."""
    if profile is None:
        raise LaunchError(
            "BACKEND_UNKNOWN",
            f"no plugin on this node offers backend {assignment.backend}; `motorpool plugins` shows what was found",
        )
    if (assignment.definition is not None) is not profile.runs_declared:
        raise LaunchError(
            "DEFINITION_UNEXPECTED",
            f"backend {assignment.backend} of this node {'runs' if profile.runs_declared else 'does not run'} declared "
            "backends, and the controller assumes the opposite; upgrade the older one of agent and controller",
        )
    if assignment.definition is not None:
        image = assignment.definition.image
        return Version(
            version=assignment.backend_version, executors=(DOCKER,) if image else (PROCESS, DOCKER), image=image
        )
    for version in profile.versions:
        if version.version == assignment.backend_version:
            return version
    offered = ", ".join(version.version for version in profile.versions) or "none"
    raise LaunchError(
        "BACKEND_VERSION_UNKNOWN",
        f"backend {assignment.backend} has no version {assignment.backend_version} on this node, but {offered}; "
        "deploy one of these, or upgrade the plugin",
    )


def image_of(version: Version, assignment: Assignment) -> str:
    """Return the image that an assignment runs in, empty for none: the deployment's word before the version's.

    Raise ``LaunchError`` if the version runs in an image only, and nobody names one.
    """
    if assignment.image:
        return assignment.image
    if {PROCESS, SYSTEMD} & {*version.executors} or DOCKER not in version.executors:
        return ""
    if not version.image:
        raise LaunchError(
            "IMAGE_MISSING",
            f"version {version.version} of {assignment.title} runs in a container only, and names no image; deploy "
            "with --image",
            final=True,
        )
    return version.image


def bare_executor(
    version: Version, choice: str, known: Mapping[str, ExecutorStatus], *, rights: bool, assignment: Assignment
) -> str:
    """Return what runs a version without an image; raise ``LaunchError`` if that does not work here.

    ``choice`` is the operator's: ``auto`` takes units where systemd runs the machine and this agent has the ``rights``
    to start them, as root or by the launcher.
    """
    status = known.get(SYSTEMD)
    works = status is not None and status.works
    wanted = choice == SYSTEMD or PROCESS not in version.executors
    if wanted and not works:
        who = (
            f"version {version.version} of {assignment.title}" if choice != SYSTEMD else "this agent's `bare_executor`"
        )
        why = "its agent has no such executor" if status is None else status.message
        raise LaunchError("EXECUTOR_MISSING", f"{who} wants a systemd unit, and there are none here: {why}")
    return SYSTEMD if wanted or (choice == AUTO and works and rights) else PROCESS
