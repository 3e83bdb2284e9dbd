"""What nodes fetched: listed, deleted through the node, never from under an instance; and how far downloads are."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from motorpool import v1
from motorpool_controller.services.roles import Role
from tests.controller.agent_client import FACTS, Agent, Session, running_instance
from tests.controller.clusters import Cluster, fresh, reason

SOURCE = v1.ModelSource(hugging_face=v1.HuggingFaceSource(repository="acme/m", revision="c" * 40))


def told(files_id: str = "acme--m-1", **changes: Any) -> v1.ModelFiles:
    return v1.ModelFiles(
        **{
            "source": SOURCE,
            "commit": "c" * 40,
            "state": v1.MODEL_FILES_STATE_COMPLETE,
            "total_bytes": 700,
            "done_bytes": 700,
            "folder": f"/data/models/folders/{files_id}",
            "etag": "e1",
            **changes,
        }
    )


async def show(session: Session, files_id: str = "acme--m-1", **changes: Any) -> None:
    await session.change(told(files_id, **changes))
    await session.barrier()


async def listed(cluster: Cluster, parent: str = "nodes/-") -> list[v1.ModelFiles]:
    request = v1.ListModelFilesRequest(parent=parent)
    return list((await cluster.files.ListModelFiles(request, metadata=await cluster.token(Role.READER))).files)


async def delete(cluster: Cluster, **asked: Any) -> v1.DeleteModelFilesResponse:
    request = v1.DeleteModelFilesRequest(**{"name": "nodes/a/files/acme--m-1", **asked})
    return await cluster.files.DeleteModelFiles(request, metadata=await cluster.token(Role.OPERATOR))


async def refusal(cluster: Cluster, **asked: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await delete(cluster, **asked)
    return reason(refused.value)


async def test_what_nodes_have_is_listed_while_they_are_in_session(cluster: Cluster, agent: Agent) -> None:
    """
    Each with its name, source, size and etag; nothing of it is written, and nothing is told of a node that left.
    """
    session = await agent.joined()
    await session.barrier()
    before = cluster.store.view.revision
    await show(session)
    [found] = await listed(cluster)
    of_node = await listed(cluster, "nodes/a")
    after = cluster.store.view.revision
    await session.close()

    assert ("nodes/a/files/acme--m-1", SOURCE, "e1", 700) == (found.name, found.source, found.etag, found.total_bytes)
    assert [found] == of_node
    assert before == after
    assert [] == await listed(cluster)


async def test_files_are_deleted_by_their_node_once(cluster: Cluster, agent: Agent) -> None:
    """
    The node is asked, by id and etag; its answer is the caller's, also when the same request comes again.
    """
    session = await agent.joined()
    await show(session)
    request_id = fresh()
    deleting = asyncio.create_task(delete(cluster, request_id=request_id))
    await session.read_until(lambda: session.of("query"))
    [item] = session.of("query")
    await session.change(v1.QueryAnswer(query_id=item.query.query_id, freed_bytes=650), removed=["files/acme--m-1"])
    done = await deleting
    again = await delete(cluster, request_id=request_id)
    await session.read_until(lambda: not session.of("query"))

    assert ("acme--m-1", "e1") == (item.query.delete_files.files_id, item.query.delete_files.etag)
    assert (650, "e1") == (done.freed_bytes, done.files.etag)
    assert done == again
    assert "FILES_DELETED" in {event.reason for event in cluster.store.view.events.values()}
    assert "NOT_FOUND" == await refusal(cluster)


async def test_a_dry_run_asks_no_node(cluster: Cluster, agent: Agent) -> None:
    """
    It answers as it would, and nothing is written or sent.
    """
    session = await agent.joined()
    await show(session)
    before = cluster.store.view.revision
    done = await delete(cluster, validate_only=True)
    await session.barrier()

    assert "nodes/a/files/acme--m-1" == done.files.name
    assert before == cluster.store.view.revision
    assert [] == session.of("query")


async def test_what_is_in_use_stays(cluster: Cluster, agent: Agent) -> None:
    """
    Files that an instance has, that are being fetched, or that were fetched anew since they were read.
    """
    session = await agent.joined()
    await show(session, instances=["instances/chat-1"])
    used = await refusal(cluster)
    await show(session, state=v1.MODEL_FILES_STATE_DOWNLOADING)
    fetched = await refusal(cluster)
    await show(session, etag="e2")
    other = await refusal(cluster, etag="e1")

    assert ("FILES_IN_USE", "FILES_IN_USE", "ETAG_MISMATCH") == (used, fetched, other)
    assert [] == session.of("query")


async def test_a_node_that_will_not_has_the_last_word(cluster: Cluster, agent: Agent) -> None:
    """
    What came to be used there meanwhile stays, and the caller is told by whom.
    """
    session = await agent.joined()
    await show(session)
    deleting = asyncio.create_task(refusal(cluster))
    await session.read_until(lambda: session.of("query"))
    [item] = session.of("query")
    await session.change(
        v1.QueryAnswer(query_id=item.query.query_id, error_reason="FILES_IN_USE", error_message="instances/x has it")
    )

    assert "FILES_IN_USE" == await deleting


async def test_a_node_that_leaves_leaves_nobody_waiting(cluster: Cluster, agent: Agent) -> None:
    """
    Its session ends before it answers: UNAVAILABLE, and so is who asks for it then.
    """
    session = await agent.joined()
    await show(session)
    deleting = asyncio.create_task(refusal(cluster))
    await session.read_until(lambda: session.of("query"))
    await session.close()

    assert "NODE_UNREACHABLE" == await deleting
    assert "NODE_UNREACHABLE" == await refusal(cluster)


async def test_names_that_are_none_are_refused(cluster: Cluster, agent: Agent) -> None:
    """
    A name without a node or files, and a node that does not exist.
    """
    await agent.joined()

    assert "FIELD_INVALID" == await refusal(cluster, name="nodes/a")
    assert "FIELD_INVALID" == await refusal(cluster, name="x/files/y")
    assert "NOT_FOUND" == await refusal(cluster, name="nodes/b/files/y")


@pytest.mark.promise("P7")
async def test_progress_is_shown_and_never_written(cluster: Cluster, agent: Agent) -> None:
    """
    Bytes, total and speed of a download are read from the instance, and no row changes with them.
    """
    session = await agent.joined()
    spec = v1.DeploymentSpec(model=v1.ModelSource(local_path="/m.gguf"), backend="llama_cpp")
    await cluster.deployments.CreateDeployment(
        v1.CreateDeploymentRequest(deployment_id="chat", deployment=v1.Deployment(spec=spec)), metadata=cluster.admin
    )
    await session.answer(FACTS)
    assignment = await session.assignment()
    report = {"state": v1.INSTANCE_STATE_DOWNLOADING, "message": "downloading acme/m", "pid": 0, "pid_start_ticks": 0}

    async def seen(done: int) -> v1.Instance:
        await session.change(
            running_instance(
                assignment,
                **report,
                progress_bytes=done,
                progress_total_bytes=900,
                progress_bytes_per_second=50,
            )
        )
        await session.barrier()
        return await cluster.instances.GetInstance(
            v1.GetInstanceRequest(name=assignment.instance), metadata=cluster.admin
        )

    first = await seen(100)
    before = cluster.store.view.revision
    second = await seen(400)

    assert (100, 900, 50) == (first.progress_bytes, first.progress_total_bytes, first.progress_bytes_per_second)
    assert 400 == second.progress_bytes
    assert before == cluster.store.view.revision
