import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from motorpool import v1
from motorpool_cli.main import app
from tests.cli.authority import Authority
from tests.cli.controller import Controller
from tests.cli.fleet import INSPECTION_STEPS, fill
from tests.cli.test_readme import VISIBLE

ROOT = Path(__file__).parents[2]
LINES = {
    "adopt": ("a", "a1"),
    "apply": ("--file", str(ROOT / "examples" / "cluster.yaml")),
    "backends": (),
    "backends apply": ("--file", str(ROOT / "examples" / "backends" / "phrasebook.yaml")),
    "backends delete": ("llama_cpp",),
    "backends describe": ("llama_cpp",),
    "check": ("/m.gguf",),
    "cluster": (),
    "contexts": (),
    "ban": ("rack1",),
    "cordon": ("rack1",),
    "delete": ("smollm2",),
    "deploy": ("again", "--model", "/m.gguf", "--dry-run"),
    "deployments": (),
    "describe": ("smollm2",),
    "devices": (),
    "drain": ("rack1",),
    "endpoint": ("smollm2",),
    "events": (),
    "explain": ("smollm2",),
    "files delete": ("a", "m-1"),
    "files list": (),
    "files prune": ("--dry-run",),
    "model inspect": ("hf:o/n",),
    "instances": (),
    "nodes": (),
    "plan": ("smollm2",),
    "plugins": (),
    "ps": (),
    "release": ("a", "a1"),
    "rollout history": ("smollm2",),
    "rollout status": ("smollm2",),
    "rollout undo": ("smollm2",),
    "scale": ("smollm2", "--replicas", "2"),
    "tokens create": ("--role", "reader"),
    "tokens list": (),
    "tokens revoke": ("t1",),
    "unban": ("rack1",),
    "uncordon": ("rack1",),
    "update": ("smollm2", "--replace"),
}


@pytest.mark.parametrize("command", sorted(LINES))
def test_yaml_is_the_same_document_as_json(authority: Authority, tmp_path: Path, command: str) -> None:
    """
    Each command prints in YAML what it prints in JSON.
    """
    documents = []
    for output, parse in (("json", json.loads), ("yaml", yaml.safe_load)):
        (tmp_path / output).mkdir()
        controller = Controller(authority, tmp_path / output)
        try:
            fill(controller)
            controller.strays = [v1.StrayInstance(node="nodes/a", assignment_id="a1")]
            controller.files["nodes/a/files/m-1"] = v1.ModelFiles(name="nodes/a/files/m-1", total_bytes=7)
            controller.inspections = INSPECTION_STEPS
            controller.deployments["deployments/smollm2"].revision = 2
            controller.revisions["deployments/smollm2"] = v1.ListDeploymentRevisionsResponse()
            controller.explanations["deployments/smollm2"] = v1.ExplainDeploymentResponse()
            line = ["--config", str(controller.client_file), *command.split(), *LINES[command], "--output", output]
            done = CliRunner().invoke(app, line)
        finally:
            controller.close()
        assert 0 == done.exit_code, done.output
        documents.append(parse(done.stdout))

    assert documents[0] == documents[1]
    assert isinstance(documents[0], dict)


def test_every_command_is_here() -> None:
    """
    No command is left out, but the log, which is text, those that change what the user has logged in to, and an export,
    which is a file of documents.
    """
    assert {"export", "login", "logout", "logs", "use"} == VISIBLE - set(LINES)
