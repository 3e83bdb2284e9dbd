"""What Motorpool asks of SGLang: its profile, what speaks against a launch, and the launch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

from motorpool_sdk import (
    BackendPlugin,
    DistributedStyle,
    Finding,
    Gang,
    InferenceProbe,
    Launch,
    LaunchFile,
    LaunchRequest,
    MemoryModel,
    PortRange,
    Probe,
    Profile,
    Severity,
    Version,
    hookimpl,
)
from motorpool_sdk.environments import find_installed
from motorpool_sglang.arguments import NPU, RENDEZVOUS, arguments, makes_images
from motorpool_sglang.failures import FAILURES
from motorpool_sglang.options import OPTIONS
from motorpool_sglang.releases import FIRST_WITH_DIFFUSION, findings, release_of

SETTING = "MOTORPOOL_SGLANG"
VERSION = "0.5.23"
IMAGES = (
    # https://docs.sglang.io/get_started/install.html : the tag is the release's.
    Version(version=VERSION, frameworks=("cuda",), executors=("docker",), image=f"lmsysorg/sglang:v{VERSION}"),
    # https://docs.sglang.io/docs/hardware-platforms/amd_gpu.md : for MI300X and MI325X, amd64 alone; MI35x has a tag of
    # its own, which `--image` names.
    Version(
        version="0.5.15.post1-rocm",
        frameworks=("rocm",),
        executors=("docker",),
        architectures=("amd64",),
        image="lmsysorg/sglang:v0.5.15.post1-rocm720-mi30x",
    ),
    # https://docs.sglang.io/docs/hardware-platforms/ascend-npus/getting-started/quick_start : Atlas A2; A3 has `-a3`.
    Version(
        version="0.5.14-ascend",
        frameworks=(NPU,),
        executors=("docker",),
        image="quay.io/ascend/sglang:v0.5.14-cann9.0.0-910b",
    ),
)
"""Images that SGLang's project publishes; other vendors' are named by `--image`, or their SGLang is installed."""

_HEALTH_PATH = "/health"
"""It answers 503 until the server generated a token, by itself (0.5.23: sglang/srt/entrypoints/http_server.py)."""

NNODES = DistributedStyle(style="nnodes", leader_ports=(PortRange(RENDEZVOUS),))
"""SGLang's own way over nodes: all members start together, and meet at the leader's port."""

_PLATFORMS = {"torch-npu": NPU, "torch-musa": "musa"}
# Loading and capturing graphs of a large model takes many minutes.
_START_TIMEOUT_SECONDS = 1800.0
_STOP_GRACE_SECONDS = 30.0
_KEY_FILE = "sglang.yaml"
_BY_NAME = {option.name: option for option in OPTIONS}


class Sglang:
    """``sglang serve`` of the node's own SGLang, or of an image."""

    def profile(self) -> Profile:
        """Return what the controller schedules SGLang with here."""
        return Profile(
            backend="sglang",
            versions=tuple(_versions()),
            memory_model=MemoryModel.FRACTION,
            rules="sglang",
            # Where the user gives none, it follows from the devices' size (rule B7.1).
            fraction_option="mem-fraction-static",
            formats=("safetensors", "diffusers"),
            categories=("llm", "embedding", "reranker", "image"),
            distributed_styles=(NNODES,),
            options=OPTIONS,
            health_path=_HEALTH_PATH,
            metrics_path="/metrics",
            api_key=True,
            features=("lora", "speculative"),
            failures=FAILURES,
            start_timeout_seconds=_START_TIMEOUT_SECONDS,
            stop_grace_seconds=_STOP_GRACE_SECONDS,
        )

    def check(self, request: LaunchRequest) -> Sequence[Finding]:
        """Return what speaks against launching ``request``."""
        return tuple(_findings(request))

    def launch(self, request: LaunchRequest) -> Launch:
        """Return how to launch ``request``."""
        key, gang = _key_file(request), request.gang
        leads = gang is None or gang.leads
        return Launch(
            argv=(
                *(() if request.image else _program(request)),
                *(("--config", str(key.path)) if key else ()),
                *arguments(request),
            ),
            # No hub is asked: the model lies at its path.
            env={"HF_HUB_OFFLINE": "1", **({} if gang is None else _network(request, gang))},
            image=request.image,
            # An image's own entrypoint only sets the machine up for its vendor's shell: ours is said.
            entrypoint=(request.command or ("sglang", "serve")) if request.image else (),
            # A follower answers a /health of its own, which says nothing of what it computes.
            readiness=_ready(request) if leads else None,
            inference=_inference(request) if gang is not None and leads else None,
            serves=leads,
            start_timeout_seconds=_START_TIMEOUT_SECONDS,
            stop_grace_seconds=_STOP_GRACE_SECONDS,
            files=(key,) if key else (),
        )


@hookimpl
def motorpool_register_backends(register: Callable[[BackendPlugin], None]) -> None:
    """Introduce SGLang."""
    register(Sglang())


def _versions() -> Iterator[Version]:
    found = find_installed("sglang", package="sglang", setting=SETTING, beside=tuple(_PLATFORMS))
    if found is not None:
        yield Version(
            version=found.version,
            frameworks=(found.framework(_PLATFORMS),),
            executors=("process", "docker"),
            executable=found.path,
        )
    for image in IMAGES:
        if found is None or image.version != found.version:
            yield image


def _key_file(request: LaunchRequest) -> LaunchFile | None:
    """Return the file that tells the API key: SGLang takes it from arguments and from ``--config``, not from variables.

    What generates pictures checks none.
    """
    if not request.api_key or makes_images(request):
        return None
    return LaunchFile(path=request.files_dir / _KEY_FILE, text=json.dumps({"api-key": request.api_key}), secret=True)


def _network(request: LaunchRequest, gang: Gang) -> dict[str, str]:
    """Return what tells the collective libraries which interface they are to use."""
    if not gang.interface:
        return {}
    if request.framework == NPU:
        own = {"HCCL_IF_IP": gang.own.address, "HCCL_SOCKET_IFNAME": gang.interface}
    else:
        own = {"NCCL_SOCKET_IFNAME": gang.interface}
    return {"GLOO_SOCKET_IFNAME": gang.interface, **own}


def _ready(request: LaunchRequest) -> Probe:
    # The server for pictures knows its model by its path alone.
    return Probe(path=_HEALTH_PATH, models_path="" if makes_images(request) else "/v1/models")


def _inference(request: LaunchRequest) -> InferenceProbe:
    model = request.served_model_name
    if "--is-embedding" in arguments(request):
        return InferenceProbe(path="/v1/embeddings", body=json.dumps({"model": model, "input": "a"}))
    return InferenceProbe(path="/v1/completions", body=json.dumps({"model": model, "prompt": "a", "max_tokens": 1}))


def _program(request: LaunchRequest) -> tuple[str, ...]:
    if not request.executable:
        raise LookupError(
            f"sglang {request.backend_version} is not installed on this node; deploy with an image, or with a version "
            "that `motorpool plugins` shows"
        )
    return (request.executable, "serve")


def _findings(request: LaunchRequest) -> Iterator[Finding]:
    for parameter in request.parameters:
        option = _BY_NAME.get(parameter.option) if parameter.known else None
        if option is not None and option.system_owned:
            message = f"--{option.name} is set by Motorpool; leave it out of the deployment's parameters"
            yield Finding(severity=Severity.ERROR, reason="PARAMETER_SYSTEM_OWNED", message=message)
        elif option is None:
            message = f"{parameter.option} is passed to SGLang unchecked; Motorpool does not know it"
            yield Finding(severity=Severity.WARNING, reason="PARAMETER_UNKNOWN", message=message)
    wish = request.speculative
    if wish is not None and (wish.ngram_min is not None or wish.ngram_max is not None):
        message = "ngram_min and ngram_max are left out: SGLang 0.5.23 matches by a tree (--speculative-ngram-*)"
        yield Finding(severity=Severity.WARNING, reason="WISH_IGNORED", message=message)
    if makes_images(request):
        yield from _image_findings(request)
    if not request.image:
        yield from findings(request.backend_version, images=makes_images(request))


def _image_findings(request: LaunchRequest) -> Iterator[Finding]:
    release = None if request.image else release_of(request.backend_version)
    if release is not None and release < FIRST_WITH_DIFFUSION:
        needed = ".".join(str(part) for part in FIRST_WITH_DIFFUSION)
        message = f"sglang {request.backend_version} makes no pictures; deploy with {needed} or later"
        yield Finding(severity=Severity.ERROR, reason="VERSION_TOO_OLD", message=message)
    if request.api_key:
        message = "SGLang's server for pictures checks no API key: whoever reaches its port is served"
        yield Finding(severity=Severity.WARNING, reason="API_KEY_UNCHECKED", message=message)
    for wish, name in ((request.adapters, "lora_adapters"), (request.speculative, "speculative")):
        if wish:
            message = f"{name} is for language models, and this one makes pictures; leave it out"
            yield Finding(severity=Severity.ERROR, reason="FEATURE_UNSUPPORTED", message=message)
