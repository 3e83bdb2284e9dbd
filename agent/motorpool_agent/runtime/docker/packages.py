"""Packages that are installed in a container before what it runs: the image's own entrypoint and command stay.

A container that is told a command loses the image's, so that is read from the image and put behind the installation.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from motorpool_agent.reconcile.assignment import Assignment
from motorpool_agent.reconcile.handle import Container, LaunchRecord
from motorpool_agent.runtime.docker import install_and_run
from motorpool_agent.runtime.docker.daemon import Daemon
from motorpool_agent.runtime.errors import LaunchError
from motorpool_sdk.backend import Launch, LaunchFile

PYTHON = "python3"
SCRIPT = Path("/run/motorpool/install_and_run.py")


def added(assignment: Assignment, launch: Launch) -> Launch:
    """Return the launch with the file that its container runs first; raise ``LaunchError`` if it runs in none."""
    if not launch.image:
        raise LaunchError(
            "PACKAGES_WITHOUT_IMAGE",
            f"{assignment.deployment} wants packages installed, and its engine runs as a process here; deploy with an "
            "image, or install them into the engine's own environment",
            final=True,
        )
    script = LaunchFile(path=SCRIPT, text=Path(install_and_run.__file__).read_text(encoding="utf-8"))
    return replace(launch, files=(*launch.files, script))


async def installing(daemon: Daemon, record: LaunchRecord, container: Container) -> tuple[LaunchRecord, Container]:
    """Return the launch with its packages installed first; the same where it has none."""
    if not container.packages:
        return record, container
    found: dict[str, Any] = await daemon.call(
        lambda client: client.inspect_image(container.image), what="inspect image"
    )
    command = own_command(found.get("Config") or {}, record, container)
    if not command:
        raise LaunchError(
            "COMMAND_MISSING",
            f"{container.image} names nothing to run once its packages are installed; deploy with a command, or "
            "correct the image",
            final=True,
        )
    argv = (str(len(container.packages)), *container.packages, *command)
    return replace(record, argv=argv), replace(container, entrypoint=(PYTHON, str(SCRIPT)))


def own_command(image: dict[str, Any], record: LaunchRecord, container: Container) -> tuple[str, ...]:
    """Return what Docker would run: the launch's entrypoint and arguments, the image's where it has none of them."""
    if container.entrypoint:
        # A new entrypoint forgets the image's arguments.
        return (*container.entrypoint, *record.argv)
    return (*(image.get("Entrypoint") or ()), *(record.argv or image.get("Cmd") or ()))
