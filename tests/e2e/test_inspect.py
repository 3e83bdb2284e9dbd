"""A model is looked at before anything runs it: on a node, on a hub, and without a controller."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.fleet import BIN, Fleet
from tests.hub.contents import large_gguf
from tests.hub.server import LocalHub

pytestmark = pytest.mark.e2e


@pytest.fixture(name="hub")
def _hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    """
    A hub that every command of the test finds by the variables that its users set.
    """
    with LocalHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.endpoint)
        for variable in ("HF_TOKEN", "HF_HUB_OFFLINE", "MODELSCOPE_API_TOKEN"):
            monkeypatch.delenv(variable, raising=False)
        yield hub


def test_a_model_on_a_node(fleet: Fleet, tiny_model: Path) -> None:
    """
    The node that has the path reads it, and its own backend is the one that can run it.
    """
    fleet.start_agent("a")

    shown = fleet.command("motorpool", "model", "inspect", str(tiny_model), "--node", "a").stdout
    found = json.loads(fleet.command("motorpool", "model", "inspect", str(tiny_model), "-o", "json").stdout)

    folder = fleet.command("motorpool", "model", "inspect", str(tiny_model.parent)).stdout
    nowhere = fleet.command("motorpool", "model", "inspect", "/nowhere.gguf", check=False)

    assert "tiny-random-llama" in shown
    assert "tiny-random-llama" in folder
    assert (5, True) == (nowhere.returncode, "nodes/a cannot use /nowhere.gguf" in nowhere.stderr)
    assert "Bytes by role" in shown
    assert "What an instance needs with llama_cpp" in shown
    assert "nodes/a" == found["read_from"]
    assert tiny_model.stat().st_size == int(found["facts"]["file_bytes"])
    others = dict.fromkeys(("mindie", "sglang", "vllm", "vox_box"), False)
    assert {"llama_cpp": True, **others} == {each["backend"]: each.get("fits", False) for each in found["backends"]}
    assert [2048, 4096] == [each["context_length"] for each in found["estimates"]]


def test_models_on_hubs(hub: LocalHub, fleet: Fleet, tmp_path: Path) -> None:
    """
    The controller reads a hub's headers, keeps them over a restart, and has a deployment wait with what is missing.
    """
    content, header_bytes = large_gguf(tmp_path)
    commit = hub.add("o/n", {"m.gguf": content}).branches["main"]
    fleet.start_agent("a")

    found = json.loads(fleet.command("motorpool", "model", "inspect", "o/n", "-o", "json").stdout)
    scope = json.loads(fleet.command("motorpool", "model", "inspect", "ms:o/n:m.gguf", "-o", "json").stdout)
    missing = fleet.command("motorpool", "model", "inspect", "hf:o/n@v9", check=False)

    assert (commit, hub.endpoint, "large") == (found["commit"], found["read_from"], found["facts"]["display_name"])
    assert header_bytes <= int(found["fetched_bytes"]) < content.size / 20
    assert found["facts"]["digest"] == scope["facts"]["digest"]
    assert 5 == missing.returncode
    assert "no revision" in missing.stderr

    assert fleet.controller is not None
    fleet.controller.terminate()
    fleet.start_controller()
    hub.seen.clear()
    again = json.loads(fleet.command("motorpool", "model", "inspect", "o/n", "-o", "json").stdout)
    assert found["facts"] == again["facts"]
    assert ["GET /api/models/o/n"] == hub.paths()

    fleet.wait_ready("a")
    fleet.command("motorpool", "cordon", "a")
    waiting = fleet.command("motorpool", "deploy", "hubbed", "--model", "hf:o/n", "--wait", check=False)
    assert 1 == waiting.returncode
    assert "NODE_CORDONED" in waiting.stderr
    described = fleet.command("motorpool", "describe", "deployments/hubbed").stdout
    assert "gguf llama" in described


def test_without_a_controller(hub: LocalHub, tiny_model: Path, tmp_path: Path) -> None:
    """
    `motorpool-controller inspect` needs no cluster, for a path no network, and tells what a hub says of its variables.
    """
    hub.add("o/n", {"m.gguf": tiny_model}, tokens=frozenset({"secret"}))

    def inspect(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "motorpool-controller"), "inspect", *words, "--data-dir", str(tmp_path / "none")],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    local = json.loads(inspect(str(tiny_model), "--json", HF_ENDPOINT="http://127.0.0.1:9").stdout)
    with_token = inspect("o/n", HF_TOKEN="secret")
    without = inspect("o/n")
    offline = inspect("o/n", HF_HUB_OFFLINE="1")

    assert "tiny-random-llama" == local["facts"]["display_name"]
    assert [2048, 4096] == [each["context_length"] for each in local["estimates"]]
    assert (0, True) == (with_token.returncode, "tiny-random-llama" in with_token.stdout)
    assert (1, True) == (without.returncode, "HF_TOKEN" in without.stderr)
    assert (1, True) == (offline.returncode, "HF_HUB_OFFLINE" in offline.stderr)
    assert not (tmp_path / "none").exists()


def test_hubs_are_loaded_when_they_are_asked() -> None:
    """
    A controller that nobody asks for a hub's model does not carry the hubs' libraries.
    """
    code = (
        "import sys, motorpool_controller.main; print([m for m in ('huggingface_hub', 'httpx2') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]" == done.stdout.strip()
