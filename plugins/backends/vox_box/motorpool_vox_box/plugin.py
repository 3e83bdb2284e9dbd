"""What Motorpool asks of vox-box: its profile, what speaks against a launch, and the launch."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence

from motorpool_sdk import (
    BackendPlugin,
    Finding,
    Launch,
    LaunchRequest,
    MemoryModel,
    Option,
    OptionKind,
    Probe,
    Profile,
    Severity,
    Version,
    hookimpl,
)
from motorpool_sdk.environments import find_installed
from motorpool_vox_box.models import ARM, FAMILIES, family_of

SETTING = "MOTORPOOL_VOX_BOX"
CPU, CUDA = "cpu", "cuda"
IMAGES = (
    # https://pypi.org/project/gpustack-runner/ : the images' names are backend, its version, service, its version.
    Version(
        version="0.0.21",
        frameworks=(CUDA, CPU),
        executors=("docker",),
        architectures=("amd64",),
        image="gpustack/runner:cuda12.8-voxbox0.0.21",
    ),
)

_FLAG, _INTEGER = OptionKind.FLAG, OptionKind.INTEGER
# vox_box/cmd/start.py of 0.0.21 has no others.
OPTIONS = (
    Option(name="model", system_owned=True),
    Option(name="huggingface-repo-id", system_owned=True),
    Option(name="model-scope-model-id", system_owned=True),
    Option(name="data-dir", system_owned=True),
    Option(name="host", system_owned=True),
    Option(name="port", kind=_INTEGER, system_owned=True),
    Option(name="device", system_owned=True),
    Option(name="debug", aliases=("d",), kind=_FLAG),
)
_HEALTH_PATH = "/health"
# Its server listens once the model is loaded; Dia's 1.6 billion weights take minutes from a slow disk.
_START_TIMEOUT_SECONDS = 900.0
_STOP_GRACE_SECONDS = 15.0
_DATA = "vox-box"
_DATA_IN_CONTAINER = "/tmp/vox-box"  # noqa: S108  # of the container's own


class VoxBox:
    """``vox-box start`` of the node's own vox-box, or of an image."""

    def profile(self) -> Profile:
        """Return what the controller schedules vox-box with here."""
        return Profile(
            backend="vox_box",
            aliases=("vox-box", "voxbox"),
            versions=tuple(_versions()),
            memory_model=MemoryModel.FIXED,
            rules="fixed",
            categories=tuple(sorted({family.category for family in FAMILIES})),
            options=OPTIONS,
            health_path=_HEALTH_PATH,
            # What fits no device runs on the processors.
            cpu=True,
            most_devices=1,
            start_timeout_seconds=_START_TIMEOUT_SECONDS,
            stop_grace_seconds=_STOP_GRACE_SECONDS,
        )

    def check(self, request: LaunchRequest) -> Sequence[Finding]:
        """Return what speaks against launching ``request``."""
        return tuple(_findings(request))

    def launch(self, request: LaunchRequest) -> Launch:
        """Return how to launch ``request``."""
        return Launch(
            argv=(*(() if request.image else _program(request)), *_arguments(request)),
            # Of its devices it is shown one. Without the second it would show itself the node's first one instead, of
            # models with "faster-whisper" in their path (vox_box/utils/model.py).
            env={"HF_HUB_OFFLINE": "1", "IS_FASTER_WHISPER": "false"},
            image=request.image,
            entrypoint=(request.command or ("vox-box", "start")) if request.image else (),
            readiness=Probe(path=_HEALTH_PATH),
            start_timeout_seconds=_START_TIMEOUT_SECONDS,
            stop_grace_seconds=_STOP_GRACE_SECONDS,
        )


@hookimpl
def motorpool_register_backends(register: Callable[[BackendPlugin], None]) -> None:
    """Introduce vox-box."""
    register(VoxBox())


def _versions() -> Iterator[Version]:
    found = find_installed("vox-box", package="vox-box", setting=SETTING)
    if found is not None:
        built_for = found.framework({})
        yield Version(
            version=found.version,
            # A build for devices runs on processors, too.
            frameworks=tuple(dict.fromkeys((built_for, CPU))),
            executors=("process", "docker"),
            executable=found.path,
        )
    for image in IMAGES:
        if found is None or image.version != found.version:
            yield image


def _program(request: LaunchRequest) -> tuple[str, ...]:
    if not request.executable:
        raise LookupError(
            f"vox_box {request.backend_version} is not installed on this node; deploy with an image, or with a version "
            "that `motorpool plugins` shows"
        )
    return (request.executable, "start")


def _arguments(request: LaunchRequest) -> Iterator[str]:
    # https://github.com/gpustack/vox-box#options
    yield from ("--model", str(request.model_path))
    # A process's own folder is made for it; what is written there is what it would download, which is nothing.
    yield from ("--data-dir", _DATA_IN_CONTAINER if request.image else _DATA)
    for parameter in request.parameters:
        yield parameter.option if parameter.option.startswith("-") else f"--{parameter.option}"
        yield from parameter.values
    yield from ("--host", request.listen_address)
    yield from ("--port", str(request.port))
    # The claimed device is the only one that it is shown, and the first of those.
    yield from ("--device", "cuda:0" if request.device_ids and request.framework == CUDA else CPU)


def _findings(request: LaunchRequest) -> Iterator[Finding]:
    owned = {option.name for option in OPTIONS if option.system_owned}
    for parameter in request.parameters:
        if parameter.known and parameter.option in owned:
            message = f"--{parameter.option} is set by Motorpool; leave it out of the deployment's parameters"
            yield Finding(severity=Severity.ERROR, reason="PARAMETER_SYSTEM_OWNED", message=message)
        elif not parameter.known:
            message = f"{parameter.option} is passed to vox-box unchecked; Motorpool does not know it"
            yield Finding(severity=Severity.WARNING, reason="PARAMETER_UNKNOWN", message=message)
    if len(request.device_ids) > 1:
        message = f"vox-box uses one device, and {len(request.device_ids)} were placed; deploy with one for an instance"
        yield Finding(severity=Severity.ERROR, reason="DEVICES_TOO_MANY", message=message)
    family, machine = family_of(request.model_path.name), platform.machine()
    if family is not None and not family.arm and machine in ARM:
        message = (
            f"{family.title} models do not run on {machine}; select nodes with another processor, or deploy another "
            "model"
        )
        yield Finding(severity=Severity.ERROR, reason="MODEL_PLATFORM_UNSUPPORTED", message=message)
