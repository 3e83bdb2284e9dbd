"""From an assignment to a launch: what a backend is asked, what its plugin answers, what is shown."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from motorpool_agent.reconcile.assignment import Assignment
from motorpool_agent.reconcile.handle import Container, Inference, LaunchRecord, Unit
from motorpool_agent.reconcile.observation import Rendered
from motorpool_agent.runtime.choosing import DOCKER
from motorpool_agent.runtime.docker import labels
from motorpool_agent.runtime.docker.mounts import model_mounts, with_files
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.family import MARKER
from motorpool_agent.runtime.modelpaths import (
    adapters_of,
    companion_paths,
    kv_cache_of,
    projector_paths,
    speculative_of,
)
from motorpool_agent.runtime.proxies import without_user
from motorpool_agent.runtime.secrets import MASK, Secrets, is_secret_name
from motorpool_sdk.accelerator import Device, Exposure, Sample
from motorpool_sdk.backend import Definition, Finding, Launch, LaunchRequest, Parameter, Profile, Severity
from motorpool_sdk.gang import HTTP, Gang, Parallelism

WORK_NAME = "work"
"""Where a process runs, below its instance's folder."""

PORT_NAME = HTTP
ANY_ADDRESS = "0.0.0.0"  # noqa: S104  # inside a container


class Backends(Protocol):
    """Knows the plugins, devices too. ``inventory.plugins.PluginTable`` is one; it raises errors with a ``reason``."""

    def profile(self, backend: str) -> Profile | None:
        """Return a backend's profile, None if no plugin offers it."""
        ...

    async def wait_ready(self, backend: str = "") -> None:
        """Wait until every plugin, or just this backend's, was asked once."""
        ...

    async def check(self, backend: str, request: LaunchRequest) -> Sequence[Finding]:
        """Return what speaks against a launch."""
        ...

    async def launch(self, backend: str, request: LaunchRequest) -> Launch:
        """Return how to launch."""
        ...

    def devices(self) -> Mapping[str, Device]:
        """Return the node's devices by id."""
        ...

    async def measured(self, device_ids: Collection[str]) -> Mapping[str, Sample]:
        """Measure devices now; what could not be measured has no measurement."""
        ...

    async def expose(self, vendor: str, device_ids: Sequence[str]) -> Exposure:
        """Return how devices of one vendor are handed over."""
        ...


def request(
    assignment: Assignment,
    *,
    path: Path,
    address: str,
    port: int,
    engine_dir: Path | None,
    executable: str = "",
    devices: Sequence[Device] = (),
    image: str = "",
    files_dir: Path = Path("/run/motorpool"),
    gang: Gang | None = None,
) -> LaunchRequest:
    """Return what the backend's plugin is asked. Indexes are told where every device has one: a partition has none."""
    indexes = tuple(device.index for device in devices if device.index is not None)
    return LaunchRequest(
        backend_version=assignment.backend_version,
        framework=assignment.framework,
        model_path=path,
        served_model_name=assignment.served_model_name,
        listen_address=address,
        port=port,
        engine_dir=engine_dir,
        executable=executable,
        parameters=tuple(
            Parameter(option=given.option, values=given.values, known=given.known) for given in assignment.parameters
        ),
        api_key=assignment.api_key,
        device_ids=tuple(claim.device_id for claim in assignment.devices),
        device_indexes=indexes if len(indexes) == len(devices) else (),
        memory_bytes=assignment.memory_bytes,
        device_memory_bytes=tuple(claim.memory_bytes for claim in assignment.devices),
        offloaded_layers=assignment.offloaded_layers,
        tensor_split=assignment.tensor_split,
        memory_fraction=assignment.memory_fraction,
        context_length=assignment.context_length,
        parallel=assignment.parallel,
        cpu_count=len(os.sched_getaffinity(0)),
        cpus=tuple(sorted(os.sched_getaffinity(0))),
        trust_remote_code=assignment.trust_remote_code,
        image=image,
        command=assignment.command,
        projectors=projector_paths(assignment, path),
        categories=() if assignment.facts is None else assignment.facts.categories,
        definition=_definition(assignment),
        env=assignment.env if assignment.definition is not None else {},
        adapters=adapters_of(assignment),
        speculative=speculative_of(assignment),
        extended_kv_cache=kv_cache_of(assignment),
        files_dir=files_dir,
        gang=gang,
        parallelism=Parallelism(
            tensor=assignment.parallelism.get("tp"),
            pipeline=assignment.parallelism.get("pp"),
            data=assignment.parallelism.get("dp"),
        ),
    )


def _definition(assignment: Assignment) -> Definition | None:
    return None if assignment.definition is None else Definition(**asdict(assignment.definition))


def refuse(findings: Sequence[Finding]) -> None:
    """Raise ``LaunchError`` for the errors among a backend's findings."""
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if errors:
        raise LaunchError(errors[0].reason, "; ".join(finding.message for finding in errors))


def agree(assignment: Assignment, launch: Launch, image: str) -> None:
    """Raise ``LaunchError`` if the plugin means another image than it was asked for, or cannot be run in one."""
    if image and not launch.image:
        raise LaunchError(
            "IMAGE_UNSUPPORTED",
            f"the plugin of {assignment.title} runs its engine as a process only; deploy without an image",
            final=True,
        )
    if launch.image != image:
        raise LaunchError(
            "LAUNCH_INVALID",
            f"the plugin of {assignment.title} names the image {launch.image[:200]!r}, and was asked for "
            f"{image or 'a process'!r}; report it there",
        )


def container(
    assignment: Assignment,
    launch: Launch,
    image: str,
    path: Path,
    exposures: Sequence[Exposure] = (),
    files: Mapping[str, str] = MappingProxyType({}),
) -> Container:
    """Return what a launch in a container has beside its arguments and environment: model, devices, limit, labels.

    ``files`` are the host's paths of the launch's own, by the container's.
    """
    return Container(
        image=image,
        labels={
            labels.INSTANCE: assignment.instance,
            labels.GENERATION: str(assignment.generation),
            labels.DIGEST: assignment.digest,
        },
        entrypoint=launch.entrypoint,
        mounts=with_files(model_mounts(path, companion_paths(assignment, path)), files),
        device_nodes=tuple(node for each in exposures for node in each.device_nodes),
        runtime=next((each.container_runtime for each in exposures if each.container_runtime), ""),
        cdi_devices=tuple(device for each in exposures for device in each.cdi_devices),
        device_mounts={target: host for each in exposures for host, target in each.mounts.items()},
        renamed_nodes={host: path for each in exposures for host, path in each.renamed_nodes.items()},
        groups=tuple(dict.fromkeys(group for each in exposures for group in each.groups)),
        capabilities=tuple(dict.fromkeys(name for each in exposures for name in each.capabilities)),
        memory_limit_bytes=assignment.memory_limit_bytes,
        port=launch.container_port,
        # Engines of a gang talk to each other on ports of their own choice, too, and at the addresses they were told.
        host_network=assignment.gang is not None,
        packages=assignment.packages,
    )


def unit(assignment: Assignment, exposures: Sequence[Exposure] = (), reads: Sequence[Path] = ()) -> Unit:
    """Return what a launch in a unit has beside its arguments and environment: name, limit, devices, folders."""
    told = all(exposure.device_nodes for exposure in exposures)
    nodes = tuple(dict.fromkeys(node for each in exposures for node in each.device_nodes))
    return Unit(
        title=assignment.instance.removeprefix("instances/") or assignment.assignment_id,
        memory_limit_bytes=assignment.memory_limit_bytes,
        device_nodes=nodes if told else None,
        backend=assignment.title,
        reads=tuple(str(folder) for folder in reads),
    )


def record(
    assignment: Assignment,
    launch: Launch,
    *,
    executor: str,
    directory: Path,
    address: str,
    ports: Mapping[str, int],
    held_ports: tuple[int, ...] = (),
    container: Container | None = None,
    unit: Unit | None = None,
    device_env: Mapping[str, str] = MappingProxyType({}),
) -> LaunchRecord:
    """Return the launch as it is executed: a clean environment or the image's; the plugin's, user's and devices'."""
    command = (*(() if container is None else container.entrypoint), *launch.argv)
    texts = (*command, *launch.env, *launch.env.values(), *launch.secrets, *launch.secrets.values())
    if not (launch.argv or container) or any("\0" in text for text in texts):
        raise LaunchError("LAUNCH_INVALID", f"the plugin of {assignment.title} gave no usable command; report it there")
    probe = launch.readiness
    if container is not None and probe is None and launch.serves:
        raise LaunchError(
            "LAUNCH_INVALID",
            f"the plugin of {assignment.title} gives no path to ask whether it is ready, and a container's port "
            "accepts before its engine does; report it there",
        )
    shown = {**launch.env, **assignment.env, **device_env}
    definition = {} if assignment.definition is None else assignment.definition.env
    # A plugin that puts a secret into its arguments shows it to `ps` on the node; it need not be shown to the fleet.
    secrets = Secrets.among({**definition, **shown}, command, (assignment.api_key, *launch.secrets.values()))
    own = {**_clean(), MARKER: str(directory)} if container is None else {}
    own_directory = str(directory / WORK_NAME) if container is None else ""
    return LaunchRecord(
        executor=executor,
        argv=launch.argv,
        environment={**own, **shown, **launch.secrets},
        working_directory=str(launch.working_directory or own_directory),
        ports=ports,
        listen_address=address,
        rendered=Rendered(
            executor=executor,
            argv=tuple(secrets.masked(list(command))),
            env={
                **{name: MASK if is_secret_name(name) else without_user(value, MASK) for name, value in shown.items()},
                **dict.fromkeys(launch.secrets, MASK),
            },
            image="" if container is None else container.image,
            ports=ports,
            listen_address=address,
        ),
        device_ids=tuple(claim.device_id for claim in assignment.devices),
        probe_path=None if probe is None else probe.path,
        models_path="" if probe is None else probe.models_path,
        model=assignment.served_model_name,
        probe_period_seconds=0.2 if probe is None else probe.period_seconds,
        probe_timeout_seconds=2.0 if probe is None else probe.timeout_seconds,
        start_timeout_seconds=launch.start_timeout_seconds,
        stop_grace_seconds=launch.stop_grace_seconds,
        container=container,
        unit=unit,
        serves=launch.serves,
        inference=None if launch.inference is None else Inference(**asdict(launch.inference)),
        held_ports=held_ports,
    )


def image_alone(image: str) -> LaunchRecord:
    """Return as much of a launch as it takes to fetch its image."""
    return LaunchRecord(
        executor=DOCKER,
        argv=(),
        environment={},
        working_directory="",
        ports={},
        listen_address="",
        rendered=Rendered(executor=DOCKER, argv=(), image=image),
        container=Container(image=image, labels={}),
    )


def _clean() -> dict[str, str]:
    own = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TZ") if name in os.environ}
    return {"PATH": os.defpath, "HOME": "/", "LANG": "C.UTF-8", **own}
