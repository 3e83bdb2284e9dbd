"""What Motorpool asks of llama.cpp: its profile, what speaks against a launch, and the launch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from motorpool_llama_cpp import launcher, rpc
from motorpool_llama_cpp.failures import FAILURES
from motorpool_llama_cpp.options import OPTIONS
from motorpool_llama_cpp.programs import Program, device_names, find
from motorpool_sdk import (
    BackendPlugin,
    Environment,
    Finding,
    InferenceProbe,
    Launch,
    LaunchRequest,
    MemoryModel,
    Probe,
    Profile,
    Severity,
    Version,
    hookimpl,
)

_XLLAMACPP = "2026.10.11549"
LAUNCHER_VERSION = f"xllamacpp-{_XLLAMACPP}"
LAUNCHER_FILE = "llama_server.py"
_HEALTH_PATH = "/health"
_MODELS_PATH = "/v1/models"
_START_TIMEOUT_SECONDS = 600.0
_STOP_GRACE_SECONDS = 10.0

_POOLING = {"reranker": "reranking", "embedding": "embeddings"}
"""What a model is for, and the switch that has llama-server do it."""

_BY_NAME = {option.name: option for option in OPTIONS}
_LAUNCHER_OPTIONS = frozenset(known.name for known in launcher.KNOWN)


class LlamaCpp:
    """llama.cpp's HTTP server: a llama-server of the node, or xllamacpp's in an environment of its own."""

    def profile(self) -> Profile:
        """Return what the controller schedules llama.cpp with here."""
        program = find()
        return Profile(
            backend="llama_cpp",
            aliases=("llama.cpp", "llama-cpp", "llama-box", "llama_box"),
            versions=tuple(_versions(program)),
            distributed_styles=rpc.styles(program),
            memory_model=MemoryModel.LAYERS,
            rules="gguf",
            formats=("gguf",),
            categories=("llm", "embedding", "reranker"),
            options=OPTIONS,
            health_path=_HEALTH_PATH,
            metrics_path="/metrics",
            api_key=True,
            cpu=True,
            start_timeout_seconds=_START_TIMEOUT_SECONDS,
            stop_grace_seconds=_STOP_GRACE_SECONDS,
            failures=FAILURES,
        )

    def check(self, request: LaunchRequest) -> Sequence[Finding]:
        """Return what speaks against launching ``request``."""
        return tuple(_findings(request))

    def launch(self, request: LaunchRequest) -> Launch:
        """Return how to launch ``request``."""
        gang = request.gang
        if gang is not None and not gang.leads:
            # It serves no requests, and is ready when its port accepts: the leader connects to it at its start.
            devices = ",".join(device_names(request.framework, len(request.device_ids)))
            return Launch(
                argv=tuple(rpc.serving(gang, request.executable, devices)),
                start_timeout_seconds=_START_TIMEOUT_SECONDS,
                stop_grace_seconds=_STOP_GRACE_SECONDS,
            )
        return Launch(
            # An image brings the program: its entrypoint is llama-server, or takes the same arguments.
            argv=(*(() if request.image else _program(request)), *_arguments(request)),
            image=request.image,
            entrypoint=request.command if request.image else (),
            secrets={"LLAMA_API_KEY": request.api_key} if request.api_key else {},
            readiness=Probe(path=_HEALTH_PATH, models_path=_MODELS_PATH),
            inference=None if gang is None else _inference(request),
            start_timeout_seconds=_START_TIMEOUT_SECONDS,
            stop_grace_seconds=_STOP_GRACE_SECONDS,
        )


@hookimpl
def motorpool_register_backends(register: Callable[[BackendPlugin], None]) -> None:
    """Introduce llama.cpp."""
    register(LlamaCpp())


def _versions(program: Program | None) -> Iterator[Version]:
    if program is not None:
        yield Version(version=program.version, executable=program.path, frameworks=program.frameworks)
    yield Version(
        version=LAUNCHER_VERSION,
        operating_systems=("linux",),
        architectures=("amd64", "arm64"),
        environment=Environment(
            requirements=(f"xllamacpp=={_XLLAMACPP}",),
            files={LAUNCHER_FILE: Path(launcher.__file__).read_text(encoding="utf-8")},
        ),
    )


def _inference(request: LaunchRequest) -> InferenceProbe:
    """Return the least that it computes: one token, or one embedding of a model that does nothing else."""
    if request.categories and _POOLING.keys() >= set(request.categories):
        return InferenceProbe(path="/v1/embeddings", body=json.dumps({"input": "1"}))
    return InferenceProbe(path="/v1/completions", body=json.dumps({"prompt": "1", "max_tokens": 1}))


def _findings(request: LaunchRequest) -> Iterator[Finding]:
    if request.gang is not None and (request.image or not request.executable):
        message = (
            f"llama_cpp {request.backend_version} does not span nodes: that takes a llama-server of the node with "
            f"{rpc.SERVER} beside it; deploy with --no-distributed, or with such a version"
        )
        yield Finding(severity=Severity.ERROR, reason="STYLE_UNKNOWN", message=message)
    for parameter in request.parameters:
        option = _BY_NAME.get(parameter.option) if parameter.known else None
        if option is not None and option.system_owned:
            message = f"--{option.name} is set by Motorpool; leave it out of the deployment's parameters"
            yield Finding(severity=Severity.ERROR, reason="PARAMETER_SYSTEM_OWNED", message=message)
        elif _launched(request) and (option is None or option.name not in _LAUNCHER_OPTIONS):
            message = (
                f"version {LAUNCHER_VERSION} of llama_cpp has no option {_written(parameter.option)}; leave it out, "
                "or install llama-server on the node, restart the agent and choose its version"
            )
            yield Finding(severity=Severity.ERROR, reason="PARAMETER_UNKNOWN", message=message)
        elif option is None:
            message = f"{_written(parameter.option)} is passed to llama-server unchecked; Motorpool does not know it"
            yield Finding(severity=Severity.WARNING, reason="PARAMETER_UNKNOWN", message=message)
    if request.framework == "cpu" and _meant(request, "gpu_layers"):
        message = "--n-gpu-layers is left out: this instance was placed on the processors"
        yield Finding(severity=Severity.WARNING, reason="PARAMETER_IGNORED", message=message)


def _launched(request: LaunchRequest) -> bool:
    return request.backend_version == LAUNCHER_VERSION and not request.image


def _program(request: LaunchRequest) -> tuple[str, ...]:
    if not _launched(request):
        if not request.executable:
            raise LookupError(
                f"llama_cpp {request.backend_version} is no version of this node any more; "
                "deploy with one that `motorpool plugins` shows"
            )
        return (request.executable,)
    if request.engine_dir is None:
        raise LookupError(f"llama_cpp {LAUNCHER_VERSION} has no engine directory; this is a defect of the agent")
    return (str(request.engine_dir / "bin" / "python"), str(request.engine_dir / "files" / LAUNCHER_FILE))


def _arguments(request: LaunchRequest) -> Iterator[str]:
    yield from ("--model", str(request.model_path))
    yield from ("--alias", request.served_model_name)
    yield from ("--host", request.listen_address)
    yield from ("--port", str(request.port))
    yield "--metrics"
    if request.context_length is not None and not _meant(request, "context_length"):
        yield from ("--ctx-size", str(request.context_length))
    if request.parallel is not None and not _meant(request, "parallel"):
        yield from ("--parallel", str(request.parallel))
    if not _meant(request, "threads"):
        yield from ("--threads", str(request.cpu_count))
    if not _says(request, "cache-ram"):
        # Its default is up to 8 GiB of host memory for old prompts, which nobody claimed.
        yield from ("--cache-ram", "0")
    yield from _offloading(request)
    yield from _pooling(request)
    if request.projectors and not _meant(request, "projector") and not _meant(request, "no_projector"):
        yield from ("--mmproj", str(request.projectors[0]))
    for parameter in request.parameters:
        option = _BY_NAME.get(parameter.option) if parameter.known else None
        if request.framework == "cpu" and option is not None and option.meaning == "gpu_layers":
            continue
        yield _written(parameter.option)
        if option is not None and option.meaning == "projector":
            yield from (_beside(request, value) for value in parameter.values)
        else:
            yield from parameter.values


def _pooling(request: LaunchRequest) -> Iterator[str]:
    """Yield the switch of a model that ranks or embeds and does nothing else: without it, it answers neither."""
    if not request.categories or not _POOLING.keys() >= set(request.categories):
        return
    if not any(_says(request, name) for name in _POOLING.values()):
        # Of a model for both, ranking: it is what its head is there for.
        yield f"--{next(name for category, name in _POOLING.items() if category in request.categories)}"


def _beside(request: LaunchRequest, projector: str) -> str:
    """Return the path of a projector that was named without one: who deploys a folder need not know where it lies."""
    named = (path for path in request.projectors if path.name == projector)
    return str(next(named, projector))


def _offloading(request: LaunchRequest) -> Iterator[str]:
    if request.framework == "cpu":
        # A build with GPU support would take memory of a device that was claimed for somebody else.
        # A container sees no device that it was not given.
        if not _launched(request) and not request.image:
            yield from ("--device", "none")
        yield from ("--n-gpu-layers", "0")
        return
    if request.gang is not None:
        # Servers' devices come first, then its own: all that it sees, as the tensor split has them.
        yield from ("--rpc", rpc.servers(request.gang))
    elif request.device_ids and not _launched(request):
        # It sees the claimed devices and no others; without their names it would run on processors if it saw none.
        yield from ("--device", ",".join(device_names(request.framework, len(request.device_ids))))
    if request.offloaded_layers is not None and not _meant(request, "gpu_layers"):
        yield from ("--n-gpu-layers", str(request.offloaded_layers))
    if request.tensor_split and not _meant(request, "tensor_split"):
        yield from ("--tensor-split", ",".join(f"{share:g}" for share in request.tensor_split))


def _meant(request: LaunchRequest, meaning: str) -> bool:
    """Return whether the user's parameters say this themselves."""
    return any(
        parameter.known and (option := _BY_NAME.get(parameter.option)) is not None and option.meaning == meaning
        for parameter in request.parameters
    )


def _says(request: LaunchRequest, name: str) -> bool:
    """Return whether the user's parameters set this option."""
    return any(parameter.known and parameter.option == name for parameter in request.parameters)


def _written(option: str) -> str:
    return option if option.startswith("-") else f"--{option}"
