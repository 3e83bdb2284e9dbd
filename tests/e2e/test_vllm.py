"""vLLM itself: its parser takes what we launch, and its CPU build serves a model through controller and agent."""

from __future__ import annotations

import json
import subprocess
from math import prod
from pathlib import Path

import httpx
import pytest

from motorpool import v1
from motorpool_sdk import LaunchRequest, OptionKind
from motorpool_vllm.options import OPTIONS
from motorpool_vllm.plugin import Vllm
from tests.e2e.chat import ask
from tests.e2e.fleet import Fleet, engines_below
from tests.e2e.vllm_engine import COMMAND, FOLDER, PYTHON, VERSION
from tests.models.tiny_llama import make_tiny_adapter, make_tiny_llama
from tests.plugins.backends.vllm.requests import GOLDEN

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.engine("vllm")]

_PARSER = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
def kind(action):
    if action.nargs == 0:
        return "flag"
    return {"int": "integer", "human_readable_int": "integer", "human_readable_int_or_auto": "integer",
            "float": "number"}.get(getattr(action.type, "__name__", ""), "other")
options = {name: kind(action) for name, action in parser._option_string_actions.items()}
parsed = {name: vars(parser.parse_args(argv)) for name, argv in json.load(sys.stdin).items()}
print(json.dumps({"options": options, "parsed": parsed}, default=str))
"""


@pytest.fixture(scope="module", name="parser")
def make_parser() -> dict[str, dict[str, object]]:
    """
    What vLLM's own parser of `vllm serve` says: its options, and what it read off each launch on file.
    """
    argv = {name: given for name, request in GOLDEN.items() if (given := vllms_own(request))}
    done = subprocess.run(
        [str(PYTHON), "-c", _PARSER], input=json.dumps(argv), capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, dict[str, object]] = json.loads(done.stdout.splitlines()[-1])
    return said


def vllms_own(request: LaunchRequest) -> tuple[str, ...]:
    """
    Return the arguments after `vllm serve`: none for a node of a Ray cluster that the leader's vLLM uses.
    """
    argv = Vllm().launch(request).argv
    if request.gang is not None and request.gang.style == "ray":
        return argv[argv.index("serve") + 1 :] if request.gang.leads else ()
    # A process begins with the program and `serve`; an image's entrypoint has both.
    return argv if request.image else argv[2:]


def test_vllms_own_parser_takes_every_launch(parser: dict[str, dict[str, dict[str, object]]]) -> None:
    """
    What we meant is what vLLM reads: the model, where it listens, its name, context, fraction and parallel sizes.
    """
    for name, read in parser["parsed"].items():
        request = GOLDEN[name]
        assert (str(request.model_path), request.listen_address, request.port, [request.served_model_name]) == (
            read["model_tag"],
            read["host"],
            read["port"],
            read["served_model_name"],
        )
        assert request.context_length in {None, read["max_model_len"]}, name
        assert request.memory_fraction in {None, read["gpu_memory_utilization"]}, name
        sizes = [int(str(read[f"{kind}_parallel_size"])) for kind in ("tensor", "pipeline", "data")]
        nodes = 1 if request.gang is None else len(request.gang.members)
        assert max(len(request.device_ids) * nodes, 1) in {prod(sizes), 1}, name
        if request.gang is not None and request.gang.style == "ray":
            assert ("ray", 1, False) == tuple(
                read[each] for each in ("distributed_executor_backend", "nnodes", "headless")
            )
        else:
            follows = request.gang is not None and not request.gang.leads
            assert (nodes, follows) == (read["nnodes"], read["headless"]), name
    assert "pooling" == parser["parsed"]["embedding"]["runner"]


def test_every_option_of_the_table_is_vllms(parser: dict[str, dict[str, str]]) -> None:
    """
    Names, aliases and kinds of the table are those of the engine's parser.
    """
    kinds = {OptionKind.FLAG: {"flag"}, OptionKind.INTEGER: {"integer"}, OptionKind.NUMBER: {"number"}}
    theirs = parser["options"]
    for option in OPTIONS:
        assert f"--{option.name}" in theirs, option.name
        assert theirs[f"--{option.name}"] in kinds.get(option.kind, {"other"}), option.name
        for alias in option.aliases:
            assert {f"-{alias}", f"--{alias}"} & theirs.keys(), alias


@pytest.mark.timeout(400)
def test_a_model_is_served(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A safetensors model deployed with `--backend vllm` answers, streams, asks for its key, tells metrics, and ends.
    """
    model = tmp_path / "models" / "tiny-llama"
    make_tiny_llama(model)
    monkeypatch.setenv("MOTORPOOL_VLLM", str(FOLDER))
    fleet.start_agent("a")

    fleet.command(
        *("motorpool", "deploy", "tiny", "--backend", "vllm", "--model", str(model)),
        *("--", "--max-model-len", "512", "--enforce-eager", "--dtype", "float32"),
    )
    instance = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING, timeout_seconds=300)
    credentials = fleet.credentials("tiny")
    url, headers = credentials.endpoints[0], {"Authorization": f"Bearer {credentials.api_key}"}

    argv = list(instance.launch.argv)
    assert [str(COMMAND), "serve", str(model)] == argv[:3]
    assert ("512", 1) == (argv[argv.index("--max-model-len") + 1], argv.count("--max-model-len"))
    assert "1" == instance.launch.env["VLLM_CPU_KVCACHE_SPACE"]
    assert credentials.api_key not in str(instance)
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        [listed] = client.get("/v1/models", headers=headers).raise_for_status().json()["data"]
        assert ("tiny", 512) == (listed["id"], listed["max_model_len"])
        assert 401 == client.get("/v1/models").status_code
        assert "vllm:" in client.get("/metrics").text
        body = {"model": "tiny", "messages": [{"role": "user", "content": "say something"}], "max_tokens": 8}
        said = client.post("/v1/chat/completions", headers=headers, json={**body, "temperature": 0}).json()
    assert 8 == said["usage"]["completion_tokens"]
    assert said["choices"][0]["message"]["content"] == ask(credentials, tokens=8)
    assert VERSION in fleet.command("motorpool", "describe", "deployments/tiny").stdout

    fleet.delete("tiny")


@pytest.mark.timeout(400)
def test_an_adapter_is_served_beside_its_model(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With `--lora NAME=PATH` its weights are claimed with the model's, and it answers by its own name, in its own way.
    """
    model, adapter = tmp_path / "models" / "tiny-llama", tmp_path / "models" / "law"
    make_tiny_llama(model)
    make_tiny_adapter(adapter)
    monkeypatch.setenv("MOTORPOOL_VLLM", str(FOLDER))
    fleet.start_agent("a")

    fleet.command(
        *("motorpool", "deploy", "tiny", "--backend", "vllm", "--model", str(model), "--lora", f"law={adapter}"),
        *("--", "--max-model-len", "512", "--enforce-eager", "--dtype", "float32"),
    )
    instance = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING, timeout_seconds=300)
    credentials = fleet.credentials("tiny")

    argv = list(instance.launch.argv)
    # Of rank 12, by the adapter's own file: the next that vLLM takes.
    assert "16" == argv[argv.index("--max-lora-rank") + 1]
    said = {}
    with httpx.Client(
        base_url=credentials.endpoints[0],
        headers={"Authorization": f"Bearer {credentials.api_key}"},
        timeout=60,
        trust_env=False,
    ) as client:
        listed = client.get("/v1/models").raise_for_status().json()["data"]
        assert {"tiny", "law"} == {each["id"] for each in listed}
        for name in ("tiny", "law"):
            asked = {"model": name, "prompt": "say something", "max_tokens": 8, "temperature": 0}
            said[name] = client.post("/v1/completions", json=asked).raise_for_status().json()["choices"][0]["text"]
    assert said["tiny"] != said["law"]
    assert "adapters" in fleet.command("motorpool", "explain", "tiny").stdout

    fleet.delete("tiny")


@pytest.mark.timeout(400)
def test_two_processes_of_one_node_share_a_model(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With `--tensor-parallel-size 2` on processors one node runs both halves, alone, and answers.
    """
    model = tmp_path / "models" / "tiny-llama"
    make_tiny_llama(model)
    monkeypatch.setenv("MOTORPOOL_VLLM", str(FOLDER))
    fleet.start_agent("a")

    fleet.command(
        *("motorpool", "deploy", "halves", "--backend", "vllm", "--model", str(model)),
        *("--", "--tensor-parallel-size", "2", "--max-model-len", "512", "--enforce-eager", "--dtype", "float32"),
    )
    instance = fleet.wait_state("halves", v1.INSTANCE_STATE_RUNNING, timeout_seconds=300)

    assert not instance.members
    assert "--nnodes" not in instance.launch.argv
    assert ask(fleet.credentials("halves"), tokens=8)
    workers = [each for each in engines_below(fleet.folder) if "Worker" in " ".join(each.cmdline())]
    assert 2 == len(workers), workers

    fleet.delete("halves")
