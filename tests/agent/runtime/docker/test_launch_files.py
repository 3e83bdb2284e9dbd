"""Files that engines in containers are told by, where a container's engine really reads them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from motorpool_agent.reconcile.assignment import ModelSource, Parameter
from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_mindie.plugin import Mindie
from motorpool_sdk import Finding, Launch, LaunchRequest, Profile, Version
from tests.agent.runtime.fakes import ServerBackends, assignment, desired, until_state
from tests.docker_engine import DockerEngine

pytestmark = pytest.mark.e2e

READER = Path(__file__).with_name("mindie_reader.py")
PROGRAM = (str(Path(sys.executable).resolve()), f"/app/{READER.name}")
MODEL = {"torch_dtype": "bfloat16", "vocab_size": 151_936}


class MindieBackends(ServerBackends):
    """MindIE's own plugin, but that its container starts the program of the test."""

    def profile(self, backend: str) -> Profile | None:
        return replace(Mindie().profile(), versions=(Version(version="1", executors=("docker",)),))

    async def check(self, backend: str, request: LaunchRequest) -> list[Finding]:
        return list(Mindie().check(request))

    async def launch(self, backend: str, request: LaunchRequest) -> Launch:
        return Mindie().launch(replace(request, command=PROGRAM))


@pytest.fixture(name="backends")
def make_backends() -> MindieBackends:
    return MindieBackends()


async def test_mindie_is_told_by_its_files_and_the_model_stays(
    supervisor: Supervisor, docker: DockerEngine, tmp_path: Path
) -> None:
    """
    The container listens where its configuration says, sees the model's files with what the deployment changes of
    them, and the node's own files are what they were.
    """
    folder = tmp_path / "models" / "qwen"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(MODEL))
    (folder / "tokenizer.json").write_text("{}")
    image = docker.python_image(READER)
    given = (("dtype", "half"), ("rope-theta", "1000000"), ("override-generation-config", '{"top_k": 1}'))
    wish = replace(
        assignment(tmp_path, image=image),
        model=ModelSource(kind="local_path", path=str(folder)),
        parameters=tuple(Parameter(option=name, values=(value,)) for name, value in given),
        context_length=4096,
    )

    supervisor.apply(desired(wish))
    seen = await until_state(supervisor, State.RUNNING)

    assert seen.launch is not None
    async with httpx.AsyncClient(timeout=10) as client:
        answer = await client.get(f"http://127.0.0.1:{seen.launch.ports['http']}/")
    said: dict[str, Any] = answer.json()
    files = {name: json.loads(text) for name, text in said["files"].items()}
    changed = {**MODEL, "torch_dtype": "float16", "rope_theta": 1e6}
    assert {"config.json": changed, "generation_config.json": {"top_k": 1}, "tokenizer.json": {}} == files
    assert 4096 == said["told"]["BackendConfig"]["ModelDeployConfig"]["maxSeqLen"]
    assert 0o640 == said["mode"]
    assert MODEL == json.loads((folder / "config.json").read_text())
    assert ["config.json", "tokenizer.json"] == sorted(path.name for path in folder.iterdir())
