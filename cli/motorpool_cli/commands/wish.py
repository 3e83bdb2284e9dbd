"""What a deployment is wished to be, as options say it: the same for deploying, checking and planning."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.context import complete_backend
from motorpool_cli.failures import CommandError, Exit
from motorpool_cli.sources import source_of


class StrategyName(enum.StrEnum):
    """How equal nodes are told apart."""

    SPREAD = "spread"
    BINPACK = "binpack"


SOURCE_HELP = "/path on the nodes, hf:OWNER/NAME[:FILE][@REVISION] or ms:OWNER/NAME…."

DRAIN_HELP = "How long an instance that others stand in for goes on without new requests, e.g. 30s"

Parameters = Annotated[
    list[str] | None, typer.Argument(help="After `--`: arguments of the engine, as on its command line.")
]
Backend = Annotated[
    str, typer.Option(help="Backend; chosen by the model when left out.", autocompletion=complete_backend)
]
BackendVersion = Annotated[str, typer.Option(help="Version of the backend; the node's default.")]
Image = Annotated[
    str | None, typer.Option(help="Run the engine in a container of this image, with Docker; else as a process.")
]
Packages = Annotated[
    list[str] | None,
    typer.Option("--package", help="NAME==VERSION to install with pip in the image before it runs; may be repeated."),
]
Categories = Annotated[
    list[str] | None,
    typer.Option(
        "--category", help="What it is for, where its files do not say: llm, embedding, reranker, …; may be repeated."
    ),
]
Replicas = Annotated[int, typer.Option(min=0, max=1000, help="Instances wished for.")]
Env = Annotated[list[str] | None, typer.Option("--env", "-e", help="KEY=VALUE for the engine.")]
Labels = Annotated[list[str] | None, typer.Option("--node-label", help="KEY=VALUE a node must carry.")]
Devices = Annotated[list[str] | None, typer.Option(help="Pin to nodes/NODE/devices/DEVICE.")]
Strategy = Annotated[StrategyName, typer.Option(help="Away from other instances, or close.")]
Memory = Annotated[str, typer.Option(help="Host memory to claim instead of the estimate, e.g. 6GiB.")]
DeviceMemory = Annotated[str, typer.Option(help="Device memory to claim instead of the estimate, e.g. 8GiB.")]

RescheduleAfter = Annotated[
    float | None,
    typer.Option(
        parser=text.parse_reschedule_after,
        metavar="TIME",
        help="How long a lost node keeps its instances before others take their place, e.g. 5m, 0 or never.",
    ),
]
Lora = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=SOURCE", help="LoRA adapter, and the name it is served by; may be repeated."),
]
Speculative = Annotated[str, typer.Option(help="Guess tokens ahead: eagle3, mtp, ngram, … of the backend's.")]
DraftModel = Annotated[str, typer.Option(metavar="SOURCE", help="The model that guesses, where that takes one.")]
DraftTokens = Annotated[int | None, typer.Option(min=1, help="How many tokens are guessed at a time.")]

STRATEGIES = {
    StrategyName.SPREAD: v1.PLACEMENT_STRATEGY_SPREAD,
    StrategyName.BINPACK: v1.PLACEMENT_STRATEGY_BINPACK,
}


def spec(
    model: v1.ModelSource,
    *,
    parameters: list[str] | None,
    backend: str,
    backend_version: str,
    image: str | None,
    packages: list[str] | None = None,
    categories: list[str] | None,
    replicas: int,
    env: list[str] | None,
    labels: list[str] | None,
    devices: list[str] | None,
    strategy: StrategyName,
    memory: str,
    device_memory: str,
    lora: list[str] | None = None,
    speculative: str = "",
    draft_model: str = "",
    draft_tokens: int | None = None,
) -> v1.DeploymentSpec:
    """Return the spec that the options say."""
    if image == "":  # as a script writes it whose variable is not set; it would run a process instead
        raise CommandError(
            Exit.USAGE, "OPTION_INVALID", "--image is empty; name an image, or leave it out to run a process."
        )
    made = v1.DeploymentSpec(
        model=model,
        replicas=replicas,
        backend=backend,
        backend_version=backend_version,
        image=image or "",
        packages=packages or [],
        categories=categories or [],
        parameters=parameters or [],
        env=pairs("--env", env),
        placement_strategy=STRATEGIES[strategy],
        node_selector=v1.NodeSelector(match_labels=pairs("--node-label", labels)),
    )
    made.lora_adapters.extend(adapters(lora))
    if guessing := speculation(speculative, draft_model, draft_tokens):
        made.speculative.CopyFrom(guessing)
    if devices:
        made.device_selector.devices.extend(devices)
    if memory:
        made.claim.memory_bytes = text.parse_size("--memory", memory)
    if device_memory:
        made.claim.device_memory_bytes = text.parse_size("--device-memory", device_memory)
    return made


def adapters(values: list[str] | None) -> list[v1.LoraAdapter]:
    """Return the LoRA adapters that NAME=SOURCE says."""
    return [
        v1.LoraAdapter(adapter=name, source=source_of(f"--lora {name}", source))
        for name, source in pairs("--lora", values, takes="NAME=SOURCE").items()
    ]


def speculation(algorithm: str, draft_model: str, draft_tokens: int | None) -> v1.SpeculativeDecoding | None:
    """Return how tokens are guessed ahead; None where nobody says."""
    if not algorithm:
        if draft_model or draft_tokens is not None:
            given = "--draft-model" if draft_model else "--draft-tokens"
            raise CommandError(
                Exit.USAGE,
                "OPTION_INVALID",
                f"{given} says nothing without --speculative; give that, too.",
            )
        return None
    return v1.SpeculativeDecoding(
        algorithm=algorithm,
        draft_model=source_of("--draft-model", draft_model) if draft_model else None,
        draft_tokens=draft_tokens,
    )


def pairs(option: str, values: list[str] | None, *, takes: str = "KEY=VALUE") -> dict[str, str]:
    """Return what KEY=VALUE says, by key."""
    read: dict[str, str] = {}
    for value in values or ():
        key, equals, rest = value.partition("=")
        if not equals or not key:  # the value is not shown: with the key forgotten it may be a secret
            missing = takes.partition("=")[0].lower()
            raise CommandError(
                Exit.USAGE, "OPTION_INVALID", f"{option} takes {takes}, and one of them has no {missing} or no `=`."
            )
        if key in read:
            raise CommandError(Exit.USAGE, "OPTION_INVALID", f"{option} {key}=… is given twice; give it once.")
        read[key] = rest
    return read
