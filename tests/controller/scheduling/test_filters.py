from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from motorpool_controller.domain.conditions import Condition
from motorpool_controller.domain.fleet import BackendVersion, Executor, Host, Node, NodeState, Profile
from motorpool_controller.domain.placement import Refusal
from motorpool_controller.domain.sizes import GIB
from motorpool_controller.domain.workload import ModelSource, SourceKind, Speculative
from motorpool_controller.scheduling.classes import class_of
from motorpool_controller.scheduling.scheduler import explain, schedule
from motorpool_controller.scheduling.snapshot import Reading
from tests.controller.fleets import DIGEST, PATH, SMOLLM2, device, node, profile, request, snapshot

pytestmark = pytest.mark.promise("P4")

WORKS = Executor(executor="process", works=True)

SHORT = Condition(condition="data_disk", pressed=True, message="1 MiB of 9 MiB are free; free some space")


def only_row(of: Node, *, snapshot_changes: dict[str, Any] | None = None, **changes: Any) -> Refusal:
    wish = request(**changes)
    plan = schedule(snapshot(of, **(snapshot_changes or {})), [wish])
    assert plan.placements == {}
    (row,) = plan.refusals[wish.name]
    return row


@pytest.mark.parametrize(
    ("changes", "stage", "reason"),
    [
        ({"state": NodeState.ENROLLED}, "state", "NODE_NOT_READY"),
        ({"state": NodeState.UNREACHABLE}, "state", "NODE_UNREACHABLE"),
        ({"cordoned": True}, "cordon", "NODE_CORDONED"),
        ({"conditions": (SHORT,)}, "state", "NODE_PRESSED"),
        ({"profiles": {}}, "backend", "BACKEND_MISSING"),
        ({"host": Host(os="linux", architecture="arm64", memory_bytes=GIB)}, "backend", "PLATFORM_UNSUPPORTED"),
    ],
)
def test_a_node_that_may_not_is_a_row(changes: dict[str, Any], stage: str, reason: str) -> None:
    """
    Each removal names its stage, its reason and the node, and ends with what to do.
    """
    row = only_row(node(**changes))

    assert (row.stage, row.reason, row.subject) == (stage, reason, "nodes/a")
    assert row.message.endswith(".")
    assert "nodes/a" in row.message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"match_labels": {"zone": "b"}}, "LABELS_DIFFER"),
        ({"backend": "vllm"}, "BACKEND_MISSING"),
        ({"backend_version": "9"}, "VERSION_MISSING"),
        ({"parameters": ("--port", "1")}, "PARAMETER_INVALID"),
        ({"cpu_offloading": False}, "NO_DEVICE"),
        ({"parameters": ("-ngl", "10")}, "NO_DEVICE"),
        ({"parameters": ("-ngl", "99")}, "NO_DEVICE"),
        ({"speculative": Speculative(algorithm="ngram")}, "FEATURE_UNSUPPORTED"),
    ],
)
def test_a_wish_that_the_node_does_not_meet_is_a_row(changes: dict[str, Any], reason: str) -> None:
    """
    Labels, backend, version, parameters and layers are each a reason of their own.
    """
    assert only_row(node(), **changes).reason == reason


@pytest.mark.parametrize("name", ["llama_cpp", "llama-cpp", "llama-box", "llama.cpp", "LLAMA_CPP", ""])
def test_a_backend_goes_by_its_names(name: str) -> None:
    """
    Name, alias, any case, or nothing for a file named .gguf.
    """
    assert schedule(snapshot(node()), [request(backend=name)]).placements


def test_an_alias_of_a_framework_needs_a_version_for_it() -> None:
    """
    A node whose devices no version supports, and whose backend runs on no processor, is refused for its framework.
    """
    cuda_only = profile(versions=(BackendVersion(version="1.0", frameworks=("cuda",)),), cpu=False)
    row = only_row(node(devices=[device(framework="cann")]), snapshot_changes={"profiles": {DIGEST: cuda_only}})

    assert (row.stage, row.reason) == ("framework", "FRAMEWORK_UNSUPPORTED")


def test_a_path_that_was_not_read_yet_is_asked_for() -> None:
    """
    Before the node's answer the row says that it was asked, and the plan says whom to ask.
    """
    fleet = snapshot(node(), readings={})
    plan = schedule(fleet, [request()])

    assert plan.questions == (("nodes/a", PATH),)
    assert plan.refusals["instances/chat-1"][0].reason == "MODEL_NOT_READ_YET"


def test_a_missing_path_carries_the_nodes_own_words() -> None:
    """
    The agent's reason and message stand in the row, and the question stays.
    """
    answer = Reading(error_reason="MODEL_NOT_FOUND", error_message="no such file.")
    plan = schedule(snapshot(node(), readings={("nodes/a", PATH): answer}), [request()])
    (row,) = plan.refusals["instances/chat-1"]

    assert (row.stage, row.reason) == ("path", "MODEL_NOT_FOUND")
    assert "no such file" in row.message
    assert plan.questions == (("nodes/a", PATH),)


def test_only_nodes_that_may_run_it_are_asked() -> None:
    """
    A cordoned node is not asked about a path.
    """
    fleet = snapshot(node("a", cordoned=True), node("b"), readings={})

    assert schedule(fleet, [request()]).questions == (("nodes/b", PATH),)


def test_a_claim_by_hand_makes_up_for_an_unknown_format_and_not_for_a_missing_file() -> None:
    """
    Where something unreadable lies at the path, an operator's figure is enough; where nothing lies, it is not (A14).
    """
    there = {("nodes/a", PATH): Reading(error_reason="MODEL_FORMAT_UNKNOWN", error_message="?")}
    gone = {("nodes/a", PATH): Reading(error_reason="MODEL_NOT_FOUND", error_message="?")}
    claimed = request(claim_memory_bytes=GIB, backend="llama_cpp")

    assert schedule(snapshot(node(), readings=there), [claimed]).placements
    assert not schedule(snapshot(node(), readings=gone), [claimed]).placements


def test_facts_that_do_not_give_an_estimate_do_not_place() -> None:
    """
    A model whose headers do not tell its layers waits for a claim by hand (A14).
    """
    vague = replace(SMOLLM2, layers=None)
    plan = schedule(snapshot(node(), facts=vague), [request()])

    assert plan.refusals["instances/chat-1"][0].reason == "ESTIMATE_UNKNOWN"
    assert schedule(snapshot(node(), facts=vague), [request(claim_memory_bytes=GIB)]).placements


def test_a_hub_model_waits_until_it_was_looked_up() -> None:
    """
    Before that nothing of it is known, and no node can be asked.
    """
    hub = ModelSource(kind=SourceKind.HUGGING_FACE, repository="Qwen/Qwen3-8B")
    row = only_row(node(), model=hub)

    assert (row.stage, row.reason) == ("facts", "MODEL_NOT_READ_YET")
    assert "Qwen/Qwen3-8B" in row.message


def test_a_hub_model_that_was_looked_up_is_the_same_for_every_node() -> None:
    """
    What the hub said counts for all, and no node is asked about it.
    """
    hub = ModelSource(kind=SourceKind.HUGGING_FACE, repository="Qwen/Qwen3-8B", commit="c1")
    known = replace(snapshot(node("a"), node("b")), hub_models={hub.place: Reading(facts=SMOLLM2)})
    plan = schedule(known, [request(model=hub)])

    assert [] == list(plan.questions)
    assert plan.placements.keys() == {"instances/chat-1"}


def test_an_empty_cluster_says_so() -> None:
    """
    Without nodes there is one row, about the deployment.
    """
    (row,) = schedule(snapshot(), [request()]).refusals["instances/chat-1"]

    assert (row.reason, row.subject) == ("NO_NODES", "deployments/chat")


def test_a_format_the_backend_does_not_read_is_a_row() -> None:
    """
    Safetensors do not go to a backend of GGUF.
    """
    row = only_row(
        node(),
        snapshot_changes={"readings": {("nodes/a", PATH): Reading(facts=replace(SMOLLM2, format="safetensors"))}},
        backend="llama_cpp",
    )

    assert row.reason == "FORMAT_UNSUPPORTED"
    assert "nodes/a" in row.message


def test_an_architecture_the_backend_does_not_list_is_a_row() -> None:
    """
    What its profile lists holds for the backend's own versions; an image given by hand may have another engine in it.
    """
    listed = {DIGEST: profile(architectures=("gemma3",))}

    docker = Executor(executor="docker", works=True)
    given = request(backend="llama_cpp", image="engines/llama:1")

    row = only_row(node(), snapshot_changes={"profiles": listed}, backend="llama_cpp")

    assert row.reason == "ARCHITECTURE_UNSUPPORTED"
    assert "llama" in row.message
    assert schedule(snapshot(node(executors=(docker,)), profiles=listed), [given]).placements


def test_a_use_the_backend_does_not_serve_is_a_row() -> None:
    """
    A model that makes speech does not go to a backend for text, whatever its format, unless a user wants it for text.
    """
    speaking = {("nodes/a", PATH): Reading(facts=replace(SMOLLM2, categories=("text_to_speech",)))}
    text_only = {DIGEST: profile(categories=("llm", "embedding"))}
    wanted = request(backend="llama_cpp", categories=("llm",))

    row = only_row(node(), snapshot_changes={"readings": speaking, "profiles": text_only}, backend="llama_cpp")

    assert row.reason == "CATEGORY_UNSUPPORTED"
    assert "llm, embedding" in row.message
    assert "text_to_speech" in row.message
    assert schedule(snapshot(node(), readings=speaking, profiles=text_only), [wanted]).placements


def test_rules_that_do_not_exist_are_a_row() -> None:
    """
    A profile that names rules which the controller does not have is refused by their name, with those there are.
    """
    row = only_row(node(), snapshot_changes={"profiles": {DIGEST: profile(rules="tarot")}})

    assert row.reason == "RULES_UNKNOWN"
    assert "“tarot”" in row.message
    assert "generic_fraction" in row.message


def test_a_pinned_device_that_does_not_exist_is_a_row() -> None:
    """
    A wrong pin is named (A12), besides the nodes that are not pinned.
    """
    plan = schedule(snapshot(node(devices=[device()])), [request(devices=("nodes/a/devices/nvidia:7",))])

    assert [row.reason for row in plan.refusals["instances/chat-1"]] == ["DEVICE_UNKNOWN", "NOT_PINNED"]


NO_DOCKER = (Executor(executor="docker", works=False, message="it does not answer; start it"), WORKS)


def test_a_container_goes_where_there_is_an_engine() -> None:
    """
    Of two nodes the one with a container engine is chosen, and the other has a row with its agent's words.
    """
    docker = Executor(executor="docker", works=True, message="Docker Engine 27.1")
    wish = request(image="engines/llama:1")

    verdict = explain(snapshot(node("a", executors=NO_DOCKER), node("b", executors=(docker, WORKS))), wish)

    assert verdict.placement is not None
    assert "nodes/b" == verdict.placement.members[0].node
    row = verdict.refusals[0]
    assert ("executor", "EXECUTOR_MISSING", "nodes/a") == (row.stage, row.reason, row.subject)
    assert "There is no container engine on nodes/a: it does not answer; start it." == row.message


def test_a_process_needs_no_container_engine() -> None:
    """
    Without an image a node without a container engine is as good as any.
    """
    wish = request()

    assert schedule(snapshot(node(executors=NO_DOCKER)), [wish]).placements


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [((("docker",), ("process",)), "2"), ((("docker", "process"), ("process",)), "1"), ((("docker",),), None)],
)
def test_versions_that_need_an_engine_are_passed_over(
    versions: tuple[tuple[str, ...], ...], chosen: str | None
) -> None:
    """
    A version that runs in containers only gives way to the next one where there is no engine.
    """
    offered = tuple(BackendVersion(version=str(at), executors=each) for at, each in enumerate(versions, start=1))
    wish = request()

    plan = schedule(snapshot(node(executors=NO_DOCKER), profiles={DIGEST: profile(versions=offered)}), [wish])

    found = plan.placements.get(wish.name)
    assert chosen == (None if found is None else found.backend_version)


def test_a_version_that_runs_as_a_unit_wants_systemd() -> None:
    """
    Of process and unit an agent chooses; a version that runs as a unit only is for nodes where systemd works.
    """
    only = profile(versions=(BackendVersion(version="1", executors=("systemd",)),))
    either = profile(versions=(BackendVersion(version="1", executors=("systemd", "process")),))
    idle = Executor(executor="systemd", works=False, message="systemd is not the service manager here")
    wish = request()

    def placed(offered: Profile, *executors: Executor) -> bool:
        return bool(schedule(snapshot(node(executors=executors), profiles={DIGEST: offered}), [wish]).placements)

    assert placed(only, WORKS, replace(idle, works=True))
    assert placed(either, WORKS, idle)
    assert not placed(only, WORKS, idle)
    assert (
        "not the service manager here"
        in explain(snapshot(node(executors=(WORKS, idle)), profiles={DIGEST: only}), wish).refusals[0].message
    )


def test_an_agent_without_the_executor() -> None:
    """
    An agent that tells of its executors, and not of the one that is needed, has none such.
    """
    row = only_row(node(executors=(WORKS,)), image="engines/llama:1")

    assert "its agent has no executor docker, but process; upgrade the agent." in row.message


@pytest.mark.parametrize(
    ("runtime", "fits"),
    [("12.8", True), ("12.8.1", True), ("13.0", True), ("12", True), ("", True), ("unknown", True), ("12.4", False)],
)
def test_a_runtime_older_than_a_version_needs_is_a_row(runtime: str, fits: bool) -> None:
    """
    B4.2: versions of runtimes are compared, and one that a device does not tell is not held against it.
    """
    version = BackendVersion(version="2.0", frameworks=("cuda",), least_runtimes=(("cuda", "12.8"),))
    there = node(memory=64 * GIB, devices=[device(runtime_version=runtime)])
    plan = schedule(snapshot(there, profiles={DIGEST: profile(versions=(version,))}), [request(cpu_offloading=False)])

    assert bool(plan.placements) is fits
    if not fits:
        (row,) = plan.refusals["instances/chat-1"]
        assert (row.stage, row.reason, row.subject) == ("framework", "RUNTIME_TOO_OLD", "nodes/a")
        assert "cuda 12.8 or later for version 2.0, and its devices have 12.4" in row.message


def test_an_older_version_runs_where_the_newer_cannot() -> None:
    """
    Of two versions the first whose runtime is there is taken, framework by framework.
    """
    newer = BackendVersion(version="2.0", frameworks=("cuda",), least_runtimes=(("cuda", "12.8"),))
    older = BackendVersion(version="1.0", frameworks=("cuda", "cpu"))
    there = node(memory=64 * GIB, devices=[device(runtime_version="12.4")])
    plan = schedule(snapshot(there, profiles={DIGEST: profile(versions=(newer, older))}), [request()])

    assert plan.placements["instances/chat-1"].backend_version == "1.0"


def test_a_node_that_runs_short_is_told_with_what_to_do() -> None:
    """
    The row says of what, with the agent's figures and advice; a node that has enough of all is taken.
    """
    enough = Condition(condition="memory")
    row = only_row(node(conditions=(SHORT, enough)))

    assert row.message == (
        "nodes/a runs short of data_disk: 1 MiB of 9 MiB are free; free some space. Nothing new is placed there until "
        "there is enough again."
    )
    assert schedule(snapshot(node(conditions=(enough,))), [request()]).placements


def test_nodes_that_run_short_are_a_class_of_their_own() -> None:
    """
    What was measured tells no classes apart, and that a node runs short of something does.
    """
    other = replace(SHORT, message="2 MiB of 9 MiB")

    assert class_of(node(conditions=(SHORT,))) == class_of(node(conditions=(other,)))
    assert class_of(node(conditions=(SHORT,))) != class_of(node(conditions=(replace(SHORT, pressed=False),)))
