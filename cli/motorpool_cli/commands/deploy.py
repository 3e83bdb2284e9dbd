"""deploy: wish for a model, and with --wait watch it come up."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.changes import follow
from motorpool_cli.client import TIMEOUT_SECONDS, Client
from motorpool_cli.commands import wish
from motorpool_cli.commands.plan import planned, print_checked
from motorpool_cli.commands.progress import Progress
from motorpool_cli.context import Output, client
from motorpool_cli.failures import CommandError, Exit
from motorpool_cli.output import Format, note, plain, print_document, print_facts, say
from motorpool_cli.sources import complete_source, source_of


class Exposure(enum.StrEnum):
    """Who can reach the instances."""

    NODE = "node"
    LOCAL = "local"


_EXPOSURES = {Exposure.NODE: v1.EXPOSURE_NODE, Exposure.LOCAL: v1.EXPOSURE_LOCAL}


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("deploy")(deploy)


def deploy(
    name: Annotated[str, typer.Argument(help="Name of the deployment: lower-case letters, digits, dashes.")],
    model: Annotated[str, typer.Option("--model", "-m", help=wish.SOURCE_HELP, autocompletion=complete_source)],
    parameters: wish.Parameters = None,
    backend: wish.Backend = "",
    backend_version: wish.BackendVersion = "",
    image: wish.Image = None,
    package: wish.Packages = None,
    category: wish.Categories = None,
    replicas: wish.Replicas = 1,
    env: wish.Env = None,
    label: wish.Labels = None,
    device: wish.Devices = None,
    strategy: wish.Strategy = wish.StrategyName.SPREAD,
    exposure: Annotated[
        Exposure, typer.Option(help="The node's address, with an API key; or its loopback only.")
    ] = Exposure.NODE,
    served_name: Annotated[str, typer.Option(help="The `model` field of requests; the deployment's name.")] = "",
    reschedule_after: wish.RescheduleAfter = None,
    memory: wish.Memory = "",
    device_memory: wish.DeviceMemory = "",
    lora: wish.Lora = None,
    speculative: wish.Speculative = "",
    draft_model: wish.DraftModel = "",
    draft_tokens: wish.DraftTokens = None,
    drain_time: Annotated[
        float | None,
        typer.Option(parser=text.parse_duration, metavar="TIME", help=f"{wish.DRAIN_HELP}; else the controller's."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait until every instance runs.")] = False,
    timeout: Annotated[
        float, typer.Option(parser=text.parse_duration, metavar="TIME", help="How long to wait, e.g. 90s or 15m.")
    ] = 900,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check only, as `check` does; nothing is created.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Deploy a model; arguments after `--` go to the engine."""
    with client(output) as connected:
        spec = wish.spec(
            source_of("--model", model),
            parameters=parameters,
            backend=backend,
            backend_version=backend_version,
            image=image,
            packages=package,
            categories=category,
            replicas=replicas,
            env=env,
            labels=label,
            devices=device,
            strategy=strategy,
            memory=memory,
            device_memory=device_memory,
            lora=lora,
            speculative=speculative,
            draft_model=draft_model,
            draft_tokens=draft_tokens,
        )
        spec.exposure = _EXPOSURES[exposure]
        spec.served_model_name = served_name
        if drain_time is not None:
            spec.drain_timeout.FromTimedelta(timedelta(seconds=drain_time))
        if reschedule_after is not None:
            spec.reschedule_after.FromNanoseconds(round(reschedule_after * 1e9))
        created = connected.deployments.CreateDeployment(
            v1.CreateDeploymentRequest(
                deployment_id=name.removeprefix("deployments/"),
                deployment=v1.Deployment(spec=spec),
                validate_only=dry_run,
            ),
            timeout=TIMEOUT_SECONDS,
        )
        if output is Format.TABLE:
            say(f"{created.name} {'would be accepted' if dry_run else 'is accepted'}")
            if dry_run:
                request = v1.PlanDeploymentRequest(deployment=v1.Deployment(spec=spec))
                print_checked(planned(connected, request, output), spec)
                return
            for finding in created.findings:
                note(f"note: {finding}")
        if wait and not dry_run:
            created = wait_available(connected, created, timeout, output)
        if output is not Format.TABLE:
            print_document(plain(created), output)
        elif not wait:
            bare = text.bare(created.name)
            say(f"See it come up with `motorpool ps`; `motorpool explain {bare}` says why if it does not.")


def wait_available(connected: Client, created: v1.Deployment, timeout_seconds: float, output: Format) -> v1.Deployment:
    """Return the deployment when its instances run, and no others; tell how each came up and where they answer."""
    bare = text.bare(created.name)
    next_step = (
        f"`motorpool ps` shows its state, `motorpool explain {bare}` why, `motorpool delete {bare}` gives it up."
    )
    try:
        with Progress(enabled=output is Format.TABLE) as progress:
            progress.ask(connected)
            created = _until_available(connected, created, timeout_seconds, progress)
    except TimeoutError:
        raise CommandError(
            Exit.FAILED,
            "WAIT_TIMEOUT",
            f"{created.name} does not run after {timeout_seconds:.0f} s. It stands, and goes on trying: {next_step}",
        ) from None
    except KeyboardInterrupt:
        raise CommandError(
            Exit.INTERRUPTED, "INTERRUPTED", f"Interrupted. {created.name} stands, and goes on by itself: {next_step}"
        ) from None
    if output is Format.TABLE:
        found = connected.deployments.GetDeploymentCredentials(
            v1.GetDeploymentCredentialsRequest(name=created.name), timeout=TIMEOUT_SECONDS
        )
        print_facts([("endpoint", address) for address in found.endpoints])
        if found.api_key and found.endpoints:
            say(f"`motorpool endpoint {bare}` shows its API key.")
    return created


def _until_available(
    connected: Client, created: v1.Deployment, timeout_seconds: float, progress: Progress
) -> v1.Deployment:
    standing: dict[str, v1.Instance] = {}
    latest: v1.Deployment | None = None
    for change in follow(connected, created.name, timeout_seconds, progress.note):
        match change.WhichOneof("change"):
            case "instance":
                standing[change.instance.name] = change.instance
                progress.show(change.instance)
            case "deployment" if change.deployment.uid != created.uid:
                break
            case "deployment" if change.deployment.state == v1.DEPLOYMENT_STATE_DELETING:
                break
            case "deployment":
                latest = change.deployment
            case "deleted" if change.deleted == created.name:
                break
            case "deleted":
                standing.pop(change.deleted, None)
            case _:
                pass
        # Of fewer than there were, those that are too many have to be gone.
        available = latest is not None and latest.state == v1.DEPLOYMENT_STATE_AVAILABLE
        if latest is None:
            continue
        if available and len(standing) <= latest.spec.replicas:
            return latest
        _give_up_if_hopeless(list(standing.values()), latest)
    raise CommandError(Exit.FAILED, "DELETED", f"{created.name} was deleted by someone else while it came up.")


# Refusals that end by themselves: the agents are being asked, or are on their way.
_WAITING_HELPS = {"MODEL_NOT_READ_YET", "NODE_NOT_READY", "NODE_SUSPECT"}


def _hopeless(instance: v1.Instance) -> str:
    return "cannot be placed" if _of_the_model(instance) else "fits nowhere now"


def _next(instance: v1.Instance) -> str:
    if _of_the_model(instance):
        return "The deployment stands, and is tried again from time to time; nothing but the model stands in its way"
    return "The deployment stands, and is placed as soon as a node can take it"


def _of_the_model(instance: v1.Instance) -> bool:
    """Return whether all that is missing is to know or have the model, and no node lacks anything."""
    return all(refusal.stage == "facts" for refusal in instance.refusals)


def _give_up_if_hopeless(instances: Sequence[v1.Instance], wish: v1.Deployment) -> None:
    """Raise for an instance that will not run by itself, but for those that are too many: they are stopped anyway."""
    staying = [each for each in instances if each.state != v1.INSTANCE_STATE_STOPPING]
    if len(staying) <= wish.spec.replicas:
        for instance in staying:
            _raise_if_hopeless(instance, wish)


def _raise_if_hopeless(instance: v1.Instance, created: v1.Deployment) -> None:
    deployment = text.bare(created.name)
    if instance.state == v1.INSTANCE_STATE_PENDING and instance.refusals:
        if any(refusal.reason in _WAITING_HELPS for refusal in instance.refusals):
            return
        rows = "\n".join(f"  - {refusal.message}" for refusal in instance.refusals)
        raise CommandError(
            Exit.FAILED,
            instance.refusals[0].reason,
            f"{instance.name} {_hopeless(instance)}:\n{rows}\n{_next(instance)}; `motorpool "
            f"explain {deployment}` says more, `motorpool delete {deployment}` gives it up.",
        )
    if instance.state == v1.INSTANCE_STATE_ERROR:
        failure = instance.last_failure
        tail = "".join(f"\n  | {line}" for line in failure.log_tail[-10:])
        # What did not come as far as a program has no log.
        failed = f" --attempt {instance.attempts[-1].number}" if instance.attempts else ""
        log = f"`motorpool logs {text.bare(instance.name)}{failed}` shows the whole log, " if tail else ""
        raise CommandError(
            Exit.FAILED,
            failure.reason or "INSTANCE_ERROR",
            f"{instance.name} failed: {failure.message or instance.state_message}{tail}\n{log}`motorpool describe "
            f"{instance.name}` shows the launch, `motorpool delete {deployment}` gives it up.",
        )
