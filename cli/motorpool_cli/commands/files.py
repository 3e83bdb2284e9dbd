"""files: what nodes fetched of models on hubs, and making room."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated

import grpc
import typer

from motorpool import v1
from motorpool_cli import failures, sources, text
from motorpool_cli.client import TIMEOUT_SECONDS, Client
from motorpool_cli.context import Output, client, complete_node
from motorpool_cli.failures import Exit
from motorpool_cli.lists import pages
from motorpool_cli.output import Format, note, plain, print_document, print_table, say

PAGE_SIZE = 1000
DELETE_SECONDS = 90.0
"""Nodes have a minute to delete, and many gigabytes take a while."""

COLUMNS = ("NODE", "FILES", "MODEL", "STATE", "SIZE", "USED BY", "LAST USED")

app = typer.Typer(
    name="files", help="What nodes fetched of models on hubs; it stays when deployments go.", no_args_is_help=True
)
Node = Annotated[str, typer.Option("--node", help="Of this node only.", autocompletion=complete_node)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check only, delete nothing.")]


def add_to(on: typer.Typer) -> None:
    """Put this file's commands on the application."""
    on.add_typer(app)


@app.command("list")
def list_files(node: Node = "", output: Output = Format.TABLE) -> None:
    """List what nodes in session fetched: how much, who has it, and when it was last used."""
    with client(output) as connected:
        found = _list(connected, node)
    if output is not Format.TABLE:
        print_document({"files": [plain(each) for each in found]}, output)
        return
    print_table(COLUMNS, map(_row, found), empty="No files: no node in session fetched a model.")


@app.command("delete")
def delete_files(
    node: Annotated[str, typer.Argument(help="The node that has them.", autocompletion=complete_node)],
    files: Annotated[str, typer.Argument(help="The files, as `files list` names them.")],
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Delete what a node fetched of a model, unless an instance has it or it is being fetched."""
    name = files if files.startswith("nodes/") else f"{text.full('nodes', node)}/files/{files}"
    with client(output) as connected:
        deleted = _delete(connected, name, "", dry_run=dry_run)
    if output is not Format.TABLE:
        print_document(plain(deleted), output)
    elif dry_run:
        say(f"{name} ({_size(deleted.files)}) would be deleted; nothing was changed")
    else:
        say(f"{name} is deleted; {text.size(deleted.freed_bytes)} came free")


@app.command("prune")
def prune_files(
    node: Node = "",
    unused_for: Annotated[
        float | None,
        typer.Option(parser=text.parse_duration, metavar="TIME", help="Only what was not used for so long, e.g. 7d."),
    ] = None,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
) -> None:
    """Delete all that no instance has: whole models, and what is left of downloads that were given up."""
    with client(output) as connected:
        idle = [each for each in _list(connected, node) if _is_idle(each, unused_for)]
        deleted = [done for each in idle if (done := _prune(connected, each, dry_run=dry_run)) is not None]
    freed = sum(each.freed_bytes for each in deleted)
    if output is not Format.TABLE:
        print_document({"deleted": [plain(each) for each in deleted]}, output)
    elif not deleted:
        say("Nothing to prune: instances have all that was fetched.")
    else:
        print_table(COLUMNS, [_row(each.files) for each in deleted], empty="")
        would = f"would be deleted, {_sum(each.files for each in deleted)}; nothing was changed"
        say(would if dry_run else f"deleted; {text.size(freed)} came free")


def _prune(connected: Client, files: v1.ModelFiles, *, dry_run: bool) -> v1.DeleteModelFilesResponse | None:
    """Delete one of many; what came to be used meanwhile, or is gone, holds up none of the others."""
    try:
        return _delete(connected, files.name, files.etag, dry_run=dry_run)
    except grpc.RpcError as error:
        told = failures.from_rpc(error, "the controller")
        if told.exit_code not in {Exit.NOT_FOUND, Exit.CONFLICT}:
            raise
        note(f"{files.name} stays: {told.message}")
        return None


def _delete(connected: Client, name: str, etag: str, *, dry_run: bool) -> v1.DeleteModelFilesResponse:
    request = v1.DeleteModelFilesRequest(name=name, etag=etag, validate_only=dry_run)
    return connected.files.DeleteModelFiles(request, timeout=DELETE_SECONDS)


def _is_idle(files: v1.ModelFiles, unused_for: float | None) -> bool:
    if files.instances or files.state == v1.MODEL_FILES_STATE_DOWNLOADING:
        return False
    used = files.use_time if files.HasField("use_time") else files.create_time
    return unused_for is None or used.ToDatetime(UTC) <= datetime.now(UTC) - timedelta(seconds=unused_for)


def _list(connected: Client, node: str) -> list[v1.ModelFiles]:
    parent = text.full("nodes", node) if node else "nodes/-"

    def fetch(token: str) -> tuple[list[v1.ModelFiles], str]:
        request = v1.ListModelFilesRequest(parent=parent, page_size=PAGE_SIZE, page_token=token)
        answer = connected.files.ListModelFiles(request, timeout=TIMEOUT_SECONDS)
        return list(answer.files), answer.next_page_token

    return pages(fetch)


def _row(files: v1.ModelFiles) -> tuple[str, ...]:
    _, node, _, files_id = files.name.split("/", 3)
    return (
        node,
        files_id,
        sources.words(files.source),
        text.word(v1.ModelFilesState, files.state),
        _size(files),
        ", ".join(text.bare(name) for name in files.instances),
        f"{text.age(files.use_time)} ago" if files.HasField("use_time") else text.UNKNOWN,
    )


def _size(files: v1.ModelFiles) -> str:
    if files.state == v1.MODEL_FILES_STATE_COMPLETE:
        return text.size(files.total_bytes)
    return f"{text.size(files.done_bytes)} of {text.size(files.total_bytes)}"


def _sum(files: Iterable[v1.ModelFiles]) -> str:
    return text.size(sum(each.done_bytes for each in files))
