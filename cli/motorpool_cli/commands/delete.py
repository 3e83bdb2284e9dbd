"""delete: give up a deployment or forget a node, and with --wait watch its instances stop."""

from __future__ import annotations

from typing import Annotated

import typer

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.changes import follow
from motorpool_cli.client import TIMEOUT_SECONDS, Client
from motorpool_cli.commands.progress import Progress
from motorpool_cli.context import Output, client, complete_deployment
from motorpool_cli.failures import CommandError, Exit
from motorpool_cli.output import Format, plain, print_document, say


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("delete")(delete)


def delete(
    name: Annotated[str, typer.Argument(help="A deployment, or `nodes/NAME`.", autocompletion=complete_deployment)],
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait until its last instance has stopped.")] = False,
    timeout: Annotated[
        float, typer.Option(parser=text.parse_duration, metavar="TIME", help="How long to wait, e.g. 90s or 15m.")
    ] = 120,
    force: Annotated[bool, typer.Option("--force", help="Forget a node that still has instances.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Delete a deployment (its model files stay), or forget a node."""
    with client(output) as connected:
        if name.startswith("nodes/"):
            connected.nodes.DeleteNode(v1.DeleteNodeRequest(name=name, force=force), timeout=TIMEOUT_SECONDS)
            if output is not Format.TABLE:
                print_document({"deleted": name}, output)
            else:
                say(f"{name} is forgotten")
            return
        full = text.full("deployments", name)
        deleted = connected.deployments.DeleteDeployment(v1.DeleteDeploymentRequest(name=full), timeout=TIMEOUT_SECONDS)
        if wait:
            _wait(connected, deleted, timeout, output)
    if output is not Format.TABLE:
        print_document(plain(deleted), output)
    else:
        say(f"{full} is deleted" if wait else f"{full} is being deleted; its instances stop first")


def _wait(connected: Client, deleted: v1.Deployment, timeout_seconds: float, output: Format) -> None:
    goes_on = "It goes on by itself; `motorpool ps` shows what is left."
    try:
        with Progress(enabled=output is Format.TABLE) as progress:
            for change in follow(connected, deleted.name, timeout_seconds, progress.note):
                match change.WhichOneof("change"):
                    case "instance":
                        progress.show(change.instance)
                    case "deleted" if change.deleted == deleted.name:
                        return
                    case "deployment" if change.deployment.uid != deleted.uid:  # gone, and made again by someone else
                        return
                    case _:
                        pass
    except TimeoutError:
        raise CommandError(
            Exit.FAILED, "WAIT_TIMEOUT", f"{deleted.name} still stops after {timeout_seconds:.0f} s. {goes_on}"
        ) from None
    except KeyboardInterrupt:
        raise CommandError(
            Exit.INTERRUPTED, "INTERRUPTED", f"Interrupted while {deleted.name} stops. {goes_on}"
        ) from None
