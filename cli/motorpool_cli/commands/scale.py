"""scale: wish for more or fewer instances; those that stand are left alone."""

from __future__ import annotations

from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.client import TIMEOUT_SECONDS
from motorpool_cli.commands.deploy import wait_available
from motorpool_cli.context import Output, client, complete_deployment
from motorpool_cli.output import Format, plain, print_document, say


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("scale")(scale)


def scale(
    deployment: Annotated[str, typer.Argument(help="Name of the deployment.", autocompletion=complete_deployment)],
    replicas: Annotated[int, typer.Option(min=0, max=1000, help="Instances wished for; 0 stops them all.")],
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait until so many run, and no others.")] = False,
    timeout: Annotated[
        float, typer.Option(parser=text.parse_duration, metavar="TIME", help="How long to wait, e.g. 90s or 15m.")
    ] = 900,
    output: Output = Format.TABLE,
) -> None:
    """Wish for another number of instances of a deployment; those that stand are left alone."""
    with client(output) as connected:
        changed = connected.deployments.UpdateDeployment(
            v1.UpdateDeploymentRequest(
                deployment=v1.Deployment(
                    name=text.full("deployments", deployment), spec=v1.DeploymentSpec(replicas=replicas)
                ),
                update_mask=FieldMask(paths=["spec.replicas"]),
            ),
            timeout=TIMEOUT_SECONDS,
        )
        if output is Format.TABLE:
            say(f"{changed.name} wishes for {replicas} instance{'' if replicas == 1 else 's'}")
        if wait:
            changed = wait_available(connected, changed, timeout, output)
    if output is not Format.TABLE:
        print_document(plain(changed), output)
