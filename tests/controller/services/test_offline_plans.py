from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.main import app
from motorpool_controller.services.known import BUILT_IN
from motorpool_controller.services.offline_fleets import fleet_of
from motorpool_llama_cpp.plugin import LlamaCpp
from motorpool_mindie.plugin import Mindie
from motorpool_sdk import BackendPlugin
from motorpool_sglang.plugin import Sglang
from motorpool_vllm.plugin import Vllm
from motorpool_vox_box.plugin import VoxBox

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "plans"
FLEET = EXAMPLES / "fleet.json"


PLUGINS = [LlamaCpp(), Mindie(), Sglang(), Vllm(), VoxBox()]
BARE = EXAMPLES / "bare-fleet.json"


def planned(deployment: str | Path, fleet: Path = FLEET, *options: str) -> list[dict[str, Any]]:
    """What the command says of an example, as programs read it."""
    arguments = [
        "plan",
        "--fleet",
        str(fleet),
        "--deployment",
        str(EXAMPLES / deployment),
        "--output",
        "json",
        *options,
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    instances: list[dict[str, Any]] = json.loads(result.stdout)["instances"]
    return instances


def taken(instance: dict[str, Any]) -> dict[str, int]:
    """How many devices of each node."""
    placement = instance["placement"] or {"members": []}
    return {member["node"]: len(member["claim"]["devices"]) for member in placement["members"]}


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        ("one-device.json", [{"nodes/npu": 1}, {"nodes/a": 1}]),
        ("several-devices.json", [{"nodes/npu": 2}]),
        ("several-nodes.json", [{"nodes/a": 4, "nodes/b": 4}]),
        ("nowhere.json", [{}]),
    ],
)
def test_each_example_is_planned(example: str, expected: list[dict[str, int]]) -> None:
    """
    The files of examples/plans give the places that its README tells.
    """
    instances = planned(example)

    assert [taken(instance) for instance in instances] == expected
    assert all(instance["placement"] or instance["refusals"] for instance in instances)


def test_what_is_loaded_beside_the_model_is_a_companion_of_its_facts(tmp_path: Path) -> None:
    """
    An adapter's bytes stand among the facts; without them it says so, instead of planning for nothing.
    """
    wish = json.loads((EXAMPLES / "one-device.json").read_text())
    adapter = {"adapter": "law", "source": {"local_path": "/models/law"}}
    wish["spec"] |= {"backend": "vllm", "lora_adapters": [adapter], "replicas": 1}
    file = tmp_path / "wish.json"
    file.write_text(json.dumps(wish))
    [without] = planned(file, BARE)
    wish["facts"]["companions"] = [{"kind": "adapter", "file": "/models/law", "size_bytes": 1 << 20}]
    file.write_text(json.dumps(wish))
    [beside] = planned(file, BARE)

    assert without["placement"] is None
    assert any("no companion of kind 'adapter'" in row["message"] for row in without["refusals"]), without
    assert beside["placement"], beside


def test_every_place_of_the_first_instance_is_told() -> None:
    """
    Sixteen free devices are sixteen candidates with their claims: 72 GiB of 80, and 57.6 of 64.
    """
    first = planned("one-device.json")[0]
    claims = [each["placement"]["members"][0]["claim"]["devices"][0] for each in first["candidates"]]

    assert (first["places"], len(first["candidates"])) == (16, 16)
    assert first["runner_up"] == first["candidates"][1]
    assert {claim["memory_bytes"] for claim in claims} == {"77309411328", "61847529062"}


def test_places_are_told_a_page_at_a_time() -> None:
    """
    Of sixteen places the third and fourth are told; the choice and its runner-up are told anyway.
    """
    everything = planned("one-device.json", FLEET, "--places", "0")[0]
    page = planned("one-device.json", FLEET, "--places", "2", "--skip", "2")[0]

    assert page["candidates"] == everything["candidates"][2:4]
    assert (page["places"], len(everything["candidates"])) == (16, 16)
    assert page["runner_up"] == everything["candidates"][1]
    assert page["placement"] == everything["candidates"][0]["placement"]
    assert page["estimate"]["upper_bytes"] == str(20 << 30)


def test_a_fleet_without_backends_has_the_built_in_ones() -> None:
    """
    A GGUF model goes to one device of 64 GiB by llama.cpp's profile, another to two by vLLM's.
    """
    (gguf,) = planned("gguf.json", BARE)
    (vllm,) = planned("several-devices.json", BARE)

    assert (taken(gguf), gguf["placement"]["backend"]) == ({"nodes/npu": 1}, "llama_cpp")
    assert gguf["placement"]["offloaded_layers"] == 81
    assert gguf["placement"]["context_length"] == 16_384
    assert (taken(vllm), vllm["placement"]["backend"]) == ({"nodes/npu": 2}, "vllm")


@pytest.mark.parametrize(
    ("backend", "version", "expected", "fraction"),
    [
        ("mindie", "", {"nodes/npu": 2}, 0.8),
        ("mindie", "2.0.RC1", {"nodes/npu": 2}, 0.9),
        ("sglang", "0.4.9", {"nodes/npu": 2}, 0.795),
        ("vllm", "0.9.1", {"nodes/npu": 2}, 0.9),
    ],
)
def test_built_in_profiles_take_any_version(
    tmp_path: Path, backend: str, version: str, expected: dict[str, int], fraction: float
) -> None:
    """
    A version that is asked for is taken to be there, and decides where rules differ by version (A28).
    """
    deployment = json.loads((EXAMPLES / "several-devices.json").read_text())
    deployment["spec"] |= {"backend": backend, "backend_version": version}
    file = tmp_path / "deployment.json"
    file.write_text(json.dumps(deployment))

    (found,) = planned(file, BARE)

    assert taken(found) == expected
    assert found["placement"]["memory_fraction"] == fraction
    assert version in {"", found["placement"]["backend_version"]}


def test_a_profile_of_the_file_comes_before_the_built_in_one(tmp_path: Path) -> None:
    """
    Where the file names who offers a backend, nobody else does.
    """
    fleet = json.loads(BARE.read_text())
    profile = json.loads((FLEET).read_text())["backends"][0]["profile"]
    fleet["backends"] = [{"profile": profile, "nodes": ["nodes/desk"]}]
    file = tmp_path / "fleet.json"
    file.write_text(json.dumps(fleet))

    (found,) = planned("several-devices.json", file)

    assert found["placement"] is None
    assert any(row["reason"] == "BACKEND_MISSING" and row["subject"] == "nodes/npu" for row in found["refusals"])


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.profile().backend)
def test_a_built_in_profile_is_its_plugins(plugin: BackendPlugin, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    All but the versions, which nodes have, is what the plugin tells where no engine is installed.
    """
    monkeypatch.setenv("PATH", "/nowhere")
    own = plugin.profile()
    known = BUILT_IN[own.backend]

    for field in (
        "backend",
        "aliases",
        "rules",
        "formats",
        "categories",
        "cpu",
        "api_key",
        "features",
        "closed_options",
        "most_devices",
    ):
        assert getattr(known, field) == getattr(own, field), field
    for field in ("health_path", "metrics_path", "start_timeout_seconds", "stop_grace_seconds", "fraction_option"):
        assert getattr(known, field) == getattr(own, field), field
    assert list(known.distributed_styles) == [style.style for style in own.distributed_styles]
    assert [known.start_order(style.style).value for style in own.distributed_styles] == [
        style.start_order.value for style in own.distributed_styles
    ]
    assert known.fraction_default == own.fraction_default
    assert known.memory_model.value == own.memory_model.value
    assert [asdict(option) for option in known.options] == [asdict(option) for option in own.options]


def test_people_read_the_plan_in_words() -> None:
    """
    Without --output the chosen place, the others and the reasons stand in lines.
    """
    arguments = ["plan", "--fleet", str(FLEET), "--deployment", str(EXAMPLES / "nowhere.json")]
    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 0
    assert "huge-1: It fits nowhere" in result.stdout
    assert "the best combination is" in result.stdout
    assert "It fits with 7 more nodes like nodes/a, each with 8 cuda devices of 80.00 GiB" in result.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no JSON"),
        ("[]", "holds no object"),
        ('{"node": []}', "“node” is none of nodes, backends, instances"),
        ('{"nodes": {}}', "nodes is no list"),
        ('{"nodes": [{"nmae": "nodes/a"}]}', "nodes[0]"),
        ('{"nodes": [{"name": "a"}]}', "nodes[0].name"),
        ('{"backends": [{"profile": {}}]}', "backends[0]"),
        ('{"instances": [{}]}', "instances[0].placement.members"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, text: str, words: str) -> None:
    """
    A fault names the file or the field in one sentence, without a traceback, and the exit code says failed.
    """
    fleet = tmp_path / "fleet.json"
    fleet.write_text(text)
    arguments = ["plan", "--fleet", str(fleet), "--deployment", str(EXAMPLES / "one-device.json")]
    result = CliRunner().invoke(app, arguments)

    assert result.exit_code != 0
    assert words in result.output.replace("\n", " ")
    assert "Traceback" not in result.output


def series(lines: list[str], *options: str, fleet: Path = FLEET) -> Result:
    """What the command says of deployments that are written to it, a line each."""
    arguments = ["plan", "--fleet", str(fleet), "--deployment", "-", *options]
    return CliRunner().invoke(app, arguments, input="".join(f"{line}\n" for line in lines))


def in_a_line(deployment: str, **changes: Any) -> str:
    """An example as one line."""
    return json.dumps({**json.loads((EXAMPLES / deployment).read_text()), **changes})


@pytest.mark.parametrize("order", [1, -1])
def test_deployments_on_lines_are_planned_as_they_are_alone(order: int) -> None:
    """
    Nothing of a deployment is left to the next one, neither its model nor the version that it asked for.
    """
    examples = ["one-device.json", "several-devices.json", "several-nodes.json", "nowhere.json"][::order]
    asking = json.loads((EXAMPLES / "gguf.json").read_text())
    asking["spec"]["backend_version"] = "b9999"
    lines = [*map(in_a_line, examples), json.dumps(asking), in_a_line("gguf.json")]

    for fleet in (FLEET, BARE):
        result = series(lines, "--output", "json", fleet=fleet)
        assert result.exit_code == 0, result.output
        told = [json.loads(line) for line in result.stdout.splitlines()]

        alone = [planned(example, fleet) for example in examples]
        assert [each["instances"] for each in told[: len(examples)]] == alone
        assert told[-1]["instances"] == planned("gguf.json", fleet)
        assert told[-2]["instances"][0]["placement"]["backend_version"] == "b9999"
        assert told[-1]["instances"][0]["placement"]["backend_version"] != "b9999"


def test_what_was_placed_stands_for_the_deployments_after_it() -> None:
    """
    Sixteen devices are free, and each deployment takes two: with --keep the ninth finds none, without it they are free.
    """
    lines = [in_a_line("one-device.json", name=f"deployments/d{number}") for number in range(9)]

    kept = [json.loads(line) for line in series(lines, "--keep", "-o", "json").stdout.splitlines()]
    apart = [json.loads(line) for line in series(lines, "-o", "json").stdout.splitlines()]

    assert [each["deployment"] for each in kept] == [f"deployments/d{number}" for number in range(9)]
    assert [each["instances"][0]["places"] for each in kept] == [16, 14, 12, 10, 8, 6, 4, 2, 0]
    taken_devices = [place for each in kept[:8] for instance in each["instances"] for place in _chosen(instance)]
    assert len(set(taken_devices)) == len(taken_devices) == 16
    assert kept[8]["instances"][0]["refusals"]
    assert [each["instances"][0]["places"] for each in apart] == [16] * 9


def test_a_line_that_is_wrong_is_told_and_the_next_one_is_planned() -> None:
    """
    Each line has its answer, in its place; that one was wrong shows in the exit code. Empty lines are passed over.
    """
    lines = ["{", "", "[]", '{"spec": {"replcas": 1}}', in_a_line("one-device.json"), in_a_line("one-device.json")]

    asked = series(lines, "--keep", "-o", "json")
    read = series(lines, "--keep")

    told = [json.loads(line) for line in asked.stdout.splitlines()]
    assert asked.exit_code == read.exit_code == 1
    assert [each.get("error", {}).get("reason") for each in told] == [*["FILE_INVALID"] * 3, None, "FIELD_INVALID"]
    assert [each["error"]["message"].split(":")[0].split(" is")[0] for each in told if "error" in each] == [
        *("line 1", "line 3 holds no object; see examples/plans", "line 4", "line 6")
    ]
    assert "stands already" in told[-1]["error"]["message"]
    assert "stands already" in read.stderr
    assert "chosen" in read.stdout


def test_several_files_are_planned_with_the_fleet_read_once() -> None:
    """
    Files and lines may be mixed; each answer says whose it is. A second standard input is refused.
    """
    files = ["--deployment", str(EXAMPLES / "several-devices.json")]
    mixed = series([in_a_line("one-device.json")], *files)
    twice = series([], "--deployment", "-")

    assert [line for line in mixed.stdout.splitlines() if line.startswith("deployments/")] == [
        f"deployments/{json.loads((EXAMPLES / name).read_text())['name'].removeprefix('deployments/')}"
        for name in ("one-device.json", "several-devices.json")
    ]
    assert twice.exit_code == 1
    assert "one standard input" in twice.stderr


def _chosen(instance: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (member["node"], claim["device_id"])
        for member in instance["placement"]["members"]
        for claim in member["claim"]["devices"]
    ]


def test_like_nodes_and_instances_are_their_own(tmp_path: Path) -> None:
    """
    What differs in names alone is read once, and each keeps its name, its use and its place; a name may be missing.
    """
    fleet = json.loads(FLEET.read_text())
    first = fleet["nodes"][0]
    device = first["devices"][0]["device_id"]
    total = first["devices"][0]["memory"]["total_bytes"]
    fleet["nodes"] = [{**first, "name": f"nodes/n{number}"} for number in range(3)]
    claim = {"devices": [{"device_id": device, "memory_bytes": total}]}
    fleet["instances"] = [
        {"placement": {"members": [{"node": f"nodes/n{number}", "claim": claim}], "framework": "cuda"}}
        for number in range(2)
    ]
    for backend in fleet.get("backends", []):
        backend.pop("nodes", None)
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(fleet))

    places = set(_places(planned("one-device.json", path, "--places", "0")[0]))

    assert {name for name, _ in places} == {"nodes/n0", "nodes/n1", "nodes/n2"}
    assert {name for name, row in places if row == device} == {"nodes/n2"}


def test_names_of_like_nodes_are_their_own(tmp_path: Path) -> None:
    """
    A node and an instance that are like one before are read as if they stood alone: names, devices, and what is wrong.
    """
    fleet = json.loads(FLEET.read_text())
    like, other = fleet["nodes"][0], fleet["nodes"][-1]
    for number, device in enumerate(like["devices"]):
        device["pci_address"] = f"0000:{number:02x}:00.0"
    like["devices"][2]["cordoned"] = True
    claim = {"memory_bytes": "5", "devices": [{"device_id": "GPU-0", "memory_bytes": "7"}]}
    standing = {"name": "instances/i", "uid": "u", "placement": {"members": [{"node": like["name"], "claim": claim}]}}
    racks = [_renamed(like, number) for number in range(3)]
    nodes = [*racks, other, _renamed(other, 9), {**_renamed(like, 10), "name": "nodes/é ü"}]
    instances = [_renamed(standing, number) for number in range(3)]

    whole = fleet_of({"nodes": nodes, "instances": instances}, "fleet")
    alone = [fleet_of({"nodes": [node]}, "fleet") for node in nodes]

    assert whole.nodes == {name: node for each in alone for name, node in each.nodes.items()}
    assert len({device.device_id for name in racks for device in whole.nodes[name["name"]].devices}) == 3 * len(
        like["devices"]
    )
    assert list(whole.instances.values()) == [
        next(iter(fleet_of({"nodes": nodes, "instances": [each]}, "fleet").instances.values())) for each in instances
    ]
    assert len({instance.name for instance in whole.instances.values()}) == 3
    assert [whole.nodes[each["name"]].cordoned_devices for each in racks] == [(f"GPU-2-{n}",) for n in range(3)]
    broken = _renamed(like, 4)
    broken["devices"][1]["device_id"] = "a/b"
    with pytest.raises(InvalidError, match=r"nodes\[3\]\.devices\[1\]\.device_id: .* cannot have a slash"):
        fleet_of({"nodes": [*racks, broken]}, "fleet")


def _renamed(document: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a document with another number at the end of each of its names."""
    made = {
        key: f"{value}-{number}" if key in {"name", "uid", "node", "device_id", "pci_address"} else value
        for key, value in document.items()
    }
    for key, value in made.items():
        if isinstance(value, dict):
            made[key] = _renamed(value, number)
        elif isinstance(value, list):
            made[key] = [_renamed(each, number) if isinstance(each, dict) else each for each in value]
    return made


def _places(instance: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (member["node"], claim["device_id"])
        for place in instance["candidates"]
        for member in place["placement"]["members"]
        for claim in member["claim"]["devices"]
    ]
