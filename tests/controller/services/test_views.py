from collections.abc import AsyncIterator

import pytest

from motorpool import v1
from motorpool_controller.services.roles import Role
from tests.controller.agent_client import FACTS, Agent, running_instance
from tests.controller.clusters import Cluster


@pytest.mark.promise("P6")
async def test_readers_see_no_values_of_the_environment(cluster: Cluster, agent: Agent) -> None:
    """
    An environment may carry secrets: whoever may not deploy sees its names, in every call that shows them.
    """
    session = await agent.joined()
    await cluster.deploy(env={"HF_TOKEN": "hf_secret"})
    await session.answer(FACTS)
    assignment = await session.assignment()
    launch = v1.RenderedLaunch(
        executor="process",
        argv=["server"],
        env={"HF_TOKEN": "hf_secret", "THREADS": "2"},
        ports=[v1.Port(port_name="http", number=40_000)],
    )
    await session.change(running_instance(assignment, launch=launch))
    await cluster.until(lambda: [each for each in cluster.store.view.instances.values() if each.endpoint])
    reader = await cluster.token(Role.READER)

    seen = [
        *await _messages(cluster, assignment.instance, reader),
        *[answer async for answer in _watched(cluster, reader)],
    ]

    assert "hf_secret" not in str(seen)
    assert 6 == str(seen).count("HF_TOKEN")
    assert "THREADS" in str(seen)
    assert "hf_secret" in str(await _messages(cluster, assignment.instance, await cluster.token(Role.OPERATOR)))


async def _messages(cluster: Cluster, instance: str, metadata: tuple[tuple[str, str], ...]) -> list[object]:
    get = v1.GetDeploymentRequest(name="deployments/chat")
    return [
        await cluster.deployments.GetDeployment(get, metadata=metadata),
        await cluster.deployments.ListDeployments(v1.ListDeploymentsRequest(), metadata=metadata),
        await cluster.instances.GetInstance(v1.GetInstanceRequest(name=instance), metadata=metadata),
        await cluster.instances.ListInstances(v1.ListInstancesRequest(), metadata=metadata),
    ]


async def _watched(cluster: Cluster, metadata: tuple[tuple[str, str], ...]) -> AsyncIterator[v1.WatchResponse]:
    asked = v1.WatchRequest(kinds=["deployments", "instances"])
    async for answer in cluster.watches.Watch(asked, metadata=metadata):
        if answer.WhichOneof("change") is None:
            return
        yield answer
