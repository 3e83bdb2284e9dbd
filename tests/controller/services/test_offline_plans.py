from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from motorpool_controller.main import app

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "plans"
FLEET = EXAMPLES / "fleet.json"


def planned(deployment: str, fleet: Path = FLEET) -> list[dict[str, Any]]:
    """What the command says of an example, as programs read it."""
    arguments = ["plan", "--fleet", str(fleet), "--deployment", str(EXAMPLES / deployment), "--output", "json"]
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


def test_every_place_of_the_first_instance_is_told() -> None:
    """
    Sixteen free devices are sixteen candidates with their claims: 72 GiB of 80, and 57.6 of 64.
    """
    first = planned("one-device.json")[0]
    claims = [each["placement"]["members"][0]["claim"]["devices"][0] for each in first["candidates"]]

    assert (first["places"], len(first["candidates"])) == (16, 16)
    assert {claim["memory_bytes"] for claim in claims} == {"77309411328", "61847529062"}


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
