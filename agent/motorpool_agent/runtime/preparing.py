"""The way from an assignment to a launch that may be executed: engine, model, ports, the plugin's word."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from motorpool_agent import failpoints
from motorpool_agent.policy import Policy
from motorpool_agent.reconcile.assignment import Assignment, Gang
from motorpool_agent.reconcile.handle import LaunchRecord
from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime import choosing, exposing, launchfiles, launching, membership, modelpaths, permitting
from motorpool_agent.runtime.context import Context
from motorpool_agent.runtime.docker import packages
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.fetching import fetched
from motorpool_agent.runtime.membership import Reserved
from motorpool_agent.runtime.patience import Say, unless_stalled
from motorpool_agent.runtime.proxies import beneath
from motorpool_sdk.accelerator import Device, Exposure
from motorpool_sdk.backend import LaunchRequest, Version

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a launch rests on: all of it is on this node."""

    path: Path
    version: Version
    image: str
    executor: str
    engine_dir: Path | None
    devices: tuple[Device, ...]
    exposures: tuple[Exposure, ...]
    device_env: Mapping[str, str]
    files_dir: Path


async def prepare(
    context: Context,
    assignment: Assignment,
    directory: Path,
    *,
    last_port: int | None,
    avoid_ports: frozenset[int],
    say: Say,
    reserved: Reserved,
) -> LaunchRecord:
    """Return the launch of an assignment, its ports reserved; raise ``LaunchError`` or ``EngineInstallError``.

    A member of a gang looks whether it could be launched, tells what it ``reserved``, and goes on once all have.
    """
    policy = await asyncio.to_thread(permitting.current, context.policy)
    permitting.wish(policy, assignment)
    assignment = replace(assignment, env=beneath(context.proxies, assignment.env))
    assignment = await unless_stalled(
        lambda heard: fetched(context.models, assignment, heard),
        say,
        context.timings.stalled_seconds,
        before=f"waiting for the model of {assignment.deployment}",
    )
    found = await unless_stalled(
        lambda heard: _look(context, policy, assignment, directory, heard),
        say,
        context.timings.stalled_seconds,
        before=f"waiting for the plugin of {assignment.title}",
    )
    gang = assignment.gang
    if gang is None:
        address = context.ports.address(local_only=assignment.local_only)
        port = context.ports.reserve(assignment.assignment_id, address, last=last_port, avoid=avoid_ports)
        ports = {launching.PORT_NAME: port}
        request = _request(context, assignment, found, ports)
        launching.refuse(await _asked(context.backends.check(assignment.backend, request)))
    else:
        if found.image:
            await context.executor.fetch(
                launching.image_alone(found.image), lambda *said: say(State.DOWNLOADING, *said)
            )
        profile = context.backends.profile(assignment.backend)
        ports = membership.reserve(context.ports, assignment, gang, profile, avoid=avoid_ports)
        parts = {} if found.image else membership.alike(assignment, gang, profile, found.version)
        request = _request(context, assignment, found, ports, parts)
        launching.refuse(await _asked(context.backends.check(assignment.backend, request)))
        assignment = replace(assignment, gang=await _complete(reserved, gang, ports, parts))
        request = _request(context, assignment, found, ports, parts)
    failpoints.reach("ports.reserved")
    launch = await _asked(context.backends.launch(assignment.backend, request))
    launching.agree(assignment, launch, found.image)
    container = unit = None
    if assignment.packages:
        launch = packages.added(assignment, launch)
    files = await asyncio.to_thread(launchfiles.write, directory, launch, found.path)
    if found.image:
        container = await asyncio.to_thread(
            launching.container, assignment, launch, found.image, found.path, found.exposures, files
        )
    elif found.executor == choosing.SYSTEMD:
        unit = launching.unit(assignment, found.exposures, [each for each in context.fetched if each.is_dir()])
    record = launching.record(
        assignment,
        launch,
        executor=found.executor,
        directory=directory,
        address=context.ports.address(local_only=assignment.local_only),
        ports=ports,
        held_ports=context.ports.held(assignment.assignment_id),
        container=container,
        unit=unit,
        device_env=found.device_env,
    )
    await asyncio.to_thread(permitting.launch, policy, assignment, record, found.version, directory, context.fetched)
    await context.executor.fetch(record, lambda *said: say(State.DOWNLOADING, *said))
    # The last thing: what is free now is free when it starts.
    await context.room.admit(assignment, found.devices, say)
    return record


async def _look(context: Context, policy: Policy, assignment: Assignment, directory: Path, say: Say) -> _Found:
    """Return what the launch rests on, installed where that is the agent's to do."""
    # Before the engine: a missing model is told at once, and not after a download.
    path = modelpaths.model_path(assignment)
    await asyncio.to_thread(permitting.files, policy, assignment, path, context.fetched)
    # Of the other plugins' code nothing is needed, and it may hang.
    await context.backends.wait_ready(assignment.backend)
    profile = context.backends.profile(assignment.backend)
    version = choosing.version_of(profile, assignment)
    image = choosing.image_of(version, assignment)
    folder = None if image else directory / launching.WORK_NAME
    await asyncio.to_thread(permitting.parameters, policy, assignment, profile, folder)
    executor = choosing.DOCKER
    if not image:
        executor = choosing.bare_executor(
            version, context.bare, await context.executors(), rights=context.starts_units, assignment=assignment
        )
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
    exposures = tuple(
        [await _asked(context.backends.expose(vendor, ids)) for vendor, ids in exposing.by_vendor(devices).items()]
    )
    say(State.STARTING, "asking the backend's plugin")
    return _Found(
        path=path,
        version=version,
        image=image,
        executor=executor,
        engine_dir=engine_dir,
        devices=devices,
        exposures=exposures,
        device_env=exposing.environment(assignment, exposures, in_container=bool(image)),
        files_dir=launchfiles.folder_of(directory),
    )


def _request(
    context: Context,
    assignment: Assignment,
    found: _Found,
    ports: Mapping[str, int],
    parts: Mapping[str, str] = MappingProxyType({}),
) -> LaunchRequest:
    gang = assignment.gang
    return launching.request(
        assignment,
        path=found.path,
        # A container's own loopback is not the machine's; who reaches it is decided where its port is published. On
        # the host's network it listens as a process does.
        address=(
            launching.ANY_ADDRESS
            if found.image and gang is None
            else context.ports.address(local_only=assignment.local_only)
        ),
        port=ports[launching.PORT_NAME],
        engine_dir=found.engine_dir,
        executable=found.version.executable,
        image=found.image,
        devices=found.devices,
        files_dir=found.files_dir,
        gang=None if gang is None else membership.told(gang, ports, parts),
    )


async def _complete(reserved: Reserved, gang: Gang, ports: Mapping[str, int], parts: Mapping[str, str]) -> Gang:
    """Return the gang with everybody's ports, once all members have reserved theirs."""
    told = (await reserved(ports, parts)).gang or gang
    known = told.members[gang.rank].ports
    if known != ports:
        raise LaunchError(
            "PORTS_DIFFER",
            f"other members know this one's ports as {known}, and it reserved {ports}; all members are to reserve anew",
        )
    return told


async def _asked(answer: Awaitable[_Answer]) -> _Answer:
    try:
        return await answer
    except Exception as error:  # a plugin is foreign code, whatever runs it
        reason = getattr(error, "reason", "PLUGIN_FAILED")
        raise LaunchError(str(reason), f"{error}; `motorpool plugins` shows the plugin's state") from error
