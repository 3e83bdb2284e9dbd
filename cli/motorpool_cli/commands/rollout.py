"""rollout: how far a changed deployment has come, what it was before, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from google.protobuf.message import Message

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.changes import follow
from motorpool_cli.client import TIMEOUT_SECONDS, Client
from motorpool_cli.commands.progress import Progress
from motorpool_cli.commands.workloads import wished
from motorpool_cli.context import Output, client, complete_deployment
from motorpool_cli.failures import CommandError, Exit
from motorpool_cli.output import Format, plain, print_document, print_facts, print_table, say

app = typer.Typer(
    help="See how a changed deployment is rolled out, and return to a former one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Deployment = Annotated[str, typer.Argument(help="Name of the deployment.", autocompletion=complete_deployment)]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Wait until all instances were replaced.")]
Timeout = Annotated[
    float, typer.Option(parser=text.parse_duration, metavar="TIME", help="How long to wait, e.g. 90s or 15m.")
]
_MOST_CHARACTERS = 60
_ENDS = {
    v1.ROLLOUT_STATE_FAILED: "ROLLOUT_FAILED",
    v1.ROLLOUT_STATE_NO_ROOM: "ROLLOUT_NO_ROOM",
    v1.ROLLOUT_STATE_UNPLACEABLE: "ROLLOUT_UNPLACEABLE",
}


def add_to(root: typer.Typer) -> None:
    """Put this file's commands on the application."""
    root.add_typer(app, name="rollout")


@app.command("status")
def status(deployment: Deployment, wait: Wait = False, timeout: Timeout = 900, output: Output = Format.TABLE) -> None:
    """Show how far the latest change of a deployment has come, and what holds it up."""
    with client(output) as connected:
        found = connected.deployments.GetDeployment(
            v1.GetDeploymentRequest(name=text.full("deployments", deployment)), timeout=TIMEOUT_SECONDS
        )
        if wait:
            found = wait_rolled_out(connected, found, timeout, output)
    if output is not Format.TABLE:
        print_document(plain(found), output)
        return
    rollout = found.rollout
    print_facts(
        (
            ("Deployment", text.bare(found.name)),
            ("Revision", str(found.revision)),
            ("Rollout", _word(rollout)),
            ("Since", text.clock(rollout.state_time) if rollout.HasField("state_time") else ""),
            ("Ready", f"{rollout.ready_replicas} of {wished(found)}"),
            ("Former", f"{rollout.outdated_replicas} still stand" if rollout.outdated_replicas else ""),
            ("Message", rollout.message),
        )
    )


@app.command("history")
def history(deployment: Deployment, output: Output = Format.TABLE) -> None:
    """List the specs that a deployment had, with what each changed; the last is the present one."""
    with client(output) as connected:
        found = connected.deployments.ListDeploymentRevisions(
            v1.ListDeploymentRevisionsRequest(name=text.full("deployments", deployment)), timeout=TIMEOUT_SECONDS
        )
    if output is not Format.TABLE:
        print_document(plain(found), output)
        return
    before = [None, *found.revisions[:-1]]
    print_table(
        ("REVISION", "SINCE", "INSTANCES", "", "CHANGE"),
        (
            (
                str(each.revision),
                text.clock(each.create_time),
                str(each.replicas),
                "present" if each.current else "",
                "" if former is None else ", ".join(differences(former.spec, each.spec)),
            )
            for former, each in zip(before, found.revisions, strict=True)
        ),
        empty="",
    )


@app.command("undo")
def undo(
    deployment: Deployment,
    to: Annotated[int, typer.Option(min=0, help="Number of a revision; 0 is the one before the present one.")] = 0,
    wait: Wait = False,
    timeout: Timeout = 900,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only; nothing is changed.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Return to a former spec. Those of its instances that still stand go on; the others are replaced one by one."""
    name = text.full("deployments", deployment)
    with client(output) as connected:
        before = connected.deployments.GetDeployment(v1.GetDeploymentRequest(name=name), timeout=TIMEOUT_SECONDS)
        changed = connected.deployments.RollbackDeployment(
            v1.RollbackDeploymentRequest(name=name, revision=to, etag=before.etag, validate_only=dry_run),
            timeout=TIMEOUT_SECONDS,
        )
        if output is Format.TABLE:
            if dry_run:
                say(f"{changed.name} would return to revision {changed.revision}")
            else:
                print_accepted(before, changed)
        if wait and not dry_run:
            changed = wait_rolled_out(connected, changed, timeout, output)
    if output is not Format.TABLE:
        print_document(plain(changed), output)


def print_accepted(before: v1.Deployment, changed: v1.Deployment) -> None:
    """Say what came of a change that was accepted."""
    bare = text.bare(changed.name)
    if changed.generation == before.generation:
        say(f"{changed.name} is as it is to be already: revision {changed.revision}")
    elif changed.revision == before.revision:
        say(f"{changed.name} is changed; its instances stay, of revision {changed.revision}")
    else:
        say(f"{changed.name} has revision {changed.revision} now; its instances are replaced one by one")
        say(
            f"See it with `motorpool rollout status {bare}`; `motorpool rollout undo {bare}` returns to the former one."
        )


def wait_rolled_out(connected: Client, changed: v1.Deployment, timeout_seconds: float, output: Format) -> v1.Deployment:
    """Return the deployment when all its instances are of its present spec, and ready; raise when it is held up."""
    bare = text.bare(changed.name)
    try:
        with Progress(enabled=output is Format.TABLE) as progress:
            progress.ask(connected)
            changed = _until_rolled_out(connected, changed, timeout_seconds, progress)
    except TimeoutError:
        raise CommandError(
            Exit.FAILED,
            "WAIT_TIMEOUT",
            f"{changed.name} is not rolled out after {timeout_seconds:.0f} s, and goes on by itself: `motorpool "
            f"rollout status {bare}` shows how far it is, `motorpool rollout undo {bare}` returns to the former spec.",
        ) from None
    except KeyboardInterrupt:
        raise CommandError(
            Exit.INTERRUPTED, "INTERRUPTED", f"Interrupted. {changed.name} goes on being rolled out by itself."
        ) from None
    if output is Format.TABLE:
        say(f"{changed.name} is rolled out: {changed.rollout.ready_replicas} ready of revision {changed.revision}")
    return changed


def is_rolled_out(deployment: v1.Deployment) -> bool:
    """Return whether no instance of a former spec is left, and all that are wished are ready."""
    rollout = deployment.rollout
    return rollout.outdated_replicas == 0 and rollout.ready_replicas >= wished(deployment)


def differences(one: Message, other: Message, prefix: str = "") -> Iterator[str]:
    """Yield what another spec changes, a word a field; the number of instances and how they are changed are none."""
    for field in other.DESCRIPTOR.fields:
        if not prefix and field.name in {"replicas", "rollout_strategy"}:
            continue
        before, after = getattr(one, field.name), getattr(other, field.name)
        given = field.has_presence and one.HasField(field.name) != other.HasField(field.name)
        if before == after and not given:
            continue
        if field.message_type is not None and field.has_presence:
            yield from differences(before, after, f"{prefix}{field.name}.")
        else:
            names = None if field.enum_type is None else field.enum_type.values_by_number
            yield f"{prefix}{field.name}: {_value(before, names)} → {_value(after, names)}"


def _until_rolled_out(
    connected: Client, changed: v1.Deployment, timeout_seconds: float, progress: Progress
) -> v1.Deployment:
    said = ""
    for change in follow(connected, changed.name, timeout_seconds, progress.note):
        match change.WhichOneof("change"):
            case "instance":
                progress.show(change.instance)
                continue
            case "deployment":
                latest = change.deployment
            case "deleted" if change.deleted == changed.name:
                break
            case _:
                continue
        if latest.uid != changed.uid or latest.state == v1.DEPLOYMENT_STATE_DELETING:
            break
        if latest.generation < changed.generation:
            continue
        if latest.revision != changed.revision:
            raise CommandError(
                Exit.FAILED,
                "CHANGED",
                f"{changed.name} was changed again meanwhile, and has revision {latest.revision} now.",
            )
        if is_rolled_out(latest):
            return latest
        if latest.rollout.state in _ENDS:
            raise CommandError(
                Exit.FAILED, _ENDS[latest.rollout.state], f"{changed.name} is held up: {latest.rollout.message}"
            )
        words = _counted(latest)
        if words != said:
            progress.note(words)
            said = words
    raise CommandError(Exit.FAILED, "DELETED", f"{changed.name} was deleted by someone else meanwhile.")


def _counted(deployment: v1.Deployment) -> str:
    rollout = deployment.rollout
    left = f", {rollout.outdated_replicas} of former ones" if rollout.outdated_replicas else ""
    return f"{rollout.ready_replicas} of {wished(deployment)} ready of revision {deployment.revision}{left}"


def _word(rollout: v1.Rollout) -> str:
    if rollout.state == v1.ROLLOUT_STATE_UNSPECIFIED:
        return "none: the spec was never changed"
    return text.word(v1.RolloutState, rollout.state)


def _value(value: Any, names: Mapping[int, Any] | None) -> str:
    if names is not None:
        return str(names[value].name).lower()
    if isinstance(value, Sequence) and not isinstance(value, str):
        words = " ".join(text.quoted(str(each)) for each in value)
    elif hasattr(value, "items"):
        words = " ".join(f"{key}={each}" for key, each in sorted(value.items()))
    else:
        words = str(value)
    words = text.printable(words) or "none"
    return words if len(words) <= _MOST_CHARACTERS else f"{words[: _MOST_CHARACTERS - 1]}…"
