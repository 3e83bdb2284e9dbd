"""What nodes fetched of models, over the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import grpc

from motorpool import v1
from motorpool_controller.domain.errors import ConflictError, NotFoundError, PreconditionError, UnavailableError
from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.names import shown
from motorpool_controller.services import pages
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.files import files_message
from motorpool_controller.services.mutations import mutate, repeated
from motorpool_controller.store.files import FilesState, ModelFiles
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store, utc_now
from motorpool_controller.store.transaction import Transaction

ALL = "nodes/-"


@dataclass(frozen=True, slots=True)
class _Found:
    """What a node has of a model."""

    node: str
    files: ModelFiles

    @property
    def name(self) -> str:
        """What names it."""
        return f"{self.node}/files/{self.files.files_id}"


class FileService(v1.FileServiceServicer):
    """Lists and deletes what nodes fetched."""

    def __init__(self, store: Store, live: Live, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._live = live
        self._clock = clock

    async def ListModelFiles(  # noqa: N802  # gRPC's name
        self,
        request: v1.ListModelFilesRequest,
        context: grpc.aio.ServicerContext[v1.ListModelFilesRequest, v1.ListModelFilesResponse],
    ) -> v1.ListModelFilesResponse:
        """Give what nodes have, by name."""
        if request.parent != ALL:
            self._check_node(request.parent, "parent")
        rows, token = pages.page(
            self._found(request.parent),
            key=lambda found: found.name,
            scope=("files", self._store.view.cluster_id, request.parent),
            size=request.page_size,
            token=request.page_token,
        )
        return v1.ListModelFilesResponse(
            files=[files_message(found.node, found.files) for found in rows], next_page_token=token
        )

    async def DeleteModelFiles(  # noqa: N802  # gRPC's name
        self,
        request: v1.DeleteModelFilesRequest,
        context: grpc.aio.ServicerContext[v1.DeleteModelFilesRequest, v1.DeleteModelFilesResponse],
    ) -> v1.DeleteModelFilesResponse:
        """Have a node delete what it has of a model, unless something uses it, and say what came free."""
        node, files_id = _named(request.name)
        self._check_node(node, "name")
        before = repeated(self._store, request, v1.DeleteModelFilesResponse, self._clock())
        if before is not None:
            return before
        files = self._live.files.of(node).get(files_id)
        answer = v1.DeleteModelFilesResponse()
        if files is not None:
            self._check(node, files, request.etag)
            answer.files.CopyFrom(files_message(node, files))
        elif not self._live.is_connected(node):
            raise UnavailableError(
                "NODE_UNREACHABLE",
                f"{node} has no session now, and only nodes know what they have; try again when it is back",
            )
        else:
            raise NotFoundError(
                "NOT_FOUND", f"{shown(request.name)} does not exist; `motorpool files list` lists what does"
            )
        if not request.validate_only:
            answer.freed_bytes = await self._delete(node, files)

        def record(tx: Transaction) -> v1.DeleteModelFilesResponse:
            what = f"{files.source.repository} ({files.files_id})"
            message = f"{what} was deleted from {node}: {answer.freed_bytes} bytes came free."
            tx.event(Severity.INFO, "FILES_DELETED", node, message)
            return answer

        return await mutate(self._store, request, v1.DeleteModelFilesResponse, record)

    async def _delete(self, node: str, files: ModelFiles) -> int:
        deleted = await self._live.files.delete(node, files.files_id, files.etag, self._clock())
        if deleted.error_reason == "NODE_UNREACHABLE":
            raise UnavailableError("NODE_UNREACHABLE", deleted.error_message)
        if deleted.error_reason == "ETAG_MISMATCH":
            raise ConflictError("ETAG_MISMATCH", deleted.error_message)
        if deleted.error_reason:
            reason = "FILES_IN_USE" if deleted.error_reason == "FILES_IN_USE" else "FILES_NOT_DELETED"
            raise PreconditionError(reason, f"{node}: {deleted.error_message}")
        return deleted.freed_bytes

    def _check(self, node: str, files: ModelFiles, etag: str) -> None:
        """Raise where it must stay: for an instance, for a download, or as the caller saw another one."""
        name = f"{node}/files/{files.files_id}"
        if etag and etag != files.etag:
            raise ConflictError("ETAG_MISMATCH", f"{name} was fetched anew since it was read; read it again and retry")
        placed = {
            instance.name
            for instance in self._store.view.groups.on_node(node).values()
            if instance.assignment is not None
            and any(source == files.source for source, _ in instance.assignment.downloads)
        }
        users = sorted({*files.instances, *placed})
        if users:
            raise PreconditionError(
                "FILES_IN_USE", f"{name} stays: {', '.join(users)} has it; `motorpool delete` the deployment first"
            )
        if files.state is FilesState.DOWNLOADING:
            raise PreconditionError("FILES_IN_USE", f"{name} is being fetched; wait until that is done")

    def _found(self, parent: str) -> Iterator[_Found]:
        for node in sorted(self._store.view.nodes) if parent == ALL else [parent]:
            for _, files in sorted(self._live.files.of(node).items()):
                yield _Found(node, files)

    def _check_node(self, node: str, field: str) -> None:
        if not node.startswith("nodes/"):
            raise fields.invalid(field, f"{shown(node)} is no node; give nodes/NAME")
        if node not in self._store.view.nodes:
            raise NotFoundError("NOT_FOUND", f"{shown(node)} does not exist; `motorpool nodes` lists those that do")


def _named(name: str) -> tuple[str, str]:
    node, between, files_id = name.partition("/files/")
    if not between or not files_id or "/" in files_id:
        raise fields.invalid("name", f"{shown(name)} names no files; give nodes/NODE/files/FILES")
    return node, files_id
