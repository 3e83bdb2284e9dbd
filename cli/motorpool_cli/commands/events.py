"""events: what happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated

import grpc
import typer

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.changes import follow_from
from motorpool_cli.client import Client
from motorpool_cli.context import Output, client, complete_deployment, complete_node
from motorpool_cli.failures import CommandError, Exit, code
from motorpool_cli.lists import list_events
from motorpool_cli.named import GETTERS
from motorpool_cli.output import Format, note
from motorpool_cli.watching import Listing

LATEST = 50
"""How many are shown where nothing says how many, or since when."""
REMEMBERED = 10_000
"""Of how many events who follows knows that they were shown: as many as a controller's watch may repeat."""


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("events")(events)


def events(
    subject: Annotated[
        str, typer.Argument(help="Only about this, e.g. deployments/NAME (with its instances) or nodes/NAME.")
    ] = "",
    deployment: Annotated[
        str, typer.Option(help="Of this deployment and its instances.", autocompletion=complete_deployment)
    ] = "",
    node: Annotated[
        str, typer.Option(help="Of this node and what is placed there.", autocompletion=complete_node)
    ] = "",
    since: Annotated[
        str, typer.Option(metavar="LENGTH|TIME", help="Of the last 10m, or since 2026-11-21T20:00:00Z.")
    ] = "",
    limit: Annotated[
        int | None, typer.Option(min=1, max=1000, help=f"At most so many to begin with, {LATEST} without --since.")
    ] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", "--watch", "-w", help="Go on with what happens, a line each, until interrupted."
        ),
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """List what happened, the latest last."""
    with client(output) as connected:
        if subject and deployment:
            raise CommandError(
                Exit.USAGE, "FIELD_INVALID", f"{subject} and --deployment both say about what: give one of them."
            )
        asked = _Asked(
            subject=_subject(deployment or subject),
            node=text.full("nodes", node) if node else "",
            limit=LATEST if limit is None and not since else limit,
            since=_moment(since),
        )
        if follow:
            _Following(asked, output, _listing(since)).run(connected)
        found = asked.past(connected)
        asked.known(connected, found)
    _listing(since).show(found, output)


def print_events(found: Sequence[v1.Event]) -> None:
    """Print events as a table."""
    _listing().show(found, Format.TABLE)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which events."""

    subject: str
    node: str
    limit: int | None
    since: datetime | None

    def past(self, connected: Client) -> list[v1.Event]:
        """Return those of the past."""
        return list_events(connected, self.subject, node=self.node, limit=self.limit, since=self.since)

    def known(self, connected: Client, found: Sequence[v1.Event]) -> None:
        """Refuse the name of what never was, where nothing was found of it; what is gone has a past."""
        for name in () if found else filter(None, (self.subject, self.node)):
            try:
                GETTERS[name.partition("/")[0]](connected, name)
            except grpc.RpcError as error:
                if code(error) is not grpc.StatusCode.NOT_FOUND or not list_events(connected, name, limit=1):
                    raise

    def after(self, connected: Client, last: datetime) -> list[v1.Event]:
        """Return those from a time on, all of them."""
        return list_events(connected, self.subject, node=self.node, since=last)

    def watched(self) -> v1.WatchRequest:
        """Return what to watch; of a node's subject, what is placed there comes along."""
        kind = self.subject.partition("/")[0]
        deployment = self.subject if kind == "deployments" else ""
        if kind == "instances":  # its deployment's; others of that deployment come along
            deployment = f"deployments/{text.bare(self.subject).rpartition('-')[0]}"
        node = self.node or (self.subject if kind == "nodes" else "")
        return v1.WatchRequest(kinds=["events"], deployment=deployment, node=node)

    def wants(self, event: v1.Event) -> bool:
        """Return whether an event of that watch is one of those."""
        return self.subject.startswith("deployments/") or self.subject in {"", event.subject}


@dataclass(slots=True)
class _Following:
    """Prints what happened and what happens, each event once: over broken streams and gaps of the history."""

    asked: _Asked
    output: Format
    listing: Listing[v1.Event]
    _shown: dict[str, v1.Event] = field(default_factory=dict)
    _last: datetime | None = None

    def run(self, connected: Client) -> None:
        """Go on until interrupted."""
        asked = self.asked.watched()
        for change in follow_from(connected, asked, lambda: self._present(connected), text.LONGEST_SECONDS, note):
            if change.WhichOneof("change") == "event" and self.asked.wants(change.event):
                self._show(change.event)

    def _present(self, connected: Client) -> Iterator[v1.WatchResponse]:
        if self._last is None:
            found = self.asked.past(connected)
            self.asked.known(connected, found)
            self._last = self.asked.since or datetime.min.replace(tzinfo=UTC)
            if self.output is Format.TABLE:  # as wide as all of them need
                self.listing.show(found, self.output)
                for event in found:
                    self._remember(event)
        else:  # away for longer than changes are kept
            found = self.asked.after(connected, self._last)
        for event in found:
            yield v1.WatchResponse(event=event)

    def _show(self, event: v1.Event) -> None:
        if self._shown.pop(event.name, None) != event:
            self.listing.changed(event, self.output)
        self._remember(event)

    def _remember(self, event: v1.Event) -> None:
        self._shown[event.name] = event
        time = event.time.ToDatetime(UTC)
        self._last = max(time, self._last or time)
        if len(self._shown) > REMEMBERED:
            del self._shown[next(iter(self._shown))]


def _subject(given: str) -> str:
    full = f"deployments/{given}" if given and "/" not in given else given
    if full and full.partition("/")[0] not in GETTERS:
        kinds = ", ".join(f"{collection}/NAME" for collection in GETTERS)
        raise CommandError(Exit.USAGE, "FIELD_INVALID", f"Events are not about {given}, but about one of {kinds}.")
    return full


def _moment(since: str) -> datetime | None:
    if not since:
        return None
    found = text.parse_since(since)
    return found if isinstance(found, datetime) else datetime.now(UTC) - timedelta(seconds=found)


def _listing(since: str = "") -> Listing[v1.Event]:
    columns = ("TIME", "SEVERITY", "SUBJECT", "REASON", "COUNT", "MESSAGE")
    return Listing(
        "events", columns, _row, "Nothing has happened since then." if since else "Nothing has happened yet."
    )


def _row(event: v1.Event) -> tuple[str, ...]:
    return (
        text.clock(event.time),
        text.word(v1.Severity, event.severity),
        event.subject,
        event.reason,
        str(event.count),
        event.message,
    )
