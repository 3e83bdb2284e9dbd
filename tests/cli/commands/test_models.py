import json
import threading
from collections.abc import Iterator

import pytest
from google.rpc import code_pb2

from motorpool import v1
from tests.cli.controller import Controller
from tests.cli.fleet import GIB, INSPECTION, INSPECTION_STEPS
from tests.cli.motorpool import Motorpool, error_of, rows

INSPECT = ("model", "inspect", "hf:o/n:*Q4*.gguf@v1")


def request_of(controller: Controller) -> v1.InspectModelRequest:
    (request,) = (each for each in controller.requests if isinstance(each, v1.InspectModelRequest))
    return request


@pytest.fixture(autouse=True)
def _answers(controller: Controller) -> None:
    controller.inspections = INSPECTION_STEPS


def test_what_a_model_is(controller: Controller, motorpool: Motorpool) -> None:
    """
    The facts stand in two columns, what is unknown left out.
    """
    output = motorpool(*INSPECT).stdout

    for line in (
        "Model       hf:o/n:*Q4*.gguf@v1",
        "Read from   https://hub.example, 1.5 MiB fetched",
        "Commit      c0ffee",
        "Format      gguf qwen3moe Q4_K_M",
        "Parameters  30.5 billion",
        "Files       a.gguf, 19 GiB",
        "Layers      48 (40 sliding, 8 full)",
        "Heads       32 (4 for keys and values)",
        "Experts     128, 8 used",
        "Context     40960 tokens",
    ):
        assert f"{line}\n" in output
    assert "Audio heads" not in output


def test_bytes_by_role_as_bars(controller: Controller, motorpool: Motorpool) -> None:
    """
    Each role that has bytes has a bar; the longest is full, the others in proportion, and none is empty.
    """
    lines = motorpool(*INSPECT).stdout.splitlines()

    bars = lines[lines.index("Bytes by role") + 1 :][:4]
    assert [
        f"  embedding  {'█' * 2 + '▌':<40}      1 GiB    5 %",
        f"  layers     {'█' * 5:<40}      2 GiB   11 %",
        f"  experts    {'█' * 40}     16 GiB   84 %",
        f"  output     {'▏':<40}     10 MiB    0 %",
    ] == bars


def test_estimates_and_backends(controller: Controller, motorpool: Motorpool) -> None:
    """
    Each context length has its needs, an unknown a dash; each backend says whether it can, and why not.
    """
    output = motorpool(*INSPECT).stdout

    assert "What an instance needs with llama_cpp\n" in output
    table = rows(output[output.index("CONTEXT  ") :])
    assert ["8192", "20 GiB", "19 GiB to 21 GiB", "18 GiB", "1 GiB", "512 MiB", "512 MiB", "medium"] == table[1]
    assert ["40960", *["-"] * 7] == table[2]
    backends = rows(output[output.index("BACKEND  ") :])
    assert ["llama_cpp", "yes", "a, b", "it reads gguf and runs qwen3moe"] == backends[1]
    assert ["vllm", "no", "c", "it reads safetensors, and the model is gguf"] == backends[2]
    assert "note: something to know" in motorpool(*INSPECT).stderr


def test_parts_and_companions(controller: Controller, motorpool: Motorpool) -> None:
    """
    Parts of a pipeline, and files that are loaded beside the model, are listed with their weights.
    """
    controller.inspections = [
        v1.InspectModelResponse(
            result=v1.ModelInspection(
                facts=v1.ModelFacts(
                    format="diffusers",
                    components=[v1.PipelineComponent(component="unet", type="UNet2D", weight_bytes=GIB)],
                    companions=[v1.CompanionFile(kind="projector", file="mmproj.gguf", size_bytes=5)],
                )
            )
        )
    ]

    output = motorpool(*INSPECT).stdout

    assert ["unet", "UNet2D", "1 GiB"] in rows(output)
    assert ["projector", "mmproj.gguf", "-"] in rows(output)


def test_json_is_the_result(controller: Controller, motorpool: Motorpool) -> None:
    """
    Programs get the message as it is, without the progress.
    """
    document = json.loads(motorpool(*INSPECT, "-o", "json").stdout)

    assert "gguf" == document["facts"]["format"]
    assert ["llama_cpp", "vllm"] == [each["backend"] for each in document["backends"]]
    assert "asked" not in document


def test_a_hub_that_keeps_it_waiting(controller: Controller, motorpool: Motorpool) -> None:
    """
    Where the hub is slow, the hub is named, and not the controller, which told that it asks it.
    """
    over = threading.Event()

    def stalled() -> Iterator[v1.InspectModelResponse]:
        yield v1.InspectModelResponse(progress=v1.InspectionProgress(asked="the hub", file="m.gguf", requests=2))
        over.wait(30)

    controller.inspections = stalled()
    try:
        result = motorpool(*INSPECT, "--timeout", "1s")
    finally:
        over.set()

    assert result.exit_code == 1
    assert "within 1 s; waited for the hub: m.gguf" in result.stderr
    assert "--timeout" in result.stderr


def test_what_is_asked(controller: Controller, motorpool: Motorpool) -> None:
    """
    Node, backend, contexts and the engine's arguments go along.
    """
    line = ("model", "inspect", "/m.gguf", "--node", "a", "--backend", "llama-box", "--context", "1024")

    assert 0 == motorpool(*line, "--context", "2048", "--", "--jinja", "-np", "2").exit_code
    assert v1.InspectModelRequest(
        source=v1.ModelSource(local_path="/m.gguf"),
        node="nodes/a",
        backend="llama-box",
        context_lengths=[1024, 2048],
        parameters=["--jinja", "-np", "2"],
    ) == request_of(controller)


def test_a_word_that_names_no_model(controller: Controller, motorpool: Motorpool) -> None:
    """
    A word that names no place is an error of the command line, and nothing is sent.
    """
    result = motorpool("model", "inspect", "models/m.gguf", "-o", "json")

    assert (2, "MODEL_SOURCE_INVALID") == (result.exit_code, error_of(result)["reason"])
    assert "begin with /" in error_of(result)["message"]
    assert [] == controller.requests


@pytest.mark.parametrize(
    ("code", "reason", "exit_code"),
    [
        (code_pb2.NOT_FOUND, "MODEL_NOT_FOUND", 5),
        (code_pb2.FAILED_PRECONDITION, "MODEL_GATED", 1),
        (code_pb2.FAILED_PRECONDITION, "HUB_TOKEN_MISSING", 1),
        (code_pb2.UNAVAILABLE, "HUB_TIMEOUT", 1),
        (code_pb2.UNAVAILABLE, "NODE_UNREACHABLE", 1),
        (code_pb2.INVALID_ARGUMENT, "BACKEND_UNKNOWN", 7),
    ],
)
def test_what_went_wrong(
    controller: Controller, motorpool: Motorpool, code: code_pb2.Code.ValueType, reason: str, exit_code: int
) -> None:
    """
    A hub out of reach is not the controller out of reach, and a model that cannot be read is work that failed.
    """
    controller.refusal = (code, reason, "No, because.")

    result = motorpool(*INSPECT)

    assert exit_code == result.exit_code
    assert f"No, because. [{reason}]" in result.stderr


def test_an_answer_without_a_result(controller: Controller, motorpool: Motorpool) -> None:
    """
    A stream that ends too early is a failure, and not an empty table.
    """
    controller.inspections = INSPECTION_STEPS[:1]

    assert 1 == motorpool(*INSPECT).exit_code


def test_nothing_of_the_stranger_moves_the_cursor(controller: Controller, motorpool: Motorpool) -> None:
    """
    Control characters in a model's name are shown as escapes.
    """
    evil = v1.ModelInspection(facts=v1.ModelFacts(display_name="a\x1b[2Jb", format="gguf"))
    controller.inspections = [v1.InspectModelResponse(result=evil)]

    assert "a\\x1b[2Jb" in motorpool(*INSPECT).stdout


def test_the_fixture_is_what_it_says() -> None:
    """
    The last step of the fixture is the result that the other tests read.
    """
    assert INSPECTION == INSPECTION_STEPS[-1].result
