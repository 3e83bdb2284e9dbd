import asyncio
from collections.abc import Callable
from typing import Any, cast

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from motorpool import v1
from motorpool_controller.services import watch as watch_module
from motorpool_controller.services.pages import resume_position, resume_token
from motorpool_controller.services.watch import WatchService
from tests.controller.agent_client import FACTS, Agent, running_instance
from tests.controller.clusters import WAIT_SECONDS, Cluster, reason

Context = grpc.aio.ServicerContext[v1.WatchRequest, v1.WatchResponse]
Watching = grpc.aio.UnaryStreamCall[v1.WatchRequest, v1.WatchResponse]


def watch(cluster: Cluster, **asked: Any) -> Watching:
    return cluster.watches.Watch(v1.WatchRequest(**asked), metadata=cluster.admin)


async def next_of(watching: Watching) -> v1.WatchResponse:
    async with asyncio.timeout(WAIT_SECONDS):
        answer = await watching.read()
    assert isinstance(answer, v1.WatchResponse)
    return answer


async def until(watching: Watching, condition: Callable[[v1.WatchResponse], object]) -> list[v1.WatchResponse]:
    seen = [await next_of(watching)]
    while not condition(seen[-1]):
        seen.append(await next_of(watching))
    return seen


def bare(answer: v1.WatchResponse) -> bool:
    return answer.WhichOneof("change") is None


async def test_everything_first_then_changes(cluster: Cluster) -> None:
    """
    Without a resume token all that exists comes first, then a token, then changes as they happen.
    """
    await cluster.deploy("one")
    watching = watch(cluster, kinds=["deployments"])

    first = await until(watching, bare)
    await cluster.deploy("two")
    second = await next_of(watching)

    assert ["deployments/one"] == [answer.deployment.name for answer in first[:-1]]
    assert first[-1].resume_token
    assert "deployments/two" == second.deployment.name


async def test_resumed_watch_misses_nothing(cluster: Cluster) -> None:
    """
    A watch that goes on from a token gives what changed since, and nothing from before.
    """
    await cluster.deploy("one")
    await cluster.until(lambda: list(cluster.store.view.instances))
    listed = await cluster.deployments.ListDeployments(v1.ListDeploymentsRequest(), metadata=cluster.admin)
    await cluster.deploy("two")
    await cluster.deploy("three")

    watching = watch(cluster, kinds=["deployments"], resume_token=listed.resume_token)
    found = [await next_of(watching), await next_of(watching)]

    assert {"deployments/two", "deployments/three"} == {answer.deployment.name for answer in found}


async def test_one_deployments_life(cluster: Cluster, agent: Agent) -> None:
    """
    A watch of one deployment sees it become available when its instance runs, its instance, its events, and its end.
    """
    session = await agent.joined()
    await cluster.deploy("other", claim=v1.ClaimOverride(memory_bytes=1 << 50))
    await cluster.deploy("chat")
    watching = watch(cluster, deployment="deployments/chat")
    await until(watching, bare)
    await session.answer(FACTS)
    assignment = await session.assignment()
    await session.change(running_instance(assignment))

    seen = await until(watching, lambda answer: answer.deployment.state == v1.DEPLOYMENT_STATE_AVAILABLE)
    await cluster.deployments.DeleteDeployment(
        v1.DeleteDeploymentRequest(name="deployments/chat"), metadata=cluster.admin
    )
    await session.tombstone()
    await session.change(running_instance(assignment, state=v1.INSTANCE_STATE_STOPPING))
    await session.change(removed=[f"instance/{assignment.assignment_id}"])
    gone = {assignment.instance, "deployments/chat"}
    while not gone <= {answer.deleted for answer in seen}:
        seen.append(await next_of(watching))

    names = {answer.deployment.name for answer in seen} | {answer.instance.deployment for answer in seen}
    assert {"", "deployments/chat"} == names
    assert {"INSTANCE_PLACED", "INSTANCE_RUNNING"} <= {answer.event.reason for answer in seen}
    assert not [answer for answer in seen if answer.HasField("node")]


async def test_bookmarks(cluster: Cluster) -> None:
    """
    While nothing happens that was asked for, bare messages have newer and newer tokens, from which nothing is missed.
    """
    service = WatchService(cluster.store, cluster.live, bookmark_seconds=0.05)
    stream = service.Watch(v1.WatchRequest(kinds=["backends"]), cast("Context", None))
    first = await anext(stream)
    await cluster.deploy("one")
    async with asyncio.timeout(WAIT_SECONDS):
        while (mark := await anext(stream)).resume_token == first.resume_token:
            assert bare(mark)
    await cluster.until(lambda: list(cluster.store.view.instances))

    assert bare(mark)
    position = resume_position(cluster.store.view.cluster_id, mark.resume_token)
    assert resume_position(cluster.store.view.cluster_id, first.resume_token).revision < position.revision


async def test_what_is_passed_over_ages_no_token(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    After many changes that were not asked for a bare message comes at once, before the token gets too old.
    """
    monkeypatch.setattr(watch_module, "BOOKMARK_CHANGES", 3)
    watching = watch(cluster, kinds=["backends"])
    await until(watching, bare)
    await cluster.deploy("one")

    assert bare(await next_of(watching))


async def test_counts_follow_their_instance(cluster: Cluster, agent: Agent) -> None:
    """
    An instance's change comes before what its deployment counts; who stops between the two still gets the counts.
    """
    session = await agent.joined()
    await cluster.deploy("chat")
    await session.answer(FACTS)
    assignment = await session.assignment()
    watching = watch(cluster, kinds=["deployments", "instances"])
    await until(watching, bare)
    await session.change(running_instance(assignment))

    *_, ran = await until(watching, lambda answer: answer.instance.state == v1.INSTANCE_STATE_RUNNING)
    counted = await next_of(watching)
    resumed = watch(cluster, kinds=["deployments", "instances"], resume_token=ran.resume_token)
    again = await next_of(resumed)
    after = watch(cluster, kinds=["deployments", "instances"], resume_token=counted.resume_token)
    await cluster.deploy("next")
    then = await until(after, lambda answer: answer.deployment.name == "deployments/next")

    assert v1.DEPLOYMENT_STATE_AVAILABLE == counted.deployment.state
    assert counted.deployment == again.deployment
    assert not [answer for answer in then if answer.instance.name == assignment.instance]


async def test_one_nodes_watch(cluster: Cluster, agent: Agent) -> None:
    """
    A watch of one node sees it, what is placed on it and their events, and of others nothing.
    """
    session = await agent.joined()
    await Agent(cluster, "b").joined()
    await update_labels(cluster, "nodes/b")
    watching = watch(cluster, node="nodes/a")
    first = await until(watching, bare)
    await cluster.deploy("chat", node_selector=v1.NodeSelector(match_labels={"only": "b"}))
    await update_labels(cluster, "nodes/b")
    await cluster.deploy("mine", node_selector=v1.NodeSelector(match_labels={}), path="/models/other.gguf")
    await update_labels(cluster, "nodes/a")
    seen = await until(watching, lambda answer: answer.node.labels.get("only") == "a")

    assert {"nodes/a"} == {answer.node.name for answer in first if answer.HasField("node")}
    assert {"nodes/a"} == {answer.node.name for answer in seen if answer.HasField("node")}
    assert not [answer for answer in (*first, *seen) if answer.HasField("deployment")]
    about = {answer.event.subject for answer in (*first, *seen) if answer.HasField("event")}
    assert about == {"nodes/a"}
    assert session.epoch


async def update_labels(cluster: Cluster, name: str) -> None:
    await cluster.nodes.UpdateNode(
        v1.UpdateNodeRequest(
            node=v1.Node(name=name, labels={"only": name.removeprefix("nodes/")}),
            update_mask=FieldMask(paths=["labels"]),
        ),
        metadata=cluster.admin,
    )


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"node": "a"}, "FIELD_INVALID"),
        ({"kinds": ["pods"]}, "FIELD_INVALID"),
        ({"deployment": "chat"}, "FIELD_INVALID"),
        ({"resume_token": "garbage"}, "PAGE_TOKEN_INVALID"),
    ],
)
async def test_bad_requests(cluster: Cluster, asked: dict[str, Any], expected: str) -> None:
    """
    An unknown kind, a bad name or a token from elsewhere is refused.
    """
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await watch(cluster, **asked).read()

    assert expected == reason(failed.value)


async def test_token_from_the_future(cluster: Cluster) -> None:
    """
    A token of a revision that was not written yet is refused: it is from before a restored backup.
    """
    token = resume_token(cluster.store.view.cluster_id, cluster.store.view.revision + 1_000)

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await watch(cluster, resume_token=token).read()

    assert "PAGE_TOKEN_INVALID" == reason(failed.value)
