"""cordon, uncordon, drain: keep work away from nodes and devices, and move away what is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import grpc
import typer
from google.protobuf.duration_pb2 import Duration

from motorpool import v1
from motorpool_cli import maintenance, text
from motorpool_cli.changes import follow_from
from motorpool_cli.client import TIMEOUT_SECONDS, Client
from motorpool_cli.commands.progress import Progress
from motorpool_cli.context import Output, client, complete_instance, complete_node
from motorpool_cli.failures import CommandError, Exit
from motorpool_cli.output import Format, plain, print_document, say

Place = Annotated[str, typer.Argument(help="NODE, or NODE/DEVICE for one device.", autocompletion=complete_node)]
Reason = Annotated[str, typer.Option(help="Why, for whoever looks.")]


def _complete_target(context: typer.Context, incomplete: str) -> list[str]:
    return [*complete_node(context, incomplete), *complete_instance(context, incomplete)]


Target = Annotated[str, typer.Argument(help="NODE, NODE/DEVICE or an instance.", autocompletion=_complete_target)]


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("cordon")(cordon)
    app.command("uncordon")(uncordon)
    app.command("drain")(drain)


def cordon(place: Place, reason: Reason = "", output: Output = Format.TABLE) -> None:
    """Place nothing new on a node or device; what runs there goes on."""
    with client(output) as connected:
        name = _place(place)
        node = connected.nodes.CordonNode(v1.CordonNodeRequest(name=name, reason=reason), timeout=TIMEOUT_SECONDS)
    if output is not Format.TABLE:
        print_document(plain(node), output)
    else:
        say(f"{name} is cordoned: it takes nothing new")


def uncordon(target: Target, output: Output = Format.TABLE) -> None:
    """Let a node or device take work again, and end its drain; or have an instance stay that was to be moved."""
    with client(output) as connected:
        name = _target(connected, target)
        changed: v1.Node | v1.Instance
        if name.startswith("instances/"):
            changed = connected.instances.UndrainInstance(v1.UndrainInstanceRequest(name=name), timeout=TIMEOUT_SECONDS)
        else:
            changed = connected.nodes.UncordonNode(v1.UncordonNodeRequest(name=name), timeout=TIMEOUT_SECONDS)
    if output is not Format.TABLE:
        print_document(plain(changed), output)
    else:
        say(f"{name} {'stays where it is' if name.startswith('instances/') else 'takes work again'}")


def drain(
    target: Target,
    reason: Reason = "",
    deadline: Annotated[
        float | None,
        typer.Option(
            parser=text.parse_duration,
            metavar="TIME",
            help="Stop what has no other place by then, e.g. 30m; without it, wait for one.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Stop everything at once, ready elsewhere or not.")] = False,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait until nothing is left there.")] = False,
    timeout: Annotated[
        float, typer.Option(parser=text.parse_duration, metavar="TIME", help="How long to wait, e.g. 90s or 15m.")
    ] = 3600,
    output: Output = Format.TABLE,
) -> None:
    """Move the instances of a node or device elsewhere, or replace one: first another one serves, then it stops."""
    if force and deadline is not None:
        raise typer.BadParameter("it stops everything at once; leave one of the two out.", param_hint="--force")
    seconds = 0.0 if force else deadline
    with client(output) as connected:
        name = _target(connected, target)
        drained = _Drained.begin(connected, name, reason, seconds)
        if output is Format.TABLE:
            say(_accepted(drained))
        if wait:
            drained = _wait(connected, drained, timeout, output)
    if output is not Format.TABLE:
        print_document(plain(drained.row), output)


@dataclass(frozen=True, slots=True)
class _Drained:
    """What is drained: its name, and the node or instance as it now is; a gone instance as it last was."""

    name: str
    row: v1.Node | v1.Instance
    gone: bool = False

    @staticmethod
    def begin(connected: Client, name: str, reason: str, seconds: float | None) -> _Drained:
        """Ask for it."""
        deadline = None
        if seconds is not None:
            deadline = Duration()
            deadline.FromNanoseconds(round(seconds * 1e9))
        if name.startswith("instances/"):
            asked = v1.DrainInstanceRequest(name=name, reason=reason, deadline_timeout=deadline)
            return _Drained(name, connected.instances.DrainInstance(asked, timeout=TIMEOUT_SECONDS))
        request = v1.DrainNodeRequest(name=name, reason=reason, deadline_timeout=deadline)
        return _Drained(name, connected.nodes.DrainNode(request, timeout=TIMEOUT_SECONDS))

    def again(self, connected: Client) -> _Drained:
        """Return how it is now."""
        try:
            if isinstance(self.row, v1.Instance):
                request = v1.GetInstanceRequest(name=self.name)
                return _Drained(self.name, connected.instances.GetInstance(request, timeout=TIMEOUT_SECONDS))
            asked = v1.GetNodeRequest(name=self.row.name)
            return _Drained(self.name, connected.nodes.GetNode(asked, timeout=TIMEOUT_SECONDS))
        except grpc.RpcError as error:
            if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.NOT_FOUND:
                return _Drained(self.name, self.row, gone=True)
            raise

    @property
    def drain(self) -> v1.Drain | None:
        """How far it has come; None where somebody took it back."""
        if isinstance(self.row, v1.Instance):
            return self.row.drain if self.row.HasField("drain") else None
        cordon = self.row.cordon
        if "/devices/" in self.name:
            cordon = next((each.cordon for each in self.row.devices if each.name == self.name), v1.Cordon())
        return cordon.drain if cordon.HasField("drain") else None

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return self.gone or (self.drain is not None and self.drain.state == v1.DRAIN_STATE_DRAINED)

    def concerns(self, change: v1.WatchResponse) -> bool:
        """Return whether a change may be of what is awaited."""
        drain = self.drain
        waits = [] if drain is None else list(drain.waits)
        names = {self.name, self.row.name, *(name for wait in waits for name in (wait.instance, wait.replacement))}
        theirs = {wait.instance.removeprefix("instances/").rpartition("-")[0] for wait in waits}
        if change.WhichOneof("change") is None:
            return False
        found = {change.node.name, change.instance.name, change.deleted} - {""}
        return bool(found & names) or text.bare(change.instance.deployment) in theirs


def _accepted(drained: _Drained) -> str:
    if isinstance(drained.row, v1.Instance):
        return f"{drained.name} is to be replaced"
    total = drained.drain.total_instances if drained.drain is not None else 0
    number = "1 instance" if total == 1 else f"{total} instances"
    return f"{drained.name} is cordoned, and {number} {'is' if total == 1 else 'are'} to be moved"


def _wait(connected: Client, drained: _Drained, timeout_seconds: float, output: Format) -> _Drained:
    goes_on = f"It goes on by itself; `motorpool describe {text.bare(drained.row.name)}` shows what it waits for."
    try:
        with Progress(enabled=output is Format.TABLE) as progress:
            for told in _course(connected, drained, timeout_seconds, progress):
                drained = told
    except TimeoutError:
        raise CommandError(
            Exit.FAILED, "WAIT_TIMEOUT", f"{drained.name} is not drained after {timeout_seconds:.0f} s. {goes_on}"
        ) from None
    except KeyboardInterrupt:
        raise CommandError(
            Exit.INTERRUPTED, "INTERRUPTED", f"Interrupted while {drained.name} is drained. {goes_on}"
        ) from None
    if output is Format.TABLE:
        total = drained.drain.total_instances if drained.drain is not None and not drained.gone else 0
        say(f"{drained.name} is {'gone' if drained.gone else 'drained'}{f', {total} moved' if total else ''}")
    return drained


def _course(connected: Client, drained: _Drained, timeout_seconds: float, progress: Progress) -> Iterator[_Drained]:
    told: set[str] = set()
    asked = v1.WatchRequest(kinds=["nodes", "instances"])
    begun = v1.WatchResponse(deleted=drained.name)
    for change in follow_from(connected, asked, lambda: [begun], timeout_seconds, progress.note):
        if not drained.concerns(change):
            continue
        drained = drained.again(connected)
        yield drained
        if drained.done:
            return
        if drained.drain is None:
            raise CommandError(
                Exit.FAILED, "DRAIN_ENDED", f"{drained.name} was uncordoned by someone else; what is there stays."
            )
        for line in _lines(drained.drain):
            if line not in told:
                progress.note(line)
        told = set(_lines(drained.drain))


def _lines(drain: v1.Drain) -> Iterator[str]:
    if drain.total_instances:
        yield maintenance.moved(drain)
    for wait in drain.waits:
        yield maintenance.waited(wait)


def _place(place: str) -> str:
    """Return the full name of a node, or of a device written NODE/DEVICE."""
    bare = place.removeprefix("nodes/")
    node, slash, device = bare.partition("/")
    device = device.removeprefix("devices/")
    return f"nodes/{node}/devices/{device}" if slash else f"nodes/{node}"


def _target(connected: Client, target: str) -> str:
    """Return the full name of a node, device or instance; a bare name is a node's first."""
    if target.startswith("instances/"):
        return target
    if "/" in target:
        return _place(target)
    for name, get in (
        (f"nodes/{target}", lambda: connected.nodes.GetNode(v1.GetNodeRequest(name=f"nodes/{target}"))),
        (
            f"instances/{target}",
            lambda: connected.instances.GetInstance(v1.GetInstanceRequest(name=f"instances/{target}")),
        ),
    ):
        try:
            get()
        except grpc.RpcError as error:
            if not (isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.NOT_FOUND):
                raise
        else:
            return name
    raise CommandError(
        Exit.NOT_FOUND,
        "NOT_FOUND",
        f"No node or instance is called {target}; `motorpool nodes` and `motorpool ps` list them, and `motorpool "
        "devices` those that NODE/DEVICE may name.",
    )
