"""update: change what a deployment is wished to be; its instances are replaced one by one."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.client import TIMEOUT_SECONDS, Client
from motorpool_cli.commands import wish
from motorpool_cli.commands.rollout import Timeout, print_accepted, wait_rolled_out
from motorpool_cli.context import Output, client, complete_backend, complete_deployment
from motorpool_cli.failures import CommandError, Exit
from motorpool_cli.output import Format, note, plain, print_document, say
from motorpool_cli.sources import complete_source, source_of

_STRATEGIES = {True: v1.ROLLOUT_STRATEGY_REPLACE, False: v1.ROLLOUT_STRATEGY_SURGE}


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("update")(update)


def update(
    deployment: Annotated[str, typer.Argument(help="Name of the deployment.", autocompletion=complete_deployment)],
    parameters: Annotated[
        list[str] | None,
        typer.Argument(help="After `--`: arguments of the engine, instead of all that it was given before."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help=wish.SOURCE_HELP, autocompletion=complete_source)
    ] = None,
    backend: Annotated[str | None, typer.Option(help="Backend.", autocompletion=complete_backend)] = None,
    backend_version: Annotated[
        str | None, typer.Option(help="Version of the backend; an empty one is the node's default.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="Image to run the engine in; an empty one runs a process.")] = None,
    package: Annotated[
        list[str] | None,
        typer.Option(
            "--package",
            help="NAME==VERSION to install with pip in the image, instead of those before; one empty one: none.",
        ),
    ] = None,
    env: Annotated[list[str] | None, typer.Option("--env", "-e", help="KEY=VALUE to set for the engine.")] = None,
    unset_env: Annotated[list[str] | None, typer.Option(help="KEY to set no more.")] = None,
    label: Annotated[
        list[str] | None, typer.Option("--node-label", help="KEY=VALUE a node must carry, instead of those before.")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="Pin to nodes/NODE/devices/DEVICE, instead of those before.")
    ] = None,
    strategy: Annotated[wish.StrategyName | None, typer.Option(help="Away from other instances, or close.")] = None,
    reschedule_after: wish.RescheduleAfter = None,
    served_name: Annotated[str | None, typer.Option(help="The `model` field of requests.")] = None,
    memory: Annotated[
        str | None, typer.Option(help="Host memory to claim, e.g. 6GiB; an empty one is estimated.")
    ] = None,
    device_memory: Annotated[
        str | None, typer.Option(help="Device memory to claim, e.g. 8GiB; an empty one is estimated.")
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SOURCE", help="LoRA adapter and its name, instead of those before; one empty one: none."
        ),
    ] = None,
    speculative: Annotated[
        str | None, typer.Option(help="Guess tokens ahead: eagle3, mtp, ngram, …; an empty one: no more.")
    ] = None,
    draft_model: wish.DraftModel = "",
    draft_tokens: wish.DraftTokens = None,
    replace: Annotated[
        bool | None,
        typer.Option(
            "--replace/--surge",
            help="Without room for a new instance beside the old ones, let an old one go first; or wait for room.",
        ),
    ] = None,
    drain_time: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"{wish.DRAIN_HELP}; an empty one is the controller's.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait until all instances were replaced.")] = False,
    timeout: Timeout = 900,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only; nothing is changed.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Change a deployment: what is not given stays. Its instances are replaced one by one, by ones that are ready."""
    with client(output) as connected:
        before = _found(connected, deployment)
        request = v1.UpdateDeploymentRequest(
            deployment=v1.Deployment(name=before.name, etag=before.etag), validate_only=dry_run
        )
        spec, paths = request.deployment.spec, []
        if model is not None:
            spec.model.CopyFrom(source_of("--model", model))
            paths.append("model")
        for field, value in (
            *(("backend", backend), ("backend_version", backend_version), ("image", image)),
            ("served_model_name", served_name),
        ):
            if value is not None:
                setattr(spec, field, value)
                paths.append(field)
        if parameters:
            spec.parameters.extend(parameters)
            paths.append("parameters")
        if package:
            spec.packages.extend(each for each in package if each)
            paths.append("packages")
        if lora:
            spec.lora_adapters.extend(wish.adapters([each for each in lora if each]))
            paths.append("lora_adapters")
        guessing = wish.speculation(speculative or "", draft_model, draft_tokens)
        if speculative is not None:
            if guessing is not None:
                spec.speculative.CopyFrom(guessing)
            paths.append("speculative")
        if env or unset_env:
            spec.env.update(_environment(before.spec, env, unset_env))
            paths.append("env")
        if label:
            spec.node_selector.match_labels.update(wish.pairs("--node-label", label))
            paths.append("node_selector")
        if device:
            spec.device_selector.devices.extend(device)
            paths.append("device_selector.devices")
        if strategy is not None:
            spec.placement_strategy = wish.STRATEGIES[strategy]
            paths.append("placement_strategy")
        for option, field, size in (
            ("--memory", "memory_bytes", memory),
            ("--device-memory", "device_memory_bytes", device_memory),
        ):
            if size is not None:
                if size:
                    setattr(spec.claim, field, text.parse_size(option, size))
                paths.append(f"claim.{field}")
        if reschedule_after is not None:
            spec.reschedule_after.FromNanoseconds(round(reschedule_after * 1e9))
            paths.append("reschedule_after")
        if replace is not None:
            spec.rollout_strategy = _STRATEGIES[replace]
            paths.append("rollout_strategy")
        if drain_time is not None:
            if drain_time:
                spec.drain_timeout.FromTimedelta(timedelta(seconds=text.parse_duration(drain_time)))
            paths.append("drain_timeout")
        if not paths:
            raise CommandError(
                Exit.USAGE,
                "OPTION_INVALID",
                "Nothing is given that is to be changed; `motorpool update --help` lists what can be, and arguments "
                "after `--` go to the engine.",
            )
        request.update_mask.CopyFrom(FieldMask(paths=[f"spec.{path}" for path in paths]))
        changed = connected.deployments.UpdateDeployment(request, timeout=TIMEOUT_SECONDS)
        if output is Format.TABLE:
            if dry_run:
                say(f"{changed.name} would be accepted as revision {changed.revision}")
            else:
                print_accepted(before, changed)
            for finding in changed.findings:
                note(f"note: {finding}")
        if wait and not dry_run:
            changed = wait_rolled_out(connected, changed, timeout, output)
    if output is not Format.TABLE:
        print_document(plain(changed), output)


def _found(connected: Client, deployment: str) -> v1.Deployment:
    return connected.deployments.GetDeployment(
        v1.GetDeploymentRequest(name=text.full("deployments", deployment)), timeout=TIMEOUT_SECONDS
    )


def _environment(spec: v1.DeploymentSpec, env: list[str] | None, unset: list[str] | None) -> dict[str, str]:
    present = dict(spec.env)
    for name in unset or ():
        if name not in present:
            there = ", ".join(sorted(present)) or "none"
            raise CommandError(
                Exit.USAGE, "OPTION_INVALID", f"--unset-env {name} is not set for the deployment; there is {there}."
            )
        del present[name]
    return present | wish.pairs("--env", env)
