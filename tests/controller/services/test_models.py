import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from motorpool import v1
from motorpool_controller.services.roles import Role
from tests.controller.agent_client import FACTS, PROFILE, Agent
from tests.controller.clusters import Cluster, reason, running, settings
from tests.hub.clients import hubs_of
from tests.hub.contents import safetensors
from tests.hub.server import LocalHub
from tests.models.tiny_gguf import make_tiny_gguf

HUB_MODEL = v1.ModelSource(hugging_face=v1.HuggingFaceSource(repository="o/n"))
PATH_MODEL = v1.ModelSource(local_path="/models/m.gguf")


@pytest.fixture(name="cluster")
async def _cluster(tmp_path: Path, hub: LocalHub) -> AsyncIterator[Cluster]:
    async with running(settings(tmp_path / "data"), hubs=hubs_of(hub)) as cluster:
        yield cluster


@pytest.fixture(name="tiny")
def _tiny(tmp_path: Path, hub: LocalHub) -> Path:
    path = make_tiny_gguf(tmp_path / "tiny.gguf")
    hub.add("o/n", {"tiny.gguf": path})
    return path


async def steps(cluster: Cluster, role: Role = Role.OPERATOR, **request: Any) -> list[v1.InspectModelResponse]:
    """Return all that is answered."""
    call = cluster.models.InspectModel(v1.InspectModelRequest(**request), metadata=await cluster.token(role))
    return [step async for step in call]


async def offered(cluster: Cluster) -> None:
    """Return when the fleet has a backend."""
    await cluster.until(lambda: [node for node in cluster.store.view.nodes.values() if node.profiles])


async def inspected(cluster: Cluster, **request: Any) -> v1.ModelInspection:
    return (await steps(cluster, **request))[-1].result


async def refusal(cluster: Cluster, role: Role = Role.OPERATOR, **request: Any) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await steps(cluster, role, **request)
    return caught.value.code(), reason(caught.value), caught.value.details() or ""


async def test_model_on_a_hub(cluster: Cluster, agent: Agent, hub: LocalHub, tiny: Path) -> None:
    """
    A hub's model comes with its commit, its facts, estimates for contexts up to its own, and the fleet's backends.
    """
    await agent.joined()
    await offered(cluster)

    found = await inspected(cluster, source=HUB_MODEL)

    assert HUB_MODEL == found.source
    assert hub.repositories["o/n"].branches["main"] == found.commit
    assert (hub.endpoint, "tiny-random-llama", "gguf") == (
        found.read_from,
        found.facts.display_name,
        found.facts.format,
    )
    assert found.fetched_bytes == hub.body_bytes
    assert "llama_cpp" == found.backend
    assert [2048, 4096] == [each.context_length for each in found.estimates]
    needed = [each.host.upper_bytes for each in found.estimates]
    assert sorted(set(needed)) == needed
    (verdict,) = found.backends
    assert ("llama_cpp", True, "", ["nodes/a"]) == (verdict.backend, verdict.fits, verdict.reason, list(verdict.nodes))


async def test_progress_while_headers_are_read(cluster: Cluster, hub: LocalHub, tiny: Path) -> None:
    """
    While a hub answers slowly, the caller sees which file is read and what has been sent.
    """
    go = threading.Event()
    hub.trouble("GET /o/n/resolve/", until=go)
    call = cluster.models.InspectModel(v1.InspectModelRequest(source=HUB_MODEL), metadata=cluster.admin)
    seen: list[v1.InspectionProgress] = []
    async with asyncio.timeout(20):
        async for step in call:
            if step.HasField("result"):
                break
            seen.append(step.progress)
            if step.progress.file:
                go.set()

    assert ("the Hugging Face hub", "tiny.gguf") == (seen[-1].asked, seen[-1].file)
    assert seen[-1].requests >= 1
    assert seen[-1].fetched_bytes > 0


async def test_second_look_fetches_nothing_but_the_commit(cluster: Cluster, hub: LocalHub, tiny: Path) -> None:
    """
    What is known of a commit is not fetched again.
    """
    await inspected(cluster, source=HUB_MODEL)
    hub.seen.clear()

    await inspected(cluster, source=HUB_MODEL)

    assert ["GET /api/models/o/n"] == hub.paths()


async def test_backend_that_cannot(cluster: Cluster, agent: Agent, tiny: Path) -> None:
    """
    A backend that does not read the model's format says so, and no estimate is made up for one that nobody offers.
    """
    other = v1.BackendProfile(
        backend="vllm",
        formats=["safetensors"],
        versions=PROFILE.versions,
        rules="generic_fraction",
        memory_model=v1.MEMORY_MODEL_FIXED,
    )
    await agent.enrol()
    agent.show(other)
    await agent.opened()
    await offered(cluster)

    found = await inspected(cluster, source=HUB_MODEL)

    (verdict,) = found.backends
    assert (False, "FORMAT_UNSUPPORTED") == (verdict.fits, verdict.reason)
    assert "it reads safetensors, and the model is gguf" in verdict.message
    assert ("", []) == (found.backend, list(found.estimates))
    assert any("no node offers llama_cpp" in finding for finding in found.findings)


async def test_contexts_and_parameters(cluster: Cluster, agent: Agent, tiny: Path) -> None:
    """
    Context lengths are estimated as wished, ascending; a parameter that sets the context settles it.
    """
    await agent.joined()
    await offered(cluster)

    wished = await inspected(cluster, source=HUB_MODEL, context_lengths=[4096, 1024, 4096])
    settled = await inspected(cluster, source=HUB_MODEL, parameters=["-c", "512"], backend="llama-box")

    assert [1024, 4096] == [each.context_length for each in wished.estimates]
    assert [512] == [each.context_length for each in settled.estimates]
    assert "llama_cpp" == settled.backend


async def test_what_the_figures_do_not_say_is_said(cluster: Cluster, agent: Agent, tiny: Path) -> None:
    """
    A parameter that no option table knows, and a context that the model is not made for, are named.
    """
    await agent.joined()
    await offered(cluster)

    plain = await inspected(cluster, source=HUB_MODEL)
    odd = await inspected(cluster, source=HUB_MODEL, parameters=["--nonsense", "3"], context_lengths=[1 << 20])

    assert not plain.findings
    assert ["“--nonsense” is not in the option table", "a context of 1048576 tokens"] == [
        finding.partition(" of llama_cpp")[0].partition(" is longer")[0] for finding in odd.findings
    ]


LAYERS = b'{"architectures":["LlamaForCausalLM"],"model_type":"llama","num_hidden_layers":2,"hidden_size":64}'


def layered(hub: LocalHub) -> None:
    """Put a safetensors model of two equal layers on the hub."""
    tensors = {f"model.layers.{layer}.mlp.up_proj.weight": ("F16", (64, 64), 8192) for layer in (0, 1)}
    hub.add("o/n", {"config.json": LAYERS, "model.safetensors": safetensors(tensors)})


async def test_parameters_that_change_facts(cluster: Cluster, agent: Agent, hub: LocalHub) -> None:
    """
    The facts are those that the engine would load, and the change is said; a value that no model has is refused.
    """
    layered(hub)
    other = v1.BackendProfile(
        backend="acme",
        formats=["safetensors"],
        versions=PROFILE.versions,
        rules="fixed",
        memory_model=v1.MEMORY_MODEL_FIXED,
        options=[
            v1.BackendOption(option="hf-overrides", aliases=["o"], kind=v1.OPTION_KIND_JSON, meaning="config_overrides")
        ],
    )
    await agent.enrol()
    agent.show(other)
    await agent.opened()
    await offered(cluster)

    async def with_overrides(text: str) -> v1.ModelInspection:
        return await inspected(cluster, source=HUB_MODEL, backend="acme", parameters=["--o", text])

    plain = await inspected(cluster, source=HUB_MODEL, backend="acme")
    half = await with_overrides('{"num_hidden_layers": 1}')
    same = await with_overrides('{"num_hidden_layers": 2}')
    code, why, message = await refusal(cluster, source=HUB_MODEL, backend="acme", parameters=["--o", "[1]"])

    assert (2, 16384, 1, 8192) == (
        plain.facts.layers,
        plain.facts.weight_bytes,
        half.facts.layers,
        half.facts.weight_bytes,
    )
    assert half.estimates[0].host.weights_bytes < plain.estimates[0].host.weights_bytes
    assert any("under --hf-overrides" in said and "layers 2 → 1" in said for said in half.findings)
    assert not any("None" in said for said in half.findings)
    assert "--hf-overrides changes none of these facts" in list(same.findings)
    assert (grpc.StatusCode.INVALID_ARGUMENT, "PARAMETER_INVALID") == (code, why)
    assert "not a JSON object" in message


async def test_parameters_of_a_backend_that_no_node_offers(cluster: Cluster, agent: Agent, hub: LocalHub) -> None:
    """
    What vLLM's own option changes is known without a node that offers vLLM; its estimates are not made up.
    """
    layered(hub)
    await agent.joined()
    await offered(cluster)

    found = await inspected(cluster, source=HUB_MODEL, parameters=["--hf-overrides", '{"num_hidden_layers": 1}'])

    assert (1, []) == (found.facts.layers, list(found.estimates))
    assert any("no node offers vllm" in finding for finding in found.findings)


async def test_path_on_a_node(cluster: Cluster, agent: Agent) -> None:
    """
    A path is asked of the node that is named, and read anew where the last answer was an error.
    """
    session = await agent.joined()
    first = asyncio.create_task(refusal(cluster, source=PATH_MODEL, node="nodes/a"))
    await session.answer(error="MODEL_NOT_FOUND")
    assert (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND") == (await first)[:2]
    await session.read_until(lambda: not session.of("query"))

    second = asyncio.create_task(inspected(cluster, source=PATH_MODEL, node="nodes/a"))
    query = await session.answer(FACTS)
    found = await second

    assert "/models/m.gguf" == query.read_model.local_path
    assert ("nodes/a", "", FACTS.weight_bytes) == (found.read_from, found.commit, found.facts.weight_bytes)
    await session.read_until(lambda: not session.of("query"))


async def test_path_on_whichever_node_has_it(cluster: Cluster, agent: Agent) -> None:
    """
    Without a name all nodes in session are asked, and the one that has the model answers.
    """
    other = Agent(cluster, "b")
    sessions = [await agent.joined(), await other.joined()]

    asked = asyncio.create_task(inspected(cluster, source=PATH_MODEL))
    await sessions[0].answer(error="MODEL_NOT_FOUND")
    await sessions[1].answer(FACTS)

    assert "nodes/b" == (await asked).read_from


async def test_path_that_no_node_has(cluster: Cluster, agent: Agent) -> None:
    """
    A path that is nowhere says who was asked; one that is there and broken says that before.
    """
    other = Agent(cluster, "b")
    sessions = [await agent.joined(), await other.joined()]

    asked = asyncio.create_task(refusal(cluster, source=PATH_MODEL))
    await sessions[0].answer(error="MODEL_NOT_FOUND")
    await sessions[1].answer(error="MODEL_CORRUPT")
    code, why, message = await asked

    assert (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_CORRUPT") == (code, why)
    assert "nodes/b" in message


async def test_nodes_that_cannot_be_asked(cluster: Cluster, agent: Agent) -> None:
    """
    A node that does not exist, or has no session, is named; so is a fleet without any.
    """
    assert "NODE_UNREACHABLE" == (await refusal(cluster, source=PATH_MODEL))[1]
    await agent.enrol()
    assert "NODE_UNREACHABLE" == (await refusal(cluster, source=PATH_MODEL, node="nodes/a"))[1]
    code, why, message = await refusal(cluster, source=PATH_MODEL, node="nodes/z")
    assert (grpc.StatusCode.NOT_FOUND, "NOT_FOUND") == (code, why)
    assert "nodes/z" in message


async def test_faults_of_a_hub_keep_their_reason(cluster: Cluster, hub: LocalHub, tiny: Path) -> None:
    """
    A gated model, one that is not there and a hub that is busy are told apart by reason and code.
    """
    hub.repositories["o/n"].gated = frozenset()
    assert (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_GATED") == (await refusal(cluster, source=HUB_MODEL))[:2]
    hub.repositories["o/n"].gated = None

    other = v1.ModelSource(hugging_face=v1.HuggingFaceSource(repository="o/n", revision="v9"))
    assert (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND") == (await refusal(cluster, source=other))[:2]

    hub.trouble("GET /api", status=429, headers={"Retry-After": "3600"})
    assert (grpc.StatusCode.UNAVAILABLE, "HUB_BUSY") == (await refusal(cluster, source=HUB_MODEL))[:2]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({}, "source"),
        ({"source": v1.ModelSource(local_path="relative")}, "source.local_path"),
        (
            {"source": v1.ModelSource(hugging_face=v1.HuggingFaceSource(repository="http://127.0.0.1/x"))},
            "source.hugging_face",
        ),
        (
            {"source": v1.ModelSource(hugging_face=v1.HuggingFaceSource(repository="o/n", file="../../x"))},
            "source.hugging_face",
        ),
        ({"source": HUB_MODEL, "node": "nodes/a"}, "node"),
        ({"source": HUB_MODEL, "context_lengths": [0]}, "context_lengths"),
        ({"source": HUB_MODEL, "context_lengths": list(range(1, 18))}, "context_lengths"),
        ({"source": PATH_MODEL, "node": "a"}, "node"),
    ],
)
async def test_bad_requests(cluster: Cluster, hub: LocalHub, request_: dict[str, Any], field: str) -> None:
    """
    A request that cannot be meant names its field, and nobody is asked.
    """
    code, why, message = await refusal(cluster, **request_)

    assert (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID") == (code, why)
    assert message.startswith(field)
    assert [] == hub.seen


async def test_backend_that_nobody_offers(cluster: Cluster, agent: Agent, tiny: Path) -> None:
    """
    A backend by a name that no node knows is the caller's mistake.
    """
    await agent.joined()
    await offered(cluster)

    assert "BACKEND_UNKNOWN" == (await refusal(cluster, source=HUB_MODEL, backend="nonesuch"))[1]
    assert "PARAMETER_INVALID" == (await refusal(cluster, source=HUB_MODEL, parameters=["--port", "1"]))[1]


@pytest.mark.promise("P6")
async def test_readers_may_not(cluster: Cluster, hub: LocalHub, tiny: Path) -> None:
    """
    Whoever may only look cannot have the controller read with its token, or nodes read paths.
    """
    code, why, _ = await refusal(cluster, Role.READER, source=HUB_MODEL)

    assert (grpc.StatusCode.PERMISSION_DENIED, "ROLE_INSUFFICIENT") == (code, why)
    assert [] == hub.seen
