"""Lists that go on: what there is, then every change of it, until one interrupts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Generic, TypeVar

import typer

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.changes import follow_from
from motorpool_cli.client import Client
from motorpool_cli.output import Format, note, plain, print_document, print_table

T = TypeVar("T", v1.Node, v1.Deployment, v1.Instance, v1.Event)
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Go on with every change, a line each, until interrupted.")]


@dataclass(slots=True)
class Listing(Generic[T]):
    """A list as a table: its noun, columns, how a row is written, and what is said where there is none."""

    noun: str
    columns: Sequence[str]
    row: Callable[[T], Sequence[str]]
    empty: str
    _widths: list[int] = field(default_factory=list)

    def show(self, found: Sequence[T], output: Format) -> None:
        """Print the whole list."""
        if output is not Format.TABLE:
            print_document({self.noun: [plain(each) for each in found]}, output)
        else:
            self._widths = print_table(self.columns, map(self.row, found), empty=self.empty)

    def follow(
        self,
        connected: Client,
        asked: v1.WatchRequest,
        fetch: Callable[[], Sequence[T]],
        output: Format,
        *,
        wanted: Callable[[T], bool] = lambda _: True,
    ) -> None:
        """Print the list, then a line for each change; JSON is a document a line, YAML documents one after another."""
        shown: dict[str, T] = {}

        def present() -> Iterator[v1.WatchResponse]:
            found = fetch()
            if not shown:
                self.show(found, output)
                shown.update((each.name, each) for each in found)
            else:  # the controller was away for longer than changes are kept
                for name in shown.keys() - {each.name for each in found}:
                    yield v1.WatchResponse(deleted=name)
                yield from (_response(each) for each in found)

        for change in follow_from(connected, asked, present, text.LONGEST_SECONDS, note):
            kind = change.WhichOneof("change")
            if kind == "deleted" and change.deleted in shown:
                self._gone(shown.pop(change.deleted), output)
            elif kind is not None and kind != "deleted":
                found: T = getattr(change, kind)
                if shown.get(found.name) != found and wanted(found):
                    shown[found.name] = found
                    self.changed(found, output)

    def changed(self, found: T, output: Format) -> None:
        """Print one more line under the list, or the list's first."""
        if output is not Format.TABLE:
            _print(plain(found), output)
        elif self._widths:
            print_table(self.columns, [self.row(found)], empty="", widths=self._widths)
        else:
            self._widths = print_table(self.columns, [self.row(found)], empty="")

    def _gone(self, was: T, output: Format) -> None:
        if output is not Format.TABLE:
            _print({"deleted": was.name}, output)
        else:
            note(f"{was.name} is gone")


def _print(document: dict[str, object], output: Format) -> None:
    if output is Format.YAML:
        print("---")
    print_document(document, output, one_line=True)


def _response(found: v1.Node | v1.Deployment | v1.Instance | v1.Event) -> v1.WatchResponse:
    if isinstance(found, v1.Node):
        return v1.WatchResponse(node=found)
    if isinstance(found, v1.Deployment):
        return v1.WatchResponse(deployment=found)
    return v1.WatchResponse(instance=found) if isinstance(found, v1.Instance) else v1.WatchResponse(event=found)
