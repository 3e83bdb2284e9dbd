"""Models on a hub: fetched by the node that runs them, cut off and gone on with, listed, deleted, pruned."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from motorpool import v1
from tests.e2e.chat import ask
from tests.e2e.fleet import Fleet, wait_for
from tests.hub.server import STEP, LocalHub, Seen

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

REPOSITORY = "acme/tiny-GGUF"
MODEL = v1.ModelSource(hugging_face=v1.HuggingFaceSource(repository=REPOSITORY, file="*Q8_0*"))


@pytest.fixture(name="hub")
def _hub(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Iterator[LocalHub]:
    """A hub with a model of which the engine needs one file of four."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with LocalHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        files = {"tiny-Q8_0.gguf": tiny_model, "tiny-Q4_0.gguf": tiny_model, "README.md": b"#", "pic.png": b"x"}
        hub.add(REPOSITORY, files)
        yield hub


def children(pid: int) -> list[psutil.Process]:
    return [
        each for each in psutil.Process(pid).children(recursive=True) if "motorpool_agent.files.child" in each.cmdline()
    ]


def downloads(hub: LocalHub, file: str) -> list[Seen]:
    """Return the downloads of a file: those that are no reading of headers have no end."""
    asked = [each for each in hub.seen if each.path.endswith(file) and each.method == "GET"]
    return [each for each in asked if not each.headers.get("range") or each.headers["range"].endswith("-")]


def deploy(fleet: Fleet, name: str, model: v1.ModelSource = MODEL) -> None:
    spec = v1.DeploymentSpec(model=model, backend="llama_cpp", parameters=["-c", "512"])
    fleet.deployments.CreateDeployment(
        v1.CreateDeploymentRequest(deployment_id=name, deployment=v1.Deployment(spec=spec)), timeout=30
    )


def test_a_download_cut_off_by_kill_goes_on_where_it_was(hub: LocalHub, fleet: Fleet, tiny_model: Path) -> None:
    """
    The agent is killed in the middle of a file; its successor asks for the rest alone, and the model serves.
    """
    size = tiny_model.stat().st_size
    held = threading.Event()
    hub.trouble(r"GET /acme/tiny-GGUF/resolve/.*Q8_0", hold=4 * STEP, until=held, times=-1)
    agent = fleet.start_agent("a", "--reserved-disk", "0")
    deploy(fleet, "chat")
    part = wait_for("a part of the file", lambda: _part(fleet, 4 * STEP))
    told = wait_for("progress", lambda: next((i for i in fleet.instances("chat") if i.progress_bytes), None))
    listed = fleet.command("motorpool", "files", "list", "--output", "json").stdout
    [child] = children(agent.pid)

    os.kill(agent.pid, signal.SIGKILL)
    agent.kill()
    gone, _ = psutil.wait_procs([child], timeout=30)
    before, served = part.stat().st_size, sum(each.body_bytes for each in downloads(hub, "tiny-Q8_0.gguf"))
    hub.troubles.release()
    fleet.start_agent("a", "--reserved-disk", "0")
    running = fleet.wait_state("chat", v1.INSTANCE_STATE_RUNNING)

    assert [child] == gone
    assert f"downloading {REPOSITORY}" == told.state_message
    assert size == told.progress_total_bytes
    assert "MODEL_FILES_STATE_DOWNLOADING" == json.loads(listed)["files"][0]["state"]
    asked = [each.headers.get("range", "") for each in downloads(hub, "tiny-Q8_0.gguf")]
    assert ["", f"bytes={before}-"] == asked
    served += downloads(hub, "tiny-Q8_0.gguf")[-1].body_bytes
    assert 0 <= served - size <= STEP
    assert [] == downloads(hub, "tiny-Q4_0.gguf")
    assert running.launch.argv
    assert ask(fleet.credentials("chat"))


def test_files_outlive_their_deployments_and_go_on_an_operators_word(hub: LocalHub, fleet: Fleet) -> None:
    """
    `deploy --wait` tells where it answers; two deployments share a download; in use it stays, and prune takes it.
    """
    fleet.start_agent("a", "--reserved-disk", "0")

    def motorpool(*words: str, check: bool = True) -> str:
        done = fleet.command("motorpool", *words, check=check)
        return done.stdout + done.stderr

    model = f"hf:{REPOSITORY}:*Q8_0*"
    deployed = motorpool("deploy", "one", "--model", model, "--backend", "llama_cpp", "--wait", "--", "-c", "512")
    motorpool("deploy", "two", "--model", model, "--backend", "llama_cpp", "--wait", "--", "-c", "512")
    [files] = json.loads(motorpool("files", "list", "-o", "json"))["files"]
    name = files["name"].rpartition("/")[2]
    refused = motorpool("files", "delete", "a", name, check=False)
    kept = motorpool("files", "prune")
    motorpool("delete", "one", "--wait")
    motorpool("delete", "two", "--wait")
    there = json.loads(motorpool("files", "list", "-o", "json"))["files"]
    pruned = motorpool("files", "prune")

    assert "endpoint" in deployed
    assert 1 == len(downloads(hub, "tiny-Q8_0.gguf"))
    assert 2 == len(files["instances"])
    assert "FILES_IN_USE" in refused
    assert "Nothing to prune" in kept
    assert ["MODEL_FILES_STATE_COMPLETE"] == [each["state"] for each in there]
    assert "deleted; 688 KiB came free" in pruned
    assert [] == json.loads(motorpool("files", "list", "-o", "json"))["files"]
    assert [] == list((fleet.folder / "a" / "models" / "content").iterdir())


def test_a_node_that_has_the_files_is_preferred(hub: LocalHub, fleet: Fleet) -> None:
    """
    Of two nodes alike the one takes it that fetched it before; what the other would have to fetch counts against it.
    """
    fleet.start_agent("a", "--reserved-disk", "0")
    fleet.start_agent("b", "--reserved-disk", "0")
    fleet.command("motorpool", "cordon", "a")
    deploy(fleet, "first")
    fleet.wait_state("first", v1.INSTANCE_STATE_RUNNING)
    fleet.delete("first")
    fleet.command("motorpool", "uncordon", "a")
    deploy(fleet, "again")
    running = fleet.wait_state("again", v1.INSTANCE_STATE_RUNNING)

    assert ["nodes/b"] == [member.node for member in running.placement.members]
    assert 1 == len(downloads(hub, "tiny-Q8_0.gguf"))


def _part(fleet: Fleet, least: int) -> Path | None:
    found = list((fleet.folder / "a" / "models" / "content").glob("*.part"))
    return found[0] if found and found[0].stat().st_size >= least else None
