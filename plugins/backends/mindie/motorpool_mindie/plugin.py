"""What Motorpool asks of MindIE: its profile, what speaks against a launch, and the launch."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from motorpool_mindie.configuration import HOME, RENDEZVOUS, files, variables
from motorpool_mindie.options import OPTIONS, SETTINGS
from motorpool_mindie.parameters import contradictions, parameters_of
from motorpool_sdk import (
    BackendPlugin,
    DistributedStyle,
    Finding,
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

_REPOSITORY = "swr.cn-south-1.myhuaweicloud.com/ascendhub/mindie"
VERSIONS = tuple(
    Version(
        version=version,
        frameworks=("cann",),
        executors=("docker",),
        operating_systems=("linux",),
        # https://www.hiascend.com/developer/ascendhub : for Atlas 800I A2; other machines have tags of their own, which
        # `--image` names. It wants an account: `docker login` on the nodes.
        image=f"{_REPOSITORY}:{version}-800I-A2-py311-openeuler24.03-lts",
    )
    for version in ("2.1.RC2", "2.0.RC2")
)
RANK_TABLE = DistributedStyle(style="rank_table", leader_ports=(PortRange(RENDEZVOUS),))
"""MindIE's own way over nodes: all members start together, and read who is where in a file."""

_HEALTH_PATH = "/info"
# https://www.hiascend.com/document/detail/en/mindie/230/LLMframe/llmdev/mindie_service0073.html : by `modelName`.
_MODELS_PATH = "/v1/models"
# Loading and compiling a large model takes many minutes.
_START_TIMEOUT_SECONDS = 1800.0
_STOP_GRACE_SECONDS = 60.0
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,254}[A-Za-z0-9])?")
_START = Path("/run/motorpool/mindie.sh")
_SCRIPT = """#!/bin/bash
for each in ascend-toolkit/set_env.sh nnal/atb/set_env.sh atb-models/set_env.sh mindie/set_env.sh; do
  [ -e "/usr/local/Ascend/$each" ] && . "/usr/local/Ascend/$each"
done
cd "$1" && exec bin/mindieservice_daemon
"""
"""The toolkit's variables are set by its own scripts alone, and no image of MindIE has run them."""


class Mindie:
    """``mindieservice_daemon`` of an image."""

    def profile(self) -> Profile:
        """Return what the controller schedules MindIE with here."""
        return Profile(
            backend="mindie",
            versions=VERSIONS,
            memory_model=MemoryModel.FRACTION,
            rules="mindie",
            # Where the user gives none, it follows from the version (rule A28).
            fraction_option="npu-memory-fraction",
            formats=("safetensors", "pytorch"),
            categories=("llm",),
            distributed_styles=(RANK_TABLE,),
            options=OPTIONS,
            closed_options=True,
            features=("lora",),
            health_path=_HEALTH_PATH,
            metrics_path="/metrics",
            start_timeout_seconds=_START_TIMEOUT_SECONDS,
            stop_grace_seconds=_STOP_GRACE_SECONDS,
        )

    def check(self, request: LaunchRequest) -> Sequence[Finding]:
        """Return what speaks against launching ``request``."""
        return tuple(_findings(request))

    def launch(self, request: LaunchRequest) -> Launch:
        """Return how to launch ``request``."""
        gang = request.gang
        leads = gang is None or gang.leads
        start = LaunchFile(path=_START, text=_SCRIPT)
        own = not request.command
        return Launch(
            argv=(str(HOME),) if own else (),
            env=variables(request),
            image=request.image,
            entrypoint=("bash", str(_START)) if own else request.command,
            readiness=Probe(path=_HEALTH_PATH, models_path=_MODELS_PATH) if leads else None,
            inference=_inference(request) if gang is not None and leads else None,
            serves=leads,
            start_timeout_seconds=_START_TIMEOUT_SECONDS,
            stop_grace_seconds=_STOP_GRACE_SECONDS,
            files=(*files(request), *((start,) if own else ())),
        )


@hookimpl
def motorpool_register_backends(register: Callable[[BackendPlugin], None]) -> None:
    """Introduce MindIE."""
    register(Mindie())


def _inference(request: LaunchRequest) -> InferenceProbe:
    messages = [{"role": "user", "content": "a"}]
    body = {"model": request.served_model_name, "messages": messages, "max_tokens": 1}
    return InferenceProbe(path="/v1/chat/completions", body=json.dumps(body))


def _findings(request: LaunchRequest) -> Iterator[Finding]:
    if not request.image:
        message = "MindIE is run in a container only; deploy with an image, or a version that has one"
        yield Finding(severity=Severity.ERROR, reason="IMAGE_MISSING", message=message)
    if not _NAME.fullmatch(request.served_model_name):
        message = (
            f"MindIE serves no model as {request.served_model_name!r}; deploy with a served name of letters, digits, "
            "dots, dashes and underscores, that begins and ends with a letter or digit"
        )
        yield Finding(severity=Severity.ERROR, reason="SERVED_NAME_INVALID", message=message)
    for parameter in request.parameters:
        if parameter.known and parameter.option in SETTINGS:
            continue
        if parameter.known:
            message = f"--{parameter.option} is set by Motorpool; leave it out of the deployment's parameters"
            yield Finding(severity=Severity.ERROR, reason="PARAMETER_SYSTEM_OWNED", message=message)
        else:
            message = f"{parameter.option} is no parameter of MindIE, which is told by a file; leave it out"
            yield Finding(severity=Severity.ERROR, reason="PARAMETER_UNKNOWN", message=message)
    for message in contradictions(request, parameters_of(request)):
        yield Finding(severity=Severity.ERROR, reason="PARAMETER_INVALID", message=message)
    if request.gang is not None:
        for member in request.gang.members:
            for device in member.devices:
                if not device.address or device.index is None:
                    what = "address of its own" if device.index is not None else "number"
                    message = (
                        f"{device.device_id} of {member.node} has no {what}, and the rank table wants one; set it with "
                        "hccn_tool, and see `motorpool describe` for what its plugin found"
                    )
                    yield Finding(severity=Severity.ERROR, reason="DEVICE_ADDRESS_MISSING", message=message)
