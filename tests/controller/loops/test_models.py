"""Deployments of models on hubs: looked up beside the deciding, estimated, and refused with what is missing."""

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from motorpool import v1
from motorpool_controller.domain.workload import Deployment, Instance
from tests.controller.agent_client import FACTS, Agent
from tests.controller.clusters import Cluster, running, settings
from tests.hub.clients import hubs_of
from tests.hub.server import LocalHub
from tests.models.tiny_gguf import make_tiny_gguf


@pytest.fixture(name="cluster")
async def _cluster(tmp_path: Path, hub: LocalHub) -> AsyncIterator[Cluster]:
    hub.add("o/n", {"tiny.gguf": make_tiny_gguf(tmp_path / "tiny.gguf")})
    async with running(settings(tmp_path / "data"), hubs=hubs_of(hub)) as cluster:
        yield cluster


@pytest.fixture(name="agent")
def _agent(cluster: Cluster) -> Agent:
    return Agent(cluster)


async def deploy(cluster: Cluster, name: str = "hubbed", repository: str = "o/n", **spec: object) -> None:
    source = v1.ModelSource(hugging_face=v1.HuggingFaceSource(repository=repository))
    await cluster.deployments.CreateDeployment(
        v1.CreateDeploymentRequest(
            deployment_id=name,
            deployment=v1.Deployment(spec=v1.DeploymentSpec(model=source, **spec)),  # type: ignore[arg-type]
        ),
        metadata=cluster.admin,
    )


def refused(cluster: Cluster, why: str) -> list[Instance]:
    """Return the instances that are refused for that reason."""
    return [
        each
        for each in cluster.store.view.instances.values()
        if each.placement is None and [why] == [row.reason for row in each.refusals]
    ]


def known(cluster: Cluster) -> list[Deployment]:
    return [each for each in cluster.store.view.deployments.values() if each.facts is not None]


async def test_it_is_placed_with_what_nodes_are_to_fetch(cluster: Cluster, agent: Agent, hub: LocalHub) -> None:
    """
    A hub's model gets facts and an estimate, and nodes are told the commit and the files, looked up once for all.
    """
    commit = hub.repositories["o/n"].branches["main"]
    session = await agent.joined()
    await cluster.until(lambda: [node for node in cluster.store.view.nodes.values() if node.profiles])

    await deploy(cluster, replicas=2)

    await session.read_until(lambda: len(session.of("assignment")) == 2)
    told = [each.assignment for each in session.of("assignment")]
    (deployment,) = known(cluster)
    asked = len(hub.seen)
    hub.add("o/n", {"other.gguf": b"x"})
    await cluster.deployments.UpdateDeployment(
        v1.UpdateDeploymentRequest(
            deployment=v1.Deployment(name="deployments/hubbed", spec=v1.DeploymentSpec(replicas=3)),
            update_mask=FieldMask(paths=["spec.replicas"]),
        ),
        metadata=cluster.admin,
    )
    await session.read_until(lambda: len(session.of("assignment")) == 3)
    told += [each.assignment for each in session.of("assignment")]

    downloads = {each.downloads[0].SerializeToString(deterministic=True) for each in told}
    [file] = told[0].downloads[0].files
    assert deployment.facts is not None
    assert "tiny-random-llama" == deployment.facts.name
    assert deployment.estimate is not None
    assert deployment.estimate.upper
    assert 1 == len(downloads)
    assert (commit, commit) == (told[0].downloads[0].commit, told[0].model.hugging_face.revision)
    assert told[0].model == told[0].downloads[0].source
    assert (deployment.facts.files, 40) == ((file.path,), len(file.git_sha1))
    assert [2, 2] == [asked, len(hub.seen)]


async def test_explained_from_the_same_rows(cluster: Cluster, agent: Agent) -> None:
    """
    Explaining says what the decision said.
    """
    await deploy(cluster)
    (instance,) = await cluster.until(lambda: refused(cluster, "NO_NODES"))

    explained = await cluster.deployments.ExplainDeployment(
        v1.ExplainDeploymentRequest(name="deployments/hubbed"), metadata=cluster.admin
    )

    rows = [(row.stage, row.reason, row.message) for row in explained.instances[0].refusals]
    assert [(row.stage, row.reason, row.message) for row in instance.refusals] == rows


@pytest.mark.promise("P4")
async def test_what_a_hub_refuses_is_a_row(cluster: Cluster, hub: LocalHub) -> None:
    """
    A gated model is a row that says so; when the gate opens, the next look-up finds the facts.
    """
    hub.repositories["o/n"].gated = frozenset()
    await deploy(cluster)
    (instance,) = await cluster.until(lambda: refused(cluster, "MODEL_GATED"))
    assert "HF_TOKEN" in instance.refusals[0].message
    assert [] == known(cluster)

    hub.repositories["o/n"].gated = None
    cluster.pass_time(61)

    await cluster.until(lambda: refused(cluster, "NO_NODES"))


async def test_a_hub_that_hangs_holds_up_nobody_else(cluster: Cluster, agent: Agent, hub: LocalHub) -> None:
    """
    While a hub says nothing, what needs no hub is placed (A17).
    """
    go = threading.Event()
    hub.trouble("GET /api", until=go)
    session = await agent.joined()
    await deploy(cluster)
    await cluster.until(lambda: hub.seen)

    await cluster.deploy("local")
    await session.answer(FACTS)
    assignment = await session.assignment()

    assert "deployments/local" == assignment.deployment
    assert refused(cluster, "MODEL_NOT_READ_YET")
    go.set()
    await session.read_until(lambda: len(session.of("assignment")) == 2)


async def test_a_hub_at_rest_is_left_in_peace(cluster: Cluster, hub: LocalHub) -> None:
    """
    What is known is not looked up again, however often something else is decided.
    """
    await deploy(cluster)
    await cluster.until(lambda: refused(cluster, "NO_NODES"))
    asked = len(hub.seen)

    for _ in range(3):
        cluster.pass_time(120)
        await cluster.live_settled()

    assert asked == len(hub.seen)


async def test_another_model_is_looked_up(cluster: Cluster, hub: LocalHub, tmp_path: Path) -> None:
    """
    A deployment that changes to another model forgets the old one's facts, and gets the new one's.
    """
    hub.add("o/wider", {"m.gguf": make_tiny_gguf(tmp_path / "wider.gguf", width=128)})
    await deploy(cluster)
    await cluster.until(lambda: known(cluster))

    changed = v1.DeploymentSpec(
        model=v1.ModelSource(hugging_face=v1.HuggingFaceSource(repository="o/wider")),
    )
    await cluster.deployments.UpdateDeployment(
        v1.UpdateDeploymentRequest(deployment=v1.Deployment(name="deployments/hubbed", spec=changed)),
        metadata=cluster.admin,
    )

    await cluster.until(
        lambda: [each for each in known(cluster) if each.facts is not None and each.facts.hidden_size == 128]
    )
