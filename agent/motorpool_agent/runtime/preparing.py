"""The way from an assignment to a launch that may be executed: engine, model, port, the plugin's word."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from motorpool_agent.reconcile.assignment import Assignment
from motorpool_agent.reconcile.handle import LaunchRecord
from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime import exposing, launchfiles, launching, modelpaths
from motorpool_agent.runtime.context import Context
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.proxies import beneath
from motorpool_sdk.accelerator import Device

_Answer = TypeVar("_Answer")


class Say(Protocol):
    """Is told what is being done, and how far that came where somebody counts."""

    def __call__(
        self, state: State, message: str, done_bytes: int | None = None, total_bytes: int | None = None, /
    ) -> None:
        """Take note."""
        ...


async def prepare(
    context: Context,
    assignment: Assignment,
    directory: Path,
    *,
    last_port: int | None,
    avoid_ports: frozenset[int],
    say: Say,
) -> LaunchRecord:
    """Return the launch of an assignment, its port reserved; raise ``LaunchError`` or ``EngineInstallError``."""
    launching.deny(assignment)
    assignment = replace(assignment, env=beneath(context.proxies, assignment.env))
    # Before the engine: a missing model is told at once, and not after a download.
    path = modelpaths.model_path(assignment)
    # Of the other plugins' code nothing is needed, and it may hang.
    await context.backends.wait_ready(assignment.backend)
    version = launching.version_of(context.backends.profile(assignment.backend), assignment)
    image = launching.image_of(version, assignment)
    engine_dir = None
    # An image brings its engine along.
    if version.environment is not None and not image:
        name = f"{assignment.backend} {version.version}"
        if not context.engines.installed(assignment.backend, version.version):
            say(State.DOWNLOADING, f"engine {name}: waiting")
        engine_dir = await context.engines.ensure(
            assignment.backend, version, lambda line: say(State.DOWNLOADING, f"engine {name}: {line}")
        )
    devices: tuple[Device, ...] = ()
    if assignment.devices:
        say(State.STARTING, "asking the devices' plugin")
        await context.backends.wait_ready()
        devices = exposing.claimed(assignment, context.backends.devices())
    exposures = [
        await _asked(context.backends.expose(vendor, ids)) for vendor, ids in exposing.by_vendor(devices).items()
    ]
    device_env = exposing.environment(assignment, exposures, in_container=bool(image))
    say(State.STARTING, "asking the backend's plugin")
    address = context.ports.address(local_only=assignment.local_only)
    port = context.ports.reserve(assignment.assignment_id, address, last=last_port, avoid=avoid_ports)
    request = launching.request(
        assignment,
        path=path,
        # A container's own loopback is not the machine's; who reaches it is decided where its port is published.
        address=launching.ANY_ADDRESS if image else address,
        port=port,
        engine_dir=engine_dir,
        executable=version.executable,
        image=image,
        devices=devices,
        files_dir=launchfiles.folder_of(directory),
    )
    launching.refuse(await _asked(context.backends.check(assignment.backend, request)))
    launch = await _asked(context.backends.launch(assignment.backend, request))
    launching.agree(assignment, launch, image)
    container = None
    files = await asyncio.to_thread(launchfiles.write, directory, launch, path)
    if image:
        container = await asyncio.to_thread(launching.container, assignment, launch, image, path, exposures, files)
    record = launching.record(
        assignment,
        launch,
        directory=directory,
        address=address,
        port=port,
        container=container,
        device_env=device_env,
    )
    await context.executor.fetch(record, lambda *said: say(State.DOWNLOADING, *said))
    return record


async def _asked(answer: Awaitable[_Answer]) -> _Answer:
    try:
        return await answer
    except Exception as error:  # a plugin is foreign code, whatever runs it
        reason = getattr(error, "reason", "PLUGIN_FAILED")
        raise LaunchError(str(reason), f"{error}; `motorpool plugins` shows the plugin's state") from error
