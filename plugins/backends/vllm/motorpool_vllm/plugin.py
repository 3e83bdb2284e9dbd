"""What Motorpool asks of vLLM: its profile, what speaks against a launch, and the launch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from motorpool_sdk import (
    BackendPlugin,
    Finding,
    Gang,
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
from motorpool_vllm import beside, gangs, ray
from motorpool_vllm.failures import FAILURES
from motorpool_vllm.gangs import MP
from motorpool_vllm.installation import CPU, PLATFORMS, find, parts
from motorpool_vllm.options import OPTIONS
from motorpool_vllm.ray import RAY
from motorpool_vllm.releases import findings, release_of

VERSION = "0.32.0"
IMAGES = (
    # https://docs.vllm.ai/en/stable/deployment/docker/ : the tag is the release's.
    Version(version=VERSION, frameworks=("cuda",), executors=("docker",), image=f"vllm/vllm-openai:v{VERSION}"),
    # https://docs.vllm.ai/en/stable/getting_started/installation/gpu/ : AMD's is built beside it, for amd64 alone.
    Version(
        version=f"{VERSION}-rocm",
        frameworks=("rocm",),
        executors=("docker",),
        architectures=("amd64",),
        image=f"vllm/vllm-openai-rocm:v{VERSION}",
    ),
    # https://docs.vllm.ai/projects/ascend/en/latest/getting_started/quick_start.html : Atlas A2; A3, 310P and 950DT
    # have tags of their own, which `--image` names.
    Version(
        version="0.23.0-ascend",
        frameworks=("cann",),
        executors=("docker",),
        image="quay.io/ascend/vllm-ascend:v0.23.0",
    ),
)
"""Images that vLLM's project publishes; other vendors' are named by `--image`, or their vLLM is installed."""

_HEALTH_PATH = "/health"
_MODELS_PATH = "/v1/models"
# Loading and compiling a large model takes many minutes; 0.32.0's CPU build is healthy after 41 to 50 s at best.
_START_TIMEOUT_SECONDS = 1800.0
# It leaves 1.7 s after TERM (0.32.0, CPU), requests under way aside.
_STOP_GRACE_SECONDS = 30.0
_POOLING = frozenset({"embedding", "reranker"})
# https://docs.vllm.ai/en/v0.10.1.1/models/pooling_models.html ; before it was --task, which 0.32.0 has no more.
_FIRST_WITH_RUNNER = (0, 10, 1)
_GIB = 2**30
_CACHE_SHARE = 8
"""Of the host memory that is claimed, one part in so many is the key/value cache of an instance on processors."""

_QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
"""No statistics are sent, and no hub is asked: the model lies at its path."""

STYLES = (MP, RAY)
"""The first is how it spans nodes where the user's --distributed-executor-backend does not say otherwise."""

_ARGUMENTS = {MP.style: gangs.arguments, RAY.style: ray.arguments}
_BY_NAME = {option.name: option for option in OPTIONS}


class Vllm:
    """``vllm serve`` of the node's own vLLM, or of an image."""

    def profile(self) -> Profile:
        """Return what the controller schedules vLLM with here."""
        versions = tuple(_versions())
        return Profile(
            backend="vllm",
            versions=versions,
            memory_model=MemoryModel.FRACTION,
            rules="vllm",
            fraction_option="gpu-memory-utilization",
            # Rule A25: as published. vLLM's own default was 0.9, and is 0.92 in 0.32.0; the launch always says it.
            fraction_default=0.9,
            formats=("safetensors", "pytorch"),
            categories=("llm", "embedding", "reranker", "speech_to_text"),
            distributed_styles=STYLES,
            options=OPTIONS,
            health_path=_HEALTH_PATH,
            metrics_path="/metrics",
            api_key=True,
            features=beside.FEATURES,
            cpu=any(CPU in version.frameworks for version in versions),
            start_timeout_seconds=_START_TIMEOUT_SECONDS,
            stop_grace_seconds=_STOP_GRACE_SECONDS,
            failures=FAILURES,
        )

    def check(self, request: LaunchRequest) -> Sequence[Finding]:
        """Return what speaks against launching ``request``."""
        return tuple(_findings(request))

    def launch(self, request: LaunchRequest) -> Launch:
        """Return how to launch ``request``."""
        # An image's own entrypoint differs by vendor and release (a shell, the module, the command): ours is said.
        command = request.command or ("vllm", "serve")
        serves = request.gang is None or request.gang.leads
        launch = Launch(
            argv=(*(() if request.image else _program(request)), str(request.model_path), *_arguments(request)),
            env={**_QUIET, **_cache(request), **_threads(request), **_collectives(request)},
            image=request.image,
            entrypoint=command if request.image else (),
            secrets={"VLLM_API_KEY": request.api_key} if request.api_key else {},
            readiness=Probe(path=_HEALTH_PATH, models_path=_MODELS_PATH) if serves else None,
            inference=_inference(request) if serves else None,
            serves=serves,
            start_timeout_seconds=_START_TIMEOUT_SECONDS,
            stop_grace_seconds=_STOP_GRACE_SECONDS,
        )
        if request.gang is None or request.gang.style != RAY.style:
            return launch
        return ray.node_of(request, request.gang, launch, len(request.device_ids) or _processes(request))


@hookimpl
def motorpool_register_backends(register: Callable[[BackendPlugin], None]) -> None:
    """Introduce vLLM."""
    register(Vllm())


def _versions() -> Iterator[Version]:
    if found := find():
        yield Version(
            version=found.version,
            frameworks=(found.framework(PLATFORMS),),
            executors=("process", "docker"),
            executable=found.path,
            parts=parts(found),
        )
    for image in IMAGES:
        if found is None or image.version != found.version:
            yield image


def _findings(request: LaunchRequest) -> Iterator[Finding]:
    for parameter in request.parameters:
        option = _BY_NAME.get(parameter.option) if parameter.known else None
        if option is not None and option.system_owned:
            message = f"--{option.name} is set by Motorpool; leave it out of the deployment's parameters"
            yield Finding(severity=Severity.ERROR, reason="PARAMETER_SYSTEM_OWNED", message=message)
        elif option is None:
            message = f"{_written(parameter.option)} is passed to vLLM unchecked; Motorpool does not know it"
            yield Finding(severity=Severity.WARNING, reason="PARAMETER_UNKNOWN", message=message)
    fraction = _value(request, "memory_fraction")
    if fraction is not None and not 0 < _number(fraction) <= 1:
        message = f"--gpu-memory-utilization is {fraction}; it is above 0, up to 1"
        yield Finding(severity=Severity.ERROR, reason="PARAMETER_INVALID", message=message)
    for wish, name in ((request.adapters, "lora-modules"), (request.speculative, "speculative-config")):
        if wish and _says(request, name):
            message = f"--{name} of the parameters stands in place of what the deployment says of the same"
            yield Finding(severity=Severity.WARNING, reason="WISH_IGNORED", message=message)
    if request.gang is not None:
        yield from _over_nodes(request, request.gang)
    if fraction is not None and request.framework == CPU:
        message = "--gpu-memory-utilization is left out: this instance was placed on the processors"
        yield Finding(severity=Severity.WARNING, reason="PARAMETER_IGNORED", message=message)
    if not request.image:
        yield from findings(request.backend_version)


def _over_nodes(request: LaunchRequest, gang: Gang) -> Iterator[Finding]:
    executor = _given(request, "distributed-executor-backend")
    if executor not in {None, gang.style}:
        message = (
            f"--distributed-executor-backend is {executor}, and this vLLM was placed to span nodes by {gang.style}; "
            f"leave it out, or choose {' or '.join(style.style for style in STYLES)}"
        )
        yield Finding(severity=Severity.ERROR, reason="PARAMETER_INVALID", message=message)
    if gang.style == RAY.style and not request.image and ray.PACKAGE not in gang.own.parts:
        message = (
            f"Ray is not installed beside {request.executable or 'vLLM'}, and --distributed-executor-backend is ray; "
            "install it there on every node (`python -m pip install ray`), or leave the option out: vLLM's own "
            "launcher spans nodes, too"
        )
        yield Finding(severity=Severity.ERROR, reason="RAY_MISSING", message=message)


def _program(request: LaunchRequest) -> tuple[str, ...]:
    if not request.executable:
        raise LookupError(
            f"vllm {request.backend_version} is not installed on this node; deploy with an image, or with a version "
            "that `motorpool plugins` shows"
        )
    return (request.executable, "serve")


def _arguments(request: LaunchRequest) -> Iterator[str]:
    yield from ("--host", request.listen_address)
    yield from ("--port", str(request.port))
    yield from ("--served-model-name", request.served_model_name)
    if request.context_length is not None and not _says(request, "max-model-len"):
        yield from ("--max-model-len", str(request.context_length))
    yield from _on_devices(request)
    if _pools(request) and not _says(request, "runner"):
        # Classes such as Qwen3ForCausalLM generate, if nobody says what the model is for.
        yield from ("--runner", "pooling")
    cache = request.extended_kv_cache
    if cache is not None and request.framework != CPU and not _says(request, "kv-offloading-size"):
        # In GiB, of all ranks of this node together: what was claimed. https://docs.vllm.ai/en/stable/cli/serve/
        yield from ("--kv-offloading-size", f"{cache.memory_bytes / _GIB:g}")
    if request.trust_remote_code and not _says(request, "trust-remote-code"):
        yield "--trust-remote-code"
    if request.adapters and not _says(request, "lora-modules"):
        yield from beside.adapters(request.adapters)
    if request.speculative is not None and not _says(request, "speculative-config"):
        yield from beside.speculative(request.speculative)
    if request.gang is not None:
        data_parallel = int(_value(request, "data_parallel") or request.parallelism.data or 1)
        if not _says(request, "distributed-executor-backend"):
            yield from ("--distributed-executor-backend", request.gang.style)
        yield from _ARGUMENTS[request.gang.style](request.gang, data_parallel)
    for parameter in request.parameters:
        option = _BY_NAME.get(parameter.option) if parameter.known else None
        if request.framework == CPU and option is not None and option.meaning == "memory_fraction":
            continue
        if option is not None and option.meaning == "nodes":
            continue  # the placement says how many there are
        yield _written(parameter.option)
        yield from parameter.values


def _pools(request: LaunchRequest) -> bool:
    """Return whether the model embeds or ranks and does nothing else, and this vLLM can be told so."""
    release = None if request.image else release_of(request.backend_version)
    older = release is not None and release < _FIRST_WITH_RUNNER
    return bool(request.categories) and _POOLING.issuperset(request.categories) and not older


def _on_devices(request: LaunchRequest) -> Iterator[str]:
    decided = request.parallelism
    if request.framework != CPU and request.memory_fraction and _value(request, "memory_fraction") is None:
        yield from ("--gpu-memory-utilization", f"{request.memory_fraction:g}")
    if decided.tensor is not None:
        yield from ("--tensor-parallel-size", str(decided.tensor))
    if decided.pipeline is not None:
        yield from ("--pipeline-parallel-size", str(decided.pipeline))


def _collectives(request: LaunchRequest) -> Mapping[str, str]:
    return {} if request.gang is None else gangs.environment(request.gang, request.framework)


def _inference(request: LaunchRequest) -> InferenceProbe | None:
    """Return the least that a model of its kind computes; of speech nothing is asked, as that takes a recording."""
    model, categories = request.served_model_name, set(request.categories)
    if "embedding" in categories:
        return InferenceProbe(path="/v1/embeddings", body=json.dumps({"model": model, "input": "1"}))
    if "reranker" in categories:
        return InferenceProbe(path="/score", body=json.dumps({"model": model, "text_1": "1", "text_2": "1"}))
    if categories and "llm" not in categories:
        return None
    asked = {"model": model, "prompt": "1", "max_tokens": 1, "temperature": 0}
    return InferenceProbe(path="/v1/completions", body=json.dumps(asked))


def _cache(request: LaunchRequest) -> dict[str, str]:
    """Return how large the key/value cache of each process is, on processors; its own default is half a node's memory.

    Processes share what is claimed of their node.

    Whole GiB: the variable takes no others.
    """
    if request.framework != CPU or _says(request, "kv-cache-memory-bytes"):
        return {}
    processes = _processes(request)
    return {"VLLM_CPU_KVCACHE_SPACE": str(max(request.memory_bytes // (_CACHE_SHARE * _GIB * processes), 1))}


def _threads(request: LaunchRequest) -> dict[str, str]:
    """Return which processors each of several processes has: vLLM gives each a NUMA node, and refuses to share one."""
    processes, cpus = _processes(request), request.cpus
    if request.framework != CPU or processes == 1:
        return {}
    if len(cpus) < processes:
        return {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    ends = [len(cpus) * number // processes for number in range(processes + 1)]
    parts = [",".join(map(str, cpus[first:last])) for first, last in pairwise(ends)]
    return {"VLLM_CPU_OMP_THREADS_BIND": "|".join(parts)}


def _processes(request: LaunchRequest) -> int:
    """Return how many processes share the model's tensors and layers on this node."""
    decided = request.parallelism
    tensor = int(_value(request, "tensor_parallel") or decided.tensor or 1)
    pipeline = int(_value(request, "pipeline_parallel") or decided.pipeline or 1)
    nodes = 1 if request.gang is None else len(request.gang.members)
    return max(tensor * pipeline // nodes, 1)


def _value(request: LaunchRequest, meaning: str) -> str | None:
    """Return the value that the user's parameters give to what scheduling calls so."""
    for parameter in request.parameters:
        option = _BY_NAME.get(parameter.option) if parameter.known else None
        if option is not None and option.meaning == meaning and parameter.values:
            return parameter.values[0]
    return None


def _given(request: LaunchRequest, name: str) -> str | None:
    """Return the value that the user's parameters give to this option."""
    found = (each for each in request.parameters if each.known and each.option == name and each.values)
    return next((each.values[0] for each in found), None)


def _says(request: LaunchRequest, name: str) -> bool:
    """Return whether the user's parameters set this option."""
    return any(parameter.known and parameter.option == name for parameter in request.parameters)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _written(option: str) -> str:
    return option if option.startswith("-") else f"--{option}"
