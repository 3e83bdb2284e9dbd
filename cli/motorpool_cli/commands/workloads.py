"""deployments, instances, endpoint: what is wished, what runs, where to reach it."""

from __future__ import annotations

from typing import Annotated

import typer

from motorpool import v1
from motorpool_cli import sources, text, transfers
from motorpool_cli.client import TIMEOUT_SECONDS
from motorpool_cli.commands import strays
from motorpool_cli.context import Output, client, complete_deployment
from motorpool_cli.lists import list_deployments, list_instances
from motorpool_cli.output import Format, note, plain, print_document, print_facts
from motorpool_cli.watching import Listing, Watch

Deployment = Annotated[str, typer.Argument(help="Name of the deployment.", autocompletion=complete_deployment)]


DEPLOYMENT_COLUMNS = ("NAME", "STATE", "RUNNING", "BACKEND", "MODEL", "NEEDS", "AGE")
NO_DEPLOYMENTS = "No deployments. Make one with `motorpool deploy NAME --model /path/to/model.gguf`."
INSTANCE_COLUMNS = ("NAME", "STATE", "NODE", "PID", "CLAIM", "ENDPOINT", "RESTARTS", "AGE", "MESSAGE")


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("deployments")(deployments)
    app.command("models", hidden=True)(deployments)
    app.command("instances")(instances)
    app.command("ps")(instances)
    app.command("model-instances", hidden=True)(instances)
    app.command("endpoint")(endpoint)


def deployments(watch: Watch = False, output: Output = Format.TABLE) -> None:
    """List the deployments."""
    listing = Listing("deployments", DEPLOYMENT_COLUMNS, _deployment_row, NO_DEPLOYMENTS)
    with client(output) as connected:
        if watch:
            asked = v1.WatchRequest(kinds=["deployments"])
            listing.follow(connected, asked, lambda: list_deployments(connected), output)
        found = list_deployments(connected)
    listing.show(found, output)


def _deployment_row(deployment: v1.Deployment) -> tuple[str, ...]:
    return (
        text.bare(deployment.name),
        text.word(v1.DeploymentState, deployment.state),
        f"{deployment.running_replicas}/{wished(deployment)}",
        deployment.spec.backend or "automatic",
        sources.words(deployment.spec.model),
        text.size(deployment.estimate.upper_bytes if deployment.estimate.HasField("upper_bytes") else None),
        text.age(deployment.create_time),
    )


def wished(deployment: v1.Deployment) -> int:
    """Return how many instances a deployment wishes for."""
    return deployment.spec.replicas if deployment.spec.HasField("replicas") else 1


def instances(
    deployment: Annotated[
        str,
        typer.Option("--deployment", help="Only those of this deployment.", autocompletion=complete_deployment),
    ] = "",
    strays_only: Annotated[
        bool, typer.Option("--strays", help="What nodes have and is placed nowhere, instead; see `release`.")
    ] = False,
    watch: Watch = False,
    output: Output = Format.TABLE,
) -> None:
    """List the instances: state, node, claim, endpoint."""
    if strays_only:
        if deployment or watch:
            raise typer.BadParameter(
                "it lists what belongs to no deployment; leave the others out.", param_hint="--strays"
            )
        strays.show("", output)
        return
    listing = Listing("instances", INSTANCE_COLUMNS, _instance_row, "No instances. `motorpool deploy` makes some.")
    with client(output) as connected:
        if watch:
            name = text.full("deployments", deployment) if deployment else ""
            asked = v1.WatchRequest(kinds=["instances"], deployment=name)
            listing.follow(connected, asked, lambda: list_instances(connected, deployment), output)
        found = list_instances(connected, deployment)
    listing.show(found, output)


def _instance_row(instance: v1.Instance) -> tuple[str, ...]:
    return (
        text.bare(instance.name),
        text.word(v1.InstanceState, instance.state),
        ", ".join(text.bare(member.node) for member in instance.placement.members) or text.UNKNOWN,
        str(instance.pid) if instance.pid else text.UNKNOWN,
        claim(instance),
        instance.endpoint or text.UNKNOWN,
        str(instance.restart_count),
        text.age(instance.create_time),
        message(instance),
    )


def claim(instance: v1.Instance) -> str:
    """Return what an instance holds, host and devices apart."""
    members = instance.placement.members
    if not members:
        return text.UNKNOWN
    host = sum(member.claim.memory_bytes for member in members)
    on_devices = sum(device.memory_bytes for member in members for device in member.claim.devices)
    parts = [f"{text.size(host)} host"] if host else []
    if on_devices:
        parts.append(f"{text.size(on_devices)} device")
    return " + ".join(parts) or "nothing"


def message(instance: v1.Instance) -> str:
    """Return why an instance is not running, in one line; empty while it is."""
    if instance.state == v1.INSTANCE_STATE_RUNNING:
        return ""
    if instance.state == v1.INSTANCE_STATE_PENDING and instance.refusals:
        return instance.refusals[0].message
    how_far = transfers.words(instance)
    return f"{instance.state_message}: {how_far}" if how_far else instance.state_message


def endpoint(deployment: Deployment, output: Output = Format.TABLE) -> None:
    """Show what a client needs to send requests: addresses, API key and model name."""
    with client(output) as connected:
        found = connected.deployments.GetDeploymentCredentials(
            v1.GetDeploymentCredentialsRequest(name=text.full("deployments", deployment)),
            timeout=TIMEOUT_SECONDS,
        )
    if output is not Format.TABLE:
        print_document(plain(found), output)
        return
    if not found.endpoints:
        note(f"Nothing of {deployment} runs yet; `motorpool explain {deployment}` says why.")
    print_facts(
        [("endpoint", address) for address in found.endpoints]
        + [("api key", found.api_key or "none: the backend checks none"), ("model", found.served_model_name)]
    )
