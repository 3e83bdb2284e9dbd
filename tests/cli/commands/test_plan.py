import json
from pathlib import Path

import pytest

from motorpool import v1
from tests.cli.controller import Controller
from tests.cli.fleet import GIB, TOO_LARGE, deployment, instance
from tests.cli.motorpool import Motorpool

FITS = v1.PlanDeploymentResponse(
    backend="llama_cpp",
    facts=v1.ModelFacts(format="gguf", display_name="SmolLM2", quantization="Q4_1"),
    estimate=v1.Estimate(upper_bytes=560 * 1024**2, provenance="from the model's headers"),
    checks=[
        v1.Check(kind=v1.CHECK_KIND_BACKEND, outcome=v1.CHECK_OUTCOME_PASSED, message="At least one node runs it."),
        v1.Check(kind=v1.CHECK_KIND_MODEL, outcome=v1.CHECK_OUTCOME_SKIPPED, message="Not checked: declared."),
        v1.Check(kind=v1.CHECK_KIND_PLACE, outcome=v1.CHECK_OUTCOME_PASSED, message="1 of 1 instances has a place."),
    ],
    instances=[
        v1.PlannedInstance(
            candidates=[v1.Candidate(node="nodes/a", score=87.5, scores={"spread": 87.5})],
            verdict="It fits on nodes/a.",
            count=1,
        )
    ],
    findings=["llama_cpp is chosen by the model"],
)
FAILS = v1.PlanDeploymentResponse(
    backend="vllm",
    checks=[
        *FITS.checks[:2],
        v1.Check(
            kind=v1.CHECK_KIND_PLACE,
            outcome=v1.CHECK_OUTCOME_FAILED,
            message="0 of 2 instances have a place.",
            refusals=[TOO_LARGE],
        ),
    ],
    instances=[v1.PlannedInstance(refusals=[TOO_LARGE], verdict="It fits nowhere.", count=2)],
    suggestions=[v1.Suggestion(remedy=v1.REMEDY_DEVICES, message="All 2 instances fit with 1 more node like nodes/a.")],
)


def test_a_model_that_would_run(controller: Controller, motorpool: Motorpool) -> None:
    """
    The three verdicts are a line each, under what the model is and needs; the command ends well.
    """
    controller.plan = FITS

    done = motorpool("check", "/models/m.gguf", "--replicas", "1", "--backend", "llama_cpp", "--", "--ctx-size", "512")

    assert done.exit_code == 0
    assert "SmolLM2 gguf Q4_1" in done.stdout
    assert "560 MiB: from the model's headers" in done.stdout
    for line in (
        "does the backend run here  yes          At least one node runs it.",
        "does it run this model     not checked  Not checked: declared.",
        "is there room              yes          1 of 1 instances has a place.",
    ):
        assert line in done.stdout
    assert "note: llama_cpp is chosen by the model" in done.stderr
    (request,) = controller.requests
    assert isinstance(request, v1.PlanDeploymentRequest)
    assert request.deployment.spec.model.local_path == "/models/m.gguf"
    assert list(request.deployment.spec.parameters) == ["--ctx-size", "512"]
    assert not controller.deployments


def test_a_model_that_would_not(controller: Controller, motorpool: Motorpool) -> None:
    """
    A check that failed shows its rows, and the command ends with 1, so that a script can ask.
    """
    controller.plan = FAILS

    done = motorpool("check", "hf:o/n")

    assert done.exit_code == 1
    assert "is there room              no           0 of 2 instances have a place." in done.stdout
    assert "MEMORY_SHORT" in done.stdout
    assert "What would make it fit\n- All 2 instances fit with 1 more node like nodes/a.\n" in done.stdout

    document = motorpool("check", "hf:o/n", "--output", "json")

    assert document.exit_code == 1
    assert json.loads(document.stdout)["checks"][2]["outcome"] == "CHECK_OUTCOME_FAILED"


def test_what_if(controller: Controller, motorpool: Motorpool) -> None:
    """
    A deployment is planned with other replicas, without some, and with nodes like one that there is.
    """
    controller.put(deployment())
    controller.plan = FITS

    done = motorpool(
        "plan", "smollm2", "--replicas", "4", "--without", "instances/x-1", "--add-node", "rack1=2", "--add-node", "b"
    )

    assert done.exit_code == 0
    assert "1 instance: It fits on nodes/a." in done.stdout
    assert "a            87.5   spread 87.5" in done.stdout
    (request,) = controller.requests
    assert isinstance(request, v1.PlanDeploymentsRequest)
    (planned,) = request.deployments
    assert (planned.name, planned.spec.replicas) == ("deployments/smollm2", 4)
    assert list(request.without) == ["instances/x-1"]
    assert [(each.like, each.count) for each in request.add_nodes] == [("nodes/rack1", 2), ("nodes/b", 1)]


def test_nodes_that_do_not_exist_yet(controller: Controller, motorpool: Motorpool) -> None:
    """
    A node to be thought in is like one there is, but for its devices and memory; one to be thought away has a name.
    """
    controller.put(deployment())
    controller.put(instance())
    controller.plan = FITS

    spec = "rack1=2,devices=8,device-memory=141GiB,memory=1TiB"
    motorpool("plan", "smollm2", "--add-node", spec, "--without", "smollm2-x7k2p", "--without", "rack1")

    (request,) = controller.requests
    assert isinstance(request, v1.PlanDeploymentsRequest)
    assert list(request.add_nodes) == [
        v1.AddedNodes(like="nodes/rack1", count=2, devices=8, device_memory_bytes=141 * GIB, memory_bytes=1024 * GIB)
    ]
    assert list(request.without) == ["instances/smollm2-x7k2p", "nodes/rack1"]


WISHES = """\
- name: small
  spec: {model: {local_path: /models/s.gguf}, replicas: 2}
- spec:
    model:
      hugging_face: {repository: o/n}
    claim: {memory_bytes: 2GiB}
    parameters: [--ctx-size, 4096]
    extended_kv_cache: {enabled: true, memory_ratio: 1.5}
"""


def test_deployments_of_a_file(controller: Controller, motorpool: Motorpool, tmp_path: Path) -> None:
    """
    A list in a file is planned in its order, in one call, and each plan stands under its name.
    """
    controller.plan = FITS
    file = tmp_path / "wishes.yaml"
    file.write_text(WISHES)

    done = motorpool("plan", "-f", str(file), "--replicas", "3")

    assert done.exit_code == 0
    assert done.stdout.startswith("small\nModel ")
    assert "\ndeployment 2\nModel " in done.stdout
    (request,) = controller.requests
    assert isinstance(request, v1.PlanDeploymentsRequest)
    first, second = request.deployments
    assert (first.name, first.spec.model.local_path, first.spec.replicas) == ("small", "/models/s.gguf", 3)
    assert second.spec.model.hugging_face.repository == "o/n"
    assert list(second.spec.parameters) == ["--ctx-size", "4096"]
    assert second.spec.claim.memory_bytes == 2 * GIB
    assert second.spec.extended_kv_cache.memory_ratio == 1.5


@pytest.mark.parametrize("output", ["yaml", "json"])
@pytest.mark.parametrize("command", [("deployments",), ("describe", "smollm2")])
def test_what_the_cli_prints_can_be_planned(
    controller: Controller, motorpool: Motorpool, tmp_path: Path, command: tuple[str, ...], output: str
) -> None:
    """
    The list of deployments, and what describes one of them, are files as they are.
    """
    standing = deployment()
    standing.spec.reschedule_after.FromSeconds(90)
    standing.spec.placement_strategy = v1.PLACEMENT_STRATEGY_BINPACK
    standing.spec.node_selector.match_labels["zone"] = "a"
    controller.put(standing)
    controller.put(instance())
    controller.plan = FITS
    file = tmp_path / "printed"
    file.write_text(motorpool(*command, "-o", output).stdout)

    assert motorpool("plan", "-f", str(file)).exit_code == 0
    request = controller.requests[-1]
    assert isinstance(request, v1.PlanDeploymentsRequest)
    assert list(request.deployments) == [v1.Deployment(name=standing.name, spec=standing.spec)]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("name: a\nspec:\n  modle: {local_path: /m}\n", ":3: spec.modle: there is no such field; did you mean model?"),
        ("- name: a\n  spec:\n    replicas: many\n", ":3: spec.replicas: 'many' is no whole number"),
        ("name: a\n", ":1: there is no spec"),
        ("deployments:\n- spec: {model: {local_path: /m}}\nname: b\n", ":3: name: it stands beside a list"),
        ("deployments: 3\n", ":1: deployments: it is no list"),
        ("", ":1: there is nothing in it"),
        ("- a\n", ":1: a single value stands where fields are wanted"),
        ("{", ":1: it is not YAML"),
    ],
)
def test_a_wrong_file_is_told_by_line_and_key(
    controller: Controller, motorpool: Motorpool, tmp_path: Path, content: str, fault: str
) -> None:
    """
    Each fault stands with file, line and key, and nothing is asked of the controller.
    """
    file = tmp_path / "wishes.yaml"
    file.write_text(content)

    done = motorpool("plan", "-f", str(file))

    assert done.exit_code == 2
    assert f"wishes.yaml{fault}" in done.stderr
    assert not controller.requests


def test_what_the_controller_finds_wrong_is_told_by_line_too(
    controller: Controller, motorpool: Motorpool, tmp_path: Path
) -> None:
    """
    A field that the controller refuses is shown where it stands in the file.
    """
    controller.violations = {"plans": [("deployments[1].spec.claim.memory_bytes", "it is too much")]}
    file = tmp_path / "wishes.yaml"
    file.write_text(WISHES)

    done = motorpool("plan", "-f", str(file))

    assert done.exit_code == 7
    assert "wishes.yaml:6: spec.claim.memory_bytes: it is too much" in done.stderr


def test_what_fits_nowhere_is_told_once(controller: Controller, motorpool: Motorpool) -> None:
    """
    Instances with the same verdict stand once, with their number.
    """
    controller.put(deployment())
    controller.plan = FAILS

    assert "2 instances: It fits nowhere." in motorpool("plan", "smollm2").stdout


def test_many_instances_are_counted_by_place(controller: Controller, motorpool: Motorpool) -> None:
    """
    Of many that have a place the first is told in full, the others by node; what has none comes last.
    """

    def planned(node: str) -> v1.PlannedInstance:
        member = v1.PlacementMember(node=f"nodes/{node}", claim=v1.Claim(memory_bytes=GIB))
        candidates = [v1.Candidate(node=f"nodes/{node}", score=50.0)]
        return v1.PlannedInstance(
            placement=v1.Placement(members=[member]),
            candidates=candidates,
            verdict=f"It fits on nodes/{node}.",
            count=1,
        )

    controller.put(deployment())
    instances = [*(planned("a" if number % 2 else "b") for number in range(9)), *FAILS.instances]
    controller.plan = v1.PlanDeploymentResponse(backend="llama_cpp", instances=instances)

    lines = [line.split() for line in motorpool("plan", "smollm2").stdout.splitlines()]
    shown = [" ".join(words) for words in lines if words]

    assert shown.count("FEASIBLE ON SCORE MADE OF") == 1
    more = shown.index("8 more have a place:")
    assert shown.index("1 instance: It fits on nodes/b.") < more
    assert shown[more + 2 : more + 4] == ["4 a: host memory 1 GiB", "4 b: host memory 1 GiB"]
    assert shown.index("2 instances: It fits nowhere.") > more


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("check", "relative.gguf"), 2, "relative.gguf"),
        (("check", "/m.gguf", "--memory", "much"), 2, "is not a size"),
        (("plan", "smollm2", "--add-node", "rack1=many"), 2, "NODE=COUNT"),
        (("plan", "smollm2", "--add-node", "rack1,cards=2"), 2, "'cards=2' is none of devices=N"),
        (("plan", "smollm2", "--add-node", "rack1,memory=much"), 2, "is not a size"),
        (("plan", "nothing"), 5, "deployments/nothing"),
        (("plan",), 2, "the name of a deployment, or files"),
        (("plan", "smollm2", "-f", "x.yaml"), 2, "the name of a deployment, or files"),
        (("plan", "-f", "/nowhere.yaml"), 2, "/nowhere.yaml cannot be read"),
    ],
)
def test_wrong_input(
    controller: Controller, motorpool: Motorpool, words: tuple[str, ...], code: int, says: str
) -> None:
    """
    What cannot be meant is told by its option, before anything is asked of nodes.
    """
    controller.put(deployment())

    done = motorpool(*words)

    assert done.exit_code == code
    assert says in done.stderr
    assert not controller.requests


def test_sizes_are_in_bytes(controller: Controller, motorpool: Motorpool) -> None:
    """
    A claim by hand is sent in bytes.
    """
    controller.plan = FITS
    motorpool("check", "/m.gguf", "--memory", "2GiB")

    (request,) = controller.requests
    assert isinstance(request, v1.PlanDeploymentRequest)
    assert request.deployment.spec.claim.memory_bytes == 2 * GIB
