import pytest

from motorpool import v1
from tests.controller.agent_client import FACTS, Agent, running_instance
from tests.controller.clusters import Cluster


@pytest.mark.promise("P4")
async def test_from_wish_to_answer_to_nothing(cluster: Cluster, agent: Agent) -> None:
    """
    A deployment is pending with a refusal, is placed when its model was read, runs, and leaves nothing when deleted.
    """
    await cluster.deploy()
    view = cluster.store.view
    pending = await cluster.until(lambda: list(view.instances.values()))
    assert ["NO_NODES"] == [row.reason for row in pending[0].refusals]

    session = await agent.joined()
    query = await session.answer(FACTS)
    assert "/models/m.gguf" == query.read_model.local_path
    assignment = await session.assignment()
    assert assignment.api_key
    await session.change(running_instance(assignment))
    await cluster.until(lambda: [each for each in view.instances.values() if each.endpoint])

    deployment = await cluster.deployments.GetDeployment(
        v1.GetDeploymentRequest(name="deployments/chat"), metadata=cluster.admin
    )
    credentials = await cluster.deployments.GetDeploymentCredentials(
        v1.GetDeploymentCredentialsRequest(name="deployments/chat"), metadata=cluster.admin
    )
    assert (v1.DEPLOYMENT_STATE_AVAILABLE, 1) == (deployment.state, deployment.running_replicas)
    assert ["http://127.0.0.1:40000"] == list(credentials.endpoints)
    assert assignment.api_key == credentials.api_key
    assert "chat" == credentials.served_model_name

    await cluster.deployments.DeleteDeployment(
        v1.DeleteDeploymentRequest(name="deployments/chat"), metadata=cluster.admin
    )
    tombstone = await session.tombstone()
    assert assignment.assignment_id == tombstone.assignment_id
    await session.change(running_instance(assignment, state=v1.INSTANCE_STATE_STOPPING))
    await session.heartbeat()
    assert view.instances
    await session.change(removed=[f"instance/{assignment.assignment_id}"])
    await cluster.until(lambda: not view.instances and not view.deployments)
    await session.read_until(lambda: not session.desired)
